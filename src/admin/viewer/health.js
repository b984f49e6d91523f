// The gateway's health: a pill, a strip below the bar for problems that need the user, and a dialog with details and refused spans.

import { get, post } from "./api.js";
import { element, fill, icon } from "./dom.js";
import { ago, counted, count, milliseconds } from "./format.js";
import { traceHash } from "./route.js";

const ASKED_EACH = 10_000;
/** More refused spans than this are not listed one by one. */
const LISTED = 200;

export class Health {
  constructor({ pill, dialog, notice }) {
    this.pill = pill;
    this.dialog = dialog;
    this.notice = notice;
    this.answer = null;
    this.first = new Promise((resolve) => (this.resolveFirst = resolve));
    pill.addEventListener("click", () => this.#open());
    document.addEventListener("visibilitychange", () => !document.hidden && this.ask());
    setInterval(() => !document.hidden && this.ask(), ASKED_EACH);
    this.ask();
  }

  async ask() {
    try {
      this.answer = await get("/api/health");
    } catch {
      // The watcher of the connection reports a gateway that does not answer.
      return;
    }
    this.resolveFirst(this.answer);
    this.#draw();
  }

  /** Where AutoGen connects to, once it is known. */
  async address() {
    return (this.answer ?? (await this.first)).gateway.base_url;
  }

  #draw() {
    const { level, words } = summary(this.answer);
    this.pill.className = `pill level-${level}`;
    this.pill.querySelector("#health-text").textContent = words;
    const found = problems(this.answer);
    this.notice(
      "health",
      found.length === 0 ? null : element(
        "div",
        { class: "notice is-problem" },
        icon("error"),
        element("span", { dir: "auto", text: found[0] }),
        found.length > 1 && element("span", { class: "quiet", text: `and ${count(found.length - 1)} more` }),
        element("button", { class: "small", type: "button", text: "Details", on: { click: () => this.#open() } }),
      ),
    );
    if (this.dialog.open) this.#fill();
  }

  #open() {
    this.#fill();
    if (!this.dialog.open) this.dialog.showModal();
  }

  #fill() {
    const { dialog, answer } = this;
    const close = element("button", { class: "plain", type: "button", "aria-label": "Close", on: { click: () => dialog.close() } }, icon("close"));
    const title = element("h2", { id: "health-title", text: "Health of the gateway" });
    const wasFocused = dialog.contains(document.activeElement) ? document.activeElement.id : null;
    if (!answer) {
      fill(dialog, element("div", { class: "dialog-head" }, title, close), element("p", { class: "quiet", text: "It has not answered yet." }));
      return;
    }
    const { gateway, export: out, store, refused } = answer;
    const rows = [
      ["AutoGen connects to", element("code", { text: gateway.base_url })],
      ["Version", `${gateway.version}, started ${ago(milliseconds(gateway.started))}${gateway.draining ? ", draining" : ""}`],
      ["Runs open", count(gateway.runs_open)],
      ["Export", exportWords(out)],
      out.last_error && ["Last export error", element("span", { dir: "auto" }, `${ago(milliseconds(out.last_error.at))}: ${out.last_error.message}`)],
      ["Store", store.up ? `up, ${(store.bytes / 1_048_576).toFixed(1)} MiB` : "takes nothing now"],
      store.failing && ["Store's problem", element("span", { dir: "auto" }, `${ago(milliseconds(store.failing.at))}: ${store.failing.message}`)],
    ].filter(Boolean);
    fill(
      dialog,
      element("div", { class: "dialog-head" }, title, close),
      element("ul", { class: "problems" }, problems(answer).map((words) => element("li", { dir: "auto" }, icon("error"), words))),
      element("dl", { class: "pairs" }, rows.map(([label, value]) => element("div", {}, element("dt", { text: label }), element("dd", {}, value)))),
      out.kept > 0 && this.#kept(out),
      refused.length > 0 && this.#refused(refused),
    );
    if (wasFocused) document.getElementById(wasFocused)?.focus();
  }

  /** A button that replays spans, and its result. */
  #replay(kind, label, words) {
    const said = element("span", { class: "quiet", role: "status", text: this.replayed?.[kind] ?? "" });
    const button = element("button", { class: "primary", type: "button", id: `send-${kind}`, text: label });
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        const { replayed } = await post(`/api/${kind}/replay`, {});
        said.textContent = `${counted(replayed, "span")} ${words}`;
      } catch (error) {
        said.textContent = error.message;
      }
      this.replayed = { [kind]: said.textContent };
      await this.ask();
      this.replayed = null;
      button.disabled = false;
    });
    return element("div", { class: "dialog-foot" }, button, said);
  }

  #kept(out) {
    return element(
      "section",
      { class: "refused" },
      element("h3", { text: `${counted(out.kept, "span")} made without a key` }),
      element("p", { class: "quiet", text: `They stay here and never leave by themselves.${out.configured ? " Respan gets them only when you send them." : ""}` }),
      out.configured && this.#replay("kept", "Send to Respan", "will be sent."),
    );
  }

  #refused(refused) {
    const items = refused.slice(0, LISTED).map((span) => element(
      "li",
      {},
      element("a", { href: traceHash(span.trace_id, span.span_id), on: { click: () => this.dialog.close() } }, element("code", { text: span.span_id })),
      element("span", { class: "quiet", text: ago(milliseconds(span.at)) }),
      element("div", { class: "reason", dir: "auto", text: span.reason }),
    ));
    return element(
      "section",
      { class: "refused" },
      element("h3", { text: `Respan refused ${counted(refused.length, "span")}` }),
      element("p", { class: "quiet", text: "They are kept apart. Mend the cause that is told below, then send them again." }),
      element("ul", {}, items),
      refused.length > LISTED && element("p", { class: "quiet", text: `and ${count(refused.length - LISTED)} more` }),
      this.#replay("refused", "Send again", "will be sent again."),
    );
  }
}

/** Everything about which somebody has to do something, the worst first. */
function problems({ gateway, export: out, store, refused }) {
  const found = [];
  if (!store.up || store.failing) found.push(`The store takes nothing now${store.failing ? `: ${store.failing.message}` : ""}. Spans are kept in memory.`);
  if (out.key_refused) found.push(`${out.last_error?.message ?? "Respan refuses the key"}. Everything is kept until that is mended.`);
  else if (isBehind(out)) found.push(`The export fails: ${out.last_error.message}. ${counted(out.pending, "span")} wait and will be sent.`);
  if (refused.length > 0) found.push(`Respan refused ${counted(refused.length, "span")} for good.`);
  if (gateway.draining) found.push("The gateway is being shut down.");
  return found;
}

/** Whether the last post failed. */
function isBehind(out) {
  return out.configured && out.last_error !== null && (out.last_success === null || milliseconds(out.last_error.at) > milliseconds(out.last_success));
}

function summary(answer) {
  const { export: out, store, refused } = answer;
  if (!store.up || store.failing) return { level: "problem", words: "Store failing" };
  if (out.key_refused) return { level: "problem", words: "Export refused" };
  if (isBehind(out)) return { level: "problem", words: `Export failing, ${count(out.pending)} wait` };
  if (refused.length > 0) return { level: "problem", words: `${count(refused.length)} refused` };
  if (!out.configured) return { level: "off", words: "Export off" };
  if (out.pending > 0) return { level: "busy", words: `${count(out.pending)} to send` };
  return { level: "well", words: "All exported" };
}

function exportWords(out) {
  if (!out.configured) return "off: there is no Respan key. Set RESPAN_API_KEY or respan.api_key_file to send spans to Respan";
  const last = out.last_success ? `, the last post was accepted ${ago(milliseconds(out.last_success))}` : "";
  return `${counted(out.pending, "span")} to send, ${counted(out.posts, "post")} under way${last}`;
}
