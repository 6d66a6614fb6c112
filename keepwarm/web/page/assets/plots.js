// The learned stop and the latencies, drawn; their figures stand beside them as tables.

import { draw, fill, make, makeTable } from "./dom.js";
import { count, milliseconds, share } from "./format.js";

const BORDERS = 28;

// Drawn as wide as there is room, so that its letters are as large as all others.
function widthOf(plot) {
  plot.hidden = false;
  return Math.max(260, plot.clientWidth - BORDERS);
}

const text = (x, y, words, anchor = "start", kind = "axis-text") =>
  draw("text", { x, y, "text-anchor": anchor, class: kind }, words);

// curve: [{ping, chance, pays_from}]; the chance that a request comes before the next ping, and from which it pays.
export function showCurve(nodes, whole) {
  const curve = whole?.slice(0, Math.max(12, whole.findLastIndex((one) => one.chance >= one.pays_from) + 6));
  if (!curve?.length) {
    fill(nodes.words, "Nothing is learned yet: it needs organic requests that keepwarm hears of.");
    nodes.plot.hidden = true;
    fill(nodes.figures, make("p", { class: "sub" }, "No figures yet."));
    return;
  }
  const short = curve.find((one) => one.chance < one.pays_from);
  fill(
    nodes.words,
    !short
      ? "Every coming ping is expected to save more than it costs."
      : `Ping ${short.ping} after the last request is the first that is expected to save less than it costs.`,
  );
  const width = widthOf(nodes.plot);
  const [left, right, top, bottom] = [44, width - 6, 12, 170];
  const most = Math.max(...curve.map((one) => Math.max(one.chance, one.pays_from))) * 1.1 || 1;
  const step = (right - left) / curve.length;
  const y = (value) => bottom - (value / most) * (bottom - top);
  const bars = curve.map((one, index) =>
    draw(
      "rect",
      {
        class: one.chance >= one.pays_from ? "bar-pays" : "bar-idle",
        x: left + index * step + step * 0.12,
        width: step * 0.76,
        y: y(one.chance),
        height: Math.max(0.5, bottom - y(one.chance)),
      },
      draw("title", {}, `ping ${one.ping}: ${share(one.chance)}, pays from ${share(one.pays_from)}`),
    ),
  );
  const line = curve
    .map(
      (one, index) =>
        `${index ? "H" : "M"}${left + index * step}${index ? "" : ` ${y(one.pays_from)}`}V${y(one.pays_from)}H${left + (index + 1) * step}`,
    )
    .join("");
  const every = Math.ceil(curve.length / ((right - left) / 40));
  fill(
    nodes.plot,
    draw(
      "svg",
      { viewBox: `0 0 ${width} 210`, class: "chart", role: "img", "aria-label": nodes.words.textContent },
      [0, most / 2, most].map((value) => [
        draw("line", { class: "grid", x1: left, x2: right, y1: y(value), y2: y(value) }),
        text(left - 6, y(value) + 4, share(value), "end"),
      ]),
      bars,
      draw("path", { class: "line-price", d: line }),
      curve
        .map((one, index) =>
          index % every ? null : text(left + (index + 0.5) * step, bottom + 16, String(one.ping), "middle"),
        )
        .filter(Boolean),
      text(
        (left + right) / 2,
        bottom + 34,
        width < 420 ? "ping after the last request" : "ping after the last request; the line is from where it pays",
        "middle",
      ),
    ),
  );
  fill(
    nodes.figures,
    makeTable(
      "The learned stop",
      [">Ping", ">Chance of a request", ">Pays from"],
      curve.map((one) => [String(one.ping), share(one.chance), share(one.pays_from)]),
    ),
  );
}

export function showLatency(nodes, latency) {
  const kinds = ["warm", "cold"].map((kind) => [kind, latency?.[kind]]).filter(([, found]) => found?.count);
  if (!kinds.length) {
    nodes.plot.hidden = true;
    fill(nodes.words, "No answer was timed yet.");
    fill(nodes.figures, make("p", { class: "sub" }, "No figures yet."));
    return;
  }
  const [warm, cold] = ["warm", "cold"].map((kind) => latency[kind]);
  fill(
    nodes.words,
    warm?.count && cold?.count
      ? `Half of the warm answers came within ${milliseconds(warm.p50_ms)}, of the cold ones within ${milliseconds(cold.p50_ms)}.`
      : `Half of the ${kinds[0][0]} answers came within ${milliseconds(kinds[0][1].p50_ms)}.`,
  );
  const width = widthOf(nodes.plot);
  const [left, right] = [54, width - 10];
  const most = Math.max(...kinds.map(([, found]) => found.p95_ms ?? found.p50_ms)) || 1;
  const x = (value) => left + (value / most) * (right - left);
  fill(
    nodes.plot,
    draw(
      "svg",
      {
        viewBox: `0 0 ${width} ${kinds.length * 60 + 4}`,
        class: "chart",
        role: "img",
        "aria-label": nodes.words.textContent,
      },
      kinds.map(([kind, found], index) => {
        const y = 28 + index * 60;
        const far = found.p95_ms ?? found.p50_ms;
        return [
          text(left - 10, y + 4, kind, "end"),
          draw("line", { class: "grid", x1: left, x2: right, y1: y, y2: y }),
          draw("line", { class: `range ${kind}`, x1: x(found.p50_ms), x2: x(far), y1: y, y2: y }),
          draw("circle", { class: `point ${kind}`, cx: x(found.p50_ms), cy: y, r: 6 }),
          text(Math.min(x(found.p50_ms), right - 30), y - 12, milliseconds(found.p50_ms), "middle", "value-text"),
          text(Math.max(x(far), left + 90), y + 20, `95 % within ${milliseconds(far)}`, "end"),
        ];
      }),
    ),
  );
  fill(
    nodes.figures,
    makeTable(
      "Latency",
      ["", ">Answers", ">Half within", ">95 % within"],
      kinds.map(([kind, found]) => [kind, count(found.count), milliseconds(found.p50_ms), milliseconds(found.p95_ms)]),
    ),
  );
}
