// What a person may do: pause, resume, ping now, close. Each wants a reason, which is kept in the history.

import { heldToken, keepToken, pathOf, post, Refused, request } from "./api.js";
import { ask } from "./dialog.js";

const LENGTHS = [
  ["30m", "30 minutes"],
  ["2h", "2 hours"],
  ["8h", "8 hours"],
  ["1d", "1 day"],
  ["7d", "7 days"],
  ["", "until somebody resumes"],
];
const BY = "keepwarm-by";

const FOR = { name: "for", label: "For", options: LENGTHS, value: "2h" };
const WHY = {
  name: "why",
  label: "Why",
  required: true,
  maxlength: 200,
  autofocus: true,
  placeholder: "is kept in the history",
};
const TOKEN = {
  name: "token",
  label: "Acting token",
  type: "password",
  required: true,
  hint: "What KEEPWARM_TOKEN holds. Kept until this tab is closed.",
};

const scopeBody = ({ all, tag }) => (all ? { all: true } : { tag });
const scopeName = ({ all, tag }) => (all ? "everything" : `all with ${tag}`);

const ofPrefix =
  (rest) =>
  ({ name }) =>
    pathOf(name, rest);

const KINDS = {
  pause: {
    title: ({ name }) => `Pause ${name}`,
    words: "No pings. Its entry dies unless requests of your own keep it alive.",
    go: "Pause",
    fields: [FOR],
    path: ofPrefix("/pause"),
  },
  resume: {
    title: ({ name }) => `Resume ${name}`,
    words: "Its rules decide again whether and when to ping.",
    go: "Resume",
    fields: [],
    path: ofPrefix("/resume"),
  },
  ping: {
    title: ({ name }) => `Ping ${name} now`,
    words: "One request that you pay. It reads the entry, or writes it if it is cold.",
    go: "Ping now",
    fields: [],
    path: ofPrefix("/ping"),
  },
  closed: {
    title: ({ name }) => `Close ${name}`,
    words: "No more requests come: no pings until the next request of your own.",
    go: "Close",
    fields: [],
    path: ofPrefix("/closed"),
    body: ({ why }) => ({ reason: why }),
  },
  pauseAll: {
    title: (scope) => `Pause ${scopeName(scope)}`,
    words: "No pings of any prefix in it, also over restarts.",
    go: "Pause",
    fields: [FOR],
    path: () => "/v1/pause",
    danger: true,
  },
  resumeAll: {
    title: (scope) => `Resume ${scopeName(scope)}`,
    words: "The rules of each prefix decide again.",
    go: "Resume",
    fields: [],
    path: () => "/v1/resume",
  },
};

let mayAct = false; // whether the token that this tab holds would do
let hasToken = true; // whether there is a token that would

export function learnRights(summary) {
  mayAct = summary.may_act;
  hasToken = summary.has_token;
}

const fieldsOf = (kind) => (refusals) => {
  const by = { name: "by", label: "Who (optional)", maxlength: 80, value: localStorage.getItem(BY) ?? "" };
  return [...kind.fields, WHY, ...(kind.go === "Pause" ? [by] : []), ...(mayAct && !refusals ? [] : [TOKEN])];
};

// Asks for the reason and does it; resolves to the daemon's answer, or null when the person thinks better of it.
export function act(kindName, target) {
  const kind = KINDS[kindName];
  if (!hasToken) return sayHow(kind.title(target));
  return ask({
    title: kind.title(target),
    words: kind.words,
    go: kind.go,
    danger: kind.danger,
    fields: fieldsOf(kind),
    submit: async ({ token, ...values }) => {
      if (values.by) localStorage.setItem(BY, values.by);
      const given = Object.fromEntries(Object.entries(values).filter(([, value]) => value !== ""));
      const scope = target.name ? {} : scopeBody(target);
      const held = token || heldToken();
      const answer = await post(kind.path(target), kind.body ? kind.body(given) : { ...given, ...scope }, held);
      if (held) keepToken(held);
      mayAct = true;
      return answer;
    },
  });
}

// A page acts only with a token, so that no other page that this browser has open can act in its place.
const sayHow = (title) =>
  ask({
    title,
    words:
      "This daemon has no acting token, and without one no page may act. Set KEEPWARM_TOKEN_FILE or KEEPWARM_TOKEN " +
      "and start it again, or use the command line: keepwarm pause, resume, ping.",
    go: "All right",
    fields: () => [],
    submit: async () => null,
  });

// Where reading wants a token too.
export const askToRead = () =>
  ask({
    title: "This daemon wants a token",
    words: "The reading or the acting one. It is kept until this tab is closed.",
    go: "Go on",
    fields: () => [
      { ...TOKEN, label: "Token", hint: "What KEEPWARM_TOKEN or KEEPWARM_READ_TOKEN holds.", autofocus: true },
    ],
    submit: async ({ token }) => {
      const answer = await request("/v1/summary", {}, token);
      if (!answer.ok)
        throw new Refused(
          answer.status,
          answer.status === 401 ? "not a token of this daemon" : `the daemon answered ${answer.status}`,
        );
      keepToken(token);
    },
  });
