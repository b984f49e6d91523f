// Every text has a contrast of 4.5:1 to its background, in light and in dark.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { startGateway } from "./gateway.mjs";
import { looking } from "./page.mjs";
import { failedRun, hostileRun, liveRun, longRun, refusedRun, teamRun } from "./runs.mjs";

const LEAST = 4.5;

/** Within the page: texts whose contrast is too low, as sentences; and how many texts were looked at. */
function lowContrast(least) {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const read = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = canvas.getImageData(0, 0, 1, 1).data;
    return [red, green, blue, alpha / 255];
  };
  const over = ([red, green, blue, alpha], below) => [red, green, blue].map((part, at) => part * alpha + below[at] * (1 - alpha));
  const luminance = (colour) => {
    const [red, green, blue] = colour.map((part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const ground = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      const colour = read(getComputedStyle(at).backgroundColor);
      if (colour[3] > 0) layers.push(colour);
      if (colour[3] === 1 || at.tagName === "DIALOG") break;
    }
    const canvasColour = read("Canvas").slice(0, 3);
    return layers.reduceRight((below, layer) => over(layer, below), canvasColour);
  };
  const found = [];
  let looked = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || element.closest(".unseen, script, symbol, noscript, [disabled]") || !element.checkVisibility()) continue;
    const range = document.createRange();
    range.selectNodeContents(walker.currentNode);
    if (range.getBoundingClientRect().width === 0) continue;
    looked += 1;
    const below = ground(element);
    const text = over(read(getComputedStyle(element).color), below);
    const [light, dark] = [luminance(text), luminance(below)].sort((left, right) => right - left);
    const ratio = (light + 0.05) / (dark + 0.05);
    if (ratio < least) found.push(`${ratio.toFixed(2)} in ${element.className || element.tagName}: ${walker.currentNode.data.trim().slice(0, 40)}`);
  }
  return { found: [...new Set(found)], looked };
}

for (const scheme of ["light", "dark"]) {
  describe(`in ${scheme}`, () => {
    let gateway;
    let views;
    before(async () => {
      gateway = await startGateway();
      const team = await teamRun(gateway);
      const failed = await failedRun(gateway);
      const hostile = await hostileRun(gateway);
      const long = await longRun(gateway, { turns: 15 });
      const live = await liveRun(gateway);
      await refusedRun(gateway, "it said no");
      const spans = async (trace) => (await gateway.api(`/api/traces/${trace}`)).spans;
      views = ["#/", "#/?group=thread", "#/?agent=writer&customer=ada%40example.com", "#/?q=nothing-says-this", `#/trace/${long}`, `#/trace/${live.trace}/span/${live.call}`];
      for (const trace of [team, failed, hostile]) for (const span of await spans(trace)) views.push(`#/trace/${trace}/span/${span.span_id}`);
    });
    after(() => gateway.stop());

    it("all text stands out from its ground", async () => {
      await looking(gateway, { scheme }, async (page) => {
        await page.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
        for (const view of views) {
          await page.goto(`${gateway.url}/${view}`);
          await page.locator(view.includes("/span/") ? ".detail" : view.includes("/trace/") ? ".rows .row" : view.includes("nothing") ? ".nothing" : ".trace-row").first().waitFor();
          await page.locator("details").evaluateAll((all) => all.forEach((part) => (part.open = true)));
          const { found, looked } = await page.evaluate(lowContrast, LEAST);
          assert.ok(looked > 10, view);
          assert.deepEqual(found, [], view);
        }
        await page.locator("#health").click();
        assert.deepEqual((await page.evaluate(lowContrast, LEAST)).found, []);
        await page.keyboard.press("Escape");
        await page.keyboard.press("?");
        assert.deepEqual((await page.evaluate(lowContrast, LEAST)).found, []);
      });
    });

    it("the start and the sign-in stand out, too", async () => {
      const empty = await startGateway();
      const closed = await startGateway({ token: "secret" });
      try {
        await looking(empty, { scheme }, async (page) => {
          await page.locator(".snippet").waitFor();
          assert.deepEqual((await page.evaluate(lowContrast, LEAST)).found, []);
        });
        await looking(closed, { scheme, expected: /401/ }, async (page) => {
          await page.locator("#token").fill("wrong");
          await page.getByRole("button", { name: "Sign in" }).click();
          await page.getByText("That token is not right.").waitFor();
          assert.deepEqual((await page.evaluate(lowContrast, LEAST)).found, []);
        });
      } finally {
        await empty.stop();
        await closed.stop();
      }
    });

    it("the other theme is chosen by a key, and remembered", async () => {
      await looking(gateway, { scheme }, async (page) => {
        const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
        await page.locator(".trace-row").first().waitFor();
        const before = await ground();
        await page.keyboard.press("t");
        const chosen = await ground();
        assert.notEqual(chosen, before);
        await page.reload();
        assert.equal(await ground(), chosen);
      });
    });
  });
}
