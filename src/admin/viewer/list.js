// The list of traces: newest activity first, filtered by the address, and growing by itself.

import { Failure, follow, getUntilAnswered } from "./api.js";
import { coloursOf } from "./colour.js";
import { element, fill, icon, name, unseen } from "./dom.js";
import { ago, clock, count, counted, duration, milliseconds, short } from "./format.js";
import { FILTERS, listHash, traceHash } from "./route.js";
import { startHere } from "./start.js";

const PAGE = 50;
/** A search cannot be followed by events alone: it is asked again at most this often, in milliseconds. */
const SEARCHED_AGAIN_EACH = 3000;
const SHOWN_AGENTS = 4;
const STATUSES = [["", "All"], ["live", "Live"], ["error", "Errors"], ["ok", "OK"]];

export class ListView {
  /** Shows itself in `root`. `go(hash)` changes the address; `address()` promises where AutoGen connects to. */
  constructor(root, { go, address }) {
    this.root = root;
    this.go = go;
    this.address = address;
    this.shown = null;
    this.current = null;
    this.close = () => {};
    root.addEventListener("keydown", (event) => this.#pressed(event));
    root.addEventListener("focusin", (event) => {
      const row = event.target.closest?.(".trace-row");
      if (row) this.#makeCurrent(row.dataset.trace);
    });
  }

  show({ filters, grouped }) {
    const shown = JSON.stringify(filters);
    this.grouped = grouped;
    this.filters = filters;
    document.title = "spangate";
    if (this.shown !== shown) {
      this.shown = shown;
      this.#open();
      return;
    }
    this.#drawFilters();
    this.#draw();
    if (this.isFollowing) return;
    this.#follow();
    this.#again();
    this.root.scrollTop = this.scrolled;
  }

  /** Ends following. The rows stay, so that the list is unchanged when the user comes back. */
  leave() {
    this.scrolled = this.root.scrollTop;
    this.close();
    this.isFollowing = false;
  }

  /** The keyboard to where it was, or to the first trace. */
  focus() {
    const rows = this.#rowElements();
    // A page under way is awaited.
    this.focusesSoon = rows.length === 0;
    (rows.find((row) => row.dataset.trace === this.current) ?? rows[0])?.focus();
  }

  toggleGroups() {
    this.go(listHash(this.filters, !this.grouped));
  }

  #open() {
    this.close();
    this.hasRead = false;
    this.traces = new Map();
    this.folded ??= new Set();
    this.elements = new Map();
    this.next = null;
    this.state = "loading";
    this.bar = element("div", { class: "filters" });
    this.head = headings();
    this.rows = element("div", { class: "trace-rows", role: "grid", "aria-label": "Traces, newest activity first" });
    this.foot = element("div", { class: "list-foot" });
    fill(this.root, this.bar, this.rows, this.foot);
    this.#drawFilters();
    this.#draw();
    this.#follow();
    this.reading = this.#read().then(() => this.#watchFoot(), (error) => this.#failed(error));
  }

  #follow() {
    this.isFollowing = true;
    const ended = new AbortController();
    this.ended = ended.signal;
    const seen = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && this.#more(), { rootMargin: "600px" });
    this.seen = seen;
    seen.observe(this.foot);
    // A growing trace can change its status, but no other property that filters read.
    const { status, q, ...followed } = this.filters;
    const stopFollowing = follow(followed, { onTrace: (trace) => this.#grew(trace), onReset: () => this.#again() });
    const timer = setInterval(() => this.#drawTimes(), 1000);
    this.close = () => {
      ended.abort();
      seen.disconnect();
      stopFollowing();
      clearInterval(timer);
      clearTimeout(this.searchingAgain);
      this.searchingAgain = null;
    };
  }

  /** Reads a page, the newest one without a cursor. */
  async #read(cursor) {
    const query = new URLSearchParams({ limit: PAGE, ...this.filters });
    if (cursor) query.set("cursor", cursor);
    const signal = this.ended;
    const before = [...this.traces.keys()];
    const page = await getUntilAnswered(`/api/traces?${query}`, { signal });
    if (signal.aborted) return;
    // An only page also shows which traces are no longer stored.
    if (!cursor && page.next === null) for (const id of before) this.traces.delete(id);
    for (const trace of page.traces) this.traces.set(trace.trace_id, trace);
    // Read again, the newest page does not bring back older ones that were read before.
    if (cursor || !this.hasRead) this.next = page.next;
    this.hasRead = true;
    this.state = "read";
    this.#draw();
  }

  /** The next page, unless one is being read. */
  #more() {
    if (!this.next || this.state === "loading") return;
    this.state = "loading";
    this.#drawFoot();
    this.#read(this.next).then(() => this.#watchFoot(), (error) => this.#failed(error));
  }

  /** Says anew whether the foot is in sight: a page may hold little or nothing and not be the last, or the reader may be at its end by now. */
  #watchFoot() {
    this.seen.unobserve(this.foot);
    this.seen.observe(this.foot);
  }

  /** Events may have been missed: the newest page has their traces. */
  async #again() {
    try {
      await this.reading;
      await this.#read();
    } catch (error) {
      this.#failed(error);
    }
  }

  #grew(trace) {
    const { status, q } = this.filters;
    const isKnown = this.traces.has(trace.trace_id);
    const fits = !status || (status === "live" ? trace.live : trace.status === status);
    if (!fits) {
      if (isKnown) {
        this.traces.delete(trace.trace_id);
        this.#draw();
      }
      return;
    }
    if (q && !isKnown) {
      this.searchingAgain ??= setTimeout(() => {
        this.searchingAgain = null;
        this.#again();
      }, SEARCHED_AGAIN_EACH);
      return;
    }
    this.traces.set(trace.trace_id, trace);
    this.#draw();
  }

  #failed(error) {
    if (error.name === "AbortError" || (error instanceof Failure && error.status === 401)) return;
    this.state = "failed";
    this.problem = error.message;
    this.#drawFoot();
  }

  /** Newest first. A growing trace keeps its place, so that no row moves away under the pointer. */
  #sorted() {
    return [...this.traces.values()].sort((left, right) => (left.start < right.start ? 1 : left.start > right.start ? -1 : 0));
  }

  #draw() {
    const traces = this.#sorted();
    if (!traces.some((trace) => trace.trace_id === this.current)) this.current = traces[0]?.trace_id ?? null;
    const wanted = traces.length > 0 ? [this.head] : [];
    if (this.grouped) {
      const threads = new Map();
      for (const trace of traces) {
        const thread = trace.thread_identifier ?? "";
        if (!threads.has(thread)) threads.set(thread, []);
        threads.get(thread).push(trace);
      }
      for (const [thread, members] of threads) {
        wanted.push(this.#group(thread, members));
        if (!this.folded.has(thread)) wanted.push(...members.map((trace) => this.#row(trace)));
      }
    } else wanted.push(...traces.map((trace) => this.#row(trace)));
    this.rows.classList.toggle("grouped", this.grouped);
    this.rows.hidden = wanted.length === 0;
    this.#arrange(wanted);
    this.#drawFoot();
    if (this.focusesSoon && traces.length > 0 && document.activeElement === document.body) this.focus();
  }

  /** Changes only rows that differ, so that focus and screen readers keep their places. */
  #arrange(wanted) {
    const kept = new Set(wanted);
    for (const child of [...this.rows.children]) if (!kept.has(child)) child.remove();
    wanted.forEach((row, at) => {
      if (this.rows.children[at] !== row) this.rows.insertBefore(row, this.rows.children[at] ?? null);
    });
  }

  #row(trace) {
    const id = trace.trace_id;
    const signature = JSON.stringify(trace) + JSON.stringify(this.filters) + this.grouped;
    const known = this.elements.get(id);
    if (known?.signature === signature) return known.row;
    const row = known?.row ?? element("div", { role: "row", "data-trace": id });
    row.className = `trace-row status-${trace.status} ${trace.live ? "is-live" : ""}`;
    row.setAttribute("tabindex", id === this.current ? "0" : "-1");
    fill(row, ...rowCells(trace, (filter, value) => listHash({ ...this.filters, [filter]: value }, this.grouped), this.grouped));
    row.onclick = (event) => {
      if (event.target.closest("a, button") || !getSelection().isCollapsed) return;
      this.go(traceHash(id));
    };
    this.elements.set(id, { signature, row });
    return row;
  }

  #group(thread, members) {
    const id = `thread ${thread}`;
    const isFolded = this.folded.has(thread);
    const sum = (part) => members.reduce((total, trace) => total + (trace[part] ?? 0), 0);
    const errors = members.filter((trace) => trace.status === "error").length;
    const customers = [...new Set(members.map((trace) => trace.customer_identifier).filter(Boolean))];
    const signature = JSON.stringify([isFolded, members.length, sum("input_tokens"), sum("output_tokens"), sum("model_calls"), errors, customers]);
    const known = this.elements.get(id);
    if (known?.signature === signature) return known.row;
    const row = known?.row ?? element("div", { role: "row", class: "group-row" });
    const button = element(
      "button",
      { type: "button", class: "group-name", "aria-expanded": String(!isFolded) },
      icon("chevron", "twist"),
      icon("thread"),
      thread === "" ? element("span", { class: "quiet", text: "no thread" }) : name(thread),
    );
    button.addEventListener("click", () => {
      if (!this.folded.delete(thread)) this.folded.add(thread);
      this.#draw();
      this.rows.querySelectorAll(".group-name").forEach((other) => other.textContent === button.textContent && other.focus());
    });
    fill(
      row,
      element("div", { role: "gridcell", class: "group-cell" }, button,
        element("span", { class: "quiet", text: counted(members.length, "trace") }),
        element("span", { class: "quiet", text: counted(sum("model_calls"), "model call") }),
        members.some((trace) => trace.input_tokens !== null) && element("span", { class: "quiet", text: `${short(sum("input_tokens"))} → ${short(sum("output_tokens"))} tokens` }),
        errors > 0 && element("span", { class: "failed" }, icon("error"), element("span", { text: counted(errors, "failed trace") })),
        customers.slice(0, 3).map((customer) => name(customer, "quiet"))),
    );
    this.elements.set(id, { signature, row });
    return row;
  }

  #drawTimes() {
    const now = Date.now();
    for (const row of this.#rowElements()) {
      const trace = this.traces.get(row.dataset.trace);
      if (!trace) continue;
      const when = row.querySelector("time");
      const said = ago(milliseconds(trace.start), now);
      if (when.textContent !== said) when.textContent = said;
      if (trace.live) row.querySelector(".took").textContent = duration(Math.max(0, now - milliseconds(trace.start)));
    }
  }

  #drawFilters() {
    const { filters, grouped } = this;
    const chips = FILTERS.filter((filter) => filters[filter] && filter !== "status").map((filter) => {
      const { [filter]: value, ...others } = filters;
      return element(
        "a",
        { class: "chip filter", href: listHash(others, grouped), "aria-label": `Remove the filter ${filter}: ${value}` },
        element("span", { class: "quiet", text: filter === "q" ? "text" : filter }),
        name(value),
        icon("close"),
      );
    });
    const statuses = STATUSES.map(([status, label]) =>
      element("a", { href: listHash({ ...filters, status }, grouped), "aria-current": (filters.status ?? "") === status ? "true" : null, text: label }),
    );
    const focused = this.bar.contains(document.activeElement) ? document.activeElement.textContent : null;
    const group = element("button", { class: "small", type: "button", id: "group", "aria-pressed": String(grouped), title: "Group by thread (g)" }, icon("group"), element("span", { text: "Group by thread" }));
    group.addEventListener("click", () => this.toggleGroups());
    fill(
      this.bar,
      element("nav", { class: "segments", "aria-label": "Status" }, statuses),
      element("div", { class: "chips" }, chips, chips.length > 1 && element("a", { class: "quiet", href: listHash({}, grouped), text: "Clear all" })),
      group,
    );
    if (focused) [...this.bar.querySelectorAll("a, button")].find((other) => other.textContent === focused)?.focus();
  }

  #drawFoot() {
    const nothing = this.traces.size === 0;
    const narrowed = Object.keys(this.filters).length > 0;
    const kind = this.state === "failed" ? `failed ${this.problem}` : this.state === "loading" || (nothing && this.next) ? "loading" : !nothing ? (this.next ? "more" : `end ${this.traces.size}`) : narrowed ? "no match" : "start";
    if (this.footKind === kind && this.foot.hasChildNodes()) return;
    this.footKind = kind;
    this.foot.className = nothing ? "list-foot is-empty" : "list-foot";
    if (kind === "loading") fill(this.foot, element("p", { class: "quiet", role: "status", text: this.filters.q ? "Searching" : "Loading" }));
    else if (kind === "more") {
      const more = element("button", { class: "small", type: "button", text: "Load more" });
      more.addEventListener("click", () => this.#more());
      fill(this.foot, more);
    } else if (kind.startsWith("end")) fill(this.foot, element("p", { class: "quiet", text: `${counted(this.traces.size, "trace")}, that is all` }));
    else if (kind.startsWith("failed")) {
      const again = element("button", { class: "small", type: "button", text: "Try again" });
      again.addEventListener("click", () => this.#open());
      fill(this.foot, element("div", { class: "nothing" }, element("h1", { text: "The list cannot be shown" }), element("p", { dir: "auto", text: this.problem }), again));
    } else if (kind === "no match") {
      fill(this.foot, element("div", { class: "nothing" }, element("h1", { text: "Nothing matches" }), element("p", { text: "No trace that is kept fits all of what the list is narrowed by. New ones that do will show up here." }), element("a", { class: "button", href: listHash({}, this.grouped), text: "Show all traces" })));
    } else this.address().then((address) => this.footKind === "start" && fill(this.foot, startHere(address)), () => {});
  }

  #rowElements() {
    return [...(this.rows?.querySelectorAll(".trace-row") ?? [])];
  }

  #makeCurrent(id) {
    if (this.current === id) return;
    for (const row of this.#rowElements()) row.setAttribute("tabindex", row.dataset.trace === id ? "0" : "-1");
    this.current = id;
  }

  #pressed(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const rows = this.#rowElements();
    const row = event.target.closest(".trace-row");
    if (!row) return;
    const at = rows.indexOf(row);
    const to = { ArrowDown: at + 1, j: at + 1, ArrowUp: at - 1, k: at - 1, Home: 0, End: rows.length - 1 }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      rows[Math.max(0, Math.min(rows.length - 1, to))].focus();
    } else if (event.key === "Enter" && event.target === row) {
      event.preventDefault();
      this.go(traceHash(row.dataset.trace));
    }
  }
}

function headings() {
  const heading = (classes, text) => element("div", { class: classes, role: "columnheader", text });
  return element(
    "div",
    { class: "list-head", role: "row" },
    element("div", { role: "columnheader" }, unseen("Status")),
    heading("what", "Trace"),
    heading("", "Agents"),
    heading("", "Thread, customer"),
    heading("number calls", "Calls"),
    heading("number", "Tokens in → out"),
    heading("number", "Duration"),
    heading("number", "Started"),
  );
}

/** The contents of a row. `narrow(filter, value)` is the address of the list with one more filter. */
function rowCells(trace, narrow, isGrouped) {
  const colours = coloursOf(trace.agents);
  const cell = (classes, ...content) => element("div", { class: `cell ${classes}`, role: "gridcell" }, ...content);
  const start = milliseconds(trace.start);
  const state = trace.live
    ? element("span", { class: "running", title: "live" }, icon("live"), unseen("live"))
    : trace.status === "error"
      ? element("span", { class: "failed", title: "failed" }, icon("error"), unseen("failed"))
      : element("span", { class: "went-well", title: "ok" }, icon("ok"), unseen("ok"));
  const chip = (symbol, filter, value) => value && element("a", { class: "chip", href: narrow(filter, value), tabindex: "-1", title: `Only this ${filter}` }, icon(symbol), name(value));
  const more = trace.agents.length - SHOWN_AGENTS;
  return [
    cell("state", state),
    cell(
      "what",
      element(
        "div",
        { class: "what-title" },
        element("a", { class: "title", href: traceHash(trace.trace_id), tabindex: "-1" }, name(trace.title || trace.name)),
        trace.live && element("span", { class: "tag live", text: "live" }),
        trace.errors > 0 && element("span", { class: "failed" }, trace.live ? icon("error") : null, element("span", { text: counted(trace.errors, "error") })),
      ),
      element("div", { class: "preview quiet", dir: "auto", text: trace.preview ?? "" }),
    ),
    cell(
      "agents",
      trace.agents.slice(0, SHOWN_AGENTS).map((agent) => element("a", { class: `chip agent ${colours.get(agent)}`, href: narrow("agent", agent), tabindex: "-1", title: "Only traces with this agent" }, element("span", { class: "swatch" }), name(agent))),
      more > 0 && element("span", { class: "quiet", title: trace.agents.slice(SHOWN_AGENTS).join(", "), text: `+${more}` }),
    ),
    cell("whose", !isGrouped && chip("thread", "thread", trace.thread_identifier), chip("customer", "customer", trace.customer_identifier)),
    cell("number calls", element("span", { title: `${counted(trace.model_calls, "model call")}, ${counted(trace.tool_calls, "tool call")}` }, icon("chat"), unseen("model calls"), count(trace.model_calls), trace.tool_calls > 0 && [icon("tool"), unseen("tool calls"), count(trace.tool_calls)])),
    cell("number tokens", trace.input_tokens === null && trace.output_tokens === null ? element("span", { class: "quiet", title: "The wire carried no token counts", text: "–" }) : element("span", { title: `${count(trace.input_tokens ?? 0)} tokens in, ${count(trace.output_tokens ?? 0)} out` }, unseen("tokens "), `${short(trace.input_tokens ?? 0)} → ${short(trace.output_tokens ?? 0)}`)),
    cell("number took", duration(trace.live ? Math.max(0, Date.now() - start) : milliseconds(trace.end) - start)),
    cell("number when", element("time", { class: "quiet", datetime: trace.start, title: clock(start), text: ago(start) })),
  ];
}
