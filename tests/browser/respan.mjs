// A stand-in for Respan: takes spans, and rejects those that a test wants rejected.

import { createServer } from "node:http";

export class Respan {
  /** Why a span, as OTLP has it in JSON, is refused; nothing where it is accepted. */
  refuses = () => undefined;

  /** Listens, where it did before if it did. */
  async start() {
    this.server = createServer((request, response) => this.#answer(request, response).catch(() => response.destroy()));
    await new Promise((resolve) => this.server.listen(this.port ?? 0, "127.0.0.1", resolve));
    this.port = this.server.address().port;
    this.url = `http://127.0.0.1:${this.port}/api`;
    return this;
  }

  async stop() {
    const closed = new Promise((resolve) => this.server.close(resolve));
    this.server.closeAllConnections();
    await closed;
  }

  async #answer(request, response) {
    const pieces = [];
    for await (const piece of request) pieces.push(piece);
    const { resourceSpans } = JSON.parse(Buffer.concat(pieces).toString());
    const spans = resourceSpans.flatMap((resource) => resource.scopeSpans).flatMap((scope) => scope.spans);
    const reason = spans.map((span) => this.refuses(span)).find(Boolean);
    if (reason) response.writeHead(400, { "Content-Type": "application/json" }).end(JSON.stringify({ detail: reason }));
    else response.writeHead(200, { "Content-Type": "application/json" }).end("{}");
  }
}
