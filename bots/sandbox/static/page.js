// The guild as one member sees it: looks again whenever something changed, and acts through the control API.

const $ = (id) => document.getElementById(id);
const state = { member: sessionStorage.member || "", channel: sessionStorage.channel || "", view: null, asked: 0 };

// What is not shown as it was written: mentions of channels and people, moments, and sealed text, which is a token of
// Fernet or any other long word without spaces, and of which the beginning says enough.
const SPECIAL = /<#(\d+)>|<@!?(\d+)>|<t:(\d+)(?::[a-zA-Z])?>|\S{80,}/g;
const CATEGORY = 4, TEXT = 0, DM = 1, THREADS = [10, 11, 12], SUBCOMMAND = 1, GROUP = 2;

async function api(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  };
  const response = await fetch(`/sandbox/${path}`, options);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.message + details(answer.errors));
  return answer;
}

function details(errors) {
  if (!errors) return "";
  const found = [];
  const look = (one, path) => {
    for (const [key, value] of Object.entries(one)) {
      if (key === "_errors") found.push(`${path.join(".")}: ${value[0].message}`);
      else look(value, [...path, key]);
    }
  };
  look(errors, []);
  return ` (${found.join("; ")})`;
}

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== false && value != null) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

// What is shown changes under the pointer many times a second: whatever is the same stays the same node, so that a press on
// it is not lost, nor the focus. A button is known by what it acts on (data-id), and is never turned into another one.
function place(box, parts) {
  const there = [...box.childNodes];
  parts.forEach((part, at) => {
    const old = there[at];
    if (!old) box.append(part);
    else if (old.isEqualNode(part)) return;
    else if (part.nodeType === 1 && part.nodeName !== "BUTTON" && old.cloneNode(false).isEqualNode(part.cloneNode(false))) {
      place(old, [...part.childNodes]);
    } else old.replaceWith(part);
  });
  there.slice(parts.length).forEach((old) => old.remove());
}

const notice = (text) => { $("notice").textContent = text; };

async function attempt(work) {
  try { notice(""); return await work(); } catch (error) { notice(error.message); return null; }
}

async function refresh() {
  const asked = ++state.asked;
  const view = await api(`view?member=${state.member}&channel=${state.channel}`);
  if (asked !== state.asked) return;
  state.view = view;
  state.channel = view.channel || "";
  sessionStorage.member = state.member;
  sessionStorage.channel = state.channel;
  draw();
}

function draw() {
  const { view } = state;
  $("guild").textContent = view.guild.name;
  document.title = `${view.guild.name} – sandbox`;
  drawChannels(view);
  const open = view.channels.find((one) => one.id === view.channel);
  $("channel").textContent = open ? `${open.type === DM ? "@" : "#"} ${open.label}` : "No channel you can see";
  drawMessages(view);
  place($("members"), view.members.map((one) => element("li", { class: one.online ? "" : "away" },
    `${one.online ? "● " : "○ "}${one.username} `, one.bot ? element("span", { class: "badge" }, "BOT") : "")));
  $("text").disabled = $("send").disabled = !view.may_send && !view.commands.length;
}

function drawChannels(view) {
  const button = (one) => element("button", {
    type: "button", class: THREADS.includes(one.type) ? "thread" : "", "aria-current": one.id === view.channel, "data-id": one.id,
    onclick: () => { state.channel = one.id; attempt(refresh); },
  }, `${one.type === DM ? "@" : THREADS.includes(one.type) ? "↳" : "#"} ${one.label}`);
  const threads = (id) => view.channels.filter((one) => THREADS.includes(one.type) && one.parent_id === id).map(button);
  const under = (id) => view.channels
    .filter((one) => one.parent_id === id && one.type !== CATEGORY && !THREADS.includes(one.type))
    .flatMap((one) => [button(one), ...threads(one.id)]);
  const seen = new Set(view.channels.map((one) => one.id));
  const loose = view.channels.filter((one) => one.type === TEXT && (!one.parent_id || !seen.has(one.parent_id)));
  const direct = view.channels.filter((one) => one.type === DM);
  const parts = loose.flatMap((one) => [button(one), ...threads(one.id)]);
  for (const one of view.channels.filter((each) => each.type === CATEGORY)) {
    parts.push(element("h3", {}, one.label), ...under(one.id));
  }
  if (direct.length) parts.push(element("h3", {}, "Direct messages"), ...direct.map(button));
  place($("channels"), parts);
}

function drawMessages(view) {
  const box = $("messages");
  const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 60;
  place(box, view.messages.map((one) => message(one, view)));
  if (atEnd) box.scrollTop = box.scrollHeight;
}

function message(one, view) {
  const names = new Map(view.members.map((each) => [each.id, each.username]));
  const time = new Date(one.timestamp).toLocaleTimeString();
  const used = one.interaction_metadata?.type === 2 ? `${one.interaction_metadata.user.username} used /${one.interaction_metadata.name} · ` : "";
  const head = element("div", { class: "head" }, used, element("span", { class: "name" }, one.author.username),
    ` ${time}${one.edited_timestamp ? " (edited)" : ""}${one.only_for ? " · only you can see this" : ""}`);
  const body = element("div", { class: "body" });
  const loading = one.flags & 128;
  const text = one.content.replace(/<@!?(\d+)>/g, (whole, id) => names.has(id) ? `@${names.get(id)}` : whole);
  if (loading) body.append("thinking …");
  else body.append(...cut(text));
  const parts = [head, body];
  for (const each of one.embeds) {
    const fields = (each.fields || []).map((field) => element("div", {}, element("b", {}, field.name), ` ${field.value}`));
    parts.push(element("div", { class: "embed" }, element("b", {}, each.title || ""), " ", each.description || "", ...fields));
  }
  for (const each of one.attachments) {
    parts.push(element("div", {}, "📎 ", element("a", { href: each.url }, each.filename), ` ${each.size.toLocaleString()} bytes`));
  }
  const buttons = rows(one.components);
  if (buttons.length) parts.push(element("div", { class: "buttons" }, ...buttons.map((each) => press(one, each))));
  return element("div", { class: `message${one.only_for ? " ephemeral" : ""}`, "data-id": one.id }, ...parts);
}

function cut(text) {
  const parts = [];
  let end = 0;
  for (const found of text.matchAll(SPECIAL)) {
    parts.push(text.slice(end, found.index), special(...found));
    end = found.index + found[0].length;
  }
  return [...parts, text.slice(end)];
}

function special(words, channel, person, moment) {
  if (moment) return element("time", {}, new Date(moment * 1000).toLocaleString());
  const one = channel ? state.view.channels.find(({ id }) => id === channel) : state.view.members.find(({ id }) => id === person);
  if (channel && one) {
    const open = () => { state.channel = channel; attempt(refresh); };
    return element("button", { type: "button", class: "mention", "data-id": channel, onclick: open }, `# ${one.name}`);
  }
  if (channel || person) return element("span", { class: "mention" }, one ? `@${one.username}` : words);
  return element("span", { class: "sealed", title: `${words.length} characters` }, `${words.slice(0, 24)}… (${words.length})`);
}

const rows = (components) => (components || []).flatMap((one) => one.type === 2 ? [one] : rows(one.components));

function press(one, button) {
  // A button that is a link asks no bot anything.
  if (button.url) return element("a", { class: "link", href: button.url, target: "_blank", rel: "noopener noreferrer" }, button.label || button.url);
  return element("button", {
    type: "button", disabled: Boolean(button.disabled), "data-id": `${one.id} ${button.custom_id}`,
    onclick: () => attempt(async () => {
      notice("…");
      const answer = await api("press", { member: state.member, message: one.id, custom_id: button.custom_id });
      notice(answer.state === "failed" ? "This interaction failed: the bot did not answer in 3 seconds." : "");
    }),
  }, button.label || button.emoji?.name || button.custom_id);
}

// "/limits set user:ada most: 5" -> the command's path and its options by name; the last one typed has the focus.
function typed(text) {
  const words = text.slice(1);
  const command = state.view.commands.filter((one) => words === one.name || words.startsWith(`${one.name} `))[0];
  if (!command) return { command: null, word: words };
  let path = [command.name], options = command.options || [], rest = words.slice(command.name.length).trimStart();
  while (options.length && (options[0].type === SUBCOMMAND || options[0].type === GROUP)) {
    const step = options.find((one) => rest === one.name || rest.startsWith(`${one.name} `));
    if (!step) return { command, path, options, steps: true, word: rest };
    path = [...path, step.name];
    rest = rest.slice(step.name.length).trimStart();
    options = step.options || [];
  }
  const given = {};
  let focused = null;
  const names = options.map((one) => one.name).join("|");
  if (names) {
    const marks = [...rest.matchAll(new RegExp(`(?:^|\\s)(${names}):`, "g"))];
    marks.forEach((mark, index) => {
      const until = index + 1 < marks.length ? marks[index + 1].index : rest.length;
      given[mark[1]] = rest.slice(mark.index + mark[0].length, until).trim();
      focused = mark[1];
    });
    // One option needs no name before it.
    if (!marks.length && rest) { given[options[0].name] = rest; focused = options[0].name; }
  }
  return { command, path, options, given, focused, rest };
}

// "@Server-Bot hello" names a member, as in Discord's own client.
function mentioning(text) {
  const plain = (name) => name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const longest = [...state.view.members].sort((one, other) => other.username.length - one.username.length);
  return longest.reduce((told, one) => told.replace(new RegExp(`(?<!\\S)@${plain(one.username)}(?!\\w)`, "gi"), `<@${one.id}>`), text);
}

let suggesting = 0;
async function suggest() {
  const mine = ++suggesting;
  const text = $("text").value;
  const show = (found) => {
    if (mine !== suggesting) return;
    $("suggestions").replaceChildren(...found.map(([label, hint, fill]) => element("button", {
      type: "button", onclick: () => { $("text").value = fill; $("text").focus(); suggest(); },
    }, label, element("small", {}, hint || ""))));
  };
  if (!text.startsWith("/")) {
    const begun = text.match(/(?<!\S)@([^@\n]*)$/);
    const fits = begun ? state.view.members.filter((one) => one.username.toLowerCase().startsWith(begun[1].toLowerCase())) : [];
    return show(fits.map((one) => [`@${one.username}`, "", `${text.slice(0, begun.index)}@${one.username} `]));
  }
  const now = typed(text);
  if (!now.command) {
    const fits = state.view.commands.filter((one) => one.name.startsWith(now.word));
    return show(fits.map((one) => [`/${one.name}`, one.description, `/${one.name} `]));
  }
  if (now.steps) {
    const fits = now.options.filter((one) => one.name.startsWith(now.word));
    return show(fits.map((one) => [`/${now.path.join(" ")} ${one.name}`, one.description, `/${now.path.join(" ")} ${one.name} `]));
  }
  const before = text.slice(0, text.length - (now.focused ? now.given[now.focused].length : 0));
  const option = now.options.find((one) => one.name === now.focused);
  if (option?.choices) return show(option.choices.map((one) => [String(one.name), "", before + one.value]));
  if (option?.type === 5) return show(["true", "false"].map((one) => [one, "", before + one]));
  if (option?.type === 6) return show(state.view.members.map((one) => [one.username, "", before + one.id]));
  if (option?.autocomplete) {
    const answer = await attempt(() => api("complete", {
      member: state.member, channel: state.channel, command: now.path.join(" "), options: now.given, focused: now.focused,
    }));
    return show((answer?.choices || []).map((one) => [String(one.name), "", before + one.value]));
  }
  const left = now.options.filter((one) => !(one.name in now.given));
  return show(left.map((one) => [`${one.name}:`, one.description, `${text.trimEnd()} ${one.name}:`]));
}

async function send() {
  const text = $("text").value.trim();
  if (!text) return;
  const where = { member: state.member, channel: state.channel };
  const answer = await attempt(async () => {
    if (!text.startsWith("/")) return api("messages", { ...where, content: mentioning(text) });
    const now = typed(text);
    if (!now.command) throw new Error("There is no such command here.");
    notice("waiting for the bot …");
    const ran = await api("run", { ...where, command: now.path.join(" "), options: now.given || {} });
    if (ran.state === "failed") throw new Error("The application did not respond: 3 seconds are over.");
    return ran;
  });
  if (answer) { $("text").value = ""; notice(""); suggest(); }
}

$("composer").addEventListener("submit", (event) => { event.preventDefault(); send(); });
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); send(); }
});
$("text").addEventListener("input", suggest);
$("member").addEventListener("change", () => { state.member = $("member").value; attempt(refresh); });

async function people() {
  const dump = await api("dump");
  const found = dump.users.filter((one) => !one.bot);
  if (!found.some((one) => one.id === state.member)) state.member = found[0].id;
  $("member").replaceChildren(...found.map((one) => element("option", { value: one.id, selected: one.id === state.member }, one.username)));
}

async function live() {
  let away = false;
  for (;;) {
    try {
      if (!state.view) { await people(); await refresh(); }
      if (away) { await refresh(); notice(""); away = false; }
      const { version } = await api(`wait?since=${state.view.version}`);
      // What a person is told stays until they do something else, however much happens meanwhile.
      if (version !== state.view.version) await refresh();
    } catch (error) {
      away = true;
      notice(`The sandbox is away: ${error.message}`);
      await new Promise((done) => setTimeout(done, 1000));
    }
  }
}

live();
