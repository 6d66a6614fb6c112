// Asks the daemon. A token that a person gave is kept for this tab only, and sent to nobody else.

const KEY = "keepwarm-token";

export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export const heldToken = () => sessionStorage.getItem(KEY);
export const keepToken = (token) => sessionStorage.setItem(KEY, token);

let wanted = null; // one dialog, however many requests were refused at once
let askForToken = async () => {
  throw new Refused(401, "a token is needed");
};

export function onTokenNeeded(ask) {
  askForToken = ask;
}

function readingToken() {
  wanted ??= askForToken().finally(() => {
    wanted = null;
  });
  return wanted;
}

export function request(path, options = {}, token = heldToken()) {
  const headers = { ...options.headers };
  if (token) headers.Authorization = `Bearer ${token}`;
  return fetch(path, { ...options, headers, cache: "no-store", credentials: "omit", redirect: "error" });
}

async function read(answer) {
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, body.detail ?? `the daemon answered ${answer.status}`);
  return body;
}

const pause = (seconds) =>
  new Promise((done) => {
    setTimeout(done, seconds * 1000);
  });

// The daemon's answer; where it wants a token to read, a person is asked for it first.
export async function get(path, options = {}) {
  const answer = await request(path, options);
  if (answer.status === 401) await readingToken();
  else if (answer.status === 429) await pause(Number(answer.headers.get("Retry-After")) || 1);
  else return read(answer);
  return get(path, options);
}

export async function post(path, body, token) {
  const headers = { "Content-Type": "application/json" };
  return read(await request(path, { method: "POST", headers, body: JSON.stringify(body) }, token));
}

export const pathOf = (name, rest = "") => `/v1/prefixes/${encodeURIComponent(name)}${rest}`;

export const query = (values) => {
  const pairs = Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return new URLSearchParams(pairs.flatMap(([key, value]) => [value].flat().map((one) => [key, one]))).toString();
};
