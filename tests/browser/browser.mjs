// The browser: Debian's Chromium or that of `CHROMIUM`, with options for root and containers.

import { chromium } from "playwright-core";

const PATH = process.env.CHROMIUM ?? "/usr/bin/chromium";
// A container's /dev/shm may be small.
const SWITCHES = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

export function launch() {
  return chromium.launch({ executablePath: PATH, args: SWITCHES });
}
