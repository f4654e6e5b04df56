/** How the page talks to the platform: REST requests, and the socket of one session. */

const FIRST_WAIT = 400; // ms before the first new try; doubles up to …
const LONGEST_WAIT = 15_000; // … this
const QUIET = 20_000; // ms without a frame before we ask whether anyone is there …
const DEAF = 8_000; // … and how long the answer may take

export class Refused extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** Sends a request and returns its JSON; throws Refused with the server's own words, TypeError if offline. */
export async function request(method, path, body) {
  const options = { method, headers: { accept: "application/json" } };
  if (body !== undefined) {
    options.headers["content-type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const response = await fetch(path, options);
  if (response.ok) return response.status === 200 || response.status === 201 ? response.json() : null;
  if (response.status === 401 && path !== "/api/login") signIn();
  const { error } = await response.json().catch(() => ({}));
  throw new Refused(response.status, error?.code, error?.message ?? `The server answered ${response.status}. Try again.`);
}

export function signIn() {
  location.assign(`/login?next=${encodeURIComponent(location.pathname)}`);
}

/** How long to wait before try number `n`: doubling, with jitter so that a restart is not met by a stampede. */
export function backOff(n) {
  return Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** n) * (0.5 + Math.random() / 2);
}

/** Waits for `ms`, or until the browser says that the network is back. */
export function wait(ms) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    addEventListener("online", () => (clearTimeout(timer), resolve()), { once: true });
  });
}

/**
 * Keeps one session's socket open: reconnects until it is closed by us or by a code that means "do not come back".
 * Calls `opened(again)`, `event(body)`, `state("open" | "lost")` and `gone("login" | "missing")`.
 */
export class Socket {
  constructor(session, handlers) {
    this.session = session;
    this.handlers = handlers;
    this.tries = 0;
    this.opens = 0;
    this.ended = false;
    this.connect();
  }

  get open() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  send(body) {
    if (this.open) this.socket.send(JSON.stringify(body));
    return this.open;
  }

  close() {
    this.ended = true;
    clearTimeout(this.watch);
    this.socket?.close(1000);
  }

  connect() {
    const socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}/ws/sessions/${this.session}`);
    this.socket = socket;
    this.listen(DEAF);
    socket.onopen = () => {
      if (socket !== this.socket || this.ended) return;
      this.handlers.state("open");
      this.handlers.opened(this.opens++ > 0);
    };
    socket.onmessage = ({ data }) => {
      if (socket !== this.socket || this.ended) return;
      this.tries = 0; // Not at open: a server that opens and closes at once must not be hammered.
      this.listen(QUIET);
      this.handlers.event(JSON.parse(data));
    };
    socket.onclose = ({ code }) => {
      if (socket === this.socket) this.lost(code);
    };
  }

  /** Notices a dead line that nobody closed: after `ms` without a frame it asks, then it gives up. */
  listen(ms) {
    clearTimeout(this.watch);
    this.watch = setTimeout(() => {
      if (ms === QUIET && this.send({ type: "ping" })) this.listen(DEAF);
      else this.drop();
    }, ms);
  }

  /** Leaves the line without a farewell, and tries anew. */
  drop() {
    const socket = this.socket;
    this.socket = null;
    socket?.close();
    this.lost(1006);
  }

  async lost(code) {
    clearTimeout(this.watch);
    this.socket = null;
    if (this.ended) return;
    if (code === 4401 || code === 4404) {
      this.ended = true;
      this.handlers.gone(code === 4401 ? "login" : "missing");
      return;
    }
    this.handlers.state("lost");
    await wait(backOff(this.tries++));
    if (!this.ended && !this.socket) this.connect();
  }

  /** The page is in front again, or the network back. */
  hurry() {
    if (this.open) {
      this.send({ type: "ping" });
      this.listen(DEAF);
    } else this.tries = 0;
  }
}
