// How numbers and times are written.

const whole = new Intl.NumberFormat("en-US");
const clockOf = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const dayOf = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });

/** Milliseconds since the epoch, with the fraction that nanoseconds make. */
export function milliseconds(time) {
  const dot = time.indexOf(".");
  if (dot < 0) return Date.parse(time);
  return Date.parse(time.slice(0, dot) + "Z") + Number("0" + time.slice(dot, -1)) * 1000;
}

/** `820 ms`, `1.24 s`, `2 m 05 s`. */
export function duration(ms) {
  if (ms < 0.05) return "0 ms";
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 9_995) return `${(ms / 1000).toFixed(2)} s`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  const two = (number) => String(number).padStart(2, "0");
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${two(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${two(Math.floor((seconds % 3600) / 60))} m`;
}

/** `1,234` */
export function count(number) {
  return whole.format(number);
}

/** `1,234`, `12.3k`, `1.2M` */
export function short(number) {
  if (number < 10_000) return whole.format(number);
  if (number < 999_950) return `${(number / 1000).toFixed(number < 99_950 ? 1 : 0)}k`;
  return `${(number / 1_000_000).toFixed(1)}M`;
}

/** `3 traces`, `1 trace` */
export function counted(number, one, many = one + "s") {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/** `12 s ago`, `5 min ago`, `14:03:22`, `Nov 24, 14:03:22` */
export function ago(ms, now = Date.now()) {
  const seconds = Math.max(0, (now - ms) / 1000);
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (new Date(ms).toDateString() === new Date(now).toDateString()) return clockOf.format(ms);
  return `${dayOf.format(ms)}, ${clockOf.format(ms)}`;
}

/** The time of day with milliseconds, and the date where it is not today. */
export function clock(ms) {
  const today = new Date(ms).toDateString() === new Date().toDateString();
  const part = String(Math.floor(ms % 1000)).padStart(3, "0");
  return `${today ? "" : dayOf.format(ms) + ", "}${clockOf.format(ms)}.${part}`;
}

/** Where ticks go on an axis of `span` milliseconds, at most about `most` of them, and how they are called. */
export function ticks(span, most) {
  if (!(span > 0)) return [];
  const step = steps().find((step) => span / step <= most) ?? span;
  const found = [];
  for (let at = 0; at <= span * 1.0001; at += step) found.push({ at, label: tick(at, step) });
  return found;
}

function* stepsOf() {
  for (let power = 0.001; power < 1000; power *= 10) yield* [power, power * 2, power * 5];
  for (const seconds of [1, 2, 5, 10, 15, 30]) yield seconds * 1000;
  for (const minutes of [1, 2, 5, 10, 15, 30]) yield minutes * 60_000;
  for (const hours of [1, 2, 4, 8, 12, 24, 48, 96, 240, 480, 960]) yield hours * 3_600_000;
}

const steps = () => [...stepsOf()];

function tick(at, step) {
  if (at === 0) return "0";
  const digits = (unit) => Math.max(0, Math.ceil(-Math.log10(step / unit) - 1e-9));
  if (step >= 3_600_000) return `${Math.round(at / 3_600_000)} h`;
  if (step >= 60_000) return `${Math.round(at / 60_000)} min`;
  if (at >= 60_000) return `${Math.floor(at / 60_000)}:${String(Math.round((at % 60_000) / 1000)).padStart(2, "0")}`;
  if (step >= 100) return `${(at / 1000).toFixed(digits(1000))} s`;
  return `${at.toFixed(digits(1))} ms`;
}
