// The address decides the view, so that every view is a link.
//
//     #/?status=error&q=rome&group=thread     the list
//     #/trace/<id>                            a trace
//     #/trace/<id>/span/<id>                  and a span of it

/** The filters of the list, in the order in which they are shown. */
export const FILTERS = ["thread", "customer", "agent", "model", "status", "q"];
const STATUSES = ["ok", "error", "live"];

/** `{view: "list", filters, grouped}` or `{view: "trace", trace, span}`. An unknown address is the list. */
export function parse(hash) {
  const [path, query = ""] = hash.replace(/^#/, "").split(/\?(.*)/s);
  const found = /^\/trace\/([0-9a-f]{32})(?:\/span\/([0-9a-f]{16}))?\/?$/.exec(path);
  if (found) return { view: "trace", trace: found[1], span: found[2] ?? null };
  const given = new URLSearchParams(query);
  const filters = {};
  for (const name of FILTERS) {
    const value = given.get(name);
    if (value && (name !== "status" || STATUSES.includes(value))) filters[name] = value;
  }
  return { view: "list", filters, grouped: given.get("group") === "thread" };
}

export function listHash(filters, grouped) {
  const query = new URLSearchParams();
  for (const name of FILTERS) if (filters[name]) query.set(name, filters[name]);
  if (grouped) query.set("group", "thread");
  return query.size > 0 ? `#/?${query}` : "#/";
}

export function traceHash(trace, span) {
  return span ? `#/trace/${trace}/span/${span}` : `#/trace/${trace}`;
}
