/** Draws the conversation: messages, the reply that grows, what state each is in, and what one can do with it. */

import { $, copy, el, fragment, icon, iconButton } from "./browser.js";

const NEAR = 60; // px from the end that still count as reading the end
const FENCE = /^(?:[ \t]*\n)* {0,3}(?:`{3,}|~{3,})([^\n`]*)(\n?)/;
const BLANK = /^(?:[ \t]*\n)*/;

/** The part of a message that shows text: finished blocks as HTML, then a plain tail that only ever grows. */
class Content {
  constructor() {
    this.label = el("span.code-label");
    this.text = document.createTextNode("");
    this.tail = el("div.tail", { hidden: true }, this.label, el("div.tail-text", {}, this.text));
    this.element = el("div.content", { dir: "auto" }, this.tail);
    this.shown = []; // {block, nodes} of each finished block
    this.drawn = 0; // characters of the tail that stand in its text node …
    this.mark = ""; // … of which tail, and how it is shown
  }

  /** Shows finished HTML as a whole. */
  html(html) {
    this.draw({ blocks: [{ html }], tail: "", tailAt: 0, cuts: "whole", finished: true });
  }

  draw({ blocks, tail, tailAt, cuts, finished }) {
    let same = Math.min(blocks.length, this.shown.length);
    while (same && this.shown[same - 1].block !== blocks[same - 1]) same -= 1;
    for (const { nodes } of this.shown.splice(same)) for (const node of nodes) node.remove();
    for (const block of blocks.slice(same)) {
      const part = withCopyButtons(fragment(block.html));
      const nodes = [...part.childNodes];
      this.tail.before(part);
      this.shown.push({ block, nodes });
    }
    this.drawTail(tail, tailAt, cuts, finished);
  }

  drawTail(tail, tailAt, cuts, finished) {
    // A fence that is still open looks like the code it will be.
    const fence = FENCE.exec(tail);
    const lead = fence ? fence[0].length : BLANK.exec(tail)[0].length;
    const mark = `${tailAt} ${cuts} ${lead}`;
    if (mark !== this.mark) {
      Object.assign(this, { mark, drawn: lead });
      this.text.data = "";
      this.label.textContent = fence?.[2] ? fence[1].trim().split(/\s/)[0] : "";
      this.tail.classList.toggle("code", Boolean(fence));
      this.tail.classList.toggle("grid", tail[lead] === "|");
    }
    if (tail.length > this.drawn) this.text.appendData(tail.slice(this.drawn));
    this.drawn = Math.max(this.drawn, tail.length);
    this.tail.hidden = !tail && (finished || !this.shown.length);
  }
}

/** Puts code blocks into a frame with their language and a button that copies them. */
function withCopyButtons(part) {
  for (const pre of part.querySelectorAll("pre")) {
    const button = el("button.copy-code", {}, "Copy");
    button.onclick = () => confirmCopy(button, pre.textContent);
    const bar = el("div.code-bar", {}, el("span.code-label", {}, pre.dataset.lang ?? ""), button);
    const frame = el("div.code", { dir: "ltr" }, bar);
    pre.replaceWith(frame);
    pre.tabIndex = 0; // Long lines scroll; so they must with the keyboard.
    frame.append(pre);
  }
  for (const table of part.querySelectorAll("div.table")) table.tabIndex = 0;
  return part;
}

async function confirmCopy(button, text) {
  const before = [...button.childNodes];
  await copy(text);
  button.replaceChildren(button.matches(".icon") ? icon("check") : "Copied");
  say("Copied.");
  setTimeout(() => button.replaceChildren(...before), 1500);
}

/** Says something to those who listen instead of looking. */
export function say(text) {
  $("said").textContent = text;
}

/** One message: the user's or the model's, whatever state it is in. */
class Message {
  constructor(node, actions) {
    this.content = new Content();
    this.note = el("p.note", { hidden: true });
    this.status = el("p.status", { hidden: true });
    this.reason = el("span");
    this.retry = el("button.retry", { onclick: () => actions.retry(this.node) }, "Retry");
    this.failure = el("div.failure", { hidden: true }, icon("warn"), this.reason, this.retry);
    this.back = iconButton("back", "Previous version", () => actions.switch(this.node, -1));
    this.place = el("span.place");
    this.forth = iconButton("forth", "Next version", () => actions.switch(this.node, 1));
    this.switcher = el("span.switcher", { role: "group", "aria-label": "Versions" }, this.back, this.place, this.forth);
    this.copy = iconButton("copy", "Copy", () => confirmCopy(this.copy, this.words()));
    this.edit = iconButton("edit", "Edit", () => this.startEdit(actions));
    this.again = iconButton("again", "Regenerate", () => actions.retry(this.node));
    this.about = el("a.about", { title: "Where the time went" });
    this.foot = el("div.foot", {}, this.switcher, this.copy, this.edit, this.again, this.about);
    this.element = el(`article.message.${node.role}`, {}, this.note, this.content.element, this.status, this.failure, this.foot);
    this.update(node);
  }

  words() {
    return this.node.reply?.text || this.node.text || "";
  }

  update(node, versions = this.versions ?? [], busy = this.busy ?? false) {
    Object.assign(this, { node, versions, busy });
    const { role, reply } = node;
    const user = role === "user";
    const finished = !reply || reply.finished;
    this.element.classList.toggle("writing", !finished);
    this.element.dataset.message = node.id;
    this.element.dataset.state = user ? (node.pending ?? "kept") : (reply?.state ?? node.state ?? "done");
    this.element.setAttribute("aria-label", user ? "You" : "Reply");
    this.element.setAttribute("aria-busy", String(!finished));
    this.drawContent();
    this.show(this.note, notes(node));
    this.show(this.status, statusOf(node));
    const reason = failure(node);
    this.failure.hidden = !reason;
    this.reason.textContent = reason;
    this.retry.hidden = node.again === false;
    this.drawFoot(user, finished);
  }

  drawContent() {
    const { reply, html, text } = this.node;
    if (reply) this.content.draw(reply);
    else if (html !== undefined && html !== null) {
      if (html !== this.html) this.content.html((this.html = html));
    } else this.content.draw({ blocks: [], tail: text ?? "", tailAt: 0, cuts: 0, finished: false });
  }

  drawFoot(user, finished) {
    const { id, pending, turn } = this.node;
    const count = this.versions.length;
    const at = this.versions.indexOf(id);
    this.switcher.hidden = count < 2;
    this.place.textContent = `${at + 1}/${count}`;
    this.place.setAttribute("aria-label", `Version ${at + 1} of ${count}`);
    this.back.disabled = at <= 0;
    this.forth.disabled = at >= count - 1;
    this.copy.hidden = !finished || !this.words();
    this.edit.hidden = !user || Boolean(pending) || this.busy;
    this.again.hidden = user || !finished || !turn || this.busy || !this.failure.hidden;
    this.show(this.about, finished ? about(this.node) : "");
    this.about.href = `/trace/${turn}`;
    this.foot.hidden = this.switcher.hidden && this.copy.hidden && this.edit.hidden && this.again.hidden;
  }

  show(element, text) {
    if (element.textContent !== text) element.textContent = text;
    element.hidden = !text;
  }

  /** Lets the user write the prompt anew; sending it makes another version and leaves this one. */
  startEdit(actions) {
    const box = el("textarea.edit-box", { value: this.node.text ?? "", dir: "auto", "aria-label": "Edit your message" });
    const stop = () => {
      form.remove();
      this.element.classList.remove("editing");
      this.edit.focus();
    };
    const save = (event) => {
      event.preventDefault();
      if (box.value.trim() && actions.edit(this.node, box.value)) stop();
    };
    const cancel = el("button.quiet", { type: "button", onclick: stop }, "Cancel");
    const form = el("form.edit", { onsubmit: save }, box, el("p.hint", {}, "Sending makes another version; this one stays."));
    form.append(el("div.edit-buttons", {}, cancel, el("button.primary", { type: "submit" }, "Send")));
    box.onkeydown = (event) => {
      if (event.key === "Escape") event.stopPropagation(), stop();
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229) save(event);
    };
    this.element.classList.add("editing");
    this.content.element.before(form);
    box.focus();
    box.setSelectionRange(box.value.length, box.value.length);
  }
}

function notes({ reply, left_out: kept, note, attempt }) {
  const leftOut = reply?.leftOut || kept;
  const carriedOn = reply ? reply.carriedOn : attempt > 1;
  return [
    leftOut
      ? `${leftOut === 1 ? "1 earlier message was" : `${leftOut} earlier messages were`} left out: the conversation is longer than the model's context.`
      : "",
    carriedOn ? "Carried on after an interruption." : "",
    note ?? "",
  ]
    .filter(Boolean)
    .join(" ");
}

function statusOf({ role, reply, pending, state }) {
  if (role === "user") {
    if (pending === "waiting") return "Waiting for the connection: it will be sent then.";
    return pending === "sending" ? "Sending…" : "";
  }
  if (reply?.state === "cancelled" || (!reply && state === "cancelled")) return "Stopped.";
  if (!reply || reply.finished) return "";
  if (reply.stopping) return "Stopping…";
  if (reply.state === "queued") return waiting(reply);
  if (reply.text) return reply.heldUp ? "Held up for a moment: it goes on by itself." : "";
  return "Reading the prompt…";
}

function waiting({ position, eta, nobody, attempt }) {
  if (nobody) return "No node takes prompts just now: yours waits for one.";
  const again = attempt > 0 ? "The node fell silent; another try begins. " : "";
  if (!position) return `${again}Queued…`;
  const time = typeof eta === "number" ? `, about ${duration(eta)}` : "";
  return `${again}Queued: position ${position}${time}`;
}

function duration(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

function failure({ role, reply, state, reason }) {
  const failed = role === "assistant" && (reply ? reply.state === "failed" : state === "failed");
  return failed ? (reply?.reason ?? reason) || "The reply could not be written. Try again." : "";
}

function about({ model, node, usage }) {
  const speed = usage?.tokens_per_second;
  const where = [model, node].filter(Boolean).join(" on ");
  return [where, speed ? `${speed < 10 ? speed.toFixed(1) : Math.round(speed)} tokens/s` : ""].filter(Boolean).join(" · ");
}

/** The whole conversation in its scrolling frame; follows the end as long as the reader does. */
export class Transcript {
  constructor(actions) {
    this.actions = actions;
    this.messages = new Map();
    this.following = true;
    this.dirty = new Set();
    this.list = $("transcript");
    this.frame = $("scroller");
    this.latest = $("latest");
    this.top = 0;
    this.frame.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.latest.onclick = () => this.follow();
    new ResizeObserver(() => this.stay()).observe(this.list);
    new ResizeObserver(() => this.stay()).observe(this.frame);
  }

  /** Shows these messages in this order; what is there already is kept as it is. */
  show(path, versionsOf, busy) {
    const wanted = new Set(path);
    for (const [node, message] of this.messages) {
      if (wanted.has(node)) continue;
      message.element.remove();
      this.messages.delete(node);
    }
    let place = this.list.firstElementChild;
    for (const node of path) {
      let message = this.messages.get(node);
      if (!message) this.messages.set(node, (message = new Message(node, this.actions)));
      message.update(node, versionsOf(node), busy);
      if (message.element === place) place = place.nextElementSibling;
      else this.list.insertBefore(message.element, place);
    }
    this.stay();
  }

  /** Draws one message anew with the next frame, however many deltas come before that. */
  touch(node) {
    if (!this.dirty.size) requestAnimationFrame(() => this.flush());
    this.dirty.add(node);
  }

  flush() {
    for (const node of this.dirty) this.messages.get(node)?.update(node);
    this.dirty.clear();
    this.stay();
  }

  get atEnd() {
    return this.frame.scrollHeight - this.frame.scrollTop - this.frame.clientHeight < NEAR;
  }

  scrolled() {
    const up = this.frame.scrollTop < this.top;
    this.top = this.frame.scrollTop;
    if (this.atEnd) this.following = true;
    else if (up) this.following = false;
    this.latest.hidden = this.following;
  }

  follow() {
    this.following = true;
    this.latest.hidden = true;
    this.stay();
  }

  stay() {
    if (this.following) this.frame.scrollTop = this.frame.scrollHeight;
    else this.latest.hidden = this.atEnd;
  }
}
