// Text of the traffic, of any length: shown as text, folded where it is long. JSON is indented where that is cheap.

import { element, fill } from "./dom.js";
import { count } from "./format.js";

/** Characters that are shown at once; the rest on demand. */
const SHOWN = 4096;
/** Longer JSON stays as it came. */
const LONGEST_SET_OUT = 200_000;
/** Longer JSON is not coloured: every word of it would be an element. */
const LONGEST_COLOURED = 24_000;
/** A text in one piece this long makes a browser stall while it breaks lines. */
const PIECE = 16_384;

/** A text, folded where it is long. `json` sets it out where it is an object or array. */
export function text(content, { json = false, classes = "" } = {}) {
  const setOut = json ? jsonSetOut(content) : null;
  const whole = setOut ?? content;
  const box = element("div", { class: `text ${setOut === null ? "" : "code"} ${classes}` });
  const write = (body, part) => {
    if (setOut !== null && part.length <= LONGEST_COLOURED) body.append(...coloured(part));
    else body.append(...pieces(part));
  };
  if (whole.length <= SHOWN) {
    const body = element("div", { class: "words", dir: "auto" });
    write(body, whole);
    box.append(body);
    return box;
  }
  const fold = (isFolded) => {
    const body = element("div", { class: isFolded ? "words" : "words scrolls", dir: "auto", tabindex: isFolded ? null : "0" });
    write(body, isFolded ? beginning(whole) : whole);
    const label = isFolded ? `Show all ${count(whole.length)} characters` : "Show less";
    const button = element("button", { class: "small unfold", type: "button", text: label, "aria-expanded": String(!isFolded) });
    button.addEventListener("click", () => {
      fold(!isFolded);
      box.querySelector(".unfold").focus();
    });
    body.classList.toggle("faded", isFolded);
    fill(box, body, button);
  };
  fold(true);
  return box;
}

/** Never half of a character. */
function beginning(whole) {
  const last = whole.charCodeAt(SHOWN - 1);
  const isHalf = last >= 0xd800 && last <= 0xdbff;
  return whole.slice(0, isHalf ? SHOWN - 1 : SHOWN);
}

function pieces(whole) {
  if (whole.length <= PIECE) return [whole];
  const found = [];
  for (let at = 0; at < whole.length; ) {
    let end = at + PIECE;
    if (end < whole.length) {
      const line = whole.lastIndexOf("\n", end);
      if (line > at) end = line + 1;
      else if (/[\ud800-\udbff]/.test(whole[end - 1])) end -= 1;
    }
    found.push(element("span", { class: "piece", text: whole.slice(at, end) }));
    at = end;
  }
  return found;
}

/**
 * JSON with line breaks and indentation, every literal as it was written, so numbers beyond a double's precision stay exact.
 * Null where it is no object or array, or too long.
 */
export function jsonSetOut(source) {
  if (source.length > LONGEST_SET_OUT || !/^\s*[[{]/.test(source)) return null;
  try {
    JSON.parse(source);
  } catch {
    return null;
  }
  let out = "";
  let depth = 0;
  const line = () => "\n" + "  ".repeat(Math.min(depth, 40));
  const tokens = source.match(/"(?:[^"\\]|\\.)*"|[[\]{}:,]|[^\s[\]{}:,"]+/gs) ?? [];
  for (let at = 0; at < tokens.length; at++) {
    const token = tokens[at];
    const next = tokens[at + 1];
    if (token === "{" || token === "[") {
      if (next === "}" || next === "]") {
        out += token + next;
        at += 1;
      } else {
        depth += 1;
        out += token + line();
      }
    } else if (token === "}" || token === "]") {
      depth -= 1;
      out += line() + token;
    } else if (token === ",") out += token + line();
    else if (token === ":") out += ": ";
    else out += token;
  }
  return out;
}

/** A JSON text as coloured words. */
function coloured(json) {
  const found = [];
  let end = 0;
  for (const match of json.matchAll(/("(?:[^"\\]|\\.)*")(\s*:)?|\b(?:true|false|null)\b|-?\d[\d.eE+-]*/gs)) {
    if (match.index > end) found.push(json.slice(end, match.index));
    const kind = match[1] ? (match[2] ? "json-key" : "json-text") : "json-value";
    found.push(element("span", { class: kind, text: match[1] ?? match[0] }));
    if (match[2]) found.push(match[2]);
    end = match.index + match[0].length;
  }
  found.push(json.slice(end));
  return found;
}
