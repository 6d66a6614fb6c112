// Fetches and draws the strips of the rows in view, many at once; those out of view wait until they are seen.

import { get, query } from "./api.js";
import { byId, make, write } from "./dom.js";
import { hoursInWords } from "./rows.js";
import { gathered } from "./shell.js";
import { stretched } from "./strip.js";

const AT_ONCE = 50;

export class Strips {
  constructor() {
    this.rows = new Map();
    this.inView = new Set();
    this.known = new Set();
    this.hours = Number(new URLSearchParams(location.search).get("hours")) || 24;
    this.eye = new IntersectionObserver((seen) => this.look(seen), { rootMargin: "120px" });
    this.fetch = gathered(() => this.fetchInView(), 60);
  }

  start(select, live) {
    this.live = live;
    const value = String(this.hours);
    if (![...select.options].some((option) => option.value === value))
      select.append(make("option", { value }, hoursInWords(this.hours).replace(/^Last /, "")));
    select.value = value;
    select.addEventListener("change", () => {
      this.hours = Number(select.value);
      this.title();
      this.forget();
    });
    this.title();
    // The end of a strip is now: it moves on, even where nothing happens.
    setInterval(() => this.forget(), Math.max(5000, (this.hours * 3600 * 1000) / 300));
  }

  title() {
    write(byId("strip-head"), hoursInWords(this.hours));
  }

  watch(row) {
    if (this.rows.has(row.node)) return;
    this.rows.set(row.node, row);
    this.eye.observe(row.node);
  }

  look(seen) {
    for (const { target, isIntersecting } of seen) {
      if (isIntersecting) this.inView.add(target);
      else this.inView.delete(target);
    }
    this.fetch();
  }

  // What was drawn of these prefixes is no longer so; of all without a word.
  forget(names = null) {
    if (names) names.forEach((name) => this.known.delete(name));
    else this.known.clear();
    this.fetch();
  }

  async fetchInView() {
    const wanted = [...this.inView]
      .map((node) => this.rows.get(node))
      .filter((row) => !this.known.has(row.prefix.name));
    for (let start = 0; start < wanted.length; start += AT_ONCE) {
      const some = wanted.slice(start, start + AT_ONCE);
      some.forEach((row) => this.known.add(row.prefix.name));
      const told = await get(
        `/v1/timelines?${query({ name: some.map((row) => row.prefix.name), hours: this.hours })}`,
      ).catch((error) => {
        some.forEach((row) => this.known.delete(row.prefix.name));
        throw error;
      });
      for (const row of some) {
        const found = told.items[row.prefix.name];
        if (found) row.show(stretched(found, told));
      }
    }
  }
}
