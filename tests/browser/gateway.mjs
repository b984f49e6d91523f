// The gateway under test: the built binary with its own ports and directory, between a scripted model and a stand-in for Respan.
//
// The rule: nothing of the surroundings reaches it, and it never outlives its test.

import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve as resolvePath } from "node:path";
import { fileURLToPath } from "node:url";
import { Model } from "./model.mjs";
import { Respan } from "./respan.mjs";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
/** How long a condition may take to come true, in milliseconds: long, since the machine may be busy. */
const PATIENCE = 30_000;

const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));

/** The binary of `SPANGATE`, else the debug build, which is built where it is missing. */
function binary() {
  if (process.env.SPANGATE) return process.env.SPANGATE;
  const built = resolvePath(ROOT, process.env.CARGO_TARGET_DIR ?? "target", "debug/spangate");
  if (!existsSync(built)) execFileSync("cargo", ["build", "--locked"], { cwd: ROOT, stdio: "inherit" });
  return built;
}

/** Waits until `question` returns something, and returns it. */
export async function comes(what, question) {
  const until = Date.now() + PATIENCE;
  for (;;) {
    const answer = await question();
    if (answer) return answer;
    if (Date.now() > until) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

let last = 10_000 + (process.pid % 20_000);

/** A port nobody listens on, from below the range that outgoing connections take theirs from, so that none of ours takes it first. */
async function freePort() {
  for (;;) {
    last = 10_000 + ((last - 10_000 + 1) % 20_000);
    const port = last;
    const isFree = await new Promise((resolve) => {
      const probe = createServer();
      probe.once("error", () => resolve(false));
      probe.listen(port, "127.0.0.1", () => probe.close(() => resolve(true)));
    });
    if (isFree) return port;
  }
}

/** Starts a gateway with an empty store; with `token` its admin port asks for it. `set` has further keys of the configuration. */
export async function startGateway({ token, set = {} } = {}) {
  const [model, respan] = await Promise.all([new Model().start(), new Respan().start()]);
  const gateway = new Gateway(await freePort(), await freePort(), token);
  Object.assign(gateway, { model, respan });
  gateway.set = {
    "upstream.base_url": model.url,
    "respan.api_key": "respan-key",
    "respan.base_url": respan.url,
    "respan.flush_interval": "50ms",
    "runs.idle": "1s",
    ...(token && { "server.admin_token": token }),
    ...set,
  };
  await gateway.start();
  return gateway;
}

/** Starts the demo, on the ports of an earlier one if given. Returns before the demo's conversation is over. */
export async function startDemo(earlier) {
  const demo = new Gateway(earlier?.port ?? (await freePort()), earlier?.adminPort ?? (await freePort()));
  demo.word = "demo";
  await demo.start();
  return demo;
}

class Gateway {
  word = "serve";
  set = {};

  constructor(port, adminPort, token) {
    this.port = port;
    this.adminPort = adminPort;
    this.token = token;
    this.directory = mkdtempSync(join(tmpdir(), "spangate-browser-"));
    /** Where the admin port is. */
    this.url = `http://127.0.0.1:${adminPort}`;
  }

  /** Starts the binary, and waits until it is ready. */
  async start() {
    const environment = Object.entries(process.env).filter(([name]) => !/^(SPANGATE|RESPAN)_|_proxy$/i.test(name));
    const set = {
      "server.listen": `127.0.0.1:${this.port}`,
      "server.admin": `127.0.0.1:${this.adminPort}`,
      "server.drain_delay": "0s",
      "server.drain_deadline": "1s",
      "store.dir": join(this.directory, "store"),
      ...this.set,
    };
    for (const [key, value] of Object.entries(set)) environment.push([`SPANGATE_${key.replace(".", "_").toUpperCase()}`, value]);
    const log = openSync(join(this.directory, "log"), "a");
    const child = spawn(binary(), [this.word], { cwd: this.directory, env: Object.fromEntries(environment), stdio: ["ignore", log, log] });
    this.child = child;
    running.add(child);
    this.ended = new Promise((resolve, reject) => child.once("exit", resolve).once("error", reject));
    this.ended.then(() => running.delete(child), () => running.delete(child));
    await comes("the gateway to be ready", async () => {
      if (child.exitCode !== null) throw new Error(`the gateway ended with ${child.exitCode}:\n${this.log()}`);
      return fetch(`${this.url}/readyz`).then((response) => response.ok, () => false);
    });
  }

  /** Stops the binary; what it knew is in its store. */
  async pause() {
    this.child.kill("SIGTERM");
    await this.ended;
  }

  async stop() {
    await this.pause();
    await Promise.all([this.model?.stop(), this.respan?.stop()]);
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** Starts it again with an empty store. */
  async loseAll() {
    await this.pause();
    rmSync(join(this.directory, "store"), { recursive: true, force: true });
    await this.start();
  }

  /** The log so far. */
  log() {
    return readFileSync(join(this.directory, "log"), "utf8");
  }

  /** The answer of the admin API at a path. */
  ask(path) {
    return fetch(this.url + path, { headers: this.token ? { Authorization: `Bearer ${this.token}` } : {} });
  }

  /** The JSON there. */
  async api(path) {
    const response = await this.ask(path);
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return response.json();
  }

  /** A trace, once it is over and all of it is there. */
  over(id) {
    return comes(`the end of ${id}`, async () => {
      const response = await this.ask(`/api/traces/${id}?content=none`);
      if (response.status === 404) return undefined;
      const trace = await response.json();
      const known = new Set(trace.spans.map((span) => span.span_id));
      const isWhole = trace.spans.every((span) => span.status !== "open" && (span.parent_span_id === null || known.has(span.parent_span_id)));
      return !trace.live && isWhole && trace;
    });
  }
}
