// An AutoGen program as it looks on the wire: agents that call the model through the gateway with the headers and messages of AutoGen's
// client.

import { randomBytes } from "node:crypto";
import { Agent as Connections, request } from "node:http";
import { REPLY } from "./model.mjs";

const connections = new Connections({ keepAlive: true });

export class Program {
  /** Calls carry the id of their trace, unless `trace` is null: then the gateway infers the run. */
  constructor(gateway, { thread, customer, environment, metadata, workflow, trace = randomBytes(16).toString("hex"), model = "gpt-4o-mini", client = "AsyncOpenAI/Python 2.8.0" } = {}) {
    this.gateway = gateway;
    this.trace = trace;
    this.model = model;
    this.headers = {
      Authorization: "Bearer sk-of-the-program",
      "User-Agent": client,
      ...(thread && { "X-Respan-Thread-Identifier": thread }),
      ...(customer && { "X-Respan-Customer-Identifier": customer }),
      ...(environment && { "X-Respan-Environment": environment }),
      ...(metadata && { "X-Respan-Metadata": JSON.stringify(metadata) }),
      ...(workflow && { "X-Respan-Workflow-Name": workflow }),
      ...(trace && { "X-Respan-Trace-Id": trace }),
    };
  }

  /** Calls the model and returns its message; nothing where it refused. `attempt` counts the client's retries. */
  async call(messages, reply, { tools, agent, parameters = {}, attempt = 0 } = {}) {
    const streams = reply.streams ?? false;
    const body = JSON.stringify({
      messages,
      model: this.model,
      stream: streams,
      ...(tools && { tools: tools.map(offered) }),
      ...(streams && { stream_options: { include_usage: true } }),
      ...parameters,
    });
    const answer = await this.#post(body, {
      ...this.headers,
      "Content-Type": "application/json",
      "x-stainless-retry-count": String(attempt),
      [REPLY]: this.gateway.model.prepare(reply),
      ...(agent && { "X-Respan-Agent-Name": agent }),
    });
    if (answer.status !== 200) return undefined;
    return streams ? joined(answer.text) : JSON.parse(answer.text).choices[0].message;
  }

  #post(body, headers) {
    // Text that is more than ASCII goes over the wire as UTF-8.
    const bytes = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, Buffer.from(value).toString("latin1")]));
    return new Promise((resolve, reject) => {
      const sent = request({ host: "127.0.0.1", port: this.gateway.port, path: "/v1/chat/completions", method: "POST", headers: { ...bytes, "Content-Length": Buffer.byteLength(body) }, agent: connections });
      sent.once("error", reject);
      sent.once("response", async (response) => {
        try {
          const pieces = [];
          for await (const piece of response) pieces.push(piece);
          resolve({ status: response.statusCode, text: Buffer.concat(pieces).toString() });
        } catch (error) {
          reject(error);
        }
      });
      // Bytes: Node writes the head in the encoding of a text.
      sent.end(Buffer.from(body));
    });
  }
}

/** An agent with its own memory of the conversation. With `isExplicit`, its calls name it in a header. */
export class Agent {
  constructor(program, name, system, { tools, isExplicit = false, parameters } = {}) {
    this.program = program;
    this.asking = { tools, parameters, agent: isExplicit ? name : undefined };
    this.name = name;
    this.history = [{ content: system, role: "system" }];
  }

  hear(content, name = "user") {
    this.history.push({ role: "user", name, content });
  }

  /** Calls the model, after attempts that are `refusals`, and remembers its reply. Each refusal says the time to the next attempt. */
  async says(reply, ...refusals) {
    for (const [attempt, refusal] of refusals.entries()) {
      await this.program.call(this.history, { ...refusal, streams: reply.streams }, { ...this.asking, attempt });
      await new Promise((resolve) => setTimeout(resolve, Number(refusal.headers["retry-after-ms"])));
    }
    const said = await this.program.call(this.history, reply, { ...this.asking, attempt: refusals.length });
    if (!said) return undefined;
    const { content, tool_calls } = said;
    this.calls = tool_calls ?? [];
    this.history.push({ role: "assistant", ...(tool_calls && { tool_calls: tool_calls.map(({ id, function: { name, arguments: given } }) => ({ id, function: { arguments: given, name }, type: "function" })) }), content });
    return content;
  }

  /** Remembers the results of the last tool calls, in their order. */
  gets(...results) {
    for (const [number, content] of results.entries()) this.history.push({ content, role: "tool", tool_call_id: this.calls[number].id });
  }
}

/** A tool as AutoGen offers it: `[name, description, parameters]`, each parameter a text. */
function offered([name, description, ...parameters]) {
  const properties = Object.fromEntries(parameters.map((parameter) => [parameter, { description: parameter, title: parameter, type: "string" }]));
  return { type: "function", function: { name, description, parameters: { type: "object", properties, required: parameters, additionalProperties: false }, strict: false } };
}

/** The message of a streamed reply. */
function joined(text) {
  const message = { content: null };
  for (const event of text.split("\n\n")) {
    const data = event.replace(/^data: /, "");
    if (!data || data === "[DONE]") continue;
    const delta = JSON.parse(data).choices[0]?.delta ?? {};
    if (delta.content) message.content = (message.content ?? "") + delta.content;
    for (const { index, id, function: { name, arguments: given } } of delta.tool_calls ?? []) {
      message.tool_calls ??= [];
      message.tool_calls[index] ??= { id, function: { name, arguments: "" } };
      message.tool_calls[index].function.arguments += given;
    }
  }
  return message;
}
