// The gateway that the tests look at, and the AutoGen programs that talk through it. Tests know nothing of how traces come to be: they ask
// here for a run of some kind, and read what is true of it from the API.

import { Fixture } from "./fixture.mjs";
import { called, Run, TOOLS } from "./run.mjs";

/** Starts a gateway with an empty store; with `token` its admin port asks for it. */
export async function startGateway({ token } = {}) {
  const fixture = await new Fixture({ token }).start();
  return new Gateway(fixture);
}

class Gateway {
  constructor(fixture) {
    this.fixture = fixture;
    this.url = fixture.url;
  }

  async stop() {
    await this.fixture.stop();
  }

  /** Stops it, and gives what starts it again at the same address with all that it knew. */
  async pause() {
    const { port } = this.fixture;
    await this.fixture.stop();
    return () => this.fixture.start(port);
  }

  /** The JSON at a path of the admin API. */
  async api(path) {
    const headers = this.fixture.token ? { Authorization: `Bearer ${this.fixture.token}` } : {};
    const response = await fetch(this.url + path, { headers });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return response.json();
  }

  /** A team of two: one asks two tools at once and streams, the other answers after a retry. Gives the trace's id. */
  async teamRun({ thread = "conversation-42", customer = "ada@example.com", ago = 90_000 } = {}) {
    const run = new Run({ ago, thread, customer, environment: "production", metadata: { plan: "pro", tenant: "7" } });
    const task = "Compare Oakland and Berkeley, and write two sentences about them for a travel guide.";
    const team = run.team("RoundRobinGroupChat.run_stream", task, [0, 16_800], "Oakland is the larger and warmer of the two; Berkeley is smaller. Both are sunny today. APPROVE");
    const researcher = run.agent("researcher", team, [20, 9_250], { input: task, output: "Oakland: 73 degrees and sunny, 440,646 people. Berkeley: 68 degrees and sunny, 124,321 people." });
    const start = [
      { role: "system", content: "Research cities with the tools. Never guess a number." },
      { role: "user", content: task, name: "user" },
    ];
    const calls = [called("call_Ydu8zvrT", "get_weather", { city: "Oakland" }), called("call_XPJH3pQO", "get_weather", { city: "Berkeley" }), called("call_nvEdNoVl", "get_population", { city: "Oakland" })];
    run.chat(researcher, [40, 2_140], start, { content: "I need three facts first.", tool_calls: calls, finish_reason: "tool_calls" }, { tokens: [412, 64, 256], first: 620, tools: TOOLS, rule: "root" });
    run.tool("get_weather", researcher, [2_150, 3_400], { city: "Oakland" }, "The weather in Oakland is 73 degrees and Sunny.");
    run.tool("get_weather", researcher, [2_150, 3_700], { city: "Berkeley" }, "The weather in Berkeley is 68 degrees and Sunny.");
    run.tool("get_population", researcher, [2_150, 5_600], { city: "Oakland" }, JSON.stringify({ city: "Oakland", population: 440646, year: 2020, source: { name: "census", checked: true } }));
    const results = [
      ...start,
      { role: "assistant", content: "I need three facts first.", tool_calls: calls },
      { role: "tool", content: "The weather in Oakland is 73 degrees and Sunny.", tool_call_id: "call_Ydu8zvrT" },
      { role: "tool", content: "The weather in Berkeley is 68 degrees and Sunny.", tool_call_id: "call_XPJH3pQO" },
      { role: "tool", content: JSON.stringify({ city: "Oakland", population: 440646, year: 2020, source: { name: "census", checked: true } }), tool_call_id: "call_nvEdNoVl" },
    ];
    run.chat(researcher, [5_620, 9_200], results, { content: "Oakland: 73 degrees and sunny, 440,646 people. Berkeley: 68 degrees and sunny, 124,321 people." }, { tokens: [618, 141, 512, 48], first: 900, tools: TOOLS, rule: "tool_id" });
    const writer = run.agent("writer", team, [9_300, 16_700], { input: "Oakland: 73 degrees and sunny …", output: "Oakland is the larger and warmer of the two; Berkeley is smaller. Both are sunny today. APPROVE" });
    run.chat(writer, [9_320, 16_650], [
      { role: "system", content: "You write for a travel guide. Two sentences, no adjectives that a fact does not carry. End with APPROVE." },
      { role: "user", content: task, name: "user" },
      { role: "user", content: "Oakland: 73 degrees and sunny, 440,646 people. Berkeley: 68 degrees and sunny, 124,321 people.", name: "researcher" },
    ], { content: "Oakland is the larger and warmer of the two; Berkeley is smaller. Both are sunny today. APPROVE" }, {
      tokens: [534, 38, 0], first: 5_900, rule: "delivery",
      events: [run.attempt(0, 10_100, 429, "Rate limit reached for gpt-4o-mini in organization org-x on tokens per min. Please try again in 2s.")],
      attributes: { "gen_ai.request.temperature": 0.2, "gen_ai.request.max_tokens": 400, "llm.request.response_format": "{\"type\":\"text\"}" },
    });
    this.fixture.put(run.trace());
    return run.trace_id;
  }

  /** One agent whose tool fails and whose second call is refused by the upstream. */
  async failedRun({ thread = "nightly-import", customer = "grace@example.com", ago = 400_000 } = {}) {
    const run = new Run({ ago, thread, customer });
    const task = "Load last night's file and sum up what changed.";
    const agent = run.agent("importer", null, [0, 4_900], { input: task, rule: "name_system_message" });
    const calls = [called("call_1", "read_file", { path: "/data/night.csv", lines: 100 })];
    const start = [{ role: "system", content: "You load files." }, { role: "user", content: task, name: "user" }];
    run.chat(agent, [10, 1_900], start, { tool_calls: calls, finish_reason: "tool_calls" }, { tokens: [96, 22], rule: "root" });
    run.tool("read_file", agent, [1_910, 2_480], { path: "/data/night.csv", lines: 100 }, "Error: [Errno 2] No such file or directory: '/data/night.csv'", { error: "Error: [Errno 2] No such file or directory: '/data/night.csv'" });
    run.chat(agent, [2_500, 4_880], [...start, { role: "assistant", content: "", tool_calls: calls }, { role: "tool", tool_call_id: "call_1", content: "Error: [Errno 2] No such file or directory: '/data/night.csv'" }], null, {
      error: "This model's maximum context length is 128000 tokens. However, your messages resulted in 131072 tokens. Please reduce the length of the messages.", status: 400, errorType: "invalid_request_error", rule: "tool_id",
      attributes: { "error.code": "context_length_exceeded" },
    });
    this.fixture.put(run.trace());
    return run.trace_id;
  }

  /** One agent, one call that is not streamed. `say` is the task, and holds what the test wants to find again. */
  async plainRun({ say = "Why does tracing help?", thread, customer, agent = "assistant", ago = 1_000_000 } = {}) {
    const run = new Run({ ago, thread, customer });
    const turn = run.agent(agent, null, [0, 1_480], { input: say, output: "Because it shows what happened." });
    run.chat(turn, [5, 1_470], [{ role: "system", content: "Be brief." }, { role: "user", content: say, name: "user" }], { content: "Because it shows what happened." }, { tokens: [31, 7] });
    this.fixture.put(run.trace());
    return run.trace_id;
  }

  /** One call whose request holds a conversation of so many messages, each of which says its number. */
  async talkRun({ messages = 20 } = {}) {
    const run = new Run({ ago: 50_000 });
    const history = Array.from({ length: messages }, (_, number) => ({ role: number % 2 === 0 ? "user" : "assistant", content: `message number ${number}.` }));
    run.chat(null, [0, 900], history, { content: "That is all." }, { tokens: [900, 4] });
    this.fixture.put(run.trace());
    return run.trace_id;
  }

  /** A run under way: a call is in flight. `goOn()` ends it and begins a tool, `finish()` ends the run. */
  async liveRun({ thread = "live-1", customer = "lin@example.com" } = {}) {
    const run = new Run({ ago: 3_000, thread, customer });
    run.live = true;
    const since = () => Date.now() - run.began;
    const task = "Find the cheapest train to Lyon.";
    const team = run.team("SelectorGroupChat.run_stream", task, [0, null]);
    const agent = run.agent("planner", team, [200, null], { input: task });
    const call = run.chat(agent, [220, null], [{ role: "system", content: "You plan." }, { role: "user", content: task, name: "user" }], null, { first: 300 });
    this.fixture.put(run.trace());
    let tool;
    return {
      trace: run.trace_id,
      call: call.span_id,
      goOn: async () => {
        run.end(call, since());
        Object.assign(call.attributes, { "gen_ai.completion.0.role": "assistant", "gen_ai.completion.0.content": "I shall look at the timetable.", "gen_ai.usage.input_tokens": 44, "gen_ai.usage.output_tokens": 19, "gen_ai.response.finish_reasons": ["tool_calls"] });
        tool = run.tool("timetable", agent, [since(), null], { to: "Lyon" });
        this.fixture.put(run.trace());
      },
      finish: async () => {
        for (const span of [tool, agent, team]) if (span) run.end(span, since());
        run.live = false;
        this.fixture.put(run.trace());
      },
    };
  }

  /** A run that says things which a page could mistake for something else. `canary` is set on the page's window if any of it is run. */
  async hostileRun({ canary = "canary" } = {}) {
    const script = `<img src=x onerror="window.${canary}=1"><script>window.${canary}=1</script>`;
    const reversed = "\u202eevil\u202c \u2067abc\u2069 שלום עולם مرحبا";
    const run = new Run({ ago: 2_000_000, thread: `${script}`, customer: `javascript:window.${canary}=1`, metadata: { [script]: script, "zero\u200bwidth": "a\u200bb\u2060c\ufeffd" } });
    const word = "supercalifragilistic".repeat(60);
    const team = run.team(`${reversed}${script}`, `${script} ${reversed}`, [0, 9_000], word);
    const agent = run.agent(`${reversed} ${script}`, team, [10, 8_900], { input: word, output: script });
    const big = `${script}\n${"0123456789abcdef ".repeat(61_681)}`.slice(0, 1_048_576);
    const json = JSON.stringify({ [script]: [script, 12345678901234567890n.toString(), { nested: "x".repeat(3000) }] });
    run.chat(agent, [20, 4_000], [
      { role: "system", content: script },
      { role: script, content: reversed, name: script },
      { role: "user", content: big, name: "user" },
      { role: "assistant", content: word, tool_calls: [called("call_<b>", script, { html: script })] },
      { role: "tool", content: json, tool_call_id: "call_<b>" },
      { role: "user", content: "[{\"type\":\"text\",\"text\":\"<b>bold</b>\"},{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://example.com/tracker.png\"}}]", name: reversed },
    ], { content: `${script} [click](javascript:window.${canary}=1) ${reversed}`, reasoning: script, refusal: script }, { tokens: [262_144, 12] });
    run.tool("tool<b>", agent, [4_100, 8_000], script, big.slice(0, 300_000), { error: `${script} ${word}` });
    run.chat(agent, [8_100, 8_800], [{ role: "user", content: "\u0000\u0007 end" }], { content: "{\"broken\": [1, 2" }, { rule: script });
    this.fixture.put(run.trace());
    return run.trace_id;
  }

  /** A team's run with `spans` spans. */
  async longRun({ spans = 500 } = {}) {
    const run = new Run({ ago: 3_000_000, thread: "long", customer: "bulk@example.com" });
    const names = ["planner", "researcher", "coder", "critic", "writer"];
    const each = 900;
    const turns = Math.floor((spans - 1) / 4);
    const team = run.team("RoundRobinGroupChat.run_stream", "Work through the backlog.", [0, turns * each], "Done.");
    for (let turn = 0; turn < turns; turn++) {
      const at = turn * each;
      const agent = run.agent(names[turn % names.length], team, [at, at + each - 20]);
      run.chat(agent, [at + 5, at + 400], [{ role: "user", content: `turn ${turn}`, name: "user" }], { content: "Calling a tool." }, { tokens: [200 + turn, 20], first: 120 });
      run.tool("step", agent, [at + 405, at + 600], { turn }, "ok");
      run.chat(agent, [at + 610, at + 870], [{ role: "user", content: `turn ${turn}`, name: "user" }], { content: "Done." }, { tokens: [260 + turn, 12], first: 80 });
    }
    while (run.spans.length < spans) run.task(team, [turns * each - 5, turns * each], "GET", "/v1/models", 200);
    this.fixture.put(run.trace());
    return run.trace_id;
  }

  /** Lets Respan refuse a span of a trace for good. */
  async refuseSpan(trace, reason) {
    const { spans } = await this.api(`/api/traces/${trace}?content=none`);
    this.fixture.health.refused.push({ trace_id: trace, span_id: spans[0].span_id, at: new Date().toISOString(), reason });
  }

  /** Loses a trace, as a store does when it is full. */
  async loseTrace(trace) {
    this.fixture.forget(trace);
  }
}
