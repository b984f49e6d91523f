// The colours of agents: by their names, so that they are the same everywhere. Agents of one trace have different colours that are no
// neighbours, while there are enough.

const HUES = 12;
/** Has no divisor in common with their number: stepping by it meets all of them. */
const STEP = 5;

/** The classes of `names`; their order does not matter. */
export function coloursOf(names) {
  const colours = new Map();
  const taken = new Set();
  const isFree = (hue) => !taken.has(hue);
  const standsAlone = (hue) => isFree(hue) && isFree((hue + 1) % HUES) && isFree((hue + HUES - 1) % HUES);
  for (const name of [...new Set(names)].sort()) {
    const own = hash(name) % HUES;
    const inTurn = Array.from({ length: HUES }, (_, step) => (own + step * STEP) % HUES);
    const hue = inTurn.find(standsAlone) ?? inTurn.find(isFree) ?? own;
    taken.add(hue);
    colours.set(name, name === "unknown" ? "nobody" : `hue-${hue}`);
  }
  return colours;
}

/** FNV-1a over code units, stirred: its low bits alone are poor for short names. */
function hash(text) {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  hash ^= hash >>> 15;
  hash = Math.imul(hash, 0x2c1b3c6d);
  return (hash ^ (hash >>> 13)) >>> 0;
}
