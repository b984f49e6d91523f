// The page before the first call: the one line to change in a program.

import { copyButton, element } from "./dom.js";

/** Says how to send calls through the gateway at `address`. */
export function startHere(address) {
  const before = 'from autogen_ext.models.openai import OpenAIChatCompletionClient\n\nclient = OpenAIChatCompletionClient(\n    model="gpt-4o-mini",\n';
  const line = `    base_url=${JSON.stringify(address)},  # the one line that changes\n`;
  const after = ")\n";
  return element(
    "div",
    { class: "nothing start" },
    element("h1", { text: "No calls have come through yet" }),
    element("p", { text: "Let your AutoGen program talk to the gateway. One line of it changes; the OpenAI key stays where it is." }),
    element(
      "figure",
      { class: "snippet" },
      element("pre", { tabindex: "0", "aria-label": "Python" }, element("code", {}, before, element("mark", { text: line }), after)),
      copyButton("Copy", () => before + line + after),
    ),
    element("p", { class: "quiet", role: "status" }, element("span", { class: "dot waiting" }), "Waiting for the first call. It shows up here by itself."),
  );
}
