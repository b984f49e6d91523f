// Elements from plain values. Text of the traffic stays text: nothing here takes markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element. `properties`: `class`, `text`, `on` (listeners), `vars` (custom properties of its style), anything else is an attribute. */
export function element(tag, properties = {}, ...children) {
  const created = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") created.className = value;
    else if (name === "text") created.textContent = value;
    else if (name === "on") for (const [event, listener] of Object.entries(value)) created.addEventListener(event, listener);
    else if (name === "vars") for (const [key, text] of Object.entries(value)) created.style.setProperty(key, text);
    else created.setAttribute(name, value === true ? "" : value);
  }
  created.append(...those(children));
  return created;
}

/** Replaces the children of `parent`. */
export function fill(parent, ...children) {
  parent.replaceChildren(...those(children));
}

/** Of children, some of which may be left out, those that are there. */
function those(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

/** One of the page's symbols. It says nothing: text beside it must. */
export function icon(name, classes = "") {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", `icon ${classes}`);
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** A name that somebody else chose: its writing direction stays within it. */
export function name(text, classes) {
  return element("bdi", { class: classes, text });
}

/** For screen readers alone. */
export function unseen(text) {
  return element("span", { class: "unseen", text });
}

/** Said by screen readers once. */
export function announce(text) {
  document.getElementById("announcer").textContent = text;
}

/** A button that copies the result of `give`, a text or a promise of one, and confirms it. */
export function copyButton(label, give, properties = {}) {
  const said = element("span", { text: label });
  const button = element("button", { class: "small", type: "button", ...properties }, icon("copy"), said);
  let back;
  button.addEventListener("click", async () => {
    const done = await copy(give).then(() => true, () => false);
    said.textContent = done ? "Copied" : "Could not copy";
    announce(said.textContent);
    clearTimeout(back);
    back = setTimeout(() => (said.textContent = label), 1600);
  });
  return button;
}

async function copy(give) {
  const text = await give();
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Pages without TLS on another host have no clipboard.
  const field = element("textarea", { class: "unseen" });
  field.value = text;
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  if (!done) throw new Error("refused");
}
