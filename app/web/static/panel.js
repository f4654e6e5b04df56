/** What all panels share: sends forms and buttons that say where to, asks before, says what came of it. */

import { $, copy, el } from "./browser.js";
import { Refused, request } from "./server.js";

const SHOWN = 4000; // ms that a toast stays
const KEPT = "meatlizard.toast"; // Said after the page has been loaded anew
const LOOK = 2000; // ms between two looks for what is to happen elsewhere

let fading, looking;

/** Says something in passing; errors stay a while longer. */
export function toast(words, bad = false) {
  const place = $("toast");
  place.textContent = words;
  place.classList.toggle("bad", bad);
  place.hidden = false;
  clearTimeout(fading);
  fading = setTimeout(() => (place.hidden = true), bad ? SHOWN * 2 : SHOWN);
}

/** Asks, and answers whether the person agreed. */
export function ask(title, yes = "Go on", text = "") {
  const dialog = $("ask");
  $("ask-title").textContent = title;
  $("ask-text").textContent = text;
  $("ask-text").hidden = !text;
  $("ask-yes").textContent = yes;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

/** The fields of a form as the object that its route wants. */
export function values(form) {
  const found = {};
  for (const field of form.elements) {
    if (!field.name || field.disabled || (field.type === "radio" && !field.checked)) continue;
    if (field.type === "checkbox") found[field.name] = field.checked;
    else if (field.value === "" && (field.type === "number" || "null" in field.dataset)) found[field.name] = null;
    else found[field.name] = field.type === "number" ? field.valueAsNumber : field.value;
  }
  return found;
}

/** What the person reads of an error. */
export function words(error) {
  return error instanceof Refused ? error.message : "The server cannot be reached. Check the connection and try again.";
}

async function send(sender, body, complain) {
  const { send: where, ask: question, yes, why } = sender.dataset;
  if (question && !(await ask(question, yes, why))) return;
  const [method, path] = where.split(" ");
  const buttons = sender.matches("form") ? sender.querySelectorAll("button") : [sender];
  for (const button of buttons) button.disabled = true;
  complain("");
  try {
    follow(sender, await request(method, path, body));
  } catch (error) {
    complain(words(error));
  } finally {
    for (const button of buttons) button.disabled = false;
  }
}

function follow(sender, answer) {
  const { done, show, then = show ? "stay" : "reload" } = sender.dataset;
  if (answer?.url) return location.assign(answer.url);
  if (show) reveal($(show), answer.secret);
  if (sender.dataset.used) awaitUse(sender.dataset, Date.now() + answer.minutes * 60_000);
  if (sender.matches("form")) sender.reset();
  if (then === "stay") return done && toast(done);
  if (done) sessionStorage.setItem(KEPT, done);
  if (then === "reload") location.reload();
  else location.assign(then);
}

function reveal(place, secret) {
  const button = el("button.quiet", { type: "button" }, "Copy");
  button.onclick = () => copy(secret).then(() => toast("Copied."));
  place.replaceChildren(el("code", {}, secret), button);
  place.hidden = false;
  place.closest("[hidden]")?.removeAttribute("hidden");
  place.scrollIntoView({ block: "nearest" });
}

/** Loads the page anew once it shows no such secret any more: it was used elsewhere. Who looks away costs nothing. */
function awaitUse({ show, used }, end) {
  clearTimeout(looking);
  looking = setTimeout(async () => {
    if (Date.now() > end) return;
    const answer = document.hidden ? null : await fetch(location.href).catch(() => null);
    if (!answer?.ok || answer.redirected || (await answer.text()).includes(`id="${show}"`)) return awaitUse({ show, used }, end);
    sessionStorage.setItem(KEPT, used);
    location.reload();
  }, LOOK);
}

addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-send]");
  if (!form) return;
  event.preventDefault();
  const place = form.querySelector("[role=alert]");
  send(form, values(form), (line) => (place ? (place.textContent = line) : line && toast(line, true)));
});

addEventListener("click", (event) => {
  const button = event.target.closest("button[data-send]");
  if (button) send(button, button.dataset.body && JSON.parse(button.dataset.body), (line) => line && toast(line, true));
});

/** Times in the reader's own zone and words. */
export function tell(root = document) {
  const ago = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    const whole = at.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
    time.title = whole;
    time.textContent = "ago" in time.dataset ? since(ago, (at - Date.now()) / 1000) : whole;
  }
}

function since(format, seconds) {
  for (const [unit, length] of [["day", 86_400], ["hour", 3600], ["minute", 60]]) {
    if (Math.abs(seconds) >= length) return format.format(Math.trunc(seconds / length), unit);
  }
  return seconds > 0 ? "in a moment" : "just now";
}

tell();
document.querySelector(".panel-list [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
const kept = sessionStorage.getItem(KEPT);
sessionStorage.removeItem(KEPT);
if (kept) toast(kept);
