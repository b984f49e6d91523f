// Runs of AutoGen programs, one function for each kind. Each returns the id of its trace when that is over, unless it says otherwise. Tests
// read the facts of the trace from the API.

import { randomBytes } from "node:crypto";
import { comes } from "./gateway.mjs";
import { Agent, Program } from "./program.mjs";

export const WEATHER = ["get_weather", "Get the weather for a city.", "city"];
export const POPULATION = ["get_population", "Get the population of a city.", "city"];
/** A refusal which the client repeats at once. */
export const TOO_MANY = {
  status: 429,
  headers: { "retry-after-ms": "20" },
  error: { message: "Rate limit reached for gpt-4o-mini on tokens per min. Please try again in 20ms.", type: "tokens", code: "rate_limit_exceeded" },
};

/** A team of two: one asks two tools at once and streams, the other answers after a retry. Which calls are one run, the gateway finds out. */
export async function teamRun(gateway, { thread = "conversation-42", customer = "ada@example.com" } = {}) {
  const before = new Set((await gateway.api(`/api/traces?thread=${thread}`)).traces.map((trace) => trace.trace_id));
  const program = new Program(gateway, { thread, customer, environment: "production", metadata: { plan: "pro", tenant: "7" }, trace: null });
  const task = "Compare Oakland and Berkeley, and write two sentences about them for a travel guide.";
  const researcher = new Agent(program, "researcher", "Research cities with the tools. Never guess a number.", { tools: [WEATHER, POPULATION] });
  const writer = new Agent(program, "writer", "You write for a travel guide. Two sentences. End with APPROVE.", { isExplicit: true, parameters: { temperature: 0.2, max_tokens: 400 } });
  researcher.hear(task);
  writer.hear(task);
  await researcher.says({
    text: "I need three facts first.",
    tools: [["get_weather", { city: "Oakland" }], ["get_weather", { city: "Berkeley" }], ["get_population", { city: "Oakland" }]],
    streams: true, thinks: 60, speaks: 120, tokens: [412, 64, 256],
  });
  researcher.gets(
    "The weather in Oakland is 73 degrees and Sunny.",
    "The weather in Berkeley is 68 degrees and Sunny.",
    JSON.stringify({ city: "Oakland", population: 440646, year: 2020, source: { name: "census", checked: true } }),
  );
  const found = await researcher.says({ text: "Oakland: 73 degrees and sunny, 440,646 people. Berkeley: 68 degrees and sunny, 124,321 people.", streams: true, thinks: 90, speaks: 150, tokens: [618, 141, 512, 48] });
  writer.hear(found, "researcher");
  await writer.says({ text: "Oakland is the larger and warmer of the two; Berkeley is smaller. Both are sunny today. APPROVE", streams: true, thinks: 150, speaks: 150, tokens: [534, 38, 0] }, TOO_MANY);
  const { trace_id } = await comes("the team's trace", async () => (await gateway.api(`/api/traces?thread=${thread}`)).traces.find((trace) => !before.has(trace.trace_id)));
  await gateway.over(trace_id);
  return trace_id;
}

/** One agent that asks for a tool it does not have, and whose second call is refused by the upstream. */
export async function failedRun(gateway, { thread = "nightly-import", customer = "grace@example.com" } = {}) {
  const program = new Program(gateway, { thread, customer });
  const importer = new Agent(program, "importer", "You load files.", { tools: [["list_files", "List a directory.", "directory"]], isExplicit: true });
  importer.hear("Load last night's file and sum up what changed.");
  await importer.says({ tools: [["read_file", { path: "/data/night.csv", lines: 100 }]], thinks: 30, tokens: [96, 22] });
  importer.gets("Error: tool 'read_file' not found in any workbench");
  await importer.says({
    status: 400,
    error: { message: "This model's maximum context length is 128000 tokens. However, your messages resulted in 131072 tokens. Please reduce the length of the messages.", type: "invalid_request_error", code: "context_length_exceeded" },
  });
  return (await gateway.over(program.trace)).trace_id;
}

/** One agent whose tool raises: what comes back is the text of the exception alone, as AutoGen sends it. */
export async function raisedRun(gateway, { result = "OSError: [Errno 5] Input/output error" } = {}) {
  const program = new Program(gateway);
  const importer = new Agent(program, "importer", "You load files.", { tools: [["read_file", "Read a file.", "path"]], isExplicit: true });
  importer.hear("Sum up last night's file.");
  await importer.says({ tools: [["read_file", { path: "/data/night.csv" }]], tokens: [96, 22] });
  importer.gets(result);
  await importer.says({ text: "It cannot be read.", tokens: [120, 9] });
  return (await gateway.over(program.trace)).trace_id;
}

/** So many requests to an endpoint that is not there, all of one trace. */
export async function longTrace(gateway, spans) {
  const trace = randomBytes(16).toString("hex");
  let left = spans;
  const asks = async () => {
    while (left-- > 0) await fetch(`http://127.0.0.1:${gateway.port}/v1/files`, { headers: { "X-Respan-Trace-Id": trace } }).then((response) => response.text());
  };
  await Promise.all(Array.from({ length: 16 }, asks));
  await comes("the long trace", async () => (await gateway.api(`/api/traces?limit=500`)).traces.some((one) => one.trace_id === trace && one.spans === spans && !one.live));
  return trace;
}

/** One agent, one call that is not streamed, and takes `thinks` milliseconds. `say` is the task, and holds what the test wants to find again. */
export async function plainRun(gateway, { say = "Why does tracing help?", thread, customer, agent = "assistant", thinks } = {}) {
  const program = new Program(gateway, { thread, customer });
  const assistant = new Agent(program, agent, "Be brief.", { isExplicit: true });
  assistant.hear(say);
  await assistant.says({ text: "Because it shows what happened.", thinks, tokens: [31, 7] });
  return (await gateway.over(program.trace)).trace_id;
}

/** One call of no agent, whose request holds a conversation of so many messages, each of which says its number. */
export async function talkRun(gateway, { messages = 20 } = {}) {
  const program = new Program(gateway, { client: "curl/8.14.1" });
  const history = Array.from({ length: messages }, (_, number) => ({ role: number % 2 === 0 ? "user" : "assistant", content: `message number ${number}.` }));
  await program.call(history, { text: "That is all.", tokens: [900, 4] });
  return (await gateway.over(program.trace)).trace_id;
}

/**
 * A run under way: a call is in flight, `call` is its span. `goOn()` lets it be answered, and the next call is in flight, with the result of
 * a tool; `finish()` lets that be answered and waits until the run is over.
 */
export async function liveRun(gateway, { thread = "live-1", customer = "lin@example.com" } = {}) {
  const program = new Program(gateway, { thread, customer, workflow: "TravelTeam" });
  const planner = new Agent(program, "planner", "You plan.", { tools: [["timetable", "Look at the timetable.", "to"]], isExplicit: true });
  planner.hear("Find the cheapest train to Lyon.");
  const [first, second] = [door(), door()];
  const asking = planner.says({ text: "I shall look at the timetable.", tools: [["timetable", { to: "Lyon" }]], until: first.opened, tokens: [44, 19] });
  // A test may stop the gateway while the run goes on.
  asking.catch(() => {});
  let last;
  const inFlight = (count) => comes("the call in flight", async () => {
    const response = await gateway.ask(`/api/traces/${program.trace}`);
    if (!response.ok) return undefined;
    const chats = (await response.json()).spans.filter((span) => span.log_type === "chat");
    return chats.length === count && chats.at(-1).status === "open" && chats.at(-1);
  });
  const call = (await inFlight(1)).span_id;
  const goOn = async () => {
    first.open();
    await asking;
    planner.gets("The 9:04 costs 39 euros.");
    last = planner.says({ text: "Take the 9:04.", until: second.opened, tokens: [80, 6] });
    last.catch(() => {});
    await inFlight(2);
  };
  const finish = async () => {
    if (!last) await goOn();
    second.open();
    await last;
    await gateway.over(program.trace);
  };
  return { trace: program.trace, call, goOn, finish };
}

function door() {
  let open;
  const opened = new Promise((resolve) => (open = resolve));
  return { opened, open };
}

/** A run that says things which a page could mistake for something else. `canary` is set on the page's window if any of it is run. */
export async function hostileRun(gateway, { canary = "canary" } = {}) {
  const script = `<img src=x onerror="window.${canary}=1"><script>window.${canary}=1</script>`;
  const reversed = "\u202eevil\u202c \u2067abc\u2069 שלום עולם مرحبا";
  const word = "supercalifragilistic".repeat(60);
  const program = new Program(gateway, {
    thread: script,
    customer: `javascript:window.${canary}=1`,
    metadata: { [script]: script, "zero\u200bwidth": "a\u200bb\u2060c\ufeffd" },
    workflow: `${reversed}${script}`,
  });
  const agent = new Agent(program, `${reversed} ${script}`, script, { isExplicit: true, tools: [["tool", script, script]] });
  agent.hear(`${script} ${reversed}`);
  agent.history.push({ role: script, content: reversed, name: script });
  agent.hear(`${script}\n${"0123456789abcdef ".repeat(61_681)}`.slice(0, 1_048_576));
  agent.history.push({ role: "assistant", content: word, tool_calls: [{ id: "call_<b>", type: "function", function: { name: script, arguments: JSON.stringify({ html: script }) } }] });
  agent.history.push({ role: "tool", tool_call_id: "call_<b>", content: JSON.stringify({ [script]: [script, "12345678901234567890", { nested: "x".repeat(3000) }] }) });
  agent.hear([{ type: "text", text: "<b>bold</b>" }, { type: "image_url", image_url: { url: "https://example.com/tracker.png" } }], reversed);
  await agent.says({
    text: `${script} [click](javascript:window.${canary}=1) ${reversed}`,
    more: { reasoning_content: script, refusal: script },
    tools: [["tool<b>", script]],
    tokens: [262_144, 12],
  });
  agent.gets(`${script} ${word} ${"0123456789abcdef ".repeat(18_000)}`);
  agent.hear("\u0000\u0007 end");
  await agent.says({ text: "{\"broken\": [1, 2", tokens: [300_000, 4] });
  return (await gateway.over(program.trace)).trace_id;
}

/** A team's run of so many turns, each of which has two calls of the model and a tool between them: four spans. */
export async function longRun(gateway, { turns = 125 } = {}) {
  const program = new Program(gateway, { thread: "long", customer: "bulk@example.com" });
  const names = ["planner", "researcher", "coder", "critic", "writer"];
  const team = names.map((name) => new Agent(program, name, `You are the ${name}.`, { isExplicit: true, tools: [["step", "Take a step.", "turn"]] }));
  for (const agent of team) agent.hear("Work through the backlog.");
  for (let turn = 0; turn < turns; turn++) {
    const agent = team[turn % team.length];
    await agent.says({ text: `Calling a tool in turn ${turn}.`, tools: [["step", { turn: String(turn) }]], tokens: [200 + turn, 20] });
    agent.gets("ok");
    const said = await agent.says({ text: `Turn ${turn} is done.`, tokens: [260 + turn, 12] });
    for (const other of team) if (other !== agent) other.hear(said, agent.name);
  }
  return (await gateway.over(program.trace)).trace_id;
}

/** A plain run whose model call Respan refuses for good, with this reason, until it is told otherwise. */
export async function refusedRun(gateway, reason) {
  const mark = randomBytes(8).toString("hex");
  gateway.respan.refuses = (span) => span.name.startsWith("llm.") && JSON.stringify(span.attributes).includes(mark) && reason;
  const trace = await plainRun(gateway, { thread: mark });
  await comes("the refusal", async () => (await gateway.api("/api/health")).refused.length > 0);
  return trace;
}
