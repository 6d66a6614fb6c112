// Hears what changed, comes back after every break, and knows how old the data of the page is.

import { get, request } from "./api.js";

const FIRST_PAUSE_MS = 400;
const LONGEST_PAUSE_MS = 4000;
const POLL_MS = 10000;
const ASLEEP_AFTER_MS = 20000;

export class Live {
  // changed(names): null when everything may have; told(state, since): "live", "old" or "crowded".
  constructor({ changed, told }) {
    this.changed = changed;
    this.told = told;
    this.heardAt = null;
    this.isLost = false;
    this.isPolled = false;
    this.isAsleep = false;
    this.skewMs = 0;
    this.silenceMs = 12500;
    this.pauseMs = FIRST_PAUSE_MS;
    this.wake = () => {};
    for (const sign of ["online", "pageshow"]) addEventListener(sign, () => this.wake());
    document.addEventListener("visibilitychange", () => this.look());
  }

  // The daemon's clock now, in milliseconds.
  now() {
    return Date.now() + this.skewMs;
  }

  // Takes the daemon's clock from an answer.
  setClock(iso) {
    if (iso) this.skewMs = Date.parse(iso) - Date.now();
  }

  async run() {
    setInterval(() => this.watch(), 1000);
    for (;;) {
      while (this.isAsleep) await this.pause(LONGEST_PAUSE_MS);
      try {
        await this.follow();
      } catch {
        /* the daemon is away, or a proxy ended the stream: try again */
      }
      if (!this.isPolled) this.lost();
      this.isPolled = false;
      await this.pause(this.pauseMs);
      this.pauseMs = Math.min(this.pauseMs * 1.7, LONGEST_PAUSE_MS);
    }
  }

  // A browser has six connections to a host: a page that nobody looks at gives its own up, and comes back when seen.
  look() {
    clearTimeout(this.sleeping);
    if (document.hidden) {
      this.sleeping = setTimeout(() => {
        this.isAsleep = true;
        this.stopper?.abort();
      }, ASLEEP_AFTER_MS);
    } else {
      this.isAsleep = false;
      this.wake();
    }
  }

  async follow() {
    this.stopper = new AbortController();
    const answer = await request("/v1/stream", { signal: this.stopper.signal });
    if (answer.status === 401) {
      await get("/v1/summary"); // asks for the token
      return;
    }
    if (answer.status === 503 && answer.headers.has("Retry-After")) {
      await this.poll();
      return;
    }
    if (!answer.ok) throw new Error(answer.status);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const events = (text + value).split("\n\n");
      text = events.pop();
      for (const event of events) this.hear(event);
    }
  }

  hear(event) {
    const lines = event.split("\n");
    const find = (name) => lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
    const data = JSON.parse(find("data") ?? "{}");
    this.heardAt = Date.now();
    this.pauseMs = FIRST_PAUSE_MS;
    if (find("event") === "opened") {
      this.silenceMs = (data.heartbeat_seconds ?? 5) * 2500;
      this.isLost = false;
      this.told("live");
      this.changed(null);
    }
    if (find("event") === "changed") this.changed(data.prefixes);
  }

  // As many pages as may be are open: look now and then instead.
  async poll() {
    this.heardAt = Date.now();
    this.isLost = false;
    this.told("crowded");
    this.changed(null);
    await this.pause(POLL_MS);
    this.pauseMs = 0;
    this.isPolled = true;
  }

  watch() {
    if (this.heardAt !== null && Date.now() - this.heardAt > this.silenceMs) this.stopper?.abort();
    if (this.isLost) this.told("old", this.heardAt);
  }

  lost() {
    this.isLost = true;
    this.told("old", this.heardAt);
  }

  pause(milliseconds) {
    return new Promise((done) => {
      this.wake = done;
      setTimeout(done, milliseconds);
    });
  }
}
