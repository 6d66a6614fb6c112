// The hours of one prefix, from 30 days down to two minutes; moved and zoomed by pointer, keys and buttons.

import { get, pathOf, query } from "./api.js";
import { byId, draw, fill, make, makeTable } from "./dom.js";
import { clock, dayOf, hourOf, inUtc, makeTime, milliseconds, money } from "./format.js";
import { gathered } from "./shell.js";
import { drawLanes, inWords, stretched } from "./strip.js";

const DAY = 86400000;
const LONGEST = 30 * DAY;
const SHORTEST = 120000;
const HEIGHT = 84;
const MOST_ROWS = 300;
const SPANS = [
  [3600000, "1 h"],
  [6 * 3600000, "6 h"],
  [DAY, "24 h"],
  [7 * DAY, "7 d"],
  [LONGEST, "30 d"],
];
const STEPS = [15e3, 30e3, 6e4, 3e5, 9e5, 18e5, 36e5, 3 * 36e5, 6 * 36e5, 12 * 36e5, DAY, 2 * DAY, 5 * DAY];

export class Timeline {
  constructor(name, live) {
    Object.assign(this, { name, live, zone: "UTC", length: DAY, end: null });
    this.node = byId("timeline");
    this.refresh = gathered(() => this.read(), 150);
  }

  get until() {
    return this.end ?? this.live.now();
  }
  get since() {
    return this.until - this.length;
  }

  start(zone) {
    this.zone = zone;
    const zoom = byId("zoom");
    const button = (label, words, onclick) => make("button", { type: "button", onclick, "aria-label": words }, label);
    fill(
      zoom,
      button("◀", "Earlier", () => this.move(-0.5)),
      button("−", "Zoom out", () => this.zoom(2)),
      SPANS.map(([length, words]) =>
        make(
          "button",
          { type: "button", value: length, "aria-pressed": "false", onclick: () => this.show(length, null) },
          words,
        ),
      ),
      button("+", "Zoom in", () => this.zoom(0.5)),
      button("▶", "Later", () => this.move(0.5)),
    );
    this.node.addEventListener("keydown", (event) => this.obey(event));
    this.node.addEventListener("pointerdown", (event) => this.drag(event));
    this.node.addEventListener("pointermove", (event) => this.point(event));
    this.node.addEventListener("dblclick", () => this.zoom(3));
    this.refresh();
  }

  obey(event) {
    const does = {
      ArrowLeft: () => this.move(-0.25),
      ArrowRight: () => this.move(0.25),
      "+": () => this.zoom(0.5),
      "=": () => this.zoom(0.5),
      "-": () => this.zoom(2),
      0: () => this.show(LONGEST, null),
      End: () => this.show(this.length, null),
    }[event.key];
    if (!does || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    does();
  }

  show(length, end) {
    const now = this.live.now();
    this.length = Math.min(LONGEST, Math.max(SHORTEST, length));
    const latest = end !== null && end < now ? end : null;
    this.end = latest === null ? null : Math.max(latest, now - LONGEST + this.length);
    this.refresh();
  }

  move(part) {
    this.show(this.length, this.until + this.length * part);
  }

  zoom(factor) {
    const length = this.length * factor;
    this.show(length, this.end === null ? null : this.until - this.length / 2 + Math.min(LONGEST, length) / 2);
  }

  momentAt(event) {
    const box = this.node.querySelector("svg")?.getBoundingClientRect();
    if (!box || !this.shown) return null;
    const part = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    const [since, until] = [Date.parse(this.shown.since), Date.parse(this.shown.until)];
    return { part, at: since + part * (until - since), width: box.width };
  }

  drag(event) {
    const from = this.momentAt(event);
    if (!from || event.button !== 0) return;
    const finish = (last) => {
      removeEventListener("pointerup", finish);
      removeEventListener("pointercancel", finish);
      const to = last.type === "pointerup" ? this.momentAt(last) : null;
      this.dragged = null;
      this.select(0, 0);
      if (to && Math.abs(to.part - from.part) * to.width > 8)
        this.show(Math.abs(to.at - from.at), Math.max(to.at, from.at));
    };
    this.dragged = from;
    addEventListener("pointerup", finish);
    addEventListener("pointercancel", finish);
  }

  select(start, end) {
    const mark = this.node.querySelector(".selected");
    mark?.setAttribute("x", `${start * 100}%`);
    mark?.setAttribute("width", `${(end - start) * 100}%`);
  }

  point(event) {
    const here = this.momentAt(event);
    if (!here) return;
    if (this.dragged) this.select(Math.min(this.dragged.part, here.part), Math.max(this.dragged.part, here.part));
    const near = ((Date.parse(this.shown.until) - Date.parse(this.shown.since)) * 6) / here.width;
    const found = [
      ...this.shown.pings.map((one) => ({ ...one, kind: "ping" })),
      ...this.shown.requests.map((one) => ({ ...one, kind: "organic request" })),
    ]
      .map((one) => ({ ...one, far: Math.abs(Date.parse(one.at) - here.at) }))
      .filter((one) => one.far <= near)
      .sort((one, other) => one.far - other.far)[0];
    const at = found ? Date.parse(found.at) : here.at;
    const told = found
      ? [
          found.kind,
          found.verdict,
          found.cost_usd > 0 ? money(found.cost_usd) : null,
          found.latency_ms ? milliseconds(found.latency_ms) : null,
        ]
      : [];
    fill(
      byId("readout"),
      `${dayOf(at, this.zone)} ${clock(at, this.zone)} (${inUtc(at)})`,
      told.length ? `: ${told.filter(Boolean).join(", ")}` : "",
    );
  }

  async read() {
    const asked = { since: new Date(this.since).toISOString(), until: new Date(this.until).toISOString() };
    const found = await get(pathOf(this.name, `/timeline?${query(asked)}`));
    this.shown = stretched(found, asked);
    this.paint();
  }

  paint() {
    const words = inWords(this.shown).replace("Last ", "");
    const [since, until] = [Date.parse(this.shown.since), Date.parse(this.shown.until)];
    const lanes = drawLanes(this.shown, HEIGHT, words);
    fill(
      this.node,
      lanes,
      this.axis(since, until),
      draw(
        "svg",
        { class: "cover", "aria-hidden": "true" },
        draw("rect", { class: "selected", x: 0, y: 0, width: 0, height: "100%" }),
      ),
    );
    for (const button of byId("zoom").querySelectorAll("button[value]"))
      button.setAttribute("aria-pressed", String(Number(button.value) === this.length && this.end === null));
    const days = until - since > DAY * 1.5;
    fill(
      byId("span"),
      days
        ? `${dayOf(since, this.zone)} to ${dayOf(until, this.zone)}`
        : `${dayOf(since, this.zone)} ${hourOf(since, this.zone)} to ${hourOf(until, this.zone)}, ${this.zone}`,
      this.shown.truncated ? "; the older part is not drawn, zoom in to see it" : "",
    );
    this.tabulate(words);
  }

  axis(since, until) {
    const most = Math.max(3, this.node.clientWidth / 90);
    const step = STEPS.find((one) => (until - since) / one <= most) ?? STEPS.at(-1);
    const offset = zoneOffset(until, this.zone);
    const marks = [];
    for (let at = Math.ceil((since + offset) / step) * step - offset; at <= until; at += step) {
      const part = (at - since) / (until - since);
      if (part > 0.02 && part < 0.98)
        marks.push([
          part,
          step >= DAY ? dayOf(at, this.zone) : step < 6e4 ? clock(at, this.zone) : hourOf(at, this.zone),
        ]);
    }
    return draw(
      "svg",
      { class: "axis", height: 20, "aria-hidden": "true" },
      marks.map(([part, words]) => [
        draw("line", { x1: `${part * 100}%`, x2: `${part * 100}%`, y1: 0, y2: 4 }),
        draw("text", { x: `${part * 100}%`, y: 16, "text-anchor": "middle" }, words),
      ]),
    );
  }

  tabulate(words) {
    const now = this.live.now();
    const all = [
      ...this.shown.pings.map((one) => ["ping", one]),
      ...this.shown.requests.map((one) => ["organic request", one]),
    ].sort(([, one], [, other]) => Date.parse(other.at) - Date.parse(one.at));
    const rows = all
      .slice(0, MOST_ROWS)
      .map(([kind, one]) => [
        makeTime(one.at, this.zone, now),
        kind,
        one.verdict ?? "–",
        one.cost_usd === undefined ? "–" : money(one.cost_usd),
        milliseconds(one.latency_ms),
      ]);
    fill(
      byId("timeline-figures").querySelector(".scroll"),
      make(
        "p",
        { class: "sub" },
        `${words}.${all.length > MOST_ROWS ? ` The newest ${MOST_ROWS} of ${all.length}; zoom in for the others.` : ""}`,
      ),
      makeTable("Pings and organic requests", ["At", "What", "Verdict", ">Cost", ">Latency"], rows),
    );
  }
}

// How far a zone is from UTC at a moment, in milliseconds.
function zoneOffset(at, zone) {
  try {
    const parts = Object.fromEntries(
      new Intl.DateTimeFormat("en-GB", {
        timeZone: zone,
        hourCycle: "h23",
        year: "numeric",
        month: "numeric",
        day: "numeric",
        hour: "numeric",
        minute: "numeric",
        second: "numeric",
      })
        .formatToParts(at)
        .map(({ type, value }) => [type, Number(value)]),
    );
    return (
      Date.UTC(parts.year, parts.month - 1, parts.day, parts.hour, parts.minute, parts.second) -
      Math.floor(at / 1000) * 1000
    );
  } catch {
    return 0;
  }
}
