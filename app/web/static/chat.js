/** One open session: carries prompts out, events in, and sees to it that each byte is shown once. */

import { newId } from "./browser.js";
import { say } from "./transcript.js";
import { Reply, Tree } from "./turns.js";
import { Refused, Socket, backOff, request, signIn, wait } from "./server.js";

const ASK_AGAIN = 1_000; // ms before the same gap is asked for once more
const SAID = 1_500; // characters of a finished reply that are read aloud; the rest can be read at will
const LOOK = 4_000; // ms between two looks at who answers
const HELD_UP = 4_000; // ms without a word after which a reply is said to be held up

/**
 * The prompts that left the box and are not accepted yet, kept in the browser: sent again with their own id after
 * every reconnect or reload, which the server takes as the same prompt.
 */
class Outbox {
  constructor(keep) {
    this.keep = keep;
    this.items = keep.get("outbox", []);
  }

  of(session) {
    return this.items.filter((item) => item.session === session);
  }

  put(item) {
    this.items = [...this.items.filter(({ id }) => id !== item.id), item];
    this.keep.set("outbox", this.items);
  }

  take(id) {
    const item = this.items.find((one) => one.id === id);
    if (item) {
      this.items = this.items.filter((one) => one !== item);
      this.keep.set("outbox", this.items);
    }
    return item;
  }
}

/** The nodes that can answer a new prompt, now or in a moment. */
export const here = (nodes) => nodes.filter(({ state }) => !/away|failed|draining/.test(state));

export class Chat {
  /** `page` draws: show(chat), touch(node), restore(text), notice(words), connection(state), made(id), titled(id, title), used(id), gone(). */
  constructor(keep, page) {
    this.page = page;
    this.outbox = new Outbox(keep);
    this.platform = null;
    this.reset(null);
    setInterval(() => this.lookForSilence(), HELD_UP / 4);
  }

  reset(session) {
    this.socket?.close();
    Object.assign(this, { session, socket: null, tree: new Tree(), replies: new Map(), loading: null, asked: new Map(), sentAt: new Map() });
  }

  /** Shows a session, or an empty page for one that is made with the first prompt. */
  async open(session) {
    this.reset(session);
    this.page.show(this);
    if (!session) return;
    const { tree } = this;
    this.connect();
    await this.load();
    if (tree !== this.tree) return;
    for (const item of this.outbox.of(session)) this.showPrompt(item);
    if (this.socket?.open) this.catchUp();
  }

  /** Takes back prompts without a session: they belong in the box again. */
  unsent(session = null) {
    return this.outbox.of(session).map(({ id }) => this.outbox.take(id).text);
  }

  connect() {
    this.socket = new Socket(this.session, {
      opened: (again) => this.opened(again),
      event: (event) => this.hear(event),
      state: (state) => this.page.connection(state),
      gone: (why) => (why === "login" ? signIn() : this.page.gone()),
    });
  }

  async opened(again) {
    if (again) await this.load(); // Other pages may have gone on meanwhile.
    else if (this.loading) await this.loading;
    this.catchUp();
  }

  catchUp() {
    for (const reply of this.replies.values()) if (!reply.finished) this.resume(reply);
    for (const item of this.outbox.of(this.session)) this.dispatch(item);
  }

  resume(reply) {
    this.socket?.send({ type: "resume", turn: reply.turn, at: reply.bytes });
  }

  /** Gets the session as it is kept and adds what is not here yet; several calls at once are one. */
  load() {
    const { session, tree } = this;
    this.loading ??= request("GET", `/api/sessions/${session}`)
      .then((kept) => tree === this.tree && this.merge(kept))
      .catch((error) => this.loadFailed(error, tree))
      .finally(() => tree === this.tree && (this.loading = null));
    return this.loading;
  }

  loadFailed(error, tree) {
    if (tree !== this.tree) return undefined;
    if (error.status === 404) return this.page.gone();
    if (error instanceof Refused && error.status < 500) return this.page.notice(error.message);
    // The server is away: the socket will say when it is back; if that is open, it is back already.
    return wait(backOff(2)).then(() => tree === this.tree && ((this.loading = null), this.load()));
  }

  merge({ title, messages, turns }) {
    this.page.titled(this.session, title);
    for (const message of messages) {
      if (message.turn) this.settleReply(message);
      this.tree.add(message);
    }
    const newest = messages.at(-1)?.id ?? "";
    for (const turn of turns) this.mergeTurn(turn, newest);
    this.page.show(this);
  }

  /** A reply we were waiting for is kept: its place in the tree gets the message's id. */
  settleReply({ id, turn }) {
    const reply = this.replies.get(turn);
    this.replies.delete(turn);
    if (!this.tree.get(`turn:${turn}`)) return;
    this.tree.rename(`turn:${turn}`, id);
    if (reply && !reply.finished) delete this.tree.get(id).reply;
  }

  /** `newest` is the session's last message. Ids are in the order of making. */
  mergeTurn({ id, message, state, attempt, position, eta, reason }, newest) {
    const unfinished = state === "queued" || state === "running";
    const others = this.tree.of(message).filter((version) => version !== `turn:${id}`);
    const tries = others.filter((version) => version.startsWith("turn:"));
    // Tried again since, or gone on with another reply: the failure is history.
    const over = tries.some((version) => version > `turn:${id}`) || (others.length > tries.length && id < newest);
    if (!unfinished && over) return;
    if (!unfinished) for (const old of tries) this.tree.remove(old);
    const { reply } = this.addReply(id, message);
    if (reply.finished) return;
    if (unfinished) Object.assign(reply, state === "queued" && reply.state === "queued" ? { position, eta } : {});
    else Object.assign(reply, { state, attempt, reason });
    this.lookWhoAnswers(reply);
  }

  addReply(turn, prompt) {
    const known = this.tree.get(`turn:${turn}`);
    if (known) return known;
    for (const version of [...this.tree.of(prompt)]) {
      // A try that left nothing but its failure makes room for the next one.
      const { reply, id } = this.tree.get(version);
      if (reply?.finished && id.startsWith("turn:") && !reply.text) this.tree.remove(version);
    }
    const reply = new Reply(turn);
    this.replies.set(turn, reply);
    return this.tree.add({ id: `turn:${turn}`, parent: prompt, role: "assistant", turn, reply });
  }

  // What the user does

  get path() {
    return this.tree.path();
  }

  /** The last message, where it is a reply being written or a prompt on its way. */
  get unfinished() {
    const last = this.path.at(-1);
    return last && (last.pending || (last.reply && !last.reply.finished)) ? last : null;
  }

  send(text, parent = this.lastKept()) {
    if (this.unfinished) return false;
    const item = { id: newId(), session: this.session, type: "prompt", text, parent };
    this.outbox.put(item);
    this.showPrompt(item);
    if (this.session) this.dispatch(item);
    else this.begin(item);
    return true;
  }

  lastKept() {
    return this.path.findLast((node) => !node.id.includes(":"))?.id ?? null;
  }

  showPrompt({ id, type, text, parent }) {
    if (type !== "prompt" || this.tree.get(`prompt:${id}`)) return;
    const pending = navigator.onLine && (!this.session || this.socket?.open) ? "sending" : "waiting";
    this.tree.add({ id: `prompt:${id}`, parent, role: "user", text, pending });
    this.tree.choose(`prompt:${id}`);
    this.page.show(this);
  }

  /** Makes the session that a first prompt needs, however long the server is away. */
  async begin(item) {
    const { tree } = this;
    for (let tries = 0; tree === this.tree; tries += 1) {
      try {
        const { id } = await request("POST", "/api/sessions", {});
        if (tree !== this.tree) return;
        this.session = id;
        this.outbox.put({ ...item, session: id });
        this.page.made(id);
        this.connect();
        return;
      } catch (error) {
        if (tree !== this.tree) return;
        if (error instanceof Refused && error.status < 500) return this.refused(item.id, error.message);
        this.setPending(item.id, "waiting");
        this.page.connection("lost");
        await wait(backOff(tries));
      }
    }
  }

  dispatch({ id, type, text, parent, turn }) {
    this.sentAt.set(id, Date.now());
    const sent = this.socket?.send(type === "retry" ? { type, id, turn } : { type, id, text, parent });
    this.setPending(id, sent ? "sending" : "waiting");
  }

  setPending(id, pending) {
    const node = this.tree.get(`prompt:${id}`);
    if (!node || node.pending === pending) return;
    node.pending = pending;
    this.page.touch(node);
  }

  /** Another reply to the same prompt, after a failure or for its own sake. */
  retry(node) {
    if (this.unfinished) return;
    const item = { id: newId(), session: this.session, type: "retry", turn: node.turn };
    this.outbox.put(item);
    this.dispatch(item);
    if (!this.socket?.open) this.page.notice("The connection is away: the reply will be asked for when it is back.");
  }

  async stop() {
    const node = this.unfinished;
    if (!node) return;
    if (node.pending === "waiting") return this.refused(node.id.slice("prompt:".length), "");
    if (node.pending) {
      node.stopping = true; // It is on its way: stopped as soon as we know what to stop.
      return;
    }
    node.reply.stopping = true;
    this.page.touch(node);
    if (this.socket?.send({ type: "stop", turn: node.turn })) return;
    try {
      await request("POST", `/api/turns/${node.turn}/stop`);
    } catch (error) {
      node.reply.stopping = false;
      this.page.touch(node);
      this.page.notice(error instanceof Refused ? error.message : "Not stopped: the server cannot be reached. Try again.");
    }
  }

  switchVersion(node, step) {
    const versions = this.tree.versions(node);
    const other = versions[versions.indexOf(node.id) + step];
    if (!other) return;
    this.tree.choose(other);
    this.page.show(this);
  }

  // What the server says

  hear(event) {
    switch (event.event) {
      case "accepted":
        return this.accepted(event);
      case "error":
        return event.id ? this.refused(event.id, event.message) : this.page.notice(event.message);
      case "ack":
      case "pong":
        return undefined;
      default:
        return this.advance(event);
    }
  }

  accepted({ id, turn, message, parent, text, html, title }) {
    const item = this.outbox.take(id);
    const waiting = this.tree.rename(`prompt:${id}`, message);
    const shown = new Set(this.path.map((node) => node.id));
    const follows = waiting || item || parent === null || shown.has(parent) || shown.has(message);
    const words = text ?? item?.text ?? this.tree.get(message)?.text;
    const prompt = this.tree.add({ id: message, parent, role: "user", text: words, html, pending: undefined });
    if (title) this.page.titled(this.session, title);
    this.page.used(this.session);
    if (this.replies.has(turn) || this.tree.of(message).some((child) => this.tree.get(child).turn === turn)) {
      return this.page.show(this); // We knew: the same prompt, sent or told twice.
    }
    const node = this.addReply(turn, message);
    if (item) node.reply.way = { sent: this.sentAt.get(id), accepted: Date.now() };
    if (follows) {
      this.tree.choose(message);
      this.tree.choose(node.id);
    }
    this.page.show(this);
    if (waiting?.stopping || prompt.stopping) {
      prompt.stopping = false;
      this.stop();
    }
    return undefined;
  }

  refused(id, words) {
    const item = this.outbox.take(id);
    this.tree.remove(`prompt:${id}`);
    if (item?.type === "prompt") this.page.restore(item.text);
    this.page.show(this);
    if (words) this.page.notice(words);
  }

  advance(event) {
    const reply = this.replies.get(event.turn);
    if (!reply) return this.fetchUnknown(event.turn);
    const outcome = reply.take(event);
    reply.heard = performance.now();
    if (reply.heldUp) this.holdUp(reply, false);
    if (outcome === "gap") this.fill(reply);
    if (outcome === "same") return undefined;
    const { way } = reply;
    if (way && !way.painted && reply.bytes) requestAnimationFrame(() => (way.painted ??= Date.now()));
    const node = this.tree.get(`turn:${event.turn}`);
    if (reply.finished) return this.ended(node, reply, event);
    this.lookWhoAnswers(reply);
    this.page.touch(node);
    return undefined;
  }

  /** A turn that we were not told of: of another page, or begun while we loaded; unless its reply is kept already. */
  async fetchUnknown(turn) {
    const { tree } = this;
    if (this.asked.has(turn)) return;
    this.asked.set(turn, { at: 0, when: performance.now() });
    await this.loading;
    if (tree !== this.tree || [...tree.nodes.values()].some((node) => node.turn === turn && !this.replies.has(turn))) return;
    if (!this.replies.has(turn)) await this.load();
    if (tree === this.tree) this.catchUp();
  }

  /** Asks for what is missing, once for each place, and again only if no answer came for a while. */
  fill(reply) {
    const asked = this.asked.get(reply.turn);
    if (asked?.at === reply.bytes && performance.now() - asked.when < ASK_AGAIN) return;
    this.asked.set(reply.turn, { at: reply.bytes, when: performance.now() });
    this.resume(reply);
  }

  ended(node, reply, { message, model, node: where, usage, note, retry }) {
    Object.assign(node, { model, node: where, usage, note, again: retry });
    if (message) {
      this.replies.delete(reply.turn);
      this.tree.rename(node.id, message);
    }
    this.page.show(this);
    if (reply.way) this.socket?.send({ type: "shown", turn: reply.turn, ...reply.way, shown: Date.now() });
    if (reply.state === "done") say(`Reply finished. ${reply.text.slice(0, SAID)}`);
    else say(reply.state === "failed" ? `No reply: ${reply.reason}` : "Stopped.");
  }

  /** Somebody was killed or is slow: say so, since a text that stands still looks like its end. */
  lookForSilence() {
    for (const reply of this.replies.values()) {
      if (reply.state === "started" && !reply.heldUp && performance.now() - reply.heard > HELD_UP) this.holdUp(reply, true);
    }
  }

  holdUp(reply, heldUp) {
    reply.heldUp = heldUp;
    this.redraw(reply);
  }

  redraw({ turn }) {
    const node = this.tree.get(`turn:${turn}`);
    if (node) this.page.touch(node);
  }

  /** While a turn waits without a known time, look whether there is anybody to answer it. */
  async lookWhoAnswers(reply) {
    if (reply.state !== "queued" || typeof reply.eta === "number" || performance.now() - (this.looked ?? -LOOK) < LOOK) return;
    this.looked = performance.now();
    this.platform = await request("GET", "/api/state").catch(() => this.platform);
    for (const one of this.replies.values()) {
      one.nobody = one.state === "queued" && this.platform !== null && !here(this.platform.nodes).length;
      this.redraw(one);
    }
  }
}
