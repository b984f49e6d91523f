// A trace: its tree, its times, its totals, and that it grows while it is read.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { startGateway } from "./gateway.mjs";
import { focusedSpan, looking, rowOf, until } from "./page.mjs";
import { failedRun, liveRun, longTrace, plainRun, raisedRun, teamRun } from "./runs.mjs";

const FIRST_TOKEN = "llm.openai.chat_completions.streaming_time_to_first_token";

/** Spans in the order of a tree, the earlier sibling first, each with its level. */
function inOrder(spans, parent = null, level = 1) {
  const known = new Set(spans.map((span) => span.span_id));
  return spans
    .filter((span) => (known.has(span.parent_span_id) ? span.parent_span_id : null) === parent)
    .sort((left, right) => (left.start < right.start ? -1 : left.start > right.start ? 1 : 0))
    .flatMap((span) => [{ ...span, level }, ...inOrder(spans, span.span_id, level + 1)]);
}

/** Milliseconds with their fraction. */
function time(text) {
  return Date.parse(text.slice(0, 19) + "Z") + Number("0" + text.slice(19, -1)) * 1000;
}

describe("a trace", () => {
  let gateway;
  let team;
  let trace;
  before(async () => {
    gateway = await startGateway();
    team = await teamRun(gateway);
    trace = await gateway.api(`/api/traces/${team}`);
  });
  after(() => gateway.stop());

  it("shows its spans as the tree that they are", async () => {
    await looking(gateway, { hash: `#/trace/${team}` }, async (page) => {
      await page.locator(".rows .row").first().waitFor();
      const shown = await page.locator(".rows .row").evaluateAll((rows) => rows.map((row) => [row.dataset.span, Number(row.getAttribute("aria-level"))]));
      assert.deepEqual(shown, inOrder(trace.spans).map((span) => [span.span_id, span.level]));
    });
  });

  it("draws each bar where its time lies on the axis", async () => {
    const start = Math.min(...trace.spans.map((span) => time(span.start)));
    const length = Math.max(...trace.spans.map((span) => time(span.end))) - start;
    await looking(gateway, { hash: `#/trace/${team}` }, async (page) => {
      await page.locator(".rows .row").first().waitFor();
      for (const span of trace.spans) {
        const [left, width, track] = await rowOf(page, span.span_id).evaluate((row) => {
          const [bar, track] = [row.querySelector(".bar").getBoundingClientRect(), row.querySelector(".track").getBoundingClientRect()];
          return [bar.left - track.left, bar.width, track.width];
        });
        assert.ok(Math.abs(left - ((time(span.start) - start) / length) * track) < 1, `${span.name} begins at ${left} of ${track}`);
        const expected = Math.max(3, ((time(span.end) - time(span.start)) / length) * track);
        assert.ok(Math.abs(width - expected) < 1, `${span.name} is ${width} wide, not ${expected}`);
      }
    });
  });

  it("marks the first token within the bar of a streamed call", async () => {
    const streamed = trace.spans.filter((span) => span.attributes[FIRST_TOKEN] !== undefined);
    assert.ok(streamed.length > 0);
    await looking(gateway, { hash: `#/trace/${team}` }, async (page) => {
      for (const span of streamed) {
        const share = await rowOf(page, span.span_id).locator(".first-token").evaluate((mark) => {
          const [at, bar] = [mark.getBoundingClientRect(), mark.parentElement.getBoundingClientRect()];
          return ((at.left + at.right) / 2 - bar.left) / bar.width;
        });
        const expected = (span.attributes[FIRST_TOKEN] * 1000) / (time(span.end) - time(span.start));
        assert.ok(Math.abs(share - expected) < 0.04, `${span.name}: ${share}, not ${expected}`);
      }
    });
  });

  it("says in its head what all of it took", async () => {
    const chats = trace.spans.filter((span) => span.log_type === "chat");
    const sum = (key) => chats.reduce((total, span) => total + (span.attributes[key] ?? 0), 0).toLocaleString("en-US");
    await looking(gateway, { hash: `#/trace/${team}` }, async (page) => {
      const total = (name) => page.locator(`.total-${name} dd`).first().innerText();
      assert.equal(await total("models"), String(chats.length));
      assert.equal(await total("tools"), String(trace.spans.filter((span) => span.log_type === "tool").length));
      assert.equal(await total("input"), sum("gen_ai.usage.input_tokens"));
      assert.equal(await total("output"), sum("gen_ai.usage.output_tokens"));
      assert.equal(await total("errors"), "0");
    });
  });

  it("gives an agent the same colour in the list, the tree and the head", async () => {
    await looking(gateway, {}, async (page) => {
      const colour = (place) => page.locator(place).first().evaluate((element) => getComputedStyle(element).getPropertyValue("--agent-fill"));
      await page.locator(".trace-row .chip.agent", { hasText: "writer" }).waitFor();
      const inList = await page.locator(".trace-row .chip.agent", { hasText: "writer" }).evaluate((element) => getComputedStyle(element).getPropertyValue("--agent-fill"));
      await page.goto(`${gateway.url}/#/trace/${team}`);
      const row = trace.spans.find((span) => span.name === "agent.writer").span_id;
      await rowOf(page, row).waitFor();
      assert.equal(await colour(`.row[data-span="${row}"]`), inList);
      assert.equal(await colour(".total.agents .chip:nth-of-type(2)"), inList);
    });
  });

  it("moves, folds, opens and leaves by the keyboard", async () => {
    const rows = inOrder(trace.spans).map((span) => span.span_id);
    await looking(gateway, {}, async (page) => {
      await page.locator(".trace-row").waitFor();
      await page.keyboard.press("ArrowDown");
      await page.keyboard.press("Enter");
      await rowOf(page, rows[0]).waitFor();
      await page.keyboard.press("j");
      assert.equal(await focusedSpan(page), rows[0]);
      await page.keyboard.press("ArrowDown");
      await page.keyboard.press("j");
      assert.equal(await focusedSpan(page), rows[2]);
      await page.keyboard.press("ArrowLeft");
      assert.equal(await focusedSpan(page), rows[1]);
      await page.keyboard.press("ArrowLeft");
      await rowOf(page, rows[2]).waitFor({ state: "detached" });
      await page.keyboard.press("ArrowRight");
      await rowOf(page, rows[2]).waitFor();
      await page.keyboard.press("ArrowRight");
      assert.equal(await focusedSpan(page), rows[2]);
      await page.keyboard.press("Enter");
      await until(page, (hash) => location.hash === hash, `#/trace/${team}/span/${rows[2]}`);
      await page.locator(".detail").waitFor();
      await page.keyboard.press("k");
      await until(page, (hash) => location.hash === hash, `#/trace/${team}/span/${rows[1]}`);
      await page.keyboard.press("Escape");
      await until(page, (hash) => location.hash === hash, `#/trace/${team}`);
      assert.equal(await focusedSpan(page), rows[1]);
      await page.keyboard.press("Escape");
      await page.locator(".trace-row").waitFor();
      await until(page, () => document.activeElement.classList.contains("trace-row"));
    });
  });

  it("lets a span fill the axis, and shows the whole again", async () => {
    const chat = trace.spans.find((span) => span.log_type === "chat").span_id;
    await looking(gateway, { hash: `#/trace/${team}/span/${chat}` }, async (page) => {
      const share = () => rowOf(page, chat).evaluate((row) => row.querySelector(".bar").clientWidth / row.querySelector(".track").clientWidth);
      await rowOf(page, chat).click();
      assert.ok((await share()) < 0.5);
      await page.keyboard.press("z");
      assert.ok((await share()) > 0.98);
      await page.keyboard.press("z");
      assert.ok((await share()) < 0.5);
    });
  });

  it("says what the keys are", async () => {
    await looking(gateway, { hash: `#/trace/${team}` }, async (page) => {
      await page.locator(".rows .row").first().waitFor();
      await page.keyboard.press("?");
      await page.getByRole("dialog", { name: "Keys" }).waitFor();
      await page.keyboard.press("Escape");
      await page.getByRole("dialog", { name: "Keys" }).waitFor({ state: "hidden" });
      assert.equal(new URL(page.url()).hash, `#/trace/${team}`);
    });
  });

  it("leads to its errors, one after the other", async () => {
    const failed = await failedRun(gateway);
    const errors = (await gateway.api(`/api/traces/${failed}?content=none`)).spans.filter((span) => span.status === "error").map((span) => span.span_id);
    assert.ok(errors.length > 1);
    await looking(gateway, { hash: `#/trace/${failed}` }, async (page) => {
      await page.locator("#to-error").click();
      await until(page, (hash) => location.hash === hash, `#/trace/${failed}/span/${errors[0]}`);
      await page.keyboard.press("e");
      await until(page, (hash) => location.hash === hash, `#/trace/${failed}/span/${errors[1]}`);
      assert.match(await rowOf(page, errors[1]).innerText(), /error/);
    });
  });

  it("marks a tool that looks failed, which still counts as ok", async () => {
    const raised = await raisedRun(gateway);
    const { spans } = await gateway.api(`/api/traces/${raised}?content=none`);
    const tool = spans.find((span) => span.log_type === "tool");
    assert.equal(tool.status, "ok");
    await looking(gateway, { hash: `#/trace/${raised}/span/${tool.span_id}` }, async (page) => {
      const note = rowOf(page, tool.span_id).locator(".note.warn");
      await note.waitFor();
      assert.equal(await note.innerText(), "looks like an error: OSError:");
      const amber = await page.evaluate(() => {
        const probe = document.body.appendChild(document.createElement("i"));
        probe.style.color = "var(--warn)";
        return getComputedStyle(probe).color;
      });
      assert.equal(await note.evaluate((element) => getComputedStyle(element).color), amber);
      assert.match(await page.locator(".detail .warning").innerText(), /looks like an error \(OSError:\)/);
      assert.equal(await page.locator(".total-errors dd").first().innerText(), "0");
    });
    const { spans: others } = await gateway.api(`/api/traces/${team}?content=none`);
    assert.ok(others.every((span) => span.looks_failed === undefined));
  });

  it("shows a long trace in pages, and says what all of it amounts to", async () => {
    const [most, all] = [2000, 2030];
    const long = await longTrace(gateway, all);
    await looking(gateway, { hash: `#/trace/${long}` }, async (page) => {
      await page.getByText("30 more spans are not shown").waitFor();
      assert.equal(await page.locator(".rows .row").count(), most);
      assert.equal(await page.locator(".total-errors dd").first().innerText(), all.toLocaleString("en-US"));
      await page.locator("#more-spans").click();
      await until(page, (all) => document.querySelectorAll(".rows .row").length === all, all);
      assert.equal(await page.locator(".more-spans").isVisible(), false);
      const shown = await page.locator(".rows .row").evaluateAll((rows) => rows.map((row) => row.dataset.span));
      assert.equal(new Set(shown).size, all);
    });
  });

  it("grows while it is live, and keeps what is selected, folded and focused", async () => {
    const run = await liveRun(gateway);
    await looking(gateway, { hash: `#/trace/${run.trace}/span/${run.call}` }, async (page) => {
      await page.getByText("The model has not answered yet.").waitFor();
      await rowOf(page, run.call).focus();
      const width = () => page.locator(".total-duration dd").first().innerText();
      const before = await width();
      await until(page, (before) => document.querySelector(".total-duration dd").textContent !== before, before);
      await run.goOn();
      await until(page, () => document.querySelectorAll(".rows .row").length === 5);
      await page.locator(".reply", { hasText: "I shall look at the timetable." }).waitFor();
      assert.equal(await focusedSpan(page), run.call);
      assert.equal(await rowOf(page, run.call).getAttribute("aria-selected"), "true");
      await page.keyboard.press("ArrowUp");
      await page.keyboard.press("ArrowLeft");
      await until(page, () => document.querySelectorAll(".rows .row").length === 2);
      await run.finish();
      await page.locator(".trace-title .running").waitFor({ state: "detached" });
      assert.equal(await page.locator(".rows .row").count(), 2);
      assert.equal(await page.locator(".rows .running").count(), 0);
    });
  });

  it("says so when it is not there any more", async () => {
    const lost = await plainRun(gateway);
    await gateway.loseAll();
    await plainRun(gateway);
    await looking(gateway, { hash: `#/trace/${lost}`, expected: /404/ }, async (page) => {
      await page.getByRole("heading", { name: "This trace is not there any more" }).waitFor();
      await page.getByRole("link", { name: "To the list", exact: true }).click();
      await page.locator(".trace-row").first().waitFor();
    });
  });
});
