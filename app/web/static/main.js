/** Puts the page together: list, conversation, box, address bar, and what is said above the box. */

import { $, Keep } from "./browser.js";
import { Chat, here } from "./chat.js";
import { Composer, LIMIT_WORDS, tooLong } from "./composer.js";
import { Refused, request, signIn } from "./server.js";
import { Sessions } from "./sessions.js";
import { Transcript } from "./transcript.js";

const keep = new Keep(document.body.dataset.user);

const page = {
  show(chat) {
    const { path, unfinished } = chat;
    $("empty").hidden = path.length > 0 || chat.session !== null;
    transcript.show(path, (node) => chat.tree.versions(node), Boolean(unfinished));
    composer.setBusy(Boolean(unfinished));
  },

  touch(node) {
    transcript.touch(node);
  },

  restore(text) {
    composer.restore(text);
  },

  notice(words) {
    $("notice-text").textContent = words;
    $("notice").hidden = !words;
  },

  connection(state) {
    $("pill").hidden = state !== "lost" && navigator.onLine;
    $("pill").textContent = navigator.onLine ? "Reconnecting…" : "Offline – your text is kept";
  },

  made(id) {
    history.pushState(null, "", `/s/${id}`);
    composer.adopt(id);
    sessions.select(id);
    sessions.touch(id);
  },

  titled(id, title) {
    if (title) sessions.name(id, title);
    heading();
  },

  used(id) {
    sessions.touch(id);
  },

  gone() {
    keep.set(`draft.${chat.session}`, null);
    open(null, "replaceState", [...chat.unsent(chat.session), composer.text]);
    page.notice("This session is not here: it was deleted, or it is not yours.");
  },
};

const actions = {
  retry: (node) => chat.retry(node),
  switch: (node, step) => chat.switchVersion(node, step),
  edit(node, text) {
    if (tooLong(text)) page.notice(`${LIMIT_WORDS}.`);
    else if (send(text, node.parent)) return true;
    return false;
  },
};

const transcript = new Transcript(actions);
const composer = new Composer(keep, { send, stop: () => chat.stop() });
const chat = new Chat(keep, page);
const sessions = new Sessions({
  open: (id) => open(id),
  renamed: heading,
  removed: (id) => id === chat.session && open(null, "replaceState"),
  trouble: (error) => page.notice(error instanceof Refused ? error.message : "The server cannot be reached. Try again."),
});

function send(text, parent) {
  if (chat.unfinished) {
    page.notice("A reply is being written. Wait for it, or stop it first: your text stays here.");
    return false;
  }
  page.notice("");
  transcript.follow();
  return chat.send(text, parent);
}

function heading() {
  const title = chat.session ? sessions.titleOf(chat.session) : "New session";
  $("title").textContent = title;
  document.title = chat.session ? `${title} – MeatLizard` : "MeatLizard";
}

function open(session, how = "pushState", typed = []) {
  if (how) history[how](null, "", session ? `/s/${session}` : "/");
  page.notice("");
  $("pill").hidden = true;
  transcript.follow();
  const drafts = [...typed, ...chat.unsent(), keep.get("draft.new", "")].filter(Boolean);
  keep.set("draft.new", drafts.join("\n\n"));
  composer.open(session);
  chat.open(session);
  sessions.select(session);
  heading();
  composer.focus();
  if (!session) sayWhoAnswers();
}

/** Tells the user of an empty page who will answer. */
async function sayWhoAnswers() {
  const { nodes } = (chat.platform = await request("GET", "/api/state").catch(() => ({ nodes: null })));
  if (!nodes) return;
  const names = here(nodes).map(({ name, model }) => (model ? `${model} on ${name}` : name));
  const many = names.length > 2 ? `${names.slice(0, 2).join(", ")} and ${names.length - 2} more` : names.join(" and ");
  $("answers").textContent = names.length
    ? `${many} will answer.`
    : "No node takes prompts just now: yours will wait for one.";
}

$("notice-close").onclick = () => (page.notice(""), composer.focus());
$("logout")?.addEventListener("click", async () => {
  await request("POST", "/api/logout").catch(() => null);
  keep.clear();
  signIn();
});
for (const example of document.querySelectorAll(".example")) {
  example.addEventListener("click", () => send(example.textContent));
}

addEventListener("popstate", () => open(location.pathname.match(/^\/s\/([^/]+)/)?.[1] ?? null, null));
addEventListener("keydown", (event) => {
  const elsewhere = event.defaultPrevented || $("ask").open || $("side").contains(event.target);
  if (event.key === "Escape" && !elsewhere && chat.unfinished) chat.stop();
});
for (const change of ["online", "offline"]) {
  addEventListener(change, () => {
    page.connection(chat.socket?.open || !chat.session ? "open" : "lost");
    chat.socket?.hurry();
  });
}
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  chat.socket?.hurry();
  refresh();
});

function refresh() {
  return sessions.refresh().then(heading, () => null); // The list can wait; the conversation says what is wrong.
}

open(document.body.dataset.session || null, null);
refresh();
