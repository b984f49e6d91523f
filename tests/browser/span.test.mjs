// One span in detail.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { startGateway } from "./gateway.mjs";
import { looking } from "./page.mjs";
import { failedRun, plainRun, talkRun, teamRun } from "./runs.mjs";

describe("the detail of a span", () => {
  let gateway;
  let team;
  let spans;
  before(async () => {
    gateway = await startGateway();
    team = await teamRun(gateway);
    ({ spans } = await gateway.api(`/api/traces/${team}`));
  });
  after(() => gateway.stop());
  const link = (span) => `#/trace/${team}/span/${span.span_id}`;

  it("shows the conversation, every tool call beside its result, and the reply apart", async () => {
    const isResult = ([key, value]) => /^gen_ai\.prompt\.\d+\.role$/.test(key) && value === "tool";
    const span = spans.find((span) => span.log_type === "chat" && Object.entries(span.attributes).some(isResult));
    const a = span.attributes;
    await looking(gateway, { hash: link(span) }, async (page) => {
      await page.locator(".detail .reply").waitFor();
      for (const [key] of Object.entries(a).filter(isResult)) {
        const at = key.replace(/\.role$/, "");
        const call = page.locator(".history .call", { hasText: a[`${at}.tool_call_id`] });
        assert.equal(await call.count(), 1);
        const result = (await call.locator(".came .words").innerText()).replaceAll(/\s/g, "");
        assert.equal(result, a[`${at}.content`].replaceAll(/\s/g, ""));
      }
      assert.equal(await page.locator(".history").getByText(a["gen_ai.completion.0.content"]).count(), 0);
      assert.equal(await page.locator(".reply .words").innerText(), a["gen_ai.completion.0.content"]);
    });
  });

  it("says what it cost, who it was for, and why it stands where it stands", async () => {
    const span = spans.find((span) => span.log_type === "chat");
    const a = span.attributes;
    await looking(gateway, { hash: link(span) }, async (page) => {
      await page.locator(".detail").waitFor();
      const said = await page.locator(".detail").innerText();
      for (const key of ["gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "llm.usage.cache_read_input_tokens", "respan.customer_params.customer_identifier", "respan.threads.thread_identifier", "respan.metadata.spangate_exchange", "respan.metadata.spangate_outcome"]) {
        assert.ok(said.includes(String(a[key])), `${key} is missing`);
      }
      assert.match(said, /It follows nothing that was seen before: a run begins with it\./);
      await page.getByText("Tools on offer").click();
      await page.locator(".tool-offered", { hasText: "get_population" }).waitFor();
      await page.getByText("All attributes").click();
      await page.locator(".pairs.raw dt").first().waitFor();
      assert.equal(await page.locator(".pairs.raw dt").count(), Object.keys(a).length);
    });
  });

  it("folds the middle of a long conversation, and unfolds it", async () => {
    const talk = await talkRun(gateway, { messages: 20 });
    const [span] = (await gateway.api(`/api/traces/${talk}`)).spans;
    await looking(gateway, { hash: `#/trace/${talk}/span/${span.span_id}` }, async (page) => {
      const history = page.locator(".history");
      await history.getByText("message number 0.").waitFor();
      await history.getByText("message number 19.").waitFor();
      assert.equal(await history.getByText("message number 9.").count(), 0);
      await page.getByRole("button", { name: "in between" }).click();
      await history.getByText("message number 9.").waitFor();
      assert.equal(await history.locator(".message").count(), 20);
    });
  });

  it("leads to all traces of a model", async () => {
    const span = spans.find((span) => span.log_type === "chat");
    const model = span.attributes["gen_ai.response.model"];
    await looking(gateway, { hash: link(span) }, async (page) => {
      await page.locator(".facts").getByRole("link", { name: model }).click();
      await page.locator(`.trace-row[data-trace="${team}"]`).waitFor();
      assert.equal(new URL(page.url()).hash, `#/?model=${model}`);
    });
  });

  it("tells the attempts that failed before", async () => {
    const span = spans.find((span) => span.events.length > 0);
    await looking(gateway, { hash: link(span) }, async (page) => {
      await page.locator(".events li").waitFor();
      assert.ok((await page.locator(".events li").innerText()).includes(span.events[0].attributes["error.message"]));
    });
  });

  it("gives the whole span as JSON", async () => {
    const span = spans.find((span) => span.log_type === "chat");
    await looking(gateway, { hash: link(span) }, async (page) => {
      await page.getByRole("button", { name: "Copy JSON" }).click();
      await page.locator(".detail-tools").getByText("Copied").waitFor();
      assert.deepEqual(JSON.parse(await page.evaluate(() => navigator.clipboard.readText())), span);
    });
  });

  it("shows a tool's arguments and result, and an agent's input and output", async () => {
    const tool = spans.find((span) => span.log_type === "tool");
    await looking(gateway, { hash: link(tool) }, async (page) => {
      await page.locator(".detail .call").waitFor();
      assert.match(await page.locator(".detail .call").innerText(), /get_weather[\s\S]*"city"[\s\S]*Oakland[\s\S]*73 degrees/);
    });
    const agent = spans.find((span) => span.log_type === "agent");
    await looking(gateway, { hash: link(agent) }, async (page) => {
      await page.locator(".detail .part").first().waitFor();
      const said = await page.locator(".detail").innerText();
      for (const key of ["traceloop.entity.input", "traceloop.entity.output"]) assert.ok(said.includes(JSON.parse(agent.attributes[key])));
    });
  });

  it("puts what went wrong first", async () => {
    const failed = await failedRun(gateway);
    const { spans } = await gateway.api(`/api/traces/${failed}`);
    const span = spans.find((span) => span.log_type === "chat" && span.status === "error");
    await looking(gateway, { hash: `#/trace/${failed}/span/${span.span_id}` }, async (page) => {
      const failure = page.getByRole("region", { name: "Error" });
      await failure.waitFor();
      assert.ok((await failure.innerText()).includes(span.attributes["error.message"]));
      const [failureTop, conversationTop] = await Promise.all([failure, page.locator(".history")].map(async (part) => (await part.boundingBox()).y));
      assert.ok(failureTop < conversationTop);
    });
  });

  it("covers the page on a phone, and gives it back", async () => {
    const span = spans.find((span) => span.log_type === "chat");
    await looking(gateway, { hash: link(span), width: 390, height: 844 }, async (page) => {
      await page.locator(".detail").waitFor();
      const box = await page.locator(".detail-pane").boundingBox();
      assert.deepEqual([box.width, box.height], [390, 844]);
      await page.getByRole("button", { name: "Close the detail" }).click();
      await page.locator(".detail-pane").waitFor({ state: "hidden" });
      const overflows = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
      assert.equal(overflows, false);
    });
  });
});

describe("a gateway that keeps metadata alone", () => {
  it("has no content to show, and says so", async () => {
    const gateway = await startGateway({ set: { "capture.content": "metadata" } });
    try {
      const said = "a secret of the company";
      const trace = await plainRun(gateway, { say: said });
      const { spans } = await gateway.api(`/api/traces/${trace}`);
      const answer = "Because it shows what happened.";
      await looking(gateway, {}, async (page) => {
        await page.locator(".trace-row").waitFor();
        assert.equal((await page.locator("#list").innerText()).includes(said), false);
        for (const span of spans) {
          await page.goto(`${gateway.url}/#/trace/${trace}/span/${span.span_id}`);
          await page.locator(`.row[data-span="${span.span_id}"][aria-selected="true"]`).waitFor();
          await page.locator(`.detail-pane[data-span="${span.span_id}"]`).waitFor();
          await page.locator(".detail details").evaluateAll((all) => all.forEach((part) => (part.open = true)));
          await page.locator(".pairs.raw dt").first().waitFor();
          if (span.log_type === "chat") await page.getByText("No content was kept of this call").waitFor();
          const shown = await page.locator("body").evaluate((body) => body.textContent);
          for (const text of [said, answer, "Be brief."]) assert.equal(shown.includes(text), false);
        }
      });
    } finally {
      await gateway.stop();
    }
  });
});
