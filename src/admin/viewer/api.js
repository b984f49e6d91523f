// The admin API. A caller handles the answers; a gateway that is away or wants a token is reported here, once.

/** Milliseconds before the next try, after so many failures. */
const waitAfter = (failures) => Math.min(15_000, 500 * 2 ** Math.min(failures, 6)) * (0.75 + Math.random() / 2);

const listeners = new Set();
let connection = "up";

/** Calls `listener` with `up`, `down` or `signed-out`, whenever it changes. */
export function onConnection(listener) {
  listeners.add(listener);
}

function say(state) {
  if (state === connection) return;
  connection = state;
  for (const listener of listeners) listener(state);
}

/** An answer that is none: `status` is that of HTTP, 0 where nobody answered. */
export class Failure extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The JSON at `path`. Throws `Failure`, and `AbortError` when `signal` says so. */
export async function get(path, { signal } = {}) {
  return request(path, { signal });
}

/** Posts a JSON object. */
export async function post(path, body) {
  return request(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
}

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, { cache: "no-store", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    say("down");
    throw new Failure(0, "The gateway does not answer.");
  }
  if (response.status === 401) {
    say("signed-out");
    throw new Failure(401, "Signed out.");
  }
  say("up");
  let answer = null;
  try {
    answer = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    if (response.ok) throw new Failure(response.status, "The gateway's answer is not JSON.");
  }
  if (!response.ok) throw new Failure(response.status, answer?.error?.message ?? `The gateway answered ${response.status}.`);
  return answer;
}

/** The same as `get`, again and again while nobody answers or the store gives nothing. */
export async function getUntilAnswered(path, { signal, onFailure } = {}) {
  for (let failures = 0; ; failures++) {
    try {
      return await get(path, { signal });
    } catch (error) {
      const isPassing = error instanceof Failure && (error.status === 0 || error.status >= 500);
      if (!isPassing) throw error;
      onFailure?.(error);
      await pause(waitAfter(failures), signal);
    }
  }
}

function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("no longer wanted", "AbortError"));
    });
  });
}

/**
 * Follows the events. `onTrace` gets a trace as the list has it; `onReset` is called when some may have been missed.
 * While the page is hidden nothing is followed: a browser has few connections to one server. Returns a function that ends it.
 */
export function follow(filters, { onTrace, onReset }) {
  const query = new URLSearchParams(filters);
  let source = null;
  let failures = 0;
  let again = 0;

  const open = () => {
    clearTimeout(again);
    source = new EventSource(`/api/events?${query}`);
    source.addEventListener("trace", (event) => onTrace(JSON.parse(event.data)));
    source.addEventListener("reset", onReset);
    source.addEventListener("open", () => {
      if (failures > 0) onReset();
      failures = 0;
      say("up");
    });
    source.addEventListener("error", () => {
      failures += 1;
      // The browser does not retry after a refusal, and does not show its status.
      if (source.readyState === EventSource.CLOSED) again = setTimeout(open, waitAfter(failures));
      get("/api/health").catch(() => {});
    });
  };
  const close = () => {
    clearTimeout(again);
    source?.close();
    source = null;
  };
  const look = () => {
    if (document.hidden) close();
    else if (!source) {
      open();
      onReset();
    }
  };
  if (!document.hidden) open();
  document.addEventListener("visibilitychange", look);
  return () => {
    document.removeEventListener("visibilitychange", look);
    close();
  };
}
