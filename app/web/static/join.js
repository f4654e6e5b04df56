/** The sign-up form: reads the invitation from behind the # of the address, says what it is for, makes the account. */

import { $ } from "./browser.js";
import { offer } from "./providers.js";
import { Refused, request } from "./server.js";

const form = $("join");
const code = location.hash.slice(1); // As it was made: letters, digits, - and _ need no decoding, and junk must not end the page.
const SHORTEST = 10; // Characters of a password, as app/services/passwords.py has it

function say(words) {
  $("invited").textContent = words;
  $("invited").hidden = !words;
}

function complain(field, message) {
  $(`${field}-error`).textContent = message;
  $(field).setAttribute("aria-invalid", String(Boolean(message)));
  return !message;
}

function words(error) {
  return error instanceof Refused ? error.message : "The server cannot be reached. Check the connection and try again.";
}

async function begin() {
  if (code) {
    try {
      const { role, made_by: by } = await request("POST", "/api/invitations/look", { invitation: code });
      const whom = by === "cli" ? "You are invited" : `${by} invites you`; // On the command line nobody has a name.
      say(`${whom}${role === "member" ? "" : `, as ${role}`}.`);
    } catch (error) {
      return say(words(error));
    }
  } else if (document.body.dataset.signUp !== "open") {
    return say("One comes here by invitation. Ask whoever runs this platform for a link.");
  }
  form.hidden = false;
  $("others")?.removeAttribute("hidden");
  $("name").focus();
}

form.onsubmit = async (event) => {
  event.preventDefault();
  const [name, password] = [$("name"), $("password")];
  $("join-error").textContent = "";
  const named = complain("name", name.value.trim() ? "" : "Choose a name.");
  const proved = complain("password", password.value.length >= SHORTEST ? "" : `${SHORTEST} characters at least.`);
  if (!named || !proved) return (named ? password : name).focus();
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    await request("POST", "/api/join", { invitation: code || null, name: name.value, password: password.value });
    location.replace("/");
  } catch (error) {
    $("join-error").textContent = words(error);
  } finally {
    button.disabled = false;
  }
};

offer(
  () => ({ invitation: code || null }),
  (error) => ($("join-error").textContent = words(error)),
);
begin();
