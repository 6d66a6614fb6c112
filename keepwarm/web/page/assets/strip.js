// A prefix's hours as one drawing: busy hours behind, warm over cold, pings above, organic requests below.
//
// Every kind is one path in units of its own, stretched to whatever width there is; strokes do not stretch, so a dot
// stays round.

import { draw } from "./dom.js";
import { duration, plural, spanOf } from "./format.js";

export const UNITS = 10000;
const BAD = new Set(["partial", "uncached", "error", "unknown"]);

// Whether a ping failed, or had to write what should have been alive; the first write of a cold entry is neither.
function badAmong(timeline) {
  const lives = timeline.warm.map(([start, end]) => [Date.parse(start), Date.parse(end)]);
  const isAlive = (at) => lives.some(([start, end]) => start < at && at <= end);
  return (ping) => BAD.has(ping.verdict) || (ping.verdict === "rewrite" && isAlive(Date.parse(ping.at)));
}

// A timeline drawn over another stretch than the one that it tells of: what was before it is not known.
export const stretched = (timeline, { since, until }) => ({ ...timeline, known: timeline.since, since, until });

// Where a moment lies between since (0) and until (UNITS), and no further.
export function placing(since, until) {
  const [first, last] = [Date.parse(since), Date.parse(until)];
  const scale = UNITS / Math.max(1, last - first);
  return (iso) => Math.round(Math.min(UNITS, Math.max(0, (Date.parse(iso) - first) * scale)));
}

const rects = (spans, place, top, height) =>
  spans
    .map(([start, end]) => [place(start), place(end)])
    .filter(([start, end]) => end > start)
    .map(([start, end]) => `M${start} ${top}H${end}V${top + height}H${start}Z`)
    .join("");

// Several in one place are drawn once: thousands would be one line anyhow.
const marks = (moments, place, mark) => [...new Set(moments.map(place))].map(mark).join("");

function lanes(timeline, place, height) {
  const isBad = badAmong(timeline);
  const good = timeline.pings.filter((ping) => !isBad(ping)).map((ping) => ping.at);
  const bad = timeline.pings.filter(isBad).map((ping) => ping.at);
  const [top, bar] = [height * 0.36, height * 0.28];
  const tick = (x) => `M${x} ${height * 0.06}V${height * 0.27}`;
  const path = (kind, d) => (d ? draw("path", { class: kind, d }) : null);
  return [
    path("busy-hours", rects(timeline.busy, place, 0, height)),
    path("cold-time", rects([[timeline.known ?? timeline.since, timeline.until]], place, top, bar)),
    path("warm-time", rects(timeline.warm, place, top, bar)),
    path("ping", marks(good, place, tick)),
    path("ping bad", marks(bad, place, tick)),
    path(
      "organic",
      marks(
        timeline.requests.map((one) => one.at),
        place,
        (x) => `M${x} ${height * 0.82}h.01`,
      ),
    ),
  ];
}

export const drawLanes = (timeline, height, label) =>
  draw(
    "svg",
    {
      class: "lanes",
      viewBox: `0 0 ${UNITS} ${height}`,
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": label,
    },
    draw("title", {}, label),
    lanes(timeline, placing(timeline.since, timeline.until), height),
  );

const secondsOf = (spans, since, until) =>
  spans.reduce(
    (sum, [start, end]) =>
      sum + Math.max(0, Math.min(Date.parse(end), until) - Math.max(Date.parse(start), since)) / 1000,
    0,
  );

// The figures of a timeline in one sentence.
export function inWords(timeline) {
  const [since, until] = [Date.parse(timeline.since), Date.parse(timeline.until)];
  const [warm, busy] = [timeline.warm, timeline.busy].map((spans) => secondsOf(spans, since, until));
  const bad = timeline.pings.filter(badAmong(timeline)).length;
  const told = [
    `warm ${duration(warm)}`,
    `busy ${duration(busy)}`,
    plural(timeline.pings.length, "ping") + (bad ? ` (${bad} lost or failed)` : ""),
    plural(timeline.requests.length, "organic request"),
  ];
  return `Last ${spanOf((until - since) / 3600000)}: ${told.join(", ")}${timeline.truncated ? "; more than is drawn" : ""}`;
}
