// The rows of all prefixes: searched, sorted and grouped here, made only as far as somebody scrolls.

import { byId, fill, make } from "./dom.js";
import { makeGroup, Row } from "./rows.js";

const AT_ONCE = 60;
const OVERDUE_MS = 1500;
const DEFAULTS = { query: "", state: "", sort: "state", group: "" };

const ORDER = { stopped: 0, paused: 1, cold: 2, warm: 3 };
const week = (prefix, name) => prefix.money?.seven_days?.[name] ?? 0;

const SORTS = {
  name: ["name", (one, other) => one.name.localeCompare(other.name, "en", { numeric: true })],
  state: ["state, worst first", (one, other) => (ORDER[one.state] ?? 9) - (ORDER[other.state] ?? 9)],
  net: ["net, worst first", (one, other) => week(one, "net_low_usd") - week(other, "net_low_usd")],
  cost: ["cost, highest first", (one, other) => week(other, "refresh_cost_usd") - week(one, "refresh_cost_usd")],
  early: ["lost early, most first", (one, other) => (other.early_loss_rate ?? -1) - (one.early_loss_rate ?? -1)],
};

const GROUPS = {
  state: (prefix) => prefix.state,
  region: (prefix) => prefix.region,
  model: (prefix) => prefix.model_id,
};
const valueOf = (prefix, key) => (key.startsWith("tag.") ? (prefix.tags?.[key.slice(4)] ?? "") : GROUPS[key](prefix));

const wordsOf = (prefix) =>
  [
    prefix.name,
    prefix.model_id,
    prefix.region,
    prefix.ttl,
    prefix.policy,
    prefix.words,
    ...Object.entries(prefix.tags ?? {}).map(([key, value]) => `${key}:${value}`),
  ]
    .join(" ")
    .toLowerCase();

export class List {
  // shown(row): a row came into the document; viewed(found, total, known): how many there are.
  constructor({ shown, now, viewed }) {
    Object.assign(this, { shown, now, viewed });
    this.prefixes = new Map();
    this.rows = new Map();
    this.total = 0;
    this.isKnown = false;
    this.closed = new Set();
    this.asked = new Map();
    const given = new URLSearchParams(location.search);
    this.chosen = Object.fromEntries(Object.entries(DEFAULTS).map(([key, value]) => [key, given.get(key) ?? value]));
    if (!SORTS[this.chosen.sort]) this.chosen.sort = DEFAULTS.sort;
  }

  start() {
    this.table = byId("prefixes");
    fill(
      byId("sort"),
      Object.entries(SORTS).map(([key, [words]]) => make("option", { value: key }, words)),
    );
    byId("search").value = this.chosen.query;
    byId("sort").value = this.chosen.sort;
    byId("search").addEventListener("input", (event) => this.choose({ query: event.target.value }));
    byId("sort").addEventListener("change", (event) => this.choose({ sort: event.target.value }));
    byId("group").addEventListener("change", (event) => this.choose({ group: event.target.value }));
    document.addEventListener("keydown", (event) => this.obey(event));
    this.end = new IntersectionObserver(
      ([seen]) => {
        if (seen.isIntersecting) this.more();
      },
      { rootMargin: "600px" },
    );
    this.end.observe(byId("more"));
  }

  obey(event) {
    const isTyping = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    if (event.key === "Escape" && event.target.id === "search") this.choose({ query: (event.target.value = "") });
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey || byId("dialog").open) return;
    if (event.key === "/") {
      event.preventDefault();
      byId("search").focus();
    }
    const row = event.target.closest?.("tr[data-name]");
    const step = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1 }[event.key];
    if (row && step) {
      const links = [...this.table.querySelectorAll("tr[data-name] a.name")];
      const next = links[links.indexOf(row.querySelector("a.name")) + step];
      if (next) {
        event.preventDefault();
        next.focus();
      }
    }
  }

  // Takes in prefixes as they are now; with isWhole those that are not among them are gone.
  learn(prefixes, total = this.total, { isWhole = false } = {}) {
    const names = new Set(prefixes.map((prefix) => prefix.name));
    const isNew = prefixes.some((prefix) => !this.prefixes.has(prefix.name));
    const gone = isWhole ? [...this.prefixes.keys()].filter((name) => !names.has(name)) : [];
    for (const name of gone) {
      this.prefixes.delete(name);
      this.rows.delete(name);
    }
    for (const prefix of prefixes) {
      this.prefixes.set(prefix.name, { ...prefix, searched: wordsOf(prefix) });
      const row = this.rows.get(prefix.name);
      if (row && JSON.stringify(row.prefix) !== JSON.stringify(prefix)) {
        if (row.prefix.state !== prefix.state || row.prefix.last_ping?.at !== prefix.last_ping?.at)
          this.flash(row.node);
        row.update(prefix);
        row.age(this.now());
      }
    }
    this.total = Math.max(total, this.prefixes.size);
    if (isNew || gone.length || !this.isKnown) {
      this.isKnown = true;
      this.offerGroups();
      this.view();
    } else {
      this.tell();
    }
  }

  flash(node) {
    node.classList.remove("fresh");
    requestAnimationFrame(() => node.classList.add("fresh"));
  }

  offerGroups() {
    const tags = new Set([...this.prefixes.values()].flatMap((prefix) => Object.keys(prefix.tags ?? {})));
    const options = [
      ["", "nothing"],
      ...[...tags].sort().map((tag) => [`tag.${tag}`, `tag ${tag}`]),
      ...Object.keys(GROUPS).map((key) => [key, key]),
    ];
    fill(
      byId("group"),
      options.map(([key, words]) => make("option", { value: key }, words)),
    );
    if (!options.some(([key]) => key === this.chosen.group)) this.chosen.group = "";
    byId("group").value = this.chosen.group;
  }

  choose(change) {
    Object.assign(this.chosen, change);
    const kept = new URLSearchParams(location.search);
    for (const [key, value] of Object.entries(this.chosen)) {
      if (value && value !== DEFAULTS[key]) kept.set(key, value);
      else kept.delete(key);
    }
    history.replaceState(null, "", `${location.pathname}${kept.size ? `?${kept}` : ""}`);
    this.view();
  }

  found() {
    const words = this.chosen.query.toLowerCase().split(/\s+/).filter(Boolean);
    return [...this.prefixes.values()]
      .filter(
        (prefix) =>
          (!this.chosen.state || prefix.state === this.chosen.state) &&
          words.every((word) => prefix.searched.includes(word)),
      )
      .sort((one, other) => SORTS[this.chosen.sort][1](one, other) || SORTS.name[1](one, other));
  }

  // Draws anew from the top, keeping the rows that were made.
  view() {
    const found = this.found();
    this.foundCount = found.length;
    this.coming = this.chosen.group ? this.grouped(found) : found.map((prefix) => ({ prefix }));
    this.at = 0;
    const held = document.activeElement?.closest?.("tr[data-name]") ? document.activeElement : null;
    fill(byId("rows"));
    this.more();
    if (held?.isConnected) held.focus({ preventScroll: true });
    byId("empty").hidden = found.length > 0;
    byId("empty").textContent = this.prefixes.size ? "No prefix is like that." : "The registry has no prefixes yet.";
    this.tell();
  }

  tell() {
    this.viewed(this.foundCount, this.total, this.prefixes.size);
  }

  grouped(found) {
    const key = this.chosen.group;
    const groups = new Map();
    for (const prefix of found) {
      const value = valueOf(prefix, key);
      if (!groups.has(value)) groups.set(value, []);
      groups.get(value).push(prefix);
    }
    return [...groups]
      .sort(([one], [other]) => (one === "") - (other === "") || one.localeCompare(other, "en", { numeric: true }))
      .flatMap(([value, prefixes]) => [
        { group: value, prefixes },
        ...(this.closed.has(value) ? [] : prefixes.map((prefix) => ({ prefix }))),
      ]);
  }

  toggle(value) {
    if (!this.closed.delete(value)) this.closed.add(value);
    this.view();
    const index = this.coming.findIndex((one) => one.group === value);
    if (index >= 0)
      byId("rows")
        .querySelectorAll("tr.group button.plain")
        [this.coming.slice(0, index).filter((one) => one.prefixes).length]?.focus();
  }

  more() {
    if (!this.coming) return;
    const some = this.coming.slice(this.at, this.at + AT_ONCE);
    this.at += some.length;
    byId("rows").append(...some.map((one) => (one.prefix ? this.rowOf(one.prefix).node : this.groupOf(one))));
    byId("more").hidden = this.at >= this.coming.length;
    if (some.length && !byId("more").hidden) {
      // still in view: the observer only tells of changes
      this.end.unobserve(byId("more"));
      this.end.observe(byId("more"));
    }
  }

  rowOf(prefix) {
    const { searched, ...plain } = prefix;
    let row = this.rows.get(prefix.name);
    if (!row) {
      row = new Row(plain);
      this.rows.set(prefix.name, row);
    }
    row.age(this.now());
    this.shown(row);
    return row;
  }

  groupOf({ group, prefixes }) {
    const key = this.chosen.group.replace(/^tag\./, "");
    return makeGroup(key, group, prefixes, { isOpen: !this.closed.has(group), toggle: () => this.toggle(group) });
  }

  // What grows old by itself, of the rows that were made.
  age() {
    const now = this.now();
    for (const row of this.rows.values()) if (row.node.isConnected) row.age(now);
  }

  // Prefixes whose next moment passed without a word, each once.
  overdue() {
    const now = this.now();
    const names = [];
    for (const { node, prefix } of this.rows.values()) {
      if (!node.isConnected) continue;
      const due = [prefix.warm_until, prefix.next_at, prefix.pause?.until]
        .filter(Boolean)
        .map(Date.parse)
        .filter((at) => at + OVERDUE_MS < now);
      const latest = Math.max(...due);
      if (due.length && this.asked.get(prefix.name) !== latest) {
        this.asked.set(prefix.name, latest);
        names.push(prefix.name);
      }
    }
    return names;
  }
}
