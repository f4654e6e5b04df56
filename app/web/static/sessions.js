/** The list of sessions: open, find, rename, delete; a drawer on a phone. */

import { $, el, iconButton } from "./browser.js";
import { request } from "./server.js";

const DAY = 86_400_000; // ms

const name = (session) => session.title || "New session";

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
    this.changes = 0;
    this.titles = new Map();
    this.current = null;
    this.renaming = null;
    this.drawer = matchMedia("(max-width: 760px)");
    $("find").oninput = () => this.draw();
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
      this.list = (await request("GET", "/api/sessions")).sessions;
    }
    this.draw();
  }

  find(id) {
    return this.list.find((session) => session.id === id);
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
    this.change([found, ...this.list.filter((session) => session !== found)]);
  }

  /** We learnt what a session is called. */
  name(id, title) {
    this.titles.set(id, title);
    const found = this.find(id);
    if (!found || found.title === title) return;
    found.title = title;
    this.change(this.list);
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
    const shut = this.drawer.matches && !open;
    const wasOpen = document.body.classList.contains("drawer");
    document.body.classList.toggle("drawer", this.drawer.matches && open);
    $("shade").hidden = !(this.drawer.matches && open);
    $("side").inert = shut;
    $("main").inert = this.drawer.matches && open;
    $("open-side").setAttribute("aria-expanded", String(open));
    if (this.drawer.matches && open) $("close-side").focus();
    else if (wasOpen) $("open-side").focus();
  }

  draw() {
    if (this.renaming) return; // What is being typed must not be swept away.
    const wanted = $("find").value.trim().toLocaleLowerCase();
    const found = this.list.filter((session) => name(session).toLocaleLowerCase().includes(wanted));
    const groups = Map.groupBy ? Map.groupBy(found, (s) => group(Date.parse(s.updated_at))) : new Map([["Sessions", found]]);
    const parts = [...groups].map(([label, sessions]) => [
      el("h2", {}, label),
      el("ul", { role: "list" }, ...sessions.map((session) => this.row(session))),
    ]);
    const nothing = wanted ? "No title has these words." : "Your sessions will stand here.";
    $("sessions").replaceChildren(...(found.length ? parts.flat() : [el("p.nothing", {}, nothing)]));
  }

  row(session) {
    const current = session.id === this.current;
    const link = el("a", { href: `/s/${session.id}`, onclick: (event) => this.go(event, session.id), dir: "auto" }, name(session));
    if (current) link.setAttribute("aria-current", "page");
    const row = el("li", { className: current ? "current" : "" }, link);
    const rename = iconButton("edit", `Rename “${name(session)}”`, () => this.rename(session, row));
    const close = iconButton("archive", `Put “${name(session)}” into the archive`, () => this.close(session));
    const remove = iconButton("bin", `Delete “${name(session)}”`, () => this.remove(session));
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
    this.change(this.list.filter((one) => one.id !== session.id));
    this.handlers.removed(session.id);
  }

  async remove(session) {
    const ask = $("ask");
    $("ask-text").textContent = `“${name(session)}” and everything in it will be gone.`;
    ask.returnValue = "no"; // Also what Escape means.
    ask.showModal();
    await new Promise((resolve) => ask.addEventListener("close", resolve, { once: true }));
    if (ask.returnValue !== "yes") return;
    try {
      await request("DELETE", `/api/sessions/${session.id}`);
    } catch (error) {
      if (error.status !== 404) return this.handlers.trouble(error);
    }
    this.change(this.list.filter((one) => one.id !== session.id));
    this.handlers.removed(session.id);
  }
}
