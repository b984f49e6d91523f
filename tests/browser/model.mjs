// The upstream: answers chat completions as OpenAI does, whole or streamed, with the reply that the program prepared for the request.
//
// The rule: a header that the gateway passes on names the reply, so programs side by side each get their own.

import { randomBytes } from "node:crypto";
import { createServer } from "node:http";

/** The header that names the reply. */
export const REPLY = "x-prepared-reply";

const DATED = { "gpt-4o-mini": "gpt-4o-mini-2024-07-18", "gpt-4o": "gpt-4o-2024-11-20" };

export class Model {
  #replies = new Map();

  async start() {
    this.server = createServer((request, response) => this.#answer(request, response).catch(() => response.destroy()));
    await new Promise((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    this.url = `http://127.0.0.1:${this.server.address().port}/v1`;
    return this;
  }

  async stop() {
    const closed = new Promise((resolve) => this.server.close(resolve));
    this.server.closeAllConnections();
    await closed;
  }

  /**
   * Prepares a reply and gives the name to ask for it by: `text`, `tools` (pairs of name and arguments), `tokens` (in, out, cached,
   * reasoning), `thinks` and `speaks` (milliseconds before the first word and until the last), `until` (a promise that is waited for
   * first), or `status`, `error` and `headers` of a refusal.
   */
  prepare(reply) {
    const name = randomBytes(12).toString("hex");
    this.#replies.set(name, reply);
    return name;
  }

  async #answer(request, response) {
    const pieces = [];
    for await (const piece of request) pieces.push(piece);
    const reply = this.#replies.get(request.headers[REPLY]);
    this.#replies.delete(request.headers[REPLY]);
    if (!reply) {
      send(response, 404, { error: { message: `no reply is prepared for ${request.url}`, type: "invalid_request_error", param: null, code: null } });
      return;
    }
    const asked = JSON.parse(Buffer.concat(pieces).toString());
    await reply.until;
    await passes(reply.thinks);
    if (reply.status) {
      send(response, reply.status, { error: { param: null, ...reply.error } }, reply.headers);
      return;
    }
    const said = message(reply);
    if (asked.stream) await stream(response, asked, reply, said);
    else {
      await passes(reply.speaks);
      const finish_reason = said.tool_calls ? "tool_calls" : "stop";
      const choice = { index: 0, message: { role: "assistant", refusal: null, ...said }, logprobs: null, finish_reason };
      send(response, 200, { ...head(asked, "chat.completion"), choices: [choice], ...usage(reply) });
    }
  }
}

/** The pace of the model. */
function passes(milliseconds = 0) {
  return milliseconds > 0 ? new Promise((resolve) => setTimeout(resolve, milliseconds)) : undefined;
}

function message({ text = null, tools = [], more = {} }) {
  const calls = tools.map(([name, given]) => ({
    id: `call_${randomBytes(12).toString("base64url")}`,
    type: "function",
    function: { name, arguments: typeof given === "string" ? given : JSON.stringify(given) },
  }));
  return { content: text, ...(calls.length > 0 && { tool_calls: calls }), ...more };
}

function head(asked, object) {
  return { id: `chatcmpl-${randomBytes(12).toString("hex")}`, object, created: Math.floor(Date.now() / 1000), model: DATED[asked.model] ?? asked.model };
}

function usage({ tokens }) {
  if (!tokens) return {};
  const [prompt_tokens, completion_tokens, cached_tokens = 0, reasoning_tokens = 0] = tokens;
  return {
    usage: {
      prompt_tokens,
      completion_tokens,
      total_tokens: prompt_tokens + completion_tokens,
      prompt_tokens_details: { cached_tokens },
      completion_tokens_details: { reasoning_tokens },
    },
  };
}

async function stream(response, asked, reply, said) {
  const about = head(asked, "chat.completion.chunk");
  const tell = (value) => response.write(`data: ${JSON.stringify({ ...about, ...value })}\n\n`);
  const delta = (delta, finish_reason = null) => tell({ choices: [{ index: 0, delta, logprobs: null, finish_reason }] });
  response.writeHead(200, { "Content-Type": "text/event-stream; charset=utf-8" });
  const words = said.content?.match(/\S+\s*/g) ?? [];
  const calls = said.tool_calls ?? [];
  const pace = (reply.speaks ?? 0) / (words.length + calls.length);
  delta({ role: "assistant", content: calls.length > 0 ? null : "", refusal: null });
  for (const word of words) {
    delta({ content: word });
    await passes(pace);
  }
  for (const [index, call] of calls.entries()) {
    const { name, arguments: given } = call.function;
    delta({ tool_calls: [{ index, id: call.id, type: "function", function: { name, arguments: "" } }] });
    for (let at = 0; at < given.length; at += 5) delta({ tool_calls: [{ index, function: { arguments: given.slice(at, at + 5) } }] });
    await passes(pace);
  }
  delta({}, calls.length > 0 ? "tool_calls" : "stop");
  if (asked.stream_options?.include_usage) tell({ choices: [], ...usage(reply) });
  response.end("data: [DONE]\n\n");
}

function send(response, status, body, headers = {}) {
  response.writeHead(status, { "Content-Type": "application/json", ...headers }).end(JSON.stringify(body));
}
