// All prefixes: what they earn, how they stand, and what they did.

import { get, query } from "./api.js";
import { byId, fill, make, write } from "./dom.js";
import { count, plural } from "./format.js";
import { Live } from "./live.js";
import { List } from "./list.js";
import { gathered, showFreshness, showMoney, showSummary, startShell } from "./shell.js";
import { Strips } from "./strips.js";

const FIRST = 100;
const MANY = 2000;
const FEW = 8; // so many changed prefixes are asked for one by one; more than that, all
const EVERYTHING_MS = 60000;

const STATES = ["warm", "cold", "stopped", "paused"];

startShell();
const changed = new Set();
let isAllWanted = true;

const live = new Live({
  changed: (names) => {
    if (names === null) isAllWanted = true;
    else names.forEach((name) => changed.add(name));
    refresh();
    summarise();
  },
  told: showFreshness,
});
const strips = new Strips();
const list = new List({ shown: (row) => strips.watch(row), now: () => live.now(), viewed: showCount });

function showCount(found, total, known) {
  const words =
    found === known ? plural(known, "prefix", "prefixes") : `${count(found)} of ${plural(known, "prefix", "prefixes")}`;
  write(byId("count"), known < total ? `${words}, ${count(total - known)} more coming` : words);
}

const summarise = gathered(async () => {
  const summary = await showSummary(live);
  showMoney(byId("money"), summary.money);
  showStates(summary.prefixes);
}, 1000);

function showStates(totals) {
  for (const button of byId("states").querySelectorAll("button")) {
    const state = button.value;
    write(button.querySelector(".figure"), count(state ? totals[state] : totals.total));
  }
}

async function readAll() {
  const found = [];
  let cursor = null;
  do {
    const page = await get(`/v1/prefixes?${query({ limit: found.length ? MANY : FIRST, cursor })}`);
    live.setClock(page.as_of);
    found.push(...page.items);
    cursor = page.next;
    if (cursor) list.learn(found, page.total);
  } while (cursor);
  list.learn(found, found.length, { isWhole: true });
}

const refresh = gathered(async () => {
  const names = [...changed];
  changed.clear();
  if (isAllWanted || names.length > FEW) {
    isAllWanted = false;
    try {
      await readAll();
    } catch (error) {
      isAllWanted = true;
      throw error;
    }
    strips.forget();
    return;
  }
  const found = await Promise.all(
    names.map((name) => get(`/v1/prefixes/${encodeURIComponent(name)}`).catch(() => null)),
  );
  list.learn(found.filter(Boolean));
  strips.forget(names);
}, 250);

function makeStates() {
  const choose = (state) => {
    list.choose({ state });
    for (const button of byId("states").querySelectorAll("button"))
      button.setAttribute("aria-pressed", String(button.value === state));
  };
  fill(
    byId("states"),
    ["", ...STATES].map((state) =>
      make(
        "button",
        {
          type: "button",
          value: state,
          "aria-pressed": String(state === list.chosen.state),
          class: `state-button ${state}`,
          onclick: () => choose(state),
        },
        make("span", { class: "figure" }, "–"),
        ` ${state || "all"}`,
      ),
    ),
  );
}

makeStates();
strips.start(byId("hours"), live);
list.start();
setInterval(() => {
  list.age();
  for (const name of list.overdue()) changed.add(name);
  if (changed.size) refresh();
}, 1000);
setInterval(() => {
  isAllWanted = true;
  refresh();
  summarise();
}, EVERYTHING_MS);
live.run();
