// The page as a whole: the address decides the view, keys and buttons change the address.

import { onConnection } from "./api.js";
import { element, icon } from "./dom.js";
import { Health } from "./health.js";
import { ListView } from "./list.js";
import { listHash, parse } from "./route.js";
import { TraceView } from "./trace.js";

const TYPED_FOR = 250;

const at = (id) => document.getElementById(id);
const roots = { list: at("list"), trace: at("trace") };
const search = at("search");
let listAddress = "#/";
let route = null;

const notices = new Map();
function notice(key, shown) {
  notices.get(key)?.remove();
  notices.delete(key);
  if (!shown) return;
  notices.set(key, shown);
  at("notices").append(shown);
}

const health = new Health({ pill: at("health"), dialog: at("health-dialog"), notice });
const list = new ListView(roots.list, { go, address: () => health.address() });
const trace = new TraceView(roots.trace, { go, back: () => listAddress });

/** Changes the address. `replace` leaves no step in the history behind. */
function go(hash, replace = false) {
  if (hash === location.hash) return;
  if (!replace) {
    location.hash = hash;
    return;
  }
  history.replaceState(null, "", hash);
  show();
}

function show() {
  const before = route;
  route = parse(location.hash);
  const isOther = before?.view !== route.view;
  if (isOther) (route.view === "list" ? trace : list).leave();
  for (const [view, root] of Object.entries(roots)) root.hidden = view !== route.view;
  document.body.dataset.view = route.view;
  if (route.view === "list") {
    listAddress = listHash(route.filters, route.grouped);
    at("brand").href = "#/";
    if (document.activeElement !== search) search.value = route.filters.q ?? "";
    list.show(route);
    if (before && isOther) requestAnimationFrame(() => list.focus());
  } else {
    if (isOther || before.trace !== route.trace) search.value = "";
    trace.show(route.trace, route.span);
  }
}

/** The search text filters the list; from a trace it leads back to the list. */
function searchFor(q, replace) {
  const { filters, grouped } = parse(listAddress);
  go(listHash({ ...filters, q }, grouped), replace);
}

let typing = 0;
search.addEventListener("input", () => {
  clearTimeout(typing);
  if (route.view === "list") typing = setTimeout(() => searchFor(search.value.trim(), true), TYPED_FOR);
});
at("search-form").addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(typing);
  searchFor(search.value.trim(), route.view === "list");
  if (route.view === "list") list.focus();
});

function toggleTheme() {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  try {
    localStorage.setItem("theme", root.dataset.theme);
  } catch {
    // It holds for this page then.
  }
}

at("theme").addEventListener("click", toggleTheme);
at("help").addEventListener("click", () => at("help-dialog").showModal());
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
}

addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.defaultPrevented) return;
  if (document.querySelector("dialog[open]")) return;
  const isTyping = event.target.matches?.("input, textarea, select");
  if (event.key === "Escape") {
    if (isTyping) {
      event.target.blur();
      if (route.view === "list") list.focus();
    } else if (route.view === "trace") trace.escape();
    return;
  }
  if (isTyping) {
    if (event.key === "ArrowDown" && event.target === search && route.view === "list") list.focus();
    return;
  }
  const actions = {
    "/": () => {
      search.focus();
      search.select();
    },
    "?": () => at("help-dialog").showModal(),
    t: toggleTheme,
    g: () => route.view === "list" && list.toggleGroups(),
    e: () => route.view === "trace" && trace.nextError(),
  };
  const moves = ["ArrowDown", "ArrowUp", "j", "k"];
  const stands = document.activeElement === document.body || document.activeElement === at("main");
  if (moves.includes(event.key) && stands) actions[event.key] = () => (route.view === "list" ? list.focus() : trace.waterfall?.focus());
  const action = actions[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

onConnection((state) => {
  notice("connection", state === "down"
    ? element("div", { class: "notice is-problem" }, icon("error"), element("span", { text: "The gateway does not answer; trying again." }))
    : state === "signed-out"
      ? element("div", { class: "notice is-problem" }, icon("error"), element("span", { text: "You are signed out." }), element("button", { class: "small", type: "button", text: "Sign in", on: { click: () => location.reload() } }))
      : null);
  document.body.classList.toggle("is-down", state === "down");
});

document.querySelector(".skip").addEventListener("click", (event) => {
  // The address is the view's.
  event.preventDefault();
  at("main").focus();
});
addEventListener("hashchange", show);
show();
