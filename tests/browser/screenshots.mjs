// Makes the pictures of the README: real traffic through the real gateway, list and trace, light and dark.
//
//     npm run screenshots --prefix tests/browser

import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { launch } from "./browser.mjs";
import { startGateway } from "./gateway.mjs";
import { Agent, Program } from "./program.mjs";
import { failedRun, liveRun, plainRun, POPULATION, teamRun, TOO_MANY, WEATHER } from "./runs.mjs";

const PLACE = fileURLToPath(new URL("screenshots/", import.meta.url));

/** A team whose planner asks another agent through a tool, with a tool that fails and a call that is refused. Gives the trace, and a call. */
async function guideRun(gateway) {
  const program = new Program(gateway, { thread: "guide-oakland", customer: "ada@example.com", environment: "production", metadata: { plan: "pro" } });
  const task = "Plan a sunny weekend in Oakland: two sights, one place to eat, and what to wear.";
  const planner = new Agent(program, "planner", "You plan weekends. Ask the researcher for facts.", { tools: [["researcher", "An agent that researches cities.", "task"]] });
  const critic = new Agent(program, "critic", "You check plans. Say APPROVE when a plan is sound.", { isExplicit: true });
  planner.hear(task);
  critic.hear(task);
  const question = "What will the weather in Oakland be, and how many people live there?";
  await planner.says({ text: "Facts first.", tools: [["researcher", { task: question }]], streams: true, thinks: 180, speaks: 260, tokens: [186, 31] });
  const researcher = new Agent(program, "researcher", "You research cities with the tools. Never guess a number.", { tools: [WEATHER, POPULATION] });
  researcher.hear(question);
  await researcher.says({
    tools: [["get_weather", { city: "Oakland" }], ["get_population", { city: "Oakland" }], ["get_forecast", { city: "Oakland", days: 2 }]],
    streams: true, thinks: 140, speaks: 200, tokens: [204, 58, 128],
  });
  await works(350);
  researcher.gets("The weather in Oakland is 73 degrees and Sunny.", JSON.stringify({ city: "Oakland", population: 440646, year: 2020, source: { name: "census", checked: true } }), "Error: tool 'get_forecast' not found in any workbench");
  const facts = await researcher.says({ text: "Oakland has 440,646 people. It is 73 degrees and sunny; I have no forecast beyond today.", streams: true, thinks: 260, speaks: 380, tokens: [341, 44, 256] });
  planner.gets(`researcher: ${facts}`);
  const plan = await planner.says({
    text: "**Saturday:** Lake Merritt at nine, before the wind. Lunch at Swan's Market.\n**Sunday:** the redwoods in Joaquin Miller Park.\nWear layers: it is 73 degrees by day, and cool at the lake.",
    streams: true, thinks: 420, speaks: 700, tokens: [412, 71, 256, 24],
  }, TOO_MANY);
  critic.hear(plan, "planner");
  const wish = await critic.says({ text: "Sound, but say how to get there without a car.", streams: true, thinks: 240, speaks: 220, tokens: [188, 14] });
  planner.hear(wish, "critic");
  await planner.says({ status: 400, thinks: 160, error: { message: "This model's maximum context length is 128000 tokens. However, your messages resulted in 131072 tokens. Please reduce the length of the messages.", type: "invalid_request_error", code: "context_length_exceeded" } });
  const { trace_id, spans } = await gateway.over(program.trace);
  const call = spans.filter((span) => span.log_type === "chat" && span.parent_span_id === spans.find((span) => span.name === "agent.researcher").span_id).at(-1);
  return { trace: trace_id, call: call.span_id };
}

/** The time that tools take. */
function works(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

const gateway = await startGateway({ set: { "runs.idle": "3s" } });
const browser = await launch();
try {
  await mkdir(PLACE, { recursive: true });
  await Promise.all([
    plainRun(gateway, { say: "Why does tracing help?", thread: "conversation-41", customer: "grace@example.com", thinks: 640 }),
    plainRun(gateway, { say: "Sum up yesterday's incidents in three sentences.", thread: "standup", customer: "ops@example.com", agent: "reporter", thinks: 1180 }),
    teamRun(gateway),
    failedRun(gateway),
  ]);
  const { trace, call } = await guideRun(gateway);
  await plainRun(gateway, { say: "Translate the release notes into French.", thread: "release-7", customer: "lin@example.com", agent: "translator", thinks: 420 });
  const live = await liveRun(gateway, { thread: "conversation-43" });
  for (const colorScheme of ["light", "dark"]) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, deviceScaleFactor: 1, colorScheme, reducedMotion: "reduce" });
    const page = await context.newPage();
    await page.goto(`${gateway.url}/#/`);
    await page.locator(`.trace-row[data-trace="${trace}"]`).waitFor();
    await page.locator("#health .dot").waitFor();
    await page.evaluate(() => document.fonts.ready);
    await page.screenshot({ path: `${PLACE}list-${colorScheme}.png` });
    await page.goto(`${gateway.url}/#/trace/${trace}/span/${call}`);
    await page.locator(".detail .reply").waitFor();
    await page.screenshot({ path: `${PLACE}trace-${colorScheme}.png` });
    await context.close();
  }
  await live.finish();
} finally {
  await browser.close();
  await gateway.stop();
}
