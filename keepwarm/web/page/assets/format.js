// Figures and moments as a person reads them. Times are those of a zone; what they are in UTC stands in the title.

import { make } from "./dom.js";

const MINUS = "\u2212";

function places(size) {
  if (size >= 1000) return 0;
  if (size >= 1) return 2;
  if (size >= 0.1) return 3;
  return 4;
}

export function money(usd) {
  if (usd === null || usd === undefined) return "–";
  const size = Math.abs(usd);
  if (size === 0) return "$0";
  const sign = usd < 0 ? MINUS : "";
  if (size < 0.00005) return `${sign}<$0.0001`;
  const digits = places(size);
  const figures = size.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return `${sign}$${figures}`;
}

export function moneyRange(low, high) {
  const [first, last] = [money(low), money(high)];
  return first === last ? first : `${first} to ${last}`;
}

// How a net reads: gain when even its low bound is one, loss when even its high bound is one.
export function tone(low, high) {
  if (low > 0) return "gain";
  return high < 0 ? "loss" : "";
}

export const share = (part) =>
  part === null || part === undefined ? "–" : `${(part * 100).toFixed(part > 0 && part < 0.0995 ? 1 : 0)} %`;

export const count = (number) => (number ?? 0).toLocaleString("en-US");

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

export const milliseconds = (number) =>
  number === null || number === undefined ? "–" : `${count(Math.round(number))} ms`;

const UNITS = [
  [86400, "d"],
  [3600, "h"],
  [60, "min"],
  [1, "s"],
];

export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const [size, unit] = UNITS.find(([least]) => whole >= least) ?? [1, "s"];
  const rest = Math.floor((whole % size) / 60);
  return unit === "h" && rest ? `${Math.floor(whole / size)} h ${rest} min` : `${Math.floor(whole / size)} ${unit}`;
}

// A length of time as people name it: "24 h", not "1 d".
export const spanOf = (hours) =>
  hours >= 48
    ? `${Math.round(hours / 24)} days`
    : hours >= 1
      ? `${+hours.toFixed(1)} h`
      : `${Math.round(hours * 60)} min`;

export const ago = (iso, now) => `${duration((now - Date.parse(iso)) / 1000)} ago`;

const formats = new Map();

function inZone(zone, options) {
  const key = zone + JSON.stringify(options);
  if (!formats.has(key)) {
    let made;
    try {
      made = new Intl.DateTimeFormat("en-GB", { timeZone: zone, hourCycle: "h23", ...options });
    } catch {
      // a zone that this browser does not know
      made = new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", hourCycle: "h23", ...options });
    }
    formats.set(key, made);
  }
  return formats.get(key);
}

const CLOCK = { hour: "2-digit", minute: "2-digit", second: "2-digit" };
const DAY = { weekday: "short", day: "numeric", month: "short" };

export const clock = (at, zone) => inZone(zone, CLOCK).format(at);
export const hourOf = (at, zone) => inZone(zone, { hour: "2-digit", minute: "2-digit" }).format(at);
export const dayOf = (at, zone) => inZone(zone, DAY).format(at).replace(",", "");

export const inUtc = (at) => `${new Date(at).toISOString().slice(0, 19).replace("T", " ")} UTC`;

// "14:07:31" today, "Sun 22 Nov 14:07:31" on any other day.
export function moment(iso, zone, now) {
  const at = Date.parse(iso);
  const [day, today] = [dayOf(at, zone), dayOf(now, zone)];
  return day === today ? clock(at, zone) : `${day} ${clock(at, zone)}`;
}

export const makeTime = (iso, zone, now) =>
  iso ? make("time", { datetime: iso, title: inUtc(Date.parse(iso)) }, moment(iso, zone, now)) : "–";

// The part of a model's id that tells it apart; the whole one stands in the title.
export const modelName = (id) =>
  id
    .split("/")
    .pop()
    .replace(/^(us|eu|apac|jp|au|global|us-gov)\./, "")
    .replace(/^[a-z]+\./, "")
    .replace(/-\d{8}(-v\d+:\d+)?$/, "")
    .replace(/-v\d+:\d+$/, "");
