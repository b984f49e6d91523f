// Text of the traffic stays text, for any content and length.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { startGateway } from "./gateway.mjs";
import { focusedSpan, looking, rowOf, until } from "./page.mjs";
import { hostileRun, longRun } from "./runs.mjs";

const FOREIGN = "script:not([src^='/']), img:not([src='/icon.svg']), iframe, b, [onerror], a[href^='javascript:']";

describe("text that looks like something else", () => {
  let gateway;
  let hostile;
  let spans;
  before(async () => {
    gateway = await startGateway();
    hostile = await hostileRun(gateway, { canary: "canary" });
    ({ spans } = await gateway.api(`/api/traces/${hostile}`));
  });
  after(() => gateway.stop());

  async function isOnlyText(page) {
    assert.equal(await page.evaluate(() => window.canary), undefined);
    assert.equal(await page.locator(FOREIGN).count(), 0);
  }

  it("is only text in the list, grouped or not", async () => {
    for (const hash of ["#/", "#/?group=thread"]) {
      await looking(gateway, { hash }, async (page) => {
        await page.locator(".trace-row").waitFor();
        assert.ok((await page.locator(".trace-row").innerText()).includes("<img src=x"));
        await isOnlyText(page);
      });
    }
  });

  it("is only text in the tree and in the detail of every span", async () => {
    for (const span of spans) {
      await looking(gateway, { hash: `#/trace/${hostile}/span/${span.span_id}` }, async (page) => {
        await page.locator(".detail").waitFor();
        for (const part of await page.locator(".detail details").all()) await part.evaluate((details) => (details.open = true));
        await page.locator(".pairs.raw dt").first().waitFor();
        assert.ok((await page.locator("#trace").innerText()).includes("<script>"));
        await isOnlyText(page);
      });
    }
  });

  it("keeps its writing direction to itself", async () => {
    await looking(gateway, { hash: `#/trace/${hostile}/span/${spans[0].span_id}` }, async (page) => {
      await page.locator(".detail").waitFor();
      const directions = await page.locator("bdi, .words").evaluateAll((elements) => [...new Set(elements.map((element) => getComputedStyle(element).unicodeBidi))]);
      assert.deepEqual(directions, ["isolate"]);
      const overflows = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
      assert.equal(overflows, false);
    });
  });

  it("is folded where it is a megabyte long, and shown whole when asked", async () => {
    const span = spans.find((span) => Object.values(span.attributes).some((value) => value.length >= 1_000_000));
    const big = Object.values(span.attributes).find((value) => value.length >= 1_000_000);
    await looking(gateway, { hash: `#/trace/${hostile}/span/${span.span_id}` }, async (page) => {
      const button = page.getByRole("button", { name: `Show all ${big.length.toLocaleString("en-US")} characters` });
      await button.waitFor();
      assert.ok((await page.locator(".detail").evaluate((detail) => detail.textContent.length)) < 60_000);
      await button.click();
      const whole = page.locator(".words.scrolls");
      await whole.waitFor();
      assert.equal(await whole.evaluate((words) => words.textContent), big);
      await page.getByRole("button", { name: "Show less" }).click();
      await whole.waitFor({ state: "detached" });
      await isOnlyText(page);
    });
  });
});

describe("a trace of 500 spans", () => {
  it("is shown whole and walked through from end to end", async () => {
    const gateway = await startGateway();
    try {
      const long = await longRun(gateway, { turns: 125 });
      const { spans } = await gateway.api(`/api/traces/${long}?content=none`);
      assert.ok(spans.length > 500);
      await looking(gateway, { hash: `#/trace/${long}` }, async (page) => {
        await until(page, (all) => document.querySelectorAll(".rows .row").length === all, spans.length);
        await page.locator(".rows .row").first().click();
        await page.locator(".detail").waitFor();
        await page.keyboard.press("End");
        const last = await focusedSpan(page);
        await until(page, (id) => location.hash.endsWith(id), last);
        for (let step = 0; step < 40; step++) await page.keyboard.press("ArrowUp");
        await page.keyboard.press("Home");
        await page.keyboard.press("ArrowLeft");
        await until(page, () => document.querySelectorAll(".rows .row").length === 1);
        await page.keyboard.press("ArrowRight");
        await until(page, (all) => document.querySelectorAll(".rows .row").length === all, spans.length);
        await rowOf(page, last).scrollIntoViewIfNeeded();
      });
    } finally {
      await gateway.stop();
    }
  });
});
