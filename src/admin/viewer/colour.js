// Which colour an agent has: by its name, so that it is the same everywhere; two agents of one trace never share one while there are enough.

const HUES = 16;

/** The classes of `names`, in the order in which they appeared. */
export function coloursOf(names) {
  const colours = new Map();
  const taken = new Set();
  for (const name of names) {
    if (colours.has(name)) continue;
    let hue = hash(name) % HUES;
    for (let step = 0; step < HUES && taken.has(hue); step++) hue = (hue + 5) % HUES;
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
