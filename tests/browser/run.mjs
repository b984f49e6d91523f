// Runs of AutoGen programs as the spans that a gateway makes of them.

import { createHash, randomBytes } from "node:crypto";
import { rfc3339 } from "./fixture.mjs";

const SNAPSHOT = "gpt-4o-mini-2024-07-18";

/** A trace under way. Times are milliseconds since its start, which lies `ago` milliseconds back. */
export class Run {
  constructor({ ago = 60_000, thread, customer, environment, metadata = {}, id } = {}) {
    this.trace_id = id ?? randomBytes(16).toString("hex");
    this.began = Date.now() - ago;
    this.spans = [];
    this.live = false;
    this.whose = {
      ...(thread && { "respan.threads.thread_identifier": thread }),
      ...(customer && { "respan.customer_params.customer_identifier": customer }),
      ...(environment && { "respan.environment": environment }),
      ...Object.fromEntries(Object.entries(metadata).map(([key, value]) => [`respan.metadata.${key}`, value])),
    };
  }

  #span(log_type, name, parent, [start, end], attributes, told = {}) {
    const span = {
      span_id: createHash("sha256").update(`${this.trace_id} ${this.spans.length}`).digest("hex").slice(0, 16),
      parent_span_id: parent?.span_id ?? null,
      log_type,
      name,
      start: rfc3339(this.began + start),
      end: end === null ? null : rfc3339(this.began + end),
      status: end === null ? "open" : told.error ? "error" : "ok",
      status_message: told.error ?? null,
      attributes: { "respan.entity.log_type": log_type, ...attributes, ...(told.error && { "error.message": told.error }), ...this.whose },
      events: told.events ?? [],
    };
    this.spans.push(span);
    return span;
  }

  end(span, at) {
    span.end = rfc3339(this.began + at);
    span.status = "ok";
  }

  team(name, task, time, output, parent) {
    return this.#span("workflow", "workflow", parent, time, {
      "traceloop.entity.name": name,
      "traceloop.entity.path": "",
      "traceloop.entity.input": JSON.stringify({ task }),
      ...(output && { "traceloop.entity.output": JSON.stringify(output) }),
      "respan.metadata.spangate_rule": "team",
    });
  }

  agent(name, parent, time, { input, output, rule = "name_echo" } = {}) {
    return this.#span("agent", `agent.${name.replaceAll(/[^\w.-]+/g, "_")}`, parent, time, {
      "traceloop.entity.name": name,
      "traceloop.entity.path": parent ? name : "",
      ...(input && { "traceloop.entity.input": JSON.stringify(input) }),
      ...(output && { "traceloop.entity.output": JSON.stringify(output) }),
      "respan.metadata.spangate_rule": rule,
    });
  }

  tool(name, parent, time, args, result, { error, unanswered, rule = "tool_result" } = {}) {
    return this.#span("tool", `tool.${name}`, parent, time, {
      "traceloop.entity.name": name,
      "traceloop.entity.path": name,
      "traceloop.entity.input": JSON.stringify({ name, arguments: args }),
      ...(result !== undefined && { "traceloop.entity.output": JSON.stringify(result) }),
      ...(unanswered && { "respan.metadata.spangate_unanswered": "true" }),
      "respan.metadata.spangate_rule": unanswered ? "tool_unanswered" : rule,
    }, { error });
  }

  chat(parent, time, messages, reply, told = {}) {
    const { tokens, first, rule = "chain", tools, error, status = 200, outcome = error ? "refused" : "complete", events, ambiguous, model = "gpt-4o-mini", attributes = {}, errorType } = told;
    const isOpen = time[1] === null;
    const a = {
      "llm.request.type": "chat",
      "gen_ai.system": "openai",
      "traceloop.entity.name": "openai.chat",
      "gen_ai.request.model": model,
      "llm.is_streaming": first !== undefined,
      ...(tools && { "llm.request.functions": JSON.stringify(tools), "llm.request.tool_choice": "auto" }),
    };
    const put = (list, number, message) => {
      for (const [key, value] of Object.entries(message)) {
        if (value !== undefined) a[`gen_ai.${list}.${number}.${key}`] = typeof value === "string" ? value : JSON.stringify(value);
      }
    };
    messages.forEach((message, number) => put("prompt", number, message));
    if (reply) {
      put("completion", 0, { role: "assistant", content: "", ...reply });
      a["gen_ai.response.model"] = SNAPSHOT.replace("gpt-4o-mini", model);
      a["gen_ai.response.id"] = `chatcmpl-${this.trace_id.slice(0, 8)}${this.spans.length}`;
      a["gen_ai.response.finish_reasons"] = [reply.finish_reason ?? "stop"];
    }
    if (tokens) {
      const [input, output, cached, reasoning] = tokens;
      Object.assign(a, {
        "gen_ai.usage.prompt_tokens": input,
        "gen_ai.usage.input_tokens": input,
        "gen_ai.usage.completion_tokens": output,
        "gen_ai.usage.output_tokens": output,
        "llm.usage.total_tokens": input + output,
        "gen_ai.usage.total_tokens": input + output,
        ...(cached !== undefined && { "llm.usage.cache_read_input_tokens": cached }),
        ...(reasoning !== undefined && { "llm.usage.reasoning_tokens": reasoning }),
      });
    }
    if (first !== undefined && !isOpen) a["llm.openai.chat_completions.streaming_time_to_first_token"] = first / 1000;
    Object.assign(a, {
      "http.request.method": "POST",
      "url.path": "/v1/chat/completions",
      ...(!isOpen && { status_code: status, "http.response.status_code": status, "respan.metadata.spangate_outcome": outcome }),
      ...(errorType && { "error.type": errorType }),
      "respan.metadata.spangate_exchange": "019a0b1c-5d2e-7f30-8a41-" + this.trace_id.slice(0, 12),
      "respan.metadata.spangate_rule": rule,
      ...(ambiguous && { "respan.metadata.spangate_ambiguous": "true" }),
      ...attributes,
    });
    return this.#span("chat", `llm.${(reply ? SNAPSHOT : "gpt-4o-mini").replace("gpt-4o-mini", model)}`, parent, time, a, { error, events });
  }

  task(parent, time, method, path, status) {
    const error = status >= 400 ? `the upstream answered ${status}` : undefined;
    return this.#span("task", "task", parent, time, {
      "traceloop.entity.name": `${method} ${path}`,
      "http.request.method": method,
      "url.path": path,
      status_code: status,
      "http.response.status_code": status,
      "respan.metadata.spangate_outcome": error ? "refused" : "complete",
    }, { error });
  }

  /** The event of a failed attempt. */
  attempt(number, at, status, message) {
    return { name: "attempt failed", time: rfc3339(this.began + at), attributes: { "spangate.attempt": number, status_code: status, "error.type": "rate_limit_exceeded", "error.message": message, "respan.metadata.spangate_outcome": "refused" } };
  }

  trace() {
    return { trace_id: this.trace_id, live: this.live, spans: [...this.spans].sort((left, right) => (left.start < right.start ? -1 : left.start > right.start ? 1 : 0)) };
  }
}

export const TOOLS = [
  { type: "function", function: { name: "get_weather", description: "Get the weather for a city.", parameters: { type: "object", properties: { city: { type: "string", title: "City", description: "city" } }, required: ["city"], additionalProperties: false }, strict: false } },
  { type: "function", function: { name: "get_population", description: "Get the population of a city.", parameters: { type: "object", properties: { city: { type: "string", title: "City", description: "city" } }, required: ["city"], additionalProperties: false }, strict: false } },
];

export function called(id, name, args) {
  return { id, type: "function", function: { name, arguments: JSON.stringify(args) } };
}
