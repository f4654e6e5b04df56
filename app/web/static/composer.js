/** The box where prompts are written: grows, keeps drafts, sends with Enter, and never loses a text. */

import { $ } from "./browser.js";

const LIMIT = 32_000; // characters (code points) the server takes
const WARN = 30_000; // from here on the count is shown

const number = new Intl.NumberFormat("en");
const pairs = /[\ud800-\udbff][\udc00-\udfff]/g;
const lengthOf = (text) => (text.length < WARN ? text.length : text.length - (text.match(pairs)?.length ?? 0));

export const tooLong = (text) => lengthOf(text) > LIMIT;
export const LIMIT_WORDS = `A message may have ${number.format(LIMIT)} characters at most`;

export class Composer {
  /** `send(text)` returns whether the text was taken; `stop()` ends what is being written. */
  constructor(keep, { send, stop }) {
    Object.assign(this, { keep, send, session: "new", busy: false });
    this.box = $("box");
    this.growsAlone = CSS.supports("field-sizing", "content");
    this.box.addEventListener("input", () => this.changed());
    this.box.addEventListener("keydown", (event) => this.key(event));
    $("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    $("stop").onclick = () => {
      stop();
      this.focus();
    };
  }

  get text() {
    return this.box.value;
  }

  /** Shows the draft of a session. */
  open(session) {
    this.session = session ?? "new";
    this.box.value = this.keep.get(`draft.${this.session}`, "");
    this.changed();
  }

  /** The session that was new has an id now: what is typed meanwhile moves with it. */
  adopt(session) {
    this.keep.set("draft.new", null);
    this.session = session;
    this.changed();
  }

  /** Puts a text back that was not taken, before whatever was typed since. */
  restore(text) {
    if (!this.text.startsWith(text)) this.box.value = this.text ? `${text}\n\n${this.text}` : text;
    this.changed();
    this.focus();
  }

  setBusy(busy) {
    this.busy = busy;
    $("send").hidden = busy;
    $("stop").hidden = !busy;
    this.changed();
  }

  focus() {
    // On a phone the keyboard would cover what one wants to read.
    if (matchMedia("(hover: hover)").matches) this.box.focus();
  }

  changed() {
    const length = lengthOf(this.text);
    this.keep.set(`draft.${this.session}`, this.text);
    $("send").disabled = !this.text.trim() || length > LIMIT;
    const count = $("count");
    count.hidden = length < WARN;
    count.classList.toggle("error", length > LIMIT);
    this.box.setAttribute("aria-invalid", String(length > LIMIT));
    count.textContent =
      length > LIMIT
        ? `${LIMIT_WORDS}: ${number.format(length - LIMIT)} too many.`
        : `${number.format(length)} of ${number.format(LIMIT)} characters`;
    if (this.growsAlone) return;
    this.box.style.height = "auto";
    this.box.style.height = `${this.box.scrollHeight}px`;
  }

  key(event) {
    // While an input method composes, Enter chooses a word (229: Safari says so after the fact).
    const composing = event.isComposing || event.keyCode === 229;
    if (event.key !== "Enter" || event.shiftKey || composing) return;
    event.preventDefault();
    this.submit();
  }

  submit() {
    const text = this.text;
    if (!text.trim() || tooLong(text) || !this.send(text)) return;
    this.box.value = "";
    this.changed();
  }
}
