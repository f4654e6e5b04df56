/** The list of sessions: open, find, rename, delete; a drawer on a phone. */

import { $, el, iconButton } from "./browser.js";
import { request } from "./server.js";

const DAY = 86_400_000; // ms
const TYPING = 250; // ms of rest after which the server is asked to search
const rows = $("sessions");
const LIST = "/api/sessions?";

const name = ({ title }) => title || "New session";

function group(time) {
  const midnight = new Date().setHours(0, 0, 0, 0);
  if (time >= midnight) return "Today";
  if (time >= midnight - DAY) return "Yesterday";
  return time >= midnight - 6 * DAY ? "This week" : "Earlier";
}

export class Sessions {
  /** `open(id | null)` shows a session or a new one; `renamed()`, `removed(id)` and `trouble(error)` say what happened here. */
  constructor(handlers) {
    this.handlers = handlers;
    this.list = [];
    this.next = null; // where the server's list goes on; `hunt` has the same for what is searched
    this.changes = 0;
    this.titles = new Map();
    this.current = null;
    this.renaming = null;
    this.drawer = matchMedia("(max-width: 760px)");
    $("find").oninput = () => this.search();
    this.watch = new IntersectionObserver(([seen]) => seen.isIntersecting && this.older(), { root: rows, rootMargin: "300px" });
    for (const id of ["new", "new-phone"]) $(id).onclick = (event) => this.go(event, null);
    $("open-side").onclick = () => this.toggle(true);
    $("close-side").onclick = $("shade").onclick = () => this.toggle(false);
    $("side").addEventListener("keydown", ({ key }) => {
      if (key === "Escape" && this.drawer.matches) this.toggle(false);
    });
    this.drawer.onchange = () => this.toggle(false);
    this.toggle(false);
  }

  async refresh() {
    for (let changes = -1; changes !== this.changes; ) {
      changes = this.changes; // An answer from before something changed here is out of date.
      const { sessions, next } = await request("GET", LIST);
      this.list = [...sessions, ...this.list.filter((one) => next && one.updated_at < sessions.at(-1).updated_at)];
      if (!this.next || !next) this.next = next;
    }
    this.draw();
  }

  /** Searches what is here at once, and the rest on the server when the typing rests. */
  search() {
    const words = $("find").value.trim();
    const hunt = (this.hunt = words && this.next && { path: `${LIST}find=${encodeURIComponent(words)}&`, next: false });
    clearTimeout(this.typing);
    this.typing = setTimeout(() => hunt && ((hunt.next = ""), this.draw()), TYPING);
    this.draw();
  }

  /** Gets the next older ones, of all or of what is searched. */
  async older(byHand) {
    const hunt = this.hunt || this;
    if (this.asking === hunt || typeof hunt.next !== "string") return;
    this.asking = hunt;
    let found = [];
    try {
      const page = await request("GET", `${hunt.path ?? LIST}before=${hunt.next}`);
      found = page.sessions.filter(({ id }) => !this.find(id));
      hunt.next = page.next;
    } catch (error) {
      return byHand && this.handlers.trouble(error);
    } finally {
      this.asking = null;
    }
    this.list = [...this.list, ...found].sort((a, b) => b.updated_at.localeCompare(a.updated_at));
    this.draw();
    if (byHand) this.focus(`/s/${found[0]?.id}`);
  }

  focus(address) {
    rows.querySelector(`[href="${address}"]`)?.focus({ preventScroll: true });
  }

  find(id) {
    return this.list.find((one) => one.id === id);
  }

  change(list) {
    this.list = list;
    this.changes += 1;
    this.draw();
  }

  /** A session was made or used: it comes first. */
  touch(id) {
    const found = this.find(id) ?? { id, title: this.titles.get(id) };
    found.updated_at = new Date().toISOString();
    this.change([found, ...this.list.filter((one) => one !== found)]);
  }

  /** We learnt what a session is called. */
  name(id, title) {
    this.titles.set(id, title);
    const found = this.find(id);
    if (!found || found.title === title) return;
    found.title = title;
    this.change(this.list);
  }

  drop({ id }) {
    this.change(this.list.filter((one) => one.id !== id));
    this.handlers.removed(id);
  }

  select(id) {
    this.current = id;
    $("download").hidden = !id;
    $("download").href = `/api/sessions/${id}/transcript`;
    this.draw();
  }

  titleOf(id) {
    return name({ title: this.find(id)?.title || this.titles.get(id) });
  }

  /** Leaves links to the browser when they are opened in another tab. */
  go(event, id) {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
    event.preventDefault();
    this.toggle(false);
    this.handlers.open(id);
  }

  toggle(open) {
    const drawer = this.drawer.matches;
    const shown = drawer && open;
    const { classList } = document.body;
    const wasOpen = classList.contains("drawer");
    classList.toggle("drawer", shown);
    $("shade").hidden = !shown;
    $("side").inert = drawer && !open;
    $("main").inert = shown;
    $("open-side").setAttribute("aria-expanded", String(open));
    if (shown) $("close-side").focus();
    else if (wasOpen) $("open-side").focus();
  }

  draw() {
    if (this.renaming) return; // What is being typed must not be swept away.
    const words = $("find").value.trim().toLocaleLowerCase().split(/\s+/);
    const found = this.list.filter((one) => words.every((word) => name(one).toLocaleLowerCase().includes(word)));
    const groups = {};
    for (const one of found) (groups[group(Date.parse(one.updated_at))] ??= []).push(one);
    const parts = Object.entries(groups).map(([label, sessions]) => [
      el("h2", {}, label),
      el("ul", { role: "list" }, ...sessions.map((session) => this.row(session))),
    ]);
    const more = (this.hunt || this).next != null && el("button.older", { onclick: () => this.older(true) }, "Older sessions");
    if (more) parts.push(more);
    if (!parts.length) parts.push(el("p.nothing", {}, words[0] ? "No title has these words." : "Your sessions will stand here."));
    const held = document.activeElement?.closest("#sessions a")?.getAttribute("href");
    rows.replaceChildren(...parts.flat());
    if (held) this.focus(held);
    this.watch.disconnect();
    if (more) this.watch.observe(more);
  }

  row(session) {
    const title = name(session);
    const current = session.id === this.current;
    const link = el("a", { href: `/s/${session.id}`, onclick: (event) => this.go(event, session.id), dir: "auto" }, title);
    if (current) link.setAttribute("aria-current", "page");
    const row = el("li", { className: current ? "current" : "" }, link);
    const rename = iconButton("edit", `Rename “${title}”`, () => this.rename(session, row));
    const close = iconButton("archive", `Put “${title}” into the archive`, () => this.close(session));
    const remove = iconButton("bin", `Delete “${title}”`, () => this.remove(session));
    row.append(el("span.row-buttons", {}, rename, close, remove));
    return row;
  }

  rename(session, row) {
    const input = el("input", { value: session.title, maxLength: 200, dir: "auto", "aria-label": "Title of the session" });
    this.renaming = session.id;
    const end = async (save) => {
      if (this.renaming !== session.id) return;
      this.renaming = null;
      const title = input.value.trim();
      if (save && title && title !== session.title) {
        try {
          await request("PATCH", `/api/sessions/${session.id}`, { title });
          this.name(session.id, title);
          this.handlers.renamed();
        } catch (error) {
          this.handlers.trouble(error);
        }
      }
      this.draw();
    };
    input.onkeydown = (event) => {
      event.stopPropagation();
      if (event.key === "Enter" && !event.isComposing) end(true);
      if (event.key === "Escape") end(false);
    };
    input.onblur = () => end(true);
    row.replaceChildren(input);
    input.focus();
    input.select();
  }

  async close(session) {
    try {
      await request("POST", `/api/sessions/${session.id}/close`);
    } catch (error) {
      return this.handlers.trouble(error);
    }
    this.drop(session);
  }

  async remove(session) {
    const ask = $("ask");
    $("ask-text").textContent = `“${name(session)}” and everything in it will be gone.`;
    ask.returnValue = "no"; // As does Escape.
    ask.showModal();
    await new Promise((resolve) => ask.addEventListener("close", resolve, { once: true }));
    if (ask.returnValue !== "yes") return;
    try {
      await request("DELETE", `/api/sessions/${session.id}`);
    } catch (error) {
      if (error.status !== 404) return this.handlers.trouble(error);
    }
    this.drop(session);
  }
}
