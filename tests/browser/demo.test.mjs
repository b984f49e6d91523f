// The demo in the viewer.

import assert from "node:assert/strict";
import { it } from "node:test";
import { comes, startDemo } from "./gateway.mjs";
import { looking, until, untilListed } from "./page.mjs";

/** The ids of the demo's traces, once its conversation is over. */
async function traces(demo) {
  await comes("the demo's conversation", () => demo.log().includes("The viewer: "));
  return comes("the end of its runs", async () => {
    const { traces } = await demo.api("/api/traces");
    return traces.length > 1 && traces.every((trace) => !trace.live) && traces.map((trace) => trace.trace_id);
  });
}

it("the demo's traces come up in a page that was open before", async () => {
  const earlier = await startDemo();
  let demo = earlier;
  try {
    const old = await traces(earlier);
    await looking(earlier, { expected: /ERR_CONNECTION|Failed to load|ERR_INCOMPLETE|net::/ }, async (page) => {
      await untilListed(page, old);
      await earlier.pause();
      demo = await startDemo(earlier);
      const ids = await traces(demo);
      assert.equal(ids.some((id) => old.includes(id)), false);
      await untilListed(page, ids);
      assert.ok((await page.locator(".trace-row", { hasText: "planner" }).first().innerText()).includes("demo-customer"));
      await until(page, () => document.querySelector(".tag.live") === null);
      await page.locator(".trace-row", { hasText: "planner" }).first().locator(".title").click();
      await page.locator(".rows .row", { hasText: "reviewer" }).first().waitFor();
    });
  } finally {
    await Promise.all([...new Set([earlier, demo])].map((gateway) => gateway.stop()));
  }
});
