// One dialog for every question: fields, a way out, and the daemon's refusal where it was asked.

import { byId, fill, make } from "./dom.js";

let counter = 0;

function makeField({ name, label, type = "text", options, value = "", hint, ...rest }) {
  const id = `field-${(counter += 1)}`;
  const input = options
    ? make(
        "select",
        { id, name, ...rest },
        options.map(([key, words]) => make("option", { value: key, selected: key === value }, words)),
      )
    : make("input", { id, name, type, value, autocomplete: "off", spellcheck: "false", ...rest });
  return make(
    "div",
    { class: "field" },
    make("label", { for: id }, label),
    input,
    hint ? make("p", { class: "hint" }, hint) : null,
  );
}

// Resolves to what `submit(values)` returns, or to null when the person leaves; a refusal of `submit` is shown, and the
// dialog stays. `fields` may be a function of the attempts so far.
export function ask({ title, words = "", fields, go, danger = false, submit }) {
  const dialog = byId("dialog");
  const form = byId("dialog-form");
  const error = byId("dialog-error");
  const button = byId("dialog-go");
  const before = document.activeElement;
  let refusals = 0;
  fill(byId("dialog-title"), title);
  fill(byId("dialog-words"), words);
  fill(error);
  fill(button, go);
  button.className = danger ? "primary danger" : "primary";
  const values = () => Object.fromEntries(new FormData(form));
  const show = () => {
    const held = values();
    fill(
      byId("dialog-fields"),
      fields(refusals).map((field) => makeField({ ...field, value: held[field.name] ?? field.value })),
    );
  };
  fill(byId("dialog-fields"));
  show();
  return new Promise((done) => {
    const leave = (result) => {
      form.onsubmit = dialog.onclose = null;
      if (dialog.open) dialog.close();
      before?.focus?.();
      done(result);
    };
    form.onsubmit = async (event) => {
      event.preventDefault();
      button.disabled = true;
      try {
        leave(await submit(values()));
      } catch (refusal) {
        refusals += 1;
        show();
        fill(error, refusal.message);
        (form.querySelector("[type=password]") ?? form.querySelector("[autofocus]"))?.focus();
      } finally {
        button.disabled = false;
      }
    };
    dialog.onclose = () => leave(null);
    byId("dialog-cancel").onclick = () => leave(null);
    dialog.showModal();
    form.querySelector("[autofocus]")?.focus();
  });
}
