// A server that speaks the admin API from memory, and shows the viewer as it lies in the source: for looking at the page, and for tests
// of what a gateway does rarely.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";

const PAGE = new URL("../../src/admin/viewer/", import.meta.url);
const TYPES = { html: "text/html; charset=utf-8", js: "text/javascript; charset=utf-8", css: "text/css; charset=utf-8", svg: "image/svg+xml" };
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
const CONTENT = /^(gen_ai\.(prompt|completion)\.|traceloop\.entity\.(input|output)$|llm\.request\.functions$)/;

export class Fixture {
  constructor({ token = null } = {}) {
    this.token = token;
    this.traces = new Map();
    this.watchers = new Set();
    this.replayed = 0;
    this.answersSlowly = 0;
    this.sequence = 0;
    this.health = {
      gateway: { version: "0.1.0", base_url: "http://127.0.0.1:8080/v1", started: rfc3339(Date.now() - 3_600_000), draining: false, runs_open: 0 },
      export: { configured: true, pending: 0, posts: 0, key_refused: false, last_success: rfc3339(Date.now() - 4000), last_error: null },
      store: { up: true, bytes: 7_340_032, failing: null },
      refused: [],
    };
  }

  /** Listens on `port`, any where none is told. */
  async start(port = 0) {
    this.server = createServer((request, response) => this.#answer(request, response).catch((error) => {
      response.writeHead(500).end(String(error.stack));
    }));
    await new Promise((resolve) => this.server.listen(port, "127.0.0.1", resolve));
    this.port = this.server.address().port;
    this.url = `http://127.0.0.1:${this.port}`;
    return this;
  }

  async stop() {
    const closed = new Promise((resolve) => this.server.close(resolve));
    this.server.closeAllConnections();
    await closed;
  }

  /** Keeps a trace, in place of what it was, and tells who watches. */
  put(trace) {
    this.traces.set(trace.trace_id, { ...trace, active: ++this.sequence });
    this.#tell("trace", summary(trace));
  }

  forget(id) {
    this.traces.delete(id);
  }

  #tell(event, data) {
    for (const watcher of this.watchers) {
      if (data && !fits(this.traces.get(data.trace_id), data, watcher.query)) continue;
      watcher.response.write(`event: ${event}\nid: ${this.sequence}\ndata: ${JSON.stringify(data)}\n\n`);
    }
  }

  async #answer(request, response) {
    const { pathname, searchParams } = new URL(request.url, this.url);
    const isOpen = ["/viewer.css", "/sign-in.js", "/icon.svg"].includes(pathname);
    if (pathname === "/sign-in" && request.method === "POST") return this.#signIn(request, response);
    if (this.token && !isOpen && !this.#maySee(request)) {
      if (pathname === "/") return page(response, 401, "sign-in.html");
      return json(response, 401, { error: { message: "send server.admin_token as `Authorization: Bearer <token>`" } });
    }
    if (pathname === "/") return page(response, 200, "index.html");
    if (/^\/[a-z-]+\.(js|css|svg)$/.test(pathname)) return page(response, 200, pathname.slice(1));
    if (this.answersSlowly > 0) await new Promise((resolve) => setTimeout(resolve, this.answersSlowly));
    if (pathname === "/api/health") return json(response, 200, this.health);
    if (pathname === "/api/refused/replay" && request.method === "POST") {
      if (request.headers["content-type"] !== "application/json") return json(response, 415, { error: { message: "send `Content-Type: application/json`" } });
      const replayed = this.health.refused.length;
      this.replayed += replayed;
      this.health.refused = [];
      return json(response, 200, { replayed });
    }
    if (pathname === "/api/events") return this.#events(request, response, searchParams);
    if (pathname === "/api/traces") return this.#list(response, searchParams);
    const [, id, what, span] = /^\/api\/traces\/([0-9a-f]{32})(?:\/(spans|otlp)(?:\/([0-9a-f]{16}))?)?$/.exec(pathname) ?? [];
    const trace = this.traces.get(id);
    if (!trace) return json(response, 404, { error: { message: "no such trace is kept" } });
    if (what === "otlp") return json(response, 200, { resourceSpans: [] }, { "Content-Disposition": `attachment; filename="trace-${id}.json"` });
    if (what === "spans") {
      const found = trace.spans.find((candidate) => candidate.span_id === span);
      return found ? json(response, 200, found) : json(response, 404, { error: { message: "no such span is kept" } });
    }
    const isBare = searchParams.get("content") === "none";
    const { title } = summary(trace);
    json(response, 200, { trace_id: id, live: trace.live, title, spans: isBare ? trace.spans.map(bare) : trace.spans });
  }

  #list(response, query) {
    const limit = Number(query.get("limit") ?? 50);
    const before = Number(query.get("cursor") ?? Infinity);
    const found = [...this.traces.values()].filter((trace) => trace.active < before).sort((left, right) => right.active - left.active).filter((trace) => fits(trace, summary(trace), query));
    const shown = found.slice(0, limit);
    json(response, 200, { traces: shown.map(summary), next: found.length > limit ? String(shown.at(-1).active) : null });
  }

  #events(request, response, query) {
    response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
    response.write(": keep-alive\n\n");
    const watcher = { response, query };
    this.watchers.add(watcher);
    if (request.headers["last-event-id"]) response.write("event: reset\ndata: {}\n\n");
    request.on("close", () => this.watchers.delete(watcher));
  }

  #maySee(request) {
    return request.headers.authorization === `Bearer ${this.token}` || (request.headers.cookie ?? "").includes("spangate=signed-in");
  }

  async #signIn(request, response) {
    let body = "";
    for await (const part of request) body += part;
    if (new URLSearchParams(body).get("token") !== this.token) {
      const wrong = (await readFile(new URL("sign-in.html", PAGE), "utf8")).replace('role="alert" hidden', 'role="alert"');
      response.writeHead(401, { "Content-Type": TYPES.html, "Content-Security-Policy": POLICY }).end(wrong);
      return;
    }
    response.writeHead(303, { Location: "/", "Set-Cookie": "spangate=signed-in; HttpOnly; SameSite=Strict; Path=/" }).end();
  }
}

async function page(response, status, name) {
  let body;
  try {
    body = await readFile(new URL(name, PAGE));
  } catch {
    response.writeHead(404).end();
    return;
  }
  response.writeHead(status, { "Content-Type": TYPES[name.split(".").pop()], "Content-Security-Policy": POLICY, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff" }).end(body);
}

function json(response, status, body, headers = {}) {
  response.writeHead(status, { "Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", ...headers }).end(JSON.stringify(body));
}

/** A span as `content=none` gives it. */
function bare(span) {
  const kept = Object.entries(span.attributes).filter(([key, value]) => !CONTENT.test(key) && !(typeof value === "string" && Buffer.byteLength(value) > 512));
  return { ...span, attributes: Object.fromEntries(kept) };
}

function fits(trace, told, query) {
  const asked = (name) => query.get(name);
  if (asked("thread") && told.thread_identifier !== asked("thread")) return false;
  if (asked("customer") && told.customer_identifier !== asked("customer")) return false;
  if (asked("agent") && !told.agents.includes(asked("agent"))) return false;
  if (asked("model") && !told.models.includes(asked("model"))) return false;
  if (asked("status") === "live" ? !told.live : asked("status") && told.status !== asked("status")) return false;
  return !asked("q") || JSON.stringify([told, trace.spans]).toLowerCase().includes(JSON.stringify(asked("q")).slice(1, -1).toLowerCase());
}

/** A trace as the list has it. */
function summary(trace) {
  const { spans } = trace;
  const of = (type) => spans.filter((span) => span.log_type === type);
  const first = (key) => spans.map((span) => span.attributes[key]).find((value) => value !== undefined) ?? null;
  const sum = (key) => {
    const known = of("chat").map((span) => span.attributes[key]).filter((value) => value !== undefined);
    return known.length === 0 ? null : known.reduce((total, value) => total + value, 0);
  };
  const distinct = (values) => [...new Set(values.filter((value) => value !== undefined))];
  const root = spans.find((span) => !spans.some((other) => other.span_id === span.parent_span_id)) ?? spans[0];
  const errors = spans.filter((span) => span.status === "error").length;
  const task = root.attributes["traceloop.entity.input"] ?? root.attributes["gen_ai.prompt.1.content"] ?? null;
  return {
    trace_id: trace.trace_id,
    name: root.name,
    title: root.log_type === "chat" ? root.name.replace("llm.", "") : root.attributes["traceloop.entity.name"] ?? root.name,
    thread_identifier: first("respan.threads.thread_identifier"),
    customer_identifier: first("respan.customer_params.customer_identifier"),
    environment: first("respan.environment"),
    start: spans.map((span) => span.start).sort()[0],
    end: spans.map((span) => span.end ?? rfc3339(Date.now())).sort().at(-1),
    spans: spans.length,
    status: errors > 0 ? "error" : "ok",
    live: trace.live,
    errors,
    model_calls: of("chat").length,
    tool_calls: of("tool").length,
    agents: distinct(of("agent").map((span) => span.attributes["traceloop.entity.name"])),
    models: distinct(of("chat").flatMap((span) => [span.attributes["gen_ai.request.model"], span.attributes["gen_ai.response.model"]])),
    input_tokens: sum("gen_ai.usage.input_tokens"),
    output_tokens: sum("gen_ai.usage.output_tokens"),
    preview: task && task.replace(/^\{"task":"(.*)"\}$/s, "$1").replace(/^"(.*)"$/s, "$1").slice(0, 200),
  };
}

/** Milliseconds since the epoch as the API writes times. */
export function rfc3339(ms) {
  const nanoseconds = String(Math.round((ms % 1000) * 1e6)).padStart(9, "0");
  return `${new Date(Math.floor(ms / 1000) * 1000).toISOString().slice(0, 19)}.${nanoseconds}Z`;
}
