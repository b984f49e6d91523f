// The tree of a trace and, in the same rows, when everything happened. Rows stay the same elements while the trace grows: who stands on one
// stays there.

import { element, fill, icon, name, unseen } from "./dom.js";
import { count, duration, short, ticks } from "./format.js";
import { barOf, colourOf, rowsOf, titleOf } from "./layout.js";
import * as key from "./keys.js";

const KINDS = { workflow: "team", agent: "agent", chat: "model call", tool: "tool", task: "request" };

export class Waterfall {
  /** `onSelect(id, isOpening)`: a row was chosen; opening it, or only coming to it. */
  constructor({ onSelect }) {
    this.onSelect = onSelect;
    this.collapsed = new Set();
    this.rows = new Map();
    this.shown = [];
    this.selected = null;
    this.current = null;
    this.zoomed = null;
    this.tree = null;

    this.axis = element("div", { class: "axis", "aria-hidden": "true" });
    this.lines = element("div", { class: "lines", "aria-hidden": "true" }, element("div", { class: "track" }));
    this.body = element("div", { class: "rows", role: "rowgroup" }, this.lines);
    const heading = (label, classes) => element("div", { class: `cell ${classes}`, role: "columnheader", text: label });
    this.element = element(
      "div",
      { class: "waterfall", role: "treegrid", "aria-label": "Spans of the trace, in the order of time" },
      element(
        "div",
        { class: "row head", role: "row" },
        heading("Span", "what"),
        heading("Duration", "number time"),
        heading("Tokens in → out", "number tokens"),
        element("div", { class: "cell bar-cell", role: "columnheader" }, unseen("When"), element("div", { class: "track" }, this.axis)),
      ),
      this.body,
    );
    this.body.addEventListener("click", (event) => this.#clicked(event));
    this.element.addEventListener("keydown", (event) => this.#pressed(event));
    this.element.addEventListener("focusin", (event) => {
      const id = event.target.closest?.("[data-span]")?.dataset.span;
      if (id) this.#makeCurrent(id);
    });
    new ResizeObserver(() => this.tree && this.#drawAxis()).observe(this.axis);
  }

  /** Draws `tree` as it is now. */
  draw(tree) {
    this.tree = tree;
    this.#drawRows();
    this.drawTime();
  }

  /** The parts that depend on the time alone: bars and axis. */
  drawTime() {
    const now = Date.now();
    const isOpen = [...this.tree.nodes.values()].some((node) => node.end === null);
    const whole = this.zoomed && this.tree.nodes.get(this.zoomed);
    const [from, to] = whole
      ? [whole.start, whole.end ?? Math.max(now, whole.start)]
      : [this.tree.start, isOpen ? Math.max(now, this.tree.end) : this.tree.end];
    this.range = { from, length: Math.max(to - from, 0.001) };
    for (const { node } of this.shown) this.#drawBar(node, now);
    this.#drawAxis();
  }

  /** Marks a row as selected, and unfolds the rows that hide it. */
  select(id) {
    this.selected = id;
    const node = this.tree?.nodes.get(id);
    if (node) {
      for (let above = node.parent; above; above = above.parent) this.collapsed.delete(above.span.span_id);
      this.#makeCurrent(id);
    }
    if (this.tree) {
      this.#drawRows();
      this.drawTime();
    }
  }

  /** Brings a row into sight, and the keyboard to it. */
  focus(id = this.current) {
    const row = this.rows.get(id)?.element;
    row?.focus({ preventScroll: true });
    row?.scrollIntoView({ block: "nearest" });
  }

  /** Lets a span fill the axis; the same again, or null, shows the whole trace. */
  zoom(id) {
    this.zoomed = this.zoomed === id ? null : id;
    this.drawTime();
  }

  #drawRows() {
    this.shown = rowsOf(this.tree, this.collapsed);
    if (!this.shown.some(({ node }) => node.span.span_id === this.current)) this.current = this.shown[0]?.node.span.span_id ?? null;
    const wanted = new Set();
    let before = this.lines;
    for (const shown of this.shown) {
      const id = shown.node.span.span_id;
      wanted.add(id);
      const row = this.rows.get(id) ?? this.#makeRow(id);
      this.#fill(row, shown);
      if (before.nextSibling !== row.element) before.after(row.element);
      before = row.element;
    }
    for (const [id, row] of this.rows) {
      if (wanted.has(id)) continue;
      row.element.remove();
      this.rows.delete(id);
    }
  }

  #makeRow(id) {
    const row = { signature: "", bar: element("div", { class: "bar" }) };
    row.what = element("div", { class: "cell what", role: "gridcell" });
    row.time = element("div", { class: "cell number time", role: "gridcell" });
    row.tokens = element("div", { class: "cell number tokens", role: "gridcell" });
    row.element = element(
      "div",
      { class: "row", role: "row", "data-span": id },
      row.what,
      row.time,
      row.tokens,
      element("div", { class: "cell bar-cell", role: "gridcell", "aria-hidden": "true" }, element("div", { class: "track" }, row.bar)),
    );
    this.rows.set(id, row);
    return row;
  }

  #fill(row, { node, position, size }) {
    const { span } = node;
    const id = span.span_id;
    const isCollapsed = this.collapsed.has(id);
    const set = (attribute, value) => {
      if (value === null) row.element.removeAttribute(attribute);
      else if (row.element.getAttribute(attribute) !== value) row.element.setAttribute(attribute, value);
    };
    set("aria-level", String(node.depth));
    set("aria-posinset", String(position));
    set("aria-setsize", String(size));
    set("aria-expanded", node.children.length > 0 ? String(!isCollapsed) : null);
    set("aria-selected", String(id === this.selected));
    set("tabindex", id === this.current ? "0" : "-1");
    const colour = colourOf(this.tree, node);
    const title = titleOf(span);
    const hidden = isCollapsed ? node.errorsBelow : 0;
    const signature = JSON.stringify([span.log_type, title, span.status, span.status_message, span.looks_failed, node.depth, colour, isCollapsed, hidden, node.children.length > 0]);
    if (signature === row.signature) return;
    row.signature = signature;
    row.element.className = `row kind-${span.log_type} status-${span.status} ${span.looks_failed ? "looks-failed" : ""} ${colour}`;
    row.element.style.setProperty("--depth", String(node.depth - 1));
    fill(
      row.what,
      node.children.length > 0 ? element("span", { class: "twist" }, icon("chevron")) : element("span", { class: "twist none" }),
      icon(span.log_type, "kind"),
      unseen(`${KINDS[span.log_type] ?? span.log_type} `),
      name(title, "title"),
      span.status === "error" && element("span", { class: "failed" }, icon("error"), element("span", { text: "error" })),
      span.status === "error" && span.status_message && name(span.status_message.slice(0, 200), "why"),
      span.status === "open" && element("span", { class: "running" }, icon("live"), element("span", { text: "running" })),
      hidden > 0 && element("span", { class: "failed" }, icon("error"), element("span", { text: `${count(hidden)} inside` })),
      this.#notes(span),
    );
    const tokens = key.tokensOf(span.attributes);
    const known = span.log_type === "chat" && (tokens.input !== null || tokens.output !== null);
    row.tokens.textContent = known ? `${tokens.input === null ? "?" : short(tokens.input)} → ${tokens.output === null ? "?" : short(tokens.output)}` : "";
  }

  #notes(span) {
    const retries = span.events.filter((event) => event.name === "attempt failed").length;
    const notes = [];
    if (retries > 0) notes.push(element("span", { class: "note warn", text: retries === 1 ? "1 retry" : `${retries} retries` }));
    if (span.looks_failed) notes.push(element("span", { class: "note warn", title: "AutoGen does not send whether a tool failed; its result looks so" }, "looks like an error: ", name(span.looks_failed)));
    if (span.attributes[key.UNANSWERED] === "true") notes.push(element("span", { class: "note warn", text: "no result seen" }));
    if (span.attributes[key.AMBIGUOUS] === "true") notes.push(element("span", { class: "note", text: "ambiguous" }));
    return notes;
  }

  #drawBar(node, now) {
    const row = this.rows.get(node.span.span_id);
    const bar = barOf(this.tree, node, this.range, now);
    const took = duration((node.end ?? Math.max(now, node.start)) - node.start);
    if (row.time.textContent !== took) row.time.textContent = took;
    const drawn = JSON.stringify(bar);
    if (drawn === row.drawn) return;
    row.drawn = drawn;
    row.bar.style.setProperty("left", `${bar.left}%`);
    row.bar.style.setProperty("width", `${bar.width}%`);
    const first = node.span.attributes[key.TIME_TO_FIRST_TOKEN];
    row.bar.title = [
      `starts at ${duration(node.start - this.tree.start)}`,
      `takes ${took}`,
      typeof first === "number" ? `first token after ${duration(first * 1000)}` : null,
    ].filter(Boolean).join(", ");
    const parts = bar.segments.map((segment) =>
      element("div", {
        class: `segment kind-${segment.kind} ${segment.colour} ${segment.isError ? "is-error" : ""}`,
        vars: { left: `${segment.left}%`, width: `${segment.width}%` },
      }),
    );
    if (bar.first !== null) {
      parts.push(element("div", { class: "until-first", vars: { width: `${bar.first}%` } }));
      parts.push(element("div", { class: "first-token", vars: { left: `${bar.first}%` } }));
    }
    fill(row.bar, ...parts);
  }

  #drawAxis() {
    const width = this.axis.clientWidth;
    if (width === 0 || !this.range) return;
    const offset = this.range.from - this.tree.start;
    const found = ticks(this.range.length, Math.max(2, Math.floor(width / 84)));
    const drawn = JSON.stringify([found.map((tick) => tick.label), this.range, width > 0]);
    if (drawn === this.drawnAxis) return;
    this.drawnAxis = drawn;
    const at = (tick) => `${(tick.at / this.range.length) * 100}%`;
    fill(
      this.axis,
      ...found.map((tick) => {
        const isLast = tick.at / this.range.length > 0.94;
        return element("span", { class: isLast ? "tick last" : "tick", vars: { left: at(tick) }, text: tick.label });
      }),
      this.zoomed && element("span", { class: "zoom-note", text: `from ${duration(offset)}` }),
    );
    fill(this.lines.firstChild, ...found.map((tick) => element("div", { class: "line", vars: { left: at(tick) } })));
  }

  #makeCurrent(id) {
    if (this.current === id) return;
    this.rows.get(this.current)?.element.setAttribute("tabindex", "-1");
    this.current = id;
    this.rows.get(id)?.element.setAttribute("tabindex", "0");
  }

  #toggle(id, isCollapsed) {
    if (isCollapsed) this.collapsed.add(id);
    else this.collapsed.delete(id);
    this.#drawRows();
    this.drawTime();
  }

  #clicked(event) {
    const row = event.target.closest("[data-span]");
    if (!row) return;
    const id = row.dataset.span;
    const isTwist = event.target.closest(".twist") && row.hasAttribute("aria-expanded");
    if (isTwist) this.#toggle(id, !this.collapsed.has(id));
    else if (getSelection().isCollapsed) this.onSelect(id, true);
    row.focus({ preventScroll: true });
  }

  #pressed(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const at = this.shown.findIndex(({ node }) => node.span.span_id === this.current);
    if (at < 0) return;
    const { node } = this.shown[at];
    const id = node.span.span_id;
    const go = (to) => {
      const next = this.shown[Math.max(0, Math.min(this.shown.length - 1, to))].node.span.span_id;
      this.#makeCurrent(next);
      this.focus();
      this.onSelect(next, false);
    };
    const page = Math.max(1, Math.floor(this.element.clientHeight / 30) - 2);
    const actions = {
      ArrowDown: () => go(at + 1),
      j: () => go(at + 1),
      ArrowUp: () => go(at - 1),
      k: () => go(at - 1),
      Home: () => go(0),
      End: () => go(this.shown.length - 1),
      PageDown: () => go(at + page),
      PageUp: () => go(at - page),
      Enter: () => this.onSelect(id, true),
      " ": () => this.onSelect(id, true),
      z: () => this.zoom(id),
      ArrowLeft: () => {
        if (node.children.length > 0 && !this.collapsed.has(id)) this.#toggle(id, true);
        else if (node.parent) go(this.shown.findIndex((shown) => shown.node === node.parent));
      },
      ArrowRight: () => {
        if (node.children.length === 0) return;
        if (this.collapsed.has(id)) this.#toggle(id, false);
        else go(at + 1);
      },
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }
}
