// The page and the gateway's own state: signing in, a gateway that is away, spans that were refused.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { comes, startGateway } from "./gateway.mjs";
import { looking, rowOf, until, untilListed } from "./page.mjs";
import { plainRun, refusedRun, teamRun } from "./runs.mjs";

describe("where a token is asked for", () => {
  it("leads back to the place that was asked for", async () => {
    const gateway = await startGateway({ token: "secret" });
    try {
      const team = await teamRun(gateway);
      await looking(gateway, { hash: `#/trace/${team}`, expected: /401/ }, async (page) => {
        await page.getByLabel("Admin token").fill("wrong");
        await page.getByRole("button", { name: "Sign in" }).click();
        await page.getByText("That token is not right.").waitFor();
        await page.getByLabel("Admin token").fill("secret");
        await page.keyboard.press("Enter");
        await page.locator(".rows .row").first().waitFor();
        assert.equal(new URL(page.url()).hash, `#/trace/${team}`);
      });
    } finally {
      await gateway.stop();
    }
  });

  it("says so when the session is over", async () => {
    const gateway = await startGateway({ token: "secret" });
    try {
      const trace = await plainRun(gateway);
      await looking(gateway, { expected: /401/ }, async (page, context) => {
        await page.getByLabel("Admin token").fill("secret");
        await page.keyboard.press("Enter");
        await untilListed(page, [trace]);
        await context.clearCookies();
        await page.keyboard.press("Enter");
        await page.locator(`.trace-row[data-trace="${trace}"] .title`).click();
        await page.getByText("You are signed out.").waitFor();
        await page.locator("#notices").getByRole("button", { name: "Sign in" }).click();
        await page.getByLabel("Admin token").waitFor();
      });
    } finally {
      await gateway.stop();
    }
  });
});

describe("a gateway that does not answer", () => {
  it("is tried again until it does", async () => {
    const gateway = await startGateway();
    try {
      const before = await plainRun(gateway);
      await looking(gateway, { expected: /ERR_CONNECTION|Failed to load|ERR_INCOMPLETE|net::/ }, async (page) => {
        await untilListed(page, [before]);
        await gateway.pause();
        await page.getByText("The gateway does not answer; trying again.").waitFor();
        await gateway.start();
        await page.getByText("The gateway does not answer; trying again.").waitFor({ state: "detached" });
        const since = await plainRun(gateway);
        await untilListed(page, [before, since]);
      });
    } finally {
      await gateway.stop();
    }
  });
});

describe("a Respan that is down", () => {
  it("is told of, and that all was sent once it is back", async () => {
    const gateway = await startGateway();
    try {
      await gateway.respan.stop();
      const trace = await plainRun(gateway);
      const exported = async () => (await gateway.api("/api/health")).export;
      await comes("a post to fail", async () => (await exported()).last_error);
      await looking(gateway, {}, async (page) => {
        await untilListed(page, [trace]);
        await page.locator("#notices").getByText(/^The export fails: .* 2 spans wait and will be sent\.$/).waitFor();
        await page.locator("#health", { hasText: "Export failing, 2 wait" }).waitFor();
        await gateway.respan.start();
        await comes("the spans to be accepted", async () => (await exported()).pending === 0);
        await page.reload();
        await page.locator("#health", { hasText: "All exported" }).waitFor();
        await page.locator("#notices").getByText("The export fails").waitFor({ state: "detached" });
      });
    } finally {
      await gateway.stop();
    }
  });
});

describe("spans that were refused", () => {
  it("are listed with the reason, lead to where they stand, and are sent again", async () => {
    const gateway = await startGateway();
    try {
      await refusedRun(gateway, "prompt_id does not exist");
      const { refused: [span] } = await gateway.api("/api/health");
      await looking(gateway, {}, async (page) => {
        await page.locator("#notices").getByText("Respan refused 1 span for good.").waitFor();
        await page.locator("#notices").getByRole("button", { name: "Details" }).click();
        const dialog = page.getByRole("dialog", { name: "Health of the gateway" });
        assert.ok((await dialog.innerText()).includes(span.reason));
        await dialog.getByRole("link", { name: span.span_id }).click();
        await rowOf(page, span.span_id).waitFor();
        await page.locator("#health").click();
        gateway.respan.refuses = () => undefined;
        await dialog.getByRole("button", { name: "Send again" }).click();
        await page.locator("#notices").getByText("Respan refused").waitFor({ state: "detached" });
        await until(page, () => !document.querySelector("#send-again"));
        assert.deepEqual((await gateway.api("/api/health")).refused, []);
      });
    } finally {
      await gateway.stop();
    }
  });
});
