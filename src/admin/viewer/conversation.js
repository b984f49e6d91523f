// The messages of a model call: read from the attributes of its span, and as elements of the page.

import { element, icon, name } from "./dom.js";
import { counted } from "./format.js";
import { text } from "./text.js";
import * as key from "./keys.js";

/** Of a longer history the middle is folded. */
const LONGEST_HISTORY = 6;
const SHOWN_FIRST = 2;
const SHOWN_LAST = 3;

/** The messages that were sent, and the choices that came back: objects of `role`, `content`, `name`, `calls`, `answers` and so on. */
export function conversationOf(attributes) {
  const lists = { prompt: [], completion: [] };
  for (const [attribute, value] of Object.entries(attributes)) {
    const found = /^gen_ai\.(prompt|completion)\.(\d+)\.(\w+)$/.exec(attribute);
    if (found) (lists[found[1]][Number(found[2])] ??= {})[found[3]] = value;
  }
  const messages = lists.prompt.filter(Boolean).map(message);
  const replies = lists.completion.filter(Boolean).map(message);
  return { messages: withResults(messages), replies };
}

function message(given) {
  return { ...given, role: given.role ?? "unknown", calls: callsOf(given) };
}

function callsOf(given) {
  const parsed = parse(given.tool_calls);
  const calls = (Array.isArray(parsed) ? parsed : []).map((call) => ({
    id: call?.id ?? null,
    name: call?.function?.name ?? call?.custom?.name ?? "unknown",
    input: asText(call?.function?.arguments ?? call?.custom?.input ?? ""),
  }));
  const single = parse(given.function_call);
  if (single) calls.push({ id: null, name: single.name ?? "unknown", input: asText(single.arguments ?? "") });
  return calls;
}

/** Puts a tool's message beside the call that it answers. */
function withResults(messages) {
  const waiting = new Map();
  const kept = [];
  for (const message of messages) {
    for (const call of message.calls) if (call.id) waiting.set(call.id, call);
    const call = message.role === "tool" ? waiting.get(message.tool_call_id) : undefined;
    if (call && call.result === undefined) call.result = message.content ?? "";
    else kept.push(message);
  }
  return kept;
}

/** All of it as elements: the history, folded in its middle, then the reply. */
export function conversation(span) {
  const { messages, replies } = conversationOf(span.attributes);
  const parts = [];
  if (messages.length === 0 && replies.length === 0) {
    const why = span.status === "open"
      ? "The model has not answered yet."
      : "No content was kept of this call: it had none, or the gateway was told to keep metadata alone.";
    return [element("p", { class: "quiet", text: why })];
  }
  if (messages.length > 0) parts.push(section("Conversation", counted(messages.length, "message"), history(messages), "history"));
  if (replies.length > 0) {
    const several = replies.length > 1;
    const shown = replies.map((reply, number) => messageElement(reply, several ? `choice ${number + 1}` : null));
    parts.push(section("Reply", (span.attributes[key.FINISH_REASONS] ?? []).join(", "), shown, "reply"));
  } else if (span.status === "open") {
    parts.push(section("Reply", "", [element("p", { class: "quiet waiting", text: "The model has not answered yet." })], "reply"));
  } else {
    parts.push(section("Reply", "", [element("p", { class: "quiet", text: "Nothing came back." })], "reply"));
  }
  return parts;
}

function section(title, note, content, classes) {
  return element(
    "section",
    { class: `part ${classes}` },
    element("h3", {}, title, note && element("span", { class: "note", text: note })),
    content,
  );
}

function history(messages) {
  if (messages.length <= LONGEST_HISTORY) return messages.map((message) => messageElement(message));
  const middle = messages.slice(SHOWN_FIRST, -SHOWN_LAST);
  const button = element("button", {
    class: "middle",
    type: "button",
    text: `Show ${counted(middle.length, "message")} in between`,
  });
  button.addEventListener("click", () => {
    const shown = middle.map((message) => messageElement(message));
    button.replaceWith(...shown);
    shown[0].tabIndex = -1;
    shown[0].focus({ preventScroll: true });
  });
  return [
    ...messages.slice(0, SHOWN_FIRST).map((message) => messageElement(message)),
    button,
    ...messages.slice(-SHOWN_LAST).map((message) => messageElement(message)),
  ];
}

function messageElement(message, note) {
  const by = message.name && message.name !== message.role;
  const head = element(
    "div",
    { class: "message-head" },
    element("span", { class: "role", text: message.role }),
    by && name(message.name, "by"),
    message.tool_call_id && element("code", { class: "id", text: message.tool_call_id }),
    note && element("span", { class: "note", text: note }),
  );
  const isKnown = /^(system|developer|user|assistant|tool|function)$/.test(message.role);
  return element(
    "article",
    { class: `message role-${isKnown ? message.role : "other"}` },
    head,
    message.reasoning && element("details", { class: "reasoning" }, element("summary", { text: "Reasoning" }), text(message.reasoning)),
    content(message),
    message.refusal && element("div", { class: "refusal" }, icon("error"), element("strong", { text: "Refused" }), text(message.refusal)),
    message.calls.map(callElement),
  );
}

function content(message) {
  if (typeof message.content !== "string" || message.content === "") return null;
  const parts = message.content.startsWith("[{") ? parse(message.content) : null;
  const areParts = Array.isArray(parts) && parts.length > 0 && parts.every((part) => typeof part?.type === "string");
  if (!areParts) return text(message.content, { json: true });
  return parts.map((part) => {
    if (typeof part.text === "string") return text(part.text);
    const whole = JSON.stringify(part);
    return element("div", { class: "other-part" }, element("span", { class: "note", text: part.type.replaceAll("_", " ") }), text(whole, { json: true }));
  });
}

/** A call of a tool, its result beside it. */
export function callElement(call) {
  const asked = element(
    "div",
    { class: "call-side" },
    element("div", { class: "call-title" }, icon("tool"), name(call.name, "call-name"), call.id && element("code", { class: "id", text: call.id })),
    call.input.trim() === "" || call.input.trim() === "{}" ? element("p", { class: "quiet", text: "no arguments" }) : text(call.input, { json: true }),
  );
  const came = call.result === undefined
    ? null
    : element("div", { class: "call-side came" }, element("div", { class: "call-title", text: "Result" }), text(call.result, { json: true }));
  return element("div", { class: "call" }, asked, came);
}

/** The tools on offer, from their JSON. */
export function toolsOf(json) {
  const parsed = parse(json);
  if (!Array.isArray(parsed)) return [];
  return parsed.map((tool) => {
    const definition = tool?.function ?? tool?.custom ?? tool ?? {};
    return { name: String(definition.name ?? tool?.type ?? "unknown"), description: definition.description ?? "", parameters: definition.parameters ?? null };
  });
}

function parse(json) {
  if (typeof json !== "string") return null;
  try {
    return JSON.parse(json);
  } catch {
    return null;
  }
}

function asText(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}
