/** What the page needs of the browser: elements, icons, trusted HTML, storage, the clipboard. */

const SVG = "http://www.w3.org/2000/svg";
const policy = window.trustedTypes?.createPolicy("meatlizard", { createHTML: (html) => html });

export const $ = (id) => document.getElementById(id);

/** Makes an element: `el("button.icon", {onclick}, "text", child)`. Properties with a dash become attributes. */
export function el(tag, properties = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || key === "role") element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** An icon of the sprite in icons.svg. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

/** A button that shows an icon and says `label` to those who cannot see it. */
export function iconButton(name, label, onclick) {
  return el("button.icon", { title: label, "aria-label": label, onclick }, icon(name));
}

/** The only place where HTML enters the page: the server sanitised it (app/services/markup.py). */
export function fragment(html) {
  const template = document.createElement("template");
  template.innerHTML = policy ? policy.createHTML(html) : html;
  return template.content;
}

/** A UUID; crypto.randomUUID is missing on plain http addresses other than localhost. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/** Puts text on the clipboard; plain http addresses have no navigator.clipboard. */
export async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = el("textarea.unseen", { value: text });
  const focused = document.activeElement;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
  focused?.focus();
}

/** What this browser keeps for one user: drafts, and prompts that are not accepted yet. */
export class Keep {
  constructor(user) {
    this.prefix = `meatlizard.${user}.`;
  }

  get(key, otherwise = null) {
    try {
      return JSON.parse(localStorage.getItem(this.prefix + key)) ?? otherwise;
    } catch {
      return otherwise; // Storage is off or spoilt: the page works without it.
    }
  }

  set(key, value) {
    try {
      if (value === null || value === "" || value.length === 0) localStorage.removeItem(this.prefix + key);
      else localStorage.setItem(this.prefix + key, JSON.stringify(value));
    } catch {
      // Full or off: what is typed still stands in the box.
    }
  }

  /** Forgets everything of this user, at sign-out. */
  clear() {
    const keys = Object.keys(localStorage).filter((key) => key.startsWith(this.prefix));
    for (const key of keys) localStorage.removeItem(key);
  }
}
