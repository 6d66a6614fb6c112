// What both pages share: light or dark, how fresh the data is, what all prefixes have in common, the money cards.

import { act, askToRead, learnRights } from "./actions.js";
import { get, onTokenNeeded, Refused } from "./api.js";
import { byId, fill, make, setClass, write } from "./dom.js";
import { duration, inUtc, makeTime, money, moneyRange, plural, tone } from "./format.js";

const THEMES = { light: "dark", dark: "light" };

function startTheme() {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const current = () => root.dataset.theme ?? (system.matches ? "dark" : "light");
  const name = () => byId("theme").setAttribute("aria-label", `Switch to ${THEMES[current()]}`);
  byId("theme").addEventListener("click", () => {
    root.dataset.theme = THEMES[current()];
    try {
      localStorage.setItem("keepwarm-theme", root.dataset.theme);
    } catch {
      /* kept for this page only */
    }
    name();
  });
  system.addEventListener("change", name);
  name();
}

// How fresh the data is: once aloud when it changes, the seconds silently.
export function showFreshness(state, since) {
  const words = { live: "Live", crowded: "Every 10 s", old: "Not live" }[state];
  setClass(byId("freshness"), `freshness ${state}`);
  write(byId("freshness"), words);
  byId("stale").hidden = state !== "old" || since === null;
  if (state === "old" && since !== null) {
    write(byId("stale-words"), "This data is old: the daemon cannot be reached. Trying again.");
    write(byId("stale-since"), `Last heard ${duration((Date.now() - since) / 1000)} ago, at ${inUtc(since)}.`);
  }
}

const banner = (kind, ...words) => make("p", { class: `banner ${kind}` }, words);

const ALERTS_SHOWN = 5;

function alertsOf(alerts, now) {
  const line = (alert) =>
    make(
      "li",
      {},
      alert.prefix
        ? make("a", { href: `/prefixes/${encodeURIComponent(alert.prefix)}` }, alert.summary)
        : alert.summary,
      " since ",
      makeTime(alert.opened_at, "UTC", now),
      " UTC",
      alert.hint ? make("span", { class: "hint" }, ` ${alert.hint}`) : null,
    );
  const rest = alerts.length - ALERTS_SHOWN;
  return make(
    "div",
    { class: `banner ${alerts.some((one) => one.severity === "error") ? "bad" : "held"}` },
    make("strong", {}, plural(alerts.length, "open alert")),
    make("ul", { class: "alerts" }, alerts.slice(0, ALERTS_SHOWN).map(line)),
    rest > 0 ? `and ${rest} more in /v1/summary` : null,
  );
}

function bannersOf(summary, pauses, now) {
  const found = [];
  if (summary.stopped)
    found.push(
      banner(
        "bad",
        make("strong", {}, "No pings are sent. "),
        summary.stopped,
        " To lift it: ",
        make("code", {}, "keepwarm stop-all --undo"),
      ),
    );
  for (const pause of pauses.filter((one) => one.scope !== "prefix" && !one.resumed_at)) {
    const target = pause.scope === "all" ? { all: true } : { tag: pause.tag };
    found.push(
      banner(
        "held",
        make("strong", {}, pause.scope === "all" ? "Everything is paused" : `${pause.tag} is paused`),
        pause.until ? [" until ", makeTime(pause.until, "UTC", now), " UTC"] : " until somebody resumes",
        `: ${pause.why}`,
        pause.by ? ` (${pause.by}) ` : " ",
        make("button", { type: "button", class: "quiet", onclick: () => act("resumeAll", target) }, "Resume"),
      ),
    );
  }
  const refused = summary.registry?.refused;
  if (refused)
    found.push(
      banner(
        "bad",
        make("strong", {}, "The registry was refused, the one before still holds. "),
        make("span", { class: "lines" }, refused.problems.slice(0, 5).join("\n")),
      ),
    );
  for (const guard of (summary.guards ?? []).filter((one) => !one.prefix).slice(0, 4))
    found.push(banner("held", make("strong", {}, `${guard.guard}: `), guard.detail ?? ""));
  const alerts = summary.alerts ?? [];
  if (alerts.length) found.push(alertsOf(alerts, now));
  if (summary.role === "standby")
    found.push(
      banner(
        "info",
        summary.leader
          ? `This daemon stands by; ${summary.leader} leads and pings.`
          : "This daemon does not ping: it has only just started, or nobody leads.",
      ),
    );
  return found;
}

const PERIODS = [
  ["today", "Net today"],
  ["seven_days", "Net, 7 days"],
  ["thirty_days", "Net, 30 days"],
];

export function showMoney(node, figures) {
  fill(
    node,
    PERIODS.map(([key, title]) => {
      const found = figures?.[key];
      if (!found) return make("div", { class: "period" }, make("h3", {}, title), make("p", { class: "net" }, "–"));
      const line = (name, text) => [make("dt", {}, name), make("dd", {}, text)];
      return make(
        "div",
        { class: "period" },
        make("h3", { title: `since ${inUtc(Date.parse(found.since))}` }, title),
        make(
          "p",
          { class: `net ${tone(found.net_low_usd, found.net_high_usd)}` },
          moneyRange(found.net_low_usd, found.net_high_usd),
        ),
        make(
          "dl",
          {},
          line("avoided writes", moneyRange(found.avoided_low_usd, found.avoided_high_usd)),
          line("refresh cost", `${money(found.refresh_cost_usd)} in ${plural(found.pings, "ping")}`),
        ),
      );
    }),
  );
}

// The summary of all prefixes, drawn where this page has room for it; resolves to it.
export async function showSummary(live) {
  const [summary, pauses] = await Promise.all([get("/v1/summary"), get("/v1/pauses").catch(() => ({ items: [] }))]);
  live.setClock(summary.as_of);
  learnRights(summary);
  fill(byId("banners"), bannersOf(summary, pauses.items, live.now()));
  const paused = pauses.items.some((one) => one.scope === "all" && !one.resumed_at);
  byId("pause-all").hidden = paused || Boolean(summary.stopped);
  byId("role").hidden = summary.role !== "standby";
  return { ...summary, pauses: pauses.items };
}

export function startShell() {
  startTheme();
  onTokenNeeded(askToRead);
  byId("pause-all").addEventListener("click", () => act("pauseAll", { all: true }));
}

function showTrouble(words) {
  byId("trouble").hidden = words === null;
  if (words !== null) write(byId("trouble-words"), words);
}

// Gathers calls: runs `work` at once, then at most once every `milliseconds`, never twice at the same time.
export function gathered(work, milliseconds) {
  let isWanted = false;
  let isBusy = false;
  const go = async () => {
    isBusy = true;
    isWanted = false;
    try {
      await work();
      showTrouble(null);
    } catch (error) {
      // the daemon is away, which is told elsewhere, or refused; the next change asks again
      if (error instanceof Refused) showTrouble(error.message);
    }
    await new Promise((done) => setTimeout(done, milliseconds));
    isBusy = false;
    if (isWanted) go();
  };
  return () => {
    isWanted = true;
    if (!isBusy) go();
  };
}
