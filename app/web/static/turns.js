/** The conversation as it stands: the tree of messages, and each unfinished reply with every byte of it once. */

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

const byteLength = (text) => encoder.encode(text).length;
const withoutBytes = (text, count) => (count > 0 ? decoder.decode(encoder.encode(text).subarray(count)) : text);
const firstBytes = (text, count) => decoder.decode(encoder.encode(text).subarray(0, count));

/**
 * One reply that is being written. The length of its text in UTF-8 bytes is the cursor: what ends before it was
 * shown already, what begins after it leaves a gap that has to be fetched.
 */
export class Reply {
  constructor(turn) {
    this.turn = turn;
    this.attempt = 0;
    this.state = "queued"; // queued, started, done, failed or cancelled
    this.text = "";
    this.bytes = 0;
    this.blocks = []; // finished ones: {from, to, html}
    this.tail = ""; // what follows them
    this.tailAt = 0; // the byte where the tail begins
    this.cuts = 0; // how often something shown was taken back
    this.carriedOn = false;
    this.leftOut = 0;
  }

  get finished() {
    return this.state === "done" || this.state === "failed" || this.state === "cancelled";
  }

  /** Takes one event in; returns "gap" if bytes are missing before it, "same" if it changed nothing, or "new". */
  take(event) {
    if (this.finished || event.attempt < this.attempt) return "same";
    switch (event.event) {
      case "queued":
        return this.queue(event);
      case "started":
        return this.start(event);
      case "delta":
        return this.append(event);
      case "block":
        return this.settle(event);
      case "done":
      case "failed":
      case "cancelled":
        return this.end(event);
      default:
        return "same";
    }
  }

  queue({ attempt, position, eta }) {
    if (this.state === "started" && attempt <= this.attempt) return "same"; // An old word, overtaken.
    Object.assign(this, { state: "queued", position, eta });
    return "new";
  }

  start({ attempt, at, node, left_out: leftOut }) {
    if (this.state === "started" && attempt === this.attempt) return "same"; // A replay: its text stands already.
    this.carriedOn ||= attempt > 1 && at > 0;
    Object.assign(this, { state: "started", attempt, node, leftOut: leftOut ?? 0 });
    if (at < this.bytes) this.cut(at);
    return at > this.bytes ? "gap" : "new";
  }

  append({ attempt, at, text }) {
    if (attempt > this.attempt) {
      // Its `started` went missing, and with it the place where our text stops being the reply's.
      this.attempt = attempt;
      this.cut(0);
    }
    this.state = "started";
    if (at > this.bytes) return "gap";
    const fresh = withoutBytes(text, this.bytes - at);
    if (!fresh) return "same";
    this.text += fresh;
    this.tail += fresh;
    this.bytes += byteLength(fresh);
    return "new";
  }

  settle({ from, to, html }) {
    if (to > this.bytes) return "gap";
    if (from > this.tailAt) return "same";
    if (from < this.tailAt) {
      if (this.blocks.some((block) => block.from === from && block.to === to)) return "same";
      // The server drew the line anew from here; what was settled after it is not any more.
      this.blocks = this.blocks.filter((block) => block.to <= from);
      this.retail();
      if (from !== this.tailAt) return "same";
    }
    this.tail = withoutBytes(this.tail, to - from);
    this.tailAt = to;
    this.blocks.push({ from, to, html });
    return "new";
  }

  end(event) {
    const { text, html, at, reason, message } = event;
    Object.assign(this, { state: event.event, reason, message });
    if (typeof html !== "string") return "new";
    const settled = this.blocks.map((block) => block.html).join("");
    if (html.startsWith(settled)) {
      if (html.length > settled.length) this.blocks.push({ from: this.tailAt, to: at, html: html.slice(settled.length) });
    } else {
      // Something was missed or taken back: the whole, as it was kept, replaces what is shown.
      this.blocks = [{ from: 0, to: at, html }];
    }
    Object.assign(this, { text: text ?? this.text, tail: "", tailAt: at, cuts: this.cuts + 1 });
    return "new";
  }

  /** Takes back what was shown from byte `at` on. */
  cut(at) {
    this.text = firstBytes(this.text, at);
    this.bytes = at;
    this.blocks = this.blocks.filter((block) => block.to <= at);
    this.retail();
  }

  retail() {
    this.tailAt = this.blocks.at(-1)?.to ?? 0;
    this.tail = withoutBytes(this.text, this.tailAt);
    this.cuts += 1;
  }
}

/**
 * The messages of a session: {id, parent, role, …}. Children of one parent are versions of each other; the path that
 * is shown goes through the chosen version at each fork, the newest unless someone chose another.
 */
export class Tree {
  constructor() {
    this.nodes = new Map();
    this.children = new Map([[null, []]]);
    this.chosen = new Map();
  }

  get(id) {
    return this.nodes.get(id);
  }

  add(node) {
    if (this.nodes.has(node.id)) return Object.assign(this.nodes.get(node.id), node);
    this.nodes.set(node.id, node);
    this.of(node.parent).push(node.id);
    return node;
  }

  /** Gives a node the id that the server gave it; versions chosen and children stay where they are. */
  rename(id, name) {
    const node = this.nodes.get(id);
    if (!node || id === name) return node;
    if (this.nodes.has(name)) {
      // Another event was faster: there is one message, so there is one node.
      const kept = Object.assign(this.nodes.get(name), { ...node, id: name });
      for (const child of this.of(id)) this.move(child, name);
      this.remove(id);
      return kept;
    }
    node.id = name;
    this.nodes.delete(id);
    this.nodes.set(name, node);
    const siblings = this.of(node.parent);
    siblings[siblings.indexOf(id)] = name;
    if (this.chosen.get(node.parent) === id) this.chosen.set(node.parent, name);
    for (const child of [...this.of(id)]) this.move(child, name);
    if (this.chosen.has(id)) this.chosen.set(name, this.chosen.get(id));
    this.chosen.delete(id);
    this.children.delete(id);
    return node;
  }

  move(id, parent) {
    const node = this.detach(id);
    node.parent = parent;
    this.of(parent).push(id);
  }

  detach(id) {
    const node = this.nodes.get(id);
    const siblings = this.of(node.parent);
    siblings.splice(siblings.indexOf(id), 1);
    return node;
  }

  remove(id) {
    if (!this.nodes.has(id)) return;
    const node = this.detach(id);
    if (this.chosen.get(node.parent) === id) this.chosen.delete(node.parent);
    this.nodes.delete(id);
  }

  of(parent) {
    if (!this.children.has(parent)) this.children.set(parent, []);
    return this.children.get(parent);
  }

  /** The versions that `node` is one of, itself included. */
  versions(node) {
    return this.of(node.parent);
  }

  choose(id) {
    this.chosen.set(this.nodes.get(id).parent, id);
  }

  /** The messages that are shown, from the first to the last. */
  path() {
    const path = [];
    for (let parent = null; ; ) {
      const versions = this.of(parent);
      if (!versions.length) return path;
      parent = this.chosen.get(parent) ?? versions.at(-1);
      path.push(this.nodes.get(parent));
    }
  }
}
