// The list: its rows, its filters, and that it grows by itself.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { startGateway } from "./gateway.mjs";
import { listed, looking, until, untilListed } from "./page.mjs";
import { failedRun, liveRun, plainRun, teamRun } from "./runs.mjs";

describe("the list", () => {
  let gateway;
  let team;
  let failed;
  before(async () => {
    gateway = await startGateway();
    failed = await failedRun(gateway, { thread: "nightly-import", customer: "grace@example.com" });
    team = await teamRun(gateway, { thread: "conversation-42", customer: "ada@example.com" });
  });
  after(() => gateway.stop());

  it("says of each trace what the API says of it", async () => {
    const { traces } = await gateway.api("/api/traces");
    await looking(gateway, {}, async (page) => {
      await untilListed(page, traces.map((trace) => trace.trace_id));
      for (const trace of traces) {
        const said = await page.locator(`.trace-row[data-trace="${trace.trace_id}"]`).innerText();
        for (const part of [trace.title, trace.thread_identifier, trace.customer_identifier, ...trace.agents]) {
          assert.ok(said.includes(part), `${part} is missing in ${said}`);
        }
        assert.ok(said.includes(`${trace.input_tokens.toLocaleString("en-US")} → ${trace.output_tokens.toLocaleString("en-US")}`), said);
        assert.equal(said.includes("failed"), trace.status === "error");
      }
    });
  });

  it("shows the newest first", async () => {
    const { traces } = await gateway.api("/api/traces");
    const newest = traces.sort((left, right) => (left.end < right.end ? 1 : -1)).map((trace) => trace.trace_id);
    await looking(gateway, {}, async (page) => {
      await untilListed(page, newest);
      assert.deepEqual(await listed(page), newest);
    });
  });

  it("is narrowed by what the address says", async () => {
    await looking(gateway, { hash: "#/?status=error" }, async (page) => {
      await untilListed(page, [failed]);
      await page.getByRole("link", { name: "OK", exact: true }).click();
      await untilListed(page, [team]);
      assert.equal(new URL(page.url()).hash, "#/?status=ok");
    });
    for (const [hash, expected] of [
      ["#/?thread=conversation-42", [team]],
      ["#/?customer=grace%40example.com", [failed]],
      ["#/?agent=writer", [team]],
      ["#/?q=oakland", [team]],
      ["#/?q=nothing-says-this", []],
    ]) {
      await looking(gateway, { hash }, (page) => untilListed(page, expected));
    }
  });

  it("is narrowed by a click on who it was for, and widened again", async () => {
    await looking(gateway, {}, async (page) => {
      await untilListed(page, [team, failed]);
      await page.locator(`.trace-row[data-trace="${team}"] .chip`, { hasText: "researcher" }).click();
      await untilListed(page, [team]);
      assert.equal(new URL(page.url()).hash, "#/?agent=researcher");
      await page.getByRole("link", { name: "Remove the filter agent: researcher" }).click();
      await untilListed(page, [team, failed]);
    });
  });

  it("is searched by what is typed", async () => {
    await looking(gateway, {}, async (page) => {
      await untilListed(page, [team, failed]);
      await page.keyboard.press("/");
      await page.keyboard.type("oakland");
      await untilListed(page, [team]);
      assert.equal(new URL(page.url()).hash, "#/?q=oakland");
    });
  });

  it("goes on with a search that took longer than one answer may", async () => {
    await looking(gateway, {}, async (page) => {
      await page.route(/\/api\/traces\?/, async (route) => {
        const url = new URL(route.request().url());
        if (!url.searchParams.has("cursor")) return route.fulfill({ json: { traces: [], next: "later" } });
        url.searchParams.delete("cursor");
        return route.continue({ url: url.href });
      });
      await page.goto(`${gateway.url}/#/?q=nothing-says-this`);
      await page.getByText("Nothing matches").waitFor();
    });
  });

  it("says so when nothing matches, and how to see all", async () => {
    await looking(gateway, { hash: "#/?q=nothing-says-this" }, async (page) => {
      await page.getByRole("heading", { name: "Nothing matches" }).waitFor();
      await page.getByRole("link", { name: "Show all traces" }).click();
      await untilListed(page, [team, failed]);
    });
  });

  it("puts the traces of a thread together when asked", async () => {
    const again = await plainRun(gateway, { thread: "conversation-42", customer: "ada@example.com" });
    await looking(gateway, {}, async (page) => {
      await untilListed(page, [team, failed, again]);
      await page.getByRole("button", { name: "Group by thread" }).click();
      const group = page.locator(".group-row", { hasText: "conversation-42" });
      assert.match(await group.innerText(), /2 traces/);
      const order = await listed(page);
      assert.equal(Math.abs(order.indexOf(team) - order.indexOf(again)), 1);
      await group.getByRole("button").click();
      await untilListed(page, [failed]);
      assert.equal(new URL(page.url()).hash, "#/?group=thread");
    });
  });
});

describe("the list while things happen", () => {
  let gateway;
  before(async () => (gateway = await startGateway()));
  after(() => gateway.stop());

  it("tells the one line to change, and gives way to the first trace", async () => {
    const { gateway: { base_url } } = await gateway.api("/api/health");
    await looking(gateway, {}, async (page) => {
      const snippet = page.locator(".snippet");
      await snippet.waitFor();
      assert.ok((await snippet.innerText()).includes(`base_url="${base_url}"`));
      await snippet.getByRole("button", { name: "Copy" }).click();
      await snippet.getByText("Copied").waitFor();
      assert.ok((await page.evaluate(() => navigator.clipboard.readText())).includes(`base_url="${base_url}"`));
      const first = await plainRun(gateway);
      await untilListed(page, [first]);
      assert.equal(await snippet.count(), 0);
    });
  });

  it("shows a run while it is live, and that it has ended", async () => {
    await looking(gateway, {}, async (page) => {
      await page.locator(".trace-row").first().waitFor();
      const run = await liveRun(gateway);
      const row = page.locator(`.trace-row[data-trace="${run.trace}"]`);
      await row.locator(".tag.live").waitFor();
      await run.goOn();
      await run.finish();
      await row.locator(".tag.live").waitFor({ state: "detached" });
    });
  });

  it("forgets a run that no longer is what was asked for", async () => {
    await looking(gateway, { hash: "#/?status=live" }, async (page) => {
      await page.getByRole("heading", { name: "Nothing matches" }).waitFor();
      const run = await liveRun(gateway);
      await untilListed(page, [run.trace]);
      await run.finish();
      await untilListed(page, []);
    });
  });

  it("loads older traces at its end, and is found again where it was left", async () => {
    const many = await startGateway();
    try {
      const ids = await Promise.all(Array.from({ length: 130 }, (_, number) => plainRun(many, { say: `question ${number}` })));
      await looking(many, {}, async (page) => {
        await page.locator(".trace-row").first().waitFor();
        await until(page, (all) => {
          document.querySelector(".list-foot").scrollIntoView();
          return document.querySelectorAll(".trace-row").length === all;
        }, ids.length);
        assert.equal(new Set(await listed(page)).size, ids.length);
        const some = page.locator(`.trace-row[data-trace="${ids[90]}"] .title`);
        await some.click();
        await page.locator(".rows .row").first().waitFor();
        await page.goBack();
        await until(page, (id) => document.activeElement.dataset.trace === id, ids[90]);
        assert.equal((await listed(page)).length, ids.length);
        assert.ok(await some.evaluate((title) => title.getBoundingClientRect().top > 0 && title.getBoundingClientRect().bottom < innerHeight));
      });
    } finally {
      await many.stop();
    }
  });
});
