// One span in detail: error, conversation, cost, identity, and the rule that placed it.

import { copyButton, element, icon, name } from "./dom.js";
import { clock, count, duration, milliseconds } from "./format.js";
import { jsonSetOut, text } from "./text.js";
import { callElement, conversation, toolsOf } from "./conversation.js";
import { titleOf } from "./layout.js";
import { outcomeInWords, ruleInWords } from "./phrases.js";
import { listHash } from "./route.js";
import * as key from "./keys.js";

const KINDS = { workflow: "Team", agent: "Agent", chat: "Model call", tool: "Tool", task: "Request" };

/** The detail of `span`. `colour` is the class of its agent; `agent` its name, where it has one. */
export function spanDetail(span, { agent, colour, onClose }) {
  const a = span.attributes;
  return element(
    "div",
    { class: `detail kind-${span.log_type} ${colour}` },
    head(span, agent, onClose),
    element("div", { class: "detail-body", tabindex: "-1" }, [
      facts(span),
      failure(span),
      warnings(span),
      ...content(span),
      retries(span),
      tokensPart(a),
      folded("Timing", timing(span)),
      span.log_type === "chat" && offered(a),
      folded("Parameters", [...key.PARAMETERS].filter(([attribute]) => a[attribute] !== undefined).map(([attribute, label]) => [label, value(a[attribute])])),
      folded("Who it was for", identity(a), true),
      folded("Why it stands here", placement(a), true),
      attributesPart(a),
    ]),
  );
}

function head(span, agent, onClose) {
  const isError = span.status === "error";
  const close = element("button", { class: "plain close", type: "button", "aria-label": "Close the detail", title: "Close (Esc)", on: { click: onClose } }, icon("close"));
  return element(
    "header",
    { class: "detail-head" },
    element(
      "div",
      { class: "detail-title" },
      icon(span.log_type, "kind"),
      element("h2", { id: "detail-title", tabindex: "-1" }, element("span", { class: "kind-name", text: KINDS[span.log_type] ?? span.log_type }), " ", name(titleOf(span))),
      agent && span.log_type !== "agent" && element("span", { class: "of" }, "of ", name(agent, "agent-name")),
      isError && element("span", { class: "failed" }, icon("error"), element("span", { text: "error" })),
      span.status === "open" && element("span", { class: "running" }, icon("live"), element("span", { text: "running" })),
    ),
    element(
      "div",
      { class: "detail-tools" },
      copyButton("Copy JSON", () => JSON.stringify(span, null, 2), { title: "The whole span, as the API gives it" }),
      copyButton("Copy link", () => location.href),
      close,
    ),
  );
}

/** The most important numbers. */
function facts(span) {
  const a = span.attributes;
  const tokens = key.tokensOf(a);
  const found = [];
  const add = (label, value, note) => value !== null && value !== undefined && found.push(element(
    "div",
    { class: "fact" },
    element("dt", { text: label }),
    element("dd", {}, value, note && element("span", { class: "note", text: note })),
  ));
  add("Duration", span.end === null ? "running" : duration(milliseconds(span.end) - milliseconds(span.start)));
  const first = a[key.TIME_TO_FIRST_TOKEN];
  if (typeof first === "number") add("First token", duration(first * 1000));
  if (tokens.input !== null) add("Tokens in", count(tokens.input), tokens.cached ? `${count(tokens.cached)} cached` : null);
  if (tokens.output !== null) add("Tokens out", count(tokens.output), tokens.reasoning ? `${count(tokens.reasoning)} reasoning` : null);
  if (span.log_type === "chat" && tokens.input === null && tokens.output === null && span.status === "ok") {
    add("Tokens", "not told", a[key.IS_STREAMING] ? "the stream carried none" : null);
  }
  const reasons = a[key.FINISH_REASONS];
  if (reasons?.length > 0) add("Finished", [...new Set(reasons)].join(", "));
  const model = a[key.RESPONSE_MODEL] ?? a[key.REQUEST_MODEL];
  if (model) add(a[key.RESPONSE_MODEL] ? "Answered by" : "Asked", element("a", { href: listHash({ model }), title: "Only traces with this model" }, name(model)));
  if (span.log_type === "task" && a[key.METHOD]) add("Request", element("code", { text: `${a[key.METHOD]} ${a[key.PATH] ?? ""}` }));
  const status = a[key.HTTP_STATUS] ?? a[key.STATUS_CODE];
  if (status !== undefined && (span.log_type === "task" || status !== 200)) add("HTTP status", String(status));
  return element("dl", { class: "facts" }, found);
}

function failure(span) {
  if (span.status !== "error") return null;
  const a = span.attributes;
  const message = a[key.ERROR_MESSAGE] ?? span.status_message ?? "It failed without saying why.";
  const kinds = [a[key.ERROR_TYPE], a[key.ERROR_CODE], a[key.STATUS_CODE] && `HTTP ${a[key.STATUS_CODE]}`].filter(Boolean);
  return element(
    "section",
    { class: "failure", "aria-label": "Error" },
    element("div", { class: "failure-head" }, icon("error"), element("strong", { text: "Error" }), [...new Set(kinds)].map((kind) => element("code", { text: String(kind) }))),
    text(String(message), { json: true }),
    a[key.OUTCOME] && a[key.OUTCOME] !== "refused" && element("p", { class: "quiet", text: outcomeInWords(a[key.OUTCOME]) }),
  );
}

function warnings(span) {
  const a = span.attributes;
  const found = [];
  if (span.looks_failed) found.push(`The result looks like an error (${span.looks_failed}). AutoGen does not send whether a tool failed, so it counts as ok.`);
  if (a[key.CUT]) found.push(`More was sent than is kept: the ${a[key.CUT]} is cut here. The traffic itself was not.`);
  if (a[key.UNDECODABLE]) found.push(`The ${a[key.UNDECODABLE]} is in a coding that could not be undone.`);
  if (a[key.UNREADABLE]) found.push(`Said of itself, and not readable: ${a[key.UNREADABLE]}`);
  if (a[key.UNANSWERED] === "true") found.push("No result was seen before the run was closed.");
  return found.map((words) => element("p", { class: "warning", dir: "auto", text: words }));
}

function content(span) {
  const a = span.attributes;
  if (span.log_type === "chat") return conversation(span);
  if (span.log_type === "task") return [];
  if (span.log_type === "tool") return tool(span);
  return [part("Input", a[key.INPUT]), part("Output", a[key.OUTPUT], span.status === "open" ? "Not over yet." : "Nothing was kept.")];
}

function tool(span) {
  const a = span.attributes;
  const input = parse(a[key.INPUT]);
  if (input === undefined || typeof input?.name !== "string") return [part("Input", a[key.INPUT]), part("Result", a[key.OUTPUT])];
  const output = parse(a[key.OUTPUT]);
  const call = {
    id: null,
    name: input.name,
    input: typeof input.arguments === "string" ? input.arguments : JSON.stringify(input.arguments ?? {}),
    result: typeof output === "string" ? output : a[key.OUTPUT],
  };
  return [element("section", { class: "part" }, element("h3", { text: "Call and result" }), callElement(call),
    call.result === undefined && element("p", { class: "quiet", text: span.status === "open" ? "Its result has not been seen yet." : "Its result was not seen by itself." }))];
}

function part(title, json, missing = "Nothing was kept.") {
  const value = parse(json);
  // A task and a text are shown without their JSON; any other value as JSON.
  const plain = typeof value === "string" ? value : typeof value?.task === "string" && Object.keys(value).length === 1 ? value.task : null;
  const shown = json === undefined
    ? element("p", { class: "quiet", text: missing })
    : plain === null ? text(json, { json: true }) : text(plain, { json: true });
  return element("section", { class: "part" }, element("h3", { text: title }), element("div", { class: "message" }, shown));
}

function retries(span) {
  if (span.events.length === 0) return null;
  const start = milliseconds(span.start);
  const items = span.events.map((event) => {
    const e = event.attributes;
    const attempt = e[key.ATTEMPT];
    return element(
      "li",
      {},
      element("span", { class: "when", text: `+${duration(milliseconds(event.time) - start)}` }),
      element("div", {},
        element("strong", { text: attempt === undefined ? event.name : `attempt ${Number(attempt) + 1} failed` }),
        [e[key.STATUS_CODE], e[key.ERROR_TYPE]].filter((part) => part !== undefined).map((part) => element("code", { text: String(part) })),
        e[key.ERROR_MESSAGE] !== undefined && text(String(e[key.ERROR_MESSAGE])),
      ),
    );
  });
  return element("section", { class: "part" }, element("h3", { text: "Attempts before" }), element("ol", { class: "events" }, items));
}

function tokensPart(a) {
  const tokens = key.tokensOf(a);
  if (tokens.input === null && tokens.output === null) return null;
  const input = tokens.input ?? 0;
  const output = tokens.output ?? 0;
  const cached = Math.min(tokens.cached ?? 0, input);
  const reasoning = Math.min(tokens.reasoning ?? 0, output);
  const all = Math.max(input + output, 1);
  const share = (part) => ({ width: `${(part / all) * 100}%` });
  const bar = element(
    "div",
    { class: "token-bar", "aria-hidden": "true" },
    element("div", { class: "token-cached", vars: share(cached) }),
    element("div", { class: "token-input", vars: share(input - cached) }),
    element("div", { class: "token-reasoning", vars: share(reasoning) }),
    element("div", { class: "token-output", vars: share(output - reasoning) }),
  );
  const rows = [
    ["in, cached", tokens.cached, "token-cached"],
    ["in, not cached", tokens.cached === null ? null : input - cached, "token-input"],
    ["in", tokens.input, tokens.cached === null ? "token-input" : ""],
    ["out, reasoning", tokens.reasoning, "token-reasoning"],
    ["out, shown", tokens.reasoning === null ? null : output - reasoning, "token-output"],
    ["out", tokens.output, tokens.reasoning === null ? "token-output" : ""],
    ["written to the cache", tokens.written],
    ["audio in", tokens.audioInput],
    ["audio out", tokens.audioOutput],
    ["predicted and used", tokens.accepted],
    ["predicted and not used", tokens.rejected],
    ["total", tokens.total],
  ];
  const shown = rows.filter(([, number]) => number !== null).map(([label, number, swatch]) => element("div", {}, element("dt", {}, swatch ? element("span", { class: `swatch ${swatch}` }) : null, label), element("dd", { class: "number", text: count(number) })));
  return element("details", { class: "fold", open: true }, element("summary", { text: "Tokens" }), bar, element("dl", { class: "pairs tokens-list" }, shown));
}

function timing(span) {
  const start = milliseconds(span.start);
  const end = span.end === null ? null : milliseconds(span.end);
  const first = span.attributes[key.TIME_TO_FIRST_TOKEN];
  const output = key.tokensOf(span.attributes).output;
  const rows = [["started", element("time", { datetime: span.start, title: span.start, text: clock(start) })]];
  if (end !== null) rows.push(["ended", element("time", { datetime: span.end, title: span.end, text: clock(end) })], ["took", duration(end - start)]);
  if (typeof first === "number") {
    rows.push(["first token after", duration(first * 1000)]);
    if (end !== null) {
      const streaming = end - start - first * 1000;
      rows.push(["streamed for", duration(Math.max(0, streaming))]);
      if (output && streaming > 1) rows.push(["tokens each second", count(Math.round(output / (streaming / 1000)))]);
    }
  }
  return rows;
}

function offered(a) {
  const tools = toolsOf(a[key.FUNCTIONS]);
  if (tools.length === 0) {
    return a[key.FUNCTIONS] === undefined ? null : element("details", { class: "fold" }, element("summary", { text: "Tools on offer" }), text(a[key.FUNCTIONS], { json: true }));
  }
  const items = tools.map((tool) => element(
    "details",
    { class: "tool-offered" },
    element("summary", {}, name(tool.name, "call-name"), element("span", { class: "quiet one-line", dir: "auto", text: String(tool.description).slice(0, 200) })),
    tool.description && text(String(tool.description)),
    tool.parameters && text(JSON.stringify(tool.parameters), { json: true }),
  ));
  return element("details", { class: "fold" }, element("summary", {}, "Tools on offer", element("span", { class: "note", text: count(tools.length) })), items);
}

function identity(a) {
  const rows = [];
  const add = (label, attribute, filter) => {
    if (a[attribute] === undefined) return;
    rows.push([label, filter ? element("a", { href: listHash({ [filter]: a[attribute] }) }, name(a[attribute])) : name(String(a[attribute]))]);
  };
  add("customer", key.CUSTOMER, "customer");
  add("customer's name", key.CUSTOMER_NAME);
  add("customer's address", key.CUSTOMER_EMAIL);
  add("thread", key.THREAD, "thread");
  add("session", key.SESSION);
  add("trace group", key.TRACE_GROUP);
  add("custom id", key.CUSTOM);
  add("environment", key.ENVIRONMENT);
  for (const [attribute, value] of Object.entries(a)) {
    if (attribute.startsWith(key.METADATA) && !attribute.startsWith(key.OWN_METADATA)) rows.push([name(attribute.slice(key.METADATA.length)), text(String(value))]);
  }
  return rows;
}

function placement(a) {
  const rows = [];
  if (a[key.RULE]) rows.push(["rule", element("span", {}, element("code", { text: a[key.RULE] }), " ", ruleInWords(a[key.RULE]))]);
  if (a[key.AMBIGUOUS] === "true") rows.push(["ambiguous", "Other runs could have claimed it: they had the same task, agents and replies at the same time."]);
  if (a[key.OUTCOME]) rows.push(["outcome", element("span", {}, element("code", { text: a[key.OUTCOME] }), " ", outcomeInWords(a[key.OUTCOME]))]);
  if (a[key.RETRY_COUNT]) rows.push(["attempt", `the SDK's retry number ${a[key.RETRY_COUNT]}`]);
  if (a[key.EXCHANGE]) rows.push(["exchange", element("code", { class: "id", text: a[key.EXCHANGE] })]);
  if (a[key.RESPONSE_ID]) rows.push(["response id", element("code", { class: "id", text: a[key.RESPONSE_ID] })]);
  return rows;
}

/** A part that can be folded away; none where there is nothing in it. */
function folded(title, rows, isOpen = false) {
  if (rows.length === 0) return null;
  return element(
    "details",
    { class: "fold", open: isOpen },
    element("summary", { text: title }),
    element("dl", { class: "pairs" }, rows.map(([label, value]) => element("div", {}, element("dt", {}, label), element("dd", {}, value)))),
  );
}

/** Every attribute as it is. Filled when it is opened: most never are, and they hold all of the text again. */
function attributesPart(a) {
  const entries = Object.entries(a);
  const part = element("details", { class: "fold" }, element("summary", {}, "All attributes", element("span", { class: "note", text: count(entries.length) })));
  part.addEventListener("toggle", () => {
    if (!part.open || part.querySelector("dl")) return;
    part.append(element("dl", { class: "pairs raw" }, entries.map(([attribute, given]) => element("div", {}, element("dt", { text: attribute }), element("dd", {}, value(given))))));
  });
  return part;
}

function value(given) {
  if (Array.isArray(given)) return given.length === 1 ? text(given[0]) : text(JSON.stringify(given), { json: true });
  return typeof given === "string" ? text(given, { json: jsonSetOut(given) !== null }) : String(given);
}

/** The value of a JSON text; undefined for other texts. */
function parse(json) {
  if (typeof json !== "string") return undefined;
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}
