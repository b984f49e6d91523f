// A browser, and pages of it that show the viewer. A page that logs an error, or breaks its policy, fails the test that opened it.

import assert from "node:assert/strict";
import { after } from "node:test";
import { launch } from "./browser.mjs";

/** How long a condition may take to come true, in milliseconds: long, since the machine may be busy. */
const PATIENCE = 20_000;

let browser;
after(() => browser?.close());

/** Calls `look` with a page that shows `hash`. `expected` are errors that the page may log. */
export async function looking(gateway, { hash = "#/", scheme = "light", width = 1400, height = 900, expected = /^$/, path = "/" } = {}, look) {
  browser ??= await launch();
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: scheme, permissions: ["clipboard-read", "clipboard-write"] });
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(error.stack));
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  try {
    await page.goto(gateway.url + path + hash);
    await look(page, context);
    assert.deepEqual(complaints.filter((text) => !expected.test(text)), []);
  } finally {
    await context.close();
  }
}

/** Waits until `question`, asked within the page, is answered with something true. */
export async function until(page, question, argument) {
  await page.waitForFunction(question, argument, { timeout: PATIENCE });
}

/** The ids of the traces that the list shows, in its order. */
export function listed(page) {
  return page.locator(".trace-row").evaluateAll((rows) => rows.map((row) => row.dataset.trace));
}

/** Waits until the list shows exactly these, in any order. */
export async function untilListed(page, ids) {
  await until(page, (wanted) => {
    const shown = [...document.querySelectorAll(".trace-row")].map((row) => row.dataset.trace);
    return JSON.stringify(shown.sort()) === JSON.stringify(wanted);
  }, [...ids].sort());
}

/** The row of a span in the waterfall. */
export function rowOf(page, span) {
  return page.locator(`.row[data-span="${span}"]`);
}

/** The span that has the keyboard. */
export function focusedSpan(page) {
  return page.evaluate(() => document.activeElement?.dataset.span ?? null);
}
