// Makes elements. Data only ever becomes text or an attribute, never HTML.

const SVG = "http://www.w3.org/2000/svg";

function dress(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

export const make = (tag, attributes = {}, ...children) => dress(document.createElement(tag), attributes, children);

export const draw = (tag, attributes = {}, ...children) =>
  dress(document.createElementNS(SVG, tag), attributes, children);

export const byId = (id) => document.getElementById(id);

export const fill = (node, ...children) => {
  node.replaceChildren(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""),
  );
  return node;
};

// Writes only what differs, so that nothing flickers and a selection stays.
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setClass(node, name) {
  if (node.className !== name) node.className = name;
}

// A table of figures: a caption for those who hear it, heads, and rows of text or nodes; a head with ">" is numeric.
export function makeTable(caption, heads, rows) {
  const numeric = heads.map((head) => head.startsWith(">"));
  const kind = (index) => (numeric[index] ? "number" : null);
  return make(
    "table",
    { class: "figures" },
    make("caption", { class: "unseen" }, caption),
    make(
      "thead",
      {},
      make(
        "tr",
        {},
        heads.map((head, index) => make("th", { scope: "col", class: kind(index) }, head.replace(/^>/, ""))),
      ),
    ),
    make(
      "tbody",
      {},
      rows.map((row) =>
        make(
          "tr",
          {},
          row.map((cell, index) => make("td", { class: kind(index) }, cell)),
        ),
      ),
    ),
  );
}
