// One prefix: why it stands as it does, and everything that was sent for it.

import { act } from "./actions.js";
import { get, pathOf, query } from "./api.js";
import { byId, fill, make, makeTable, setClass, write } from "./dom.js";
import { count, duration, inUtc, makeTime, milliseconds, modelName, money, share } from "./format.js";
import { Live } from "./live.js";
import { showCurve, showLatency } from "./plots.js";
import { gathered, showFreshness, showMoney, showSummary, startShell } from "./shell.js";
import { Timeline } from "./timeline.js";

const ROWS = 50;
const name = decodeURIComponent(location.pathname.split("/").pop());

startShell();
document.title = `${name} · keepwarm`;
write(byId("name"), name);

const live = new Live({
  changed: (names) => {
    if (names === null || names.includes(name)) refresh();
  },
  told: showFreshness,
});
const timeline = new Timeline(name, live);
let prefix = null;
let shownRows = ROWS;
let askedFor = 0;

const chip = (kind, words = kind) => make("span", { class: `chip ${kind}` }, words);
const nodesOf = (id) => ({ plot: byId(id), words: byId(`${id}-words`), figures: byId(`${id}-figures`) });

function showActions() {
  const button = (kind, words) =>
    make("button", { type: "button", "data-kind": kind, onclick: () => act(kind, { name }) }, words);
  const wanted = [
    ["ping", "Ping now"],
    prefix.state === "paused" ? ["resume", "Resume"] : ["pause", "Pause"],
    ["closed", "Close"],
  ];
  const held = [...byId("actions").children].map((one) => one.dataset.kind).join();
  if (held !== wanted.map(([kind]) => kind).join())
    fill(
      byId("actions"),
      wanted.map(([kind, words]) => button(kind, words)),
    );
}

function showHead() {
  const now = live.now();
  setClass(byId("chip"), `chip ${prefix.state}`);
  write(byId("chip"), prefix.state);
  write(byId("words"), prefix.words);
  write(byId("about"), `${modelName(prefix.model_id)} · ${prefix.region} · ttl ${prefix.ttl}`);
  byId("about").title = prefix.model_id;
  const last = prefix.last_ping;
  const utc = [
    ["warm until", prefix.warm_until],
    ["next", prefix.next_at],
  ]
    .filter(([, at]) => at)
    .map(([words, at]) => `${words} ${inUtc(Date.parse(at))}`);
  const hints = [prefix.hint, utc.join("; ")].filter(Boolean);
  write(byId("hint"), hints.join(" · "));
  showMoney(byId("money"), prefix.money);
  const facts = [
    ["model", prefix.model_id],
    ["region", prefix.region],
    [
      "ttl",
      prefix.billed_ttl && prefix.billed_ttl !== prefix.ttl
        ? `${prefix.ttl}, billed as ${prefix.billed_ttl}`
        : prefix.ttl,
    ],
    ["lives", `${duration(prefix.lifetime_seconds)}, pinged ${duration(prefix.margin_seconds)} before its end`],
    ["busy hours", `${prefix.busy_hours}, ${prefix.busy_now ? "busy now" : "not busy now"}`],
    ["time zone", prefix.time_zone],
    ["policy", prefix.policy],
    ["tokens", prefix.tokens === null ? "–" : count(prefix.tokens)],
    ["fingerprint", make("code", {}, prefix.fingerprint ?? "–")],
    [
      "tags",
      Object.entries(prefix.tags ?? {})
        .map(([key, value]) => `${key}: ${value}`)
        .join(", ") || "none",
    ],
    [
      "last ping",
      last
        ? [
            makeTime(last.at, prefix.time_zone, now),
            ` ${last.verdict}, ${money(last.cost_usd)}, ${milliseconds(last.latency_ms)}`,
          ]
        : "none yet",
    ],
    [
      "last request",
      prefix.last_request_at ? makeTime(prefix.last_request_at, prefix.time_zone, now) : "none heard of",
    ],
    ["lost early", share(prefix.early_loss_rate)],
  ];
  fill(
    byId("facts"),
    facts.flatMap(([key, value]) => [make("dt", {}, key), make("dd", {}, value)]),
  );
}

const spoken = (key) => key.replaceAll("_", " ");
const scalar = (value) => (value !== null && typeof value === "object" ? JSON.stringify(value) : String(value ?? "–"));

function showDrift() {
  const found = Array.isArray(prefix.drift) ? prefix.drift : prefix.drift ? [prefix.drift] : [];
  fill(
    byId("drift"),
    found.length
      ? found.map((one) =>
          make(
            "dl",
            { class: "bad-news" },
            Object.entries(one).flatMap(([key, value]) => [make("dt", {}, spoken(key)), make("dd", {}, scalar(value))]),
          ),
        )
      : make("p", { class: "sub" }, "None: production sends what is registered, as far as keepwarm hears."),
  );
}

const limitOf = ({ limit_usd: limit, spent_usd: spent }) =>
  limit === null ? "" : `${money(spent ?? 0)} of ${money(limit)}`;

function showGuards() {
  fill(
    byId("guards"),
    prefix.guards?.length
      ? makeTable(
          "Guards on money",
          ["Guard", "State", "In words"],
          prefix.guards.map((one) => [
            spoken(one.guard),
            one.holding ? chip("held", "holds pings back") : chip("", "lets pass"),
            one.detail || limitOf(one),
          ]),
        )
      : make("p", { class: "sub" }, "None apply."),
  );
}

async function showDecisions() {
  const { items } = await get(pathOf(name, "/decisions"));
  const now = live.now();
  fill(
    byId("decisions"),
    items.length
      ? makeTable(
          "Decisions, newest first",
          ["At", "Decision", "In words"],
          items.map((one) => [
            makeTime(one.at, prefix.time_zone, now),
            `${one.action}: ${spoken(one.reason)}`,
            one.words,
          ]),
        )
      : make("p", { class: "sub" }, "None since this daemon started."),
  );
}

async function showHistory() {
  const { items } = await get("/v1/pauses");
  const now = live.now();
  const tags = Object.entries(prefix.tags ?? {}).map(([key, value]) => `${key}:${value}`);
  const ours = items.filter((one) => one.scope === "all" || one.prefix === name || tags.includes(one.tag));
  const time = (iso) => makeTime(iso, prefix.time_zone, now);
  fill(
    byId("history"),
    ours.length
      ? makeTable(
          "Pauses, newest first",
          ["Since", "Until", "Why", "By"],
          ours.map((one) => [
            time(one.since),
            one.resumed_at ? ["resumed ", time(one.resumed_at)] : one.until ? time(one.until) : "resumed by hand",
            one.scope === "prefix" ? one.why : `${one.why} (${one.scope === "all" ? "everything" : one.tag})`,
            one.by ?? "",
          ]),
        )
      : make("p", { class: "sub" }, "Never paused."),
  );
}

async function showLedger() {
  const rows = [];
  let cursor = null;
  do {
    const page = await get(
      pathOf(name, `/ledger?${query({ limit: Math.min(1000, shownRows - rows.length), cursor })}`),
    );
    rows.push(...page.items);
    cursor = page.next;
  } while (cursor && rows.length < shownRows);
  byId("older").hidden = !cursor;
  const now = live.now();
  fill(
    byId("ledger"),
    rows.length
      ? makeTable(
          "Ledger, newest first",
          ["At", "What", "Verdict", ">Read", ">Written", ">Input", ">Cost", ">Latency", "Why or error"],
          rows.map((row) => [
            makeTime(row.at, prefix.time_zone, now),
            row.kind === "ping" ? "ping" : "request",
            row.verdict ? make("span", { class: `verdict ${row.verdict}` }, row.verdict) : "–",
            count(row.read_tokens),
            count(row.written_tokens),
            count(row.input_tokens),
            row.kind === "ping" ? money(row.cost_usd) : "–",
            milliseconds(row.latency_ms),
            row.error ?? spoken(row.reason ?? ""),
          ]),
        )
      : make("p", { class: "sub" }, "Nothing was sent yet."),
  );
}

const refresh = gathered(async () => {
  try {
    [prefix] = await Promise.all([get(pathOf(name)), showSummary(live)]);
  } catch (error) {
    if (error.status === 404) write(byId("words"), "The registry has no prefix of this name.");
    throw error;
  }
  showHead();
  showActions();
  if (!timeline.shown) timeline.start(prefix.time_zone);
  else if (timeline.end === null) timeline.refresh();
  showCurve(nodesOf("curve"), prefix.curve);
  showLatency(nodesOf("latency"), prefix.latency);
  showDrift();
  showGuards();
  await Promise.all([showDecisions(), showHistory(), showLedger()]);
}, 400);

byId("older").addEventListener("click", () => {
  shownRows += ROWS * 4;
  refresh();
});
setInterval(() => {
  const due = [prefix?.warm_until, prefix?.next_at, prefix?.pause?.until]
    .filter(Boolean)
    .map(Date.parse)
    .filter((at) => at + 1500 < live.now());
  if (due.length && Math.max(...due) !== askedFor) {
    askedFor = Math.max(...due);
    refresh();
  }
}, 1000);
setInterval(refresh, 60000);
live.run();
