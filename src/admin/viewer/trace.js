// One trace: its totals, its waterfall, and the span that is selected. A live one is fetched again whenever it grows; selection, what is
// folded and where one has scrolled to stay.

import { Failure, follow, getUntilAnswered } from "./api.js";
import { announce, copyButton, element, fill, icon, name } from "./dom.js";
import { ago, clock, count, duration, milliseconds, short } from "./format.js";
import { colourOf, treeOf } from "./layout.js";
import { listHash, parse, traceHash } from "./route.js";
import { spanDetail } from "./span.js";
import { Waterfall } from "./waterfall.js";
import * as key from "./keys.js";

/** How often bars of spans that are still open grow, in milliseconds. */
const GROWS_EACH = 250;
const GROWS_EACH_QUIETLY = 2000;
/** A trace that grows all the time is fetched no more often than this, in milliseconds, */
const FETCHED_AT_MOST_EACH = 400;
/** nor sooner than after so many times what it took, within reason: one of many pages takes long, on both sides. */
const RESTS_FOR = 5;
const RESTS_AT_MOST = 5000;

export class TraceView {
  /** Shows itself in `root`. `go(hash, replace)` changes the address; `back()` is the list's address. */
  constructor(root, { go, back }) {
    this.root = root;
    this.go = go;
    this.back = back;
    this.trace = null;
    this.close = () => {};
  }

  /** Shows the trace, and one of its spans if `span` is given. */
  show(trace, span) {
    if (this.trace !== trace) this.#open(trace);
    this.#select(span);
  }

  /** Ends all that goes on. */
  leave() {
    this.close();
    this.close = () => {};
    this.trace = null;
    fill(this.root);
  }

  /** Escape: the detail first, then the trace. The address says which it is, and knows before the page does. */
  escape() {
    if (parse(location.hash).span) {
      this.go(traceHash(this.trace));
      this.waterfall.focus();
    } else this.go(this.back());
  }

  /** Goes to the next error after the selected span. */
  nextError() {
    const errors = this.tree?.totals.errors ?? [];
    if (errors.length === 0) return;
    this.go(traceHash(this.trace, errors[(errors.indexOf(this.span) + 1) % errors.length]), this.span !== null);
    this.waterfall.focus();
  }

  #open(trace) {
    this.close();
    this.trace = trace;
    this.tree = null;
    this.live = false;
    this.span = null;
    this.loaded = null;
    const ended = new AbortController();
    this.ended = ended.signal;

    this.waterfall = new Waterfall({ onSelect: (id, isOpening) => this.#chosen(id, isOpening) });
    this.head = element("header", { class: "trace-head" });
    this.detail = element("aside", { class: "detail-pane", "aria-labelledby": "detail-title", hidden: true });
    this.foot = element("div", { class: "more-spans", hidden: true });
    this.body = element("div", { class: "trace-body" }, element("div", { class: "tree-pane" }, this.waterfall.element, this.foot), this.#splitter(), this.detail);
    fill(this.root, this.head, this.body);
    this.body.hidden = true;
    fill(this.head, this.#backLink(), element("p", { class: "quiet loading", text: "Loading the trace" }));

    this.grewMeanwhile = false;
    this.lacked = false;
    this.pages = 1;
    this.#load().then(() => this.#catchUp(), (error) => this.#failed(error));
    const stopFollowing = follow({}, {
      onTrace: (grown) => grown.trace_id === trace && this.#grew(),
      onReset: () => this.#grew(),
    });
    const timer = setInterval(() => this.#tick(), GROWS_EACH);
    this.close = () => {
      ended.abort();
      stopFollowing();
      clearInterval(timer);
      clearTimeout(this.fetching);
      clearTimeout(this.spanSoon);
      this.fetching = null;
    };
  }

  async #load() {
    const signal = this.ended;
    const began = Date.now();
    const pages = this.pages;
    let whole = await this.#page();
    for (let page = 1; page < pages && whole.more; page++) whole = joined(whole, await this.#page(whole.more.cursor));
    if (signal.aborted) return;
    this.rest = Math.max(FETCHED_AT_MOST_EACH, Math.min(RESTS_AT_MOST, (Date.now() - began) * RESTS_FOR));
    if (pages !== this.pages) {
      // A page that was asked for meanwhile is shown already, and this answer lacks it.
      this.grewMeanwhile = true;
      return;
    }
    // Between a span under way and the same span complete an answer may have neither: the next one says what became of it.
    const told = new Set(whole.spans.map((span) => span.span_id));
    const lacksSome = this.tree !== null && [...this.tree.nodes.keys()].some((id) => !told.has(id));
    if (lacksSome && !this.lacked) {
      this.lacked = true;
      this.grewMeanwhile = true;
      return;
    }
    this.lacked = false;
    this.#draw(whole);
    if (this.wanted !== undefined) this.#select(this.wanted);
    const changed = this.span && this.tree.nodes.get(this.span)?.span;
    if (changed && this.loaded && JSON.stringify([changed.status, changed.end]) !== this.loaded) this.#loadSpan(this.span);
  }

  /** The spans behind the cursor of an earlier page; none is the first page. */
  #page(cursor) {
    const query = new URLSearchParams({ content: "none", ...(cursor && { cursor }) });
    return getUntilAnswered(`/api/traces/${this.trace}?${query}`, { signal: this.ended });
  }

  #draw(whole) {
    this.whole = whole;
    this.live = whole.live;
    this.tree = treeOf(whole.spans);
    this.loadedAt = Date.now();
    this.#drawHead(whole);
    this.#drawFoot(whole.more);
    this.body.hidden = false;
    this.waterfall.draw(this.tree);
  }

  /** The note about spans of a very long trace that are not shown. */
  #drawFoot(more) {
    this.foot.hidden = !more;
    if (!more) return;
    const hadFocus = this.foot.contains(document.activeElement);
    const button = element("button", { class: "small", type: "button", id: "more-spans", text: "Load more" });
    button.addEventListener("click", () => this.#more(button).catch((error) => this.#failed(error)));
    fill(this.foot, button, element("span", { class: "quiet", text: `${count(more.spans)} more spans are not shown` }));
    if (hadFocus) button.focus({ preventScroll: true });
  }

  async #more(button) {
    button.disabled = true;
    const signal = this.ended;
    const next = await this.#page(this.whole.more.cursor);
    if (signal.aborted) return;
    this.pages += 1;
    this.#draw(joined(this.whole, next));
  }

  /** Fetches it again, soon; however many events say so. */
  #grew() {
    if (this.fetching || !this.tree) {
      this.grewMeanwhile = true;
      return;
    }
    const signal = this.ended;
    const wait = Math.max(0, this.loadedAt + this.rest - Date.now());
    this.fetching = setTimeout(async () => {
      this.loadedAt = Date.now();
      await this.#load().catch((error) => this.#failed(error));
      if (signal.aborted) return;
      this.fetching = null;
      this.#catchUp();
    }, wait);
  }

  /** An answer that was under way may lack the change of an event. */
  #catchUp() {
    if (!this.grewMeanwhile) return;
    this.grewMeanwhile = false;
    this.#grew();
  }

  #tick() {
    if (!this.tree || document.hidden) return;
    const isOpen = this.live && [...this.tree.nodes.values()].some((node) => node.end === null);
    if (!isOpen) return;
    const quietly = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (quietly && Date.now() - (this.grownAt ?? 0) < GROWS_EACH_QUIETLY) return;
    this.grownAt = Date.now();
    this.waterfall.drawTime();
    const took = this.head.querySelector(".total-duration dd");
    if (took) took.textContent = duration(Date.now() - this.tree.start);
  }

  #failed(error) {
    if (error.name === "AbortError") return;
    if (error instanceof Failure && error.status === 401) return;
    const isGone = error instanceof Failure && error.status === 404;
    this.body.hidden = true;
    this.tree = null;
    fill(
      this.head,
      this.#backLink(),
      element(
        "div",
        { class: "nothing" },
        element("h1", { text: isGone ? "This trace is not there any more" : "This trace cannot be shown" }),
        element("p", { dir: "auto", text: isGone ? "The store keeps traces for a time and up to a size (store.max_age, store.max_size); then the oldest go. Or the address is not whole." : error.message }),
        element("a", { class: "button", href: this.back(), text: "To the list" }),
      ),
    );
  }

  #backLink() {
    return element("a", { class: "plain back", href: this.back(), "aria-label": "Back to the list", title: "Back to the list (Esc)" }, icon("back"));
  }

  #drawHead(whole) {
    const { start, agents, colours } = this.tree;
    // The gateway gives the totals of a trace that is not shown whole.
    const { totals, errors, end } = whole.more ? totalsOfAll(whole.totals) : { ...this.tree, errors: this.tree.totals.errors.length };
    const attributes = whole.spans.map((span) => span.attributes);
    const told = (attribute) => attributes.find((a) => a[attribute] !== undefined)?.[attribute];
    const isOpen = this.live && whole.spans.some((span) => span.end === null);
    const total = (label, classes, value, note) => element("div", { class: `total ${classes}` }, element("dt", { text: label }), element("dd", {}, value), note && element("dd", { class: "note", text: note }));
    const chip = (symbol, filter, text) => text && element("a", { class: "chip", href: listHash({ [filter]: text }), title: `Only this ${filter}` }, icon(symbol), name(text));
    const focused = this.head.contains(document.activeElement) ? document.activeElement.id : null;
    fill(
      this.head,
      this.#backLink(),
      element(
        "div",
        { class: "trace-title" },
        element("h1", {}, name(whole.title)),
        this.live && element("span", { class: "running" }, icon("live"), element("span", { text: "live" })),
        chip("thread", "thread", told(key.THREAD)),
        chip("customer", "customer", told(key.CUSTOMER)),
        element("time", { class: "quiet", datetime: new Date(start).toISOString(), title: clock(start), text: ago(start) }),
      ),
      element(
        "div",
        { class: "trace-tools" },
        copyButton("Copy id", () => this.trace, { id: "copy-id", title: this.trace }),
        element("a", { class: "small button", id: "download", href: `/api/traces/${this.trace}/otlp`, download: `trace-${this.trace}.json`, title: "The finished spans as OTLP/JSON" }, icon("download"), element("span", { text: "OTLP" })),
      ),
      element(
        "dl",
        { class: "totals" },
        total("Duration", "total-duration", duration((isOpen ? Date.now() : end) - start)),
        total("Model calls", "total-models", count(totals.models)),
        total("Tool calls", "total-tools", count(totals.tools)),
        total("Tokens in", "total-input", totals.input === null ? "–" : short(totals.input), totals.cached ? `${short(totals.cached)} cached` : null),
        total("Tokens out", "total-output", totals.output === null ? "–" : short(totals.output), totals.reasoning ? `${short(totals.reasoning)} reasoning` : null),
        errors === 0
          ? total("Errors", "total-errors", "0")
          : total("Errors", "total-errors has-errors", element("button", { id: "to-error", type: "button", title: "To the next error (e)", on: { click: () => this.nextError() } }, icon("error"), element("span", { text: count(errors) }))),
        agents.length > 0 && element(
          "div",
          { class: "total agents" },
          element("dt", { text: "Agents" }),
          element("dd", {}, agents.map((agent) => element("a", { class: `chip agent ${colours.get(agent)}`, href: listHash({ agent }), title: "Only traces with this agent" }, element("span", { class: "swatch" }), name(agent)))),
        ),
      ),
    );
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    document.title = `${whole.title} · spangate`;
  }

  #chosen(id, isOpening) {
    if (isOpening || this.span) this.go(traceHash(this.trace, id), this.span !== null);
  }

  #select(id) {
    this.wanted = id;
    if (!this.tree) return;
    this.wanted = undefined;
    const isSame = this.span === id;
    this.span = id;
    if (isSame && this.loaded) return;
    this.detail.hidden = id === null;
    this.body.classList.toggle("has-detail", id !== null);
    this.waterfall.select(id);
    this.loaded = null;
    this.spanEnded?.abort();
    clearTimeout(this.spanSoon);
    if (id === null) {
      fill(this.detail);
      return;
    }
    this.waterfall.rows.get(id)?.element.scrollIntoView({ block: "nearest" });
    // While an arrow key is held down nothing is loaded, only where it stops.
    this.spanSoon = setTimeout(() => this.#loadSpan(id), this.detail.hasChildNodes() ? 90 : 0);
  }

  async #loadSpan(id) {
    this.spanEnded?.abort();
    const ended = new AbortController();
    this.spanEnded = ended;
    this.ended.addEventListener("abort", () => ended.abort(), { signal: ended.signal });
    let span;
    try {
      span = await getUntilAnswered(`/api/traces/${this.trace}/spans/${id}`, { signal: ended.signal });
    } catch (error) {
      if (error.name === "AbortError" || error.status === 401) return;
      fill(this.detail, element("div", { class: "nothing" }, element("h2", { id: "detail-title", text: "This span is not there any more" }), element("p", { text: error.message, dir: "auto" })));
      return;
    }
    if (ended.signal.aborted) return;
    const node = this.tree?.nodes.get(id);
    const colour = node ? colourOf(this.tree, node) : "nobody";
    const isAgain = this.detail.dataset.span === id;
    const scrolled = isAgain ? this.detail.querySelector(".detail-body")?.scrollTop ?? 0 : 0;
    const openBefore = isAgain ? [...this.detail.querySelectorAll("details.fold")].map((part) => [part.firstChild.textContent, part.open]) : [];
    this.detail.dataset.span = id;
    fill(this.detail, spanDetail(span, { agent: node?.agent ?? null, colour, onClose: () => this.escape() }));
    for (const part of this.detail.querySelectorAll("details.fold")) {
      const before = openBefore.find(([title]) => title === part.firstChild.textContent);
      if (before) part.open = before[1];
    }
    this.detail.querySelector(".detail-body").scrollTop = scrolled;
    this.loaded = JSON.stringify([span.status, span.end]);
    const isSheet = getComputedStyle(this.detail).position === "fixed";
    if (isSheet && !isAgain) this.detail.querySelector("h2").focus({ preventScroll: true });
    else if (!isAgain) announce(`Detail of ${span.name}`);
  }

  /** Between tree and detail: dragged, or moved with the arrow keys. */
  #splitter() {
    const bar = element("div", { class: "splitter", role: "separator", tabindex: "0", "aria-orientation": "vertical", "aria-label": "Width of the detail", "aria-valuemin": "25", "aria-valuemax": "75", "aria-valuenow": "44" });
    const set = (percent) => {
      const width = Math.round(Math.max(25, Math.min(75, percent)));
      this.body.style.setProperty("--detail", `${width}%`);
      bar.setAttribute("aria-valuenow", String(width));
    };
    bar.addEventListener("pointerdown", (event) => {
      bar.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    bar.addEventListener("pointermove", (event) => {
      if (!bar.hasPointerCapture(event.pointerId)) return;
      const box = this.body.getBoundingClientRect();
      set(((box.right - event.clientX) / box.width) * 100);
    });
    bar.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: 3, ArrowRight: -3 }[event.key];
      if (!step) return;
      event.preventDefault();
      set(Number(bar.getAttribute("aria-valuenow")) + step);
    });
    return bar;
  }
}

function totalsOfAll({ model_calls: models, tool_calls: tools, input_tokens: input, output_tokens: output, errors, end }) {
  return { totals: { models, tools, input, output }, errors, end: milliseconds(end) };
}

/** Two pages as one. A span that was under way in the one may be complete in the other. */
function joined(before, next) {
  const spans = new Map([...before.spans, ...next.spans].map((span) => [span.span_id, span]));
  return { ...next, spans: [...spans.values()] };
}
