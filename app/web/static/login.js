/** The sign-in form: says at the field what is wrong, and goes on to where the user wanted to be. */

import { $ } from "./browser.js";
import { offer } from "./providers.js";
import { request } from "./server.js";

const form = $("login");

/** Only an address of our own: a link that somebody sent must not lead elsewhere after the password. */
function destination() {
  const next = new URLSearchParams(location.search).get("next") ?? "/";
  const url = URL.canParse(next, location.origin) ? new URL(next, location.origin) : null;
  return url?.origin === location.origin && next.startsWith("/") ? url : new URL("/", location.origin);
}

/** The whole address: the path of "/.//elsewhere" alone would be read as another host. */
const goOn = () => location.replace(destination().href);

function complain(field, message) {
  $(`${field}-error`).textContent = message;
  $(field).setAttribute("aria-invalid", String(Boolean(message)));
  return !message;
}

function refuse(error) {
  const offline = "The server cannot be reached. Check the connection and try again.";
  $("login-error").textContent = error instanceof TypeError ? offline : error.message;
}

offer(() => ({ next: destination().pathname + destination().search }), refuse);

form.onsubmit = async (event) => {
  event.preventDefault();
  const [name, password] = [$("name"), $("password")];
  $("login-error").textContent = "";
  const named = complain("name", name.value.trim() ? "" : "Write your name.");
  const proved = complain("password", password.value ? "" : "Write your password.");
  if (!named || !proved) return (named ? password : name).focus();
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    await request("POST", "/api/login", { name: name.value.trim(), password: password.value });
    goOn();
  } catch (error) {
    refuse(error);
    password.focus();
    password.select();
  } finally {
    button.disabled = false;
  }
};

/** Whoever came by a link from elsewhere is signed in all along: their cookie is only not sent along with such a link. */
async function passOn() {
  const answer = await fetch("/api/me").catch(() => null);
  if (answer?.ok && !(await answer.json()).guest) goOn();
}

if (new URLSearchParams(location.search).has("next")) passOn();
