// A trace's spans become rows of a tree on one axis of time. Plain values in, plain values out.

import { milliseconds } from "./format.js";
import { coloursOf } from "./colour.js";
import * as key from "./keys.js";

/**
 * The sums over the spans of a trace:
 * `nodes` by id, each `{span, parent, children, depth, start, end (null while it is open), agent, errorsBelow}`; `roots`; `agents` in the
 * order in which they spoke, and their `colours`; `start`, `end`; `totals`.
 */
export function treeOf(spans) {
  const nodes = new Map();
  for (const span of spans) {
    const end = span.end === null ? null : milliseconds(span.end);
    nodes.set(span.span_id, { span, parent: null, children: [], depth: 0, start: milliseconds(span.start), end, agent: null, errorsBelow: 0 });
  }
  const roots = [];
  for (const node of nodes.values()) {
    const parent = nodes.get(node.span.parent_span_id);
    if (!parent || isAbove(nodes, node, parent)) roots.push(node);
    else {
      node.parent = parent;
      parent.children.push(node);
    }
  }
  const byStart = (left, right) => left.start - right.start;
  const agents = [];
  const settle = (siblings, depth, agent) => {
    siblings.sort(byStart);
    for (const node of siblings) {
      node.depth = depth;
      node.agent = node.span.log_type === "agent" ? entityName(node.span) : node.span.log_type === "workflow" ? null : agent;
      if (node.span.log_type === "agent" && !agents.includes(node.agent)) agents.push(node.agent);
      settle(node.children, depth + 1, node.agent);
      for (const child of node.children) node.errorsBelow += child.errorsBelow + (child.span.status === "error" ? 1 : 0);
    }
  };
  settle(roots, 1, null);
  let [start, end] = [Infinity, -Infinity];
  for (const node of nodes.values()) {
    start = Math.min(start, node.start);
    end = Math.max(end, node.end ?? node.start);
  }
  return { nodes, roots, agents, colours: coloursOf(agents), start, end, totals: totalsOf(spans) };
}

/** Whether `node` is `parent` or above it: spans that stand in a circle. */
function isAbove(nodes, node, parent) {
  const met = new Set();
  for (let at = parent; at && !met.has(at); at = nodes.get(at.span.parent_span_id)) {
    if (at === node) return true;
    met.add(at);
  }
  return false;
}

function totalsOf(spans) {
  const totals = { models: 0, tools: 0, errors: [], input: null, output: null, cached: null, reasoning: null };
  for (const span of spans) {
    if (span.status === "error") totals.errors.push(span.span_id);
    if (span.log_type === "tool") totals.tools += 1;
    if (span.log_type !== "chat") continue;
    totals.models += 1;
    const tokens = key.tokensOf(span.attributes);
    for (const part of ["input", "output", "cached", "reasoning"]) {
      if (tokens[part] !== null) totals[part] = (totals[part] ?? 0) + tokens[part];
    }
  }
  return totals;
}

/** The rows that are to be seen, in order: all but those below a collapsed one. */
export function rowsOf(tree, collapsed) {
  const rows = [];
  const visit = (siblings) => {
    siblings.forEach((node, at) => {
      rows.push({ node, position: at + 1, size: siblings.length });
      if (!collapsed.has(node.span.span_id)) visit(node.children);
    });
  };
  visit(tree.roots);
  return rows;
}

/** The name of a span in its row: without the kind, which its icon shows, and a model by its requested name. */
export function titleOf(span) {
  if (span.log_type === "workflow") return entityName(span).replace(/\.run(_stream)?$/, "");
  if (span.log_type === "agent" || span.log_type === "tool") return entityName(span);
  if (span.log_type === "chat") return span.attributes[key.REQUEST_MODEL] ?? span.attributes[key.RESPONSE_MODEL] ?? span.name.replace(/^llm\./, "");
  return span.attributes[key.ENTITY_NAME] ?? span.name;
}

function entityName(span) {
  return span.attributes[key.ENTITY_NAME] || span.name.replace(/^(agent|tool)\./, "");
}

/**
 * The bar of a node within `[from, from + length]`, in percent: `{left, width, first, segments}`. `first` is where the first token came, in
 * percent of the bar. `segments` of an agent or workflow are its model calls, tools and agents.
 */
export function barOf(tree, node, range, now) {
  const percent = (time) => ((time - range.from) / range.length) * 100;
  const end = node.end ?? Math.max(now, node.start);
  const [left, right] = [percent(node.start), percent(end)];
  const first = node.span.attributes[key.TIME_TO_FIRST_TOKEN];
  const within = (time) => (end > node.start ? ((time - node.start) / (end - node.start)) * 100 : 0);
  const holds = node.span.log_type === "agent" || node.span.log_type === "workflow";
  return {
    left,
    width: right - left,
    first: typeof first === "number" && end > node.start ? Math.min(100, within(node.start + first * 1000)) : null,
    segments: !holds ? [] : node.children.map((child) => ({
      kind: child.span.log_type,
      isError: child.span.status === "error",
      colour: colourOf(tree, child),
      left: Math.max(0, within(child.start)),
      width: Math.min(100, within(child.end ?? Math.max(now, child.start))) - Math.max(0, within(child.start)),
    })),
  };
}

/** The class of a node's colour: its agent's. */
export function colourOf(tree, node) {
  return tree.colours.get(node.agent) ?? "nobody";
}
