// One row per prefix. A row is made once; later only what differs is written, so focus and selection stay.

import { act } from "./actions.js";
import { draw, fill, make, setClass, write } from "./dom.js";
import { ago, inUtc, milliseconds, modelName, money, moneyRange, share, spanOf, tone } from "./format.js";
import { drawLanes, inWords } from "./strip.js";

export const STRIP_HEIGHT = 30;

const cell = (kind, label, ...children) => make("td", { role: "cell", class: kind, "data-label": label }, children);

// The words without the state that the chip before them says already.
const wordsAfter = (state, words) =>
  words.startsWith(`${state} `)
    ? words.slice(state.length + 1)
    : words.startsWith(`${state}: `)
      ? words.slice(state.length + 2)
      : words;

// Words that stay together, with a dot and a place to break between them.
const pieces = (all) => all.flatMap((one, index) => [index ? " " : "", make("span", { class: "piece" }, one)]);

function utcTitle(prefix) {
  const told = [
    ["warm until", prefix.warm_until],
    ["next", prefix.next_at],
  ].filter(([, at]) => at);
  return told.map(([words, at]) => `${words} ${inUtc(Date.parse(at))}`).join("; ") || null;
}

function setTitle(node, title) {
  if (title) node.setAttribute("title", title);
  else node.removeAttribute("title");
}

export class Row {
  constructor(prefix) {
    const parts = ["link", "about", "tags", "chip", "words", "hint", "verdict", "when", "cost", "net", "early"];
    for (const part of parts) this[part] = make("span");
    this.link = make("a", { href: `/prefixes/${encodeURIComponent(prefix.name)}`, class: "name" }, prefix.name);
    this.strip = make("div", { class: "strip-space" });
    this.stripWords = make("span", { class: "unseen" });
    this.pause = make("button", {
      type: "button",
      class: "quiet",
      onclick: () => act(this.isPaused ? "resume" : "pause", this.prefix),
    });
    this.ping = make(
      "button",
      {
        type: "button",
        class: "quiet",
        onclick: () => act("ping", this.prefix),
        "aria-label": `Ping ${prefix.name} now`,
      },
      "Ping",
    );
    setClass(this.tags, "tags");
    setClass(this.words, "words");
    setClass(this.hint, "sub hint-line");
    setClass(this.when, "sub");
    this.node = make(
      "tr",
      { role: "row", "data-name": prefix.name },
      make(
        "th",
        { role: "rowheader", scope: "row" },
        this.link,
        make("div", { class: "sub" }, this.about, " ", this.tags),
      ),
      cell("strip", null, this.strip, this.stripWords),
      cell("state", null, make("div", { class: "standing" }, this.chip, " ", this.words), this.hint),
      cell("last", "Last ping", this.verdict, this.when),
      cell("number", "Cost", this.cost),
      cell("number", "Net", this.net),
      cell("number", "Lost early", this.early),
      cell("acts", null, make("div", { class: "row-actions" }, this.ping, this.pause)),
    );
    this.update(prefix);
  }

  update(prefix) {
    this.prefix = prefix;
    this.isPaused = prefix.state === "paused";
    const billed =
      prefix.billed_ttl && prefix.billed_ttl !== prefix.ttl ? `${prefix.ttl}, billed ${prefix.billed_ttl}` : prefix.ttl;
    if (this.about.textContent !== [modelName(prefix.model_id), prefix.region, billed].join(" "))
      fill(this.about, pieces([modelName(prefix.model_id), prefix.region, billed]));
    setTitle(this.about, prefix.model_id);
    const tags = Object.entries(prefix.tags ?? {}).map(([key, value]) => `${key}: ${value}`);
    if (this.tags.textContent !== tags.join(" ")) fill(this.tags, pieces(tags));
    setClass(this.chip, `chip ${prefix.state}`);
    write(this.chip, prefix.state);
    write(this.words, wordsAfter(prefix.state, prefix.words));
    setTitle(this.words, utcTitle(prefix));
    const hint = prefix.hint ?? "";
    write(this.hint, hint);
    setTitle(this.hint, hint || null);
    this.hint.hidden = !hint;
    write(this.pause, this.isPaused ? "Resume" : "Pause");
    this.pause.setAttribute("aria-label", `${this.isPaused ? "Resume" : "Pause"} ${prefix.name}`);
    this.updateMoney(prefix.money?.seven_days, prefix.early_loss_rate);
  }

  updateMoney(figures, early) {
    write(this.cost, figures ? money(figures.refresh_cost_usd) : "–");
    write(this.net, figures ? moneyRange(figures.net_low_usd, figures.net_high_usd) : "–");
    setClass(this.net, figures ? tone(figures.net_low_usd, figures.net_high_usd) : "");
    write(this.early, share(early));
  }

  // What grows old by itself.
  age(now) {
    const last = this.prefix.last_ping;
    setClass(this.verdict, last ? `verdict ${last.verdict}` : "sub");
    write(this.verdict, last ? last.verdict : "none yet");
    if (last)
      write(this.when, `${ago(last.at, now)}${last.latency_ms === null ? "" : `, ${milliseconds(last.latency_ms)}`}`);
    setTitle(this.when, last && inUtc(Date.parse(last.at)));
    setTitle(this.verdict, last?.error);
  }

  show(timeline) {
    const words = inWords(timeline);
    fill(this.strip, drawLanes(timeline, STRIP_HEIGHT, words));
    write(this.stripWords, words);
  }
}

export function makeGroup(key, value, prefixes, { isOpen, toggle }) {
  const sum = (name) => prefixes.reduce((total, prefix) => total + (prefix.money?.seven_days?.[name] ?? 0), 0);
  const states = Map.groupBy
    ? [...Map.groupBy(prefixes, (one) => one.state)].map(([state, all]) => `${all.length} ${state}`)
    : [`${prefixes.length}`];
  const tag = `${key}:${value}`;
  const isTag = !["model", "region", "state"].includes(key) && value !== "";
  return make(
    "tr",
    { role: "row", class: "group" },
    make(
      "th",
      { role: "rowheader", scope: "rowgroup", colspan: 8 },
      make(
        "div",
        { class: "group-line" },
        make(
          "button",
          { type: "button", class: "plain", "aria-expanded": String(isOpen), onclick: toggle },
          draw(
            "svg",
            { viewBox: "0 0 10 10", width: 10, height: 10, "aria-hidden": "true", class: "arrow" },
            draw("path", { d: "M3 1l4 4-4 4" }),
          ),
          value === "" ? `without ${key}` : `${key}: ${value}`,
        ),
        make("span", { class: "sub" }, states.join(", ")),
        make("span", { class: "sub" }, `net ${moneyRange(sum("net_low_usd"), sum("net_high_usd"))}`),
        isTag
          ? make(
              "button",
              {
                type: "button",
                class: "quiet",
                onclick: () => act("pauseAll", { tag }),
                "aria-label": `Pause all with ${tag}`,
              },
              "Pause group",
            )
          : null,
      ),
    ),
  );
}

export const hoursInWords = (hours) => `Last ${spanOf(hours)}`;
