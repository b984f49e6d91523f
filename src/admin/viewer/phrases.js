// Sentences for the gateway's own words on a span: rules of src/runs and outcomes of src/span/exchange.rs.

const RULES = {
  root: "It follows nothing that was seen before: a run begins with it.",
  chain: "It begins with an earlier request and that request's reply.",
  tool_id: "It shows the id of a tool call, and nobody spoke since: it brings the tool's result back.",
  delivery: "One of its messages is, or holds, the reply of an earlier call.",
  agent_tool: "Its task was passed to a tool that had not answered yet: that tool is an agent or a team.",
  selector_prompt: "It is a selector's prompt, and shows the conversation of this run.",
  selected: "A selector had been shown all of the conversation, and had just chosen who asks.",
  society: "It sums up what an inner team said, or is that team.",
  team: "Several agents, or calls that only a team makes, show that a team ran.",
  turn: "Calls that follow each other by one speaker are its turn. Nothing in the traffic told its name.",
  told: "A header of the request says it.",
  name_echo: "Its name is known from a reply that came back under it.",
  name_selected: "Its name is known from a selector's choice.",
  name_ledger: "Its name is known from Magentic-One's ledger, which says who speaks next.",
  name_handoff: "Its name is known from a handoff to it.",
  name_agent_tool: "Its name is that of the tool as which it was called.",
  name_system_message: "Its name is known from its system message, which one agent alone has.",
  tool_result: "It lies between the reply that asked for the tool and the request that brought its result.",
  tool_unanswered: "The model asked for it; no result was seen before the run was closed.",
};
const NEW_MESSAGE = " The user has said something new since, so it is the next run of the same conversation.";

const OUTCOMES = {
  complete: "The reply ended as it should.",
  client_left: "The client left before the response ended.",
  upstream_broke: "The upstream broke off before the reply was whole.",
  stream_error: "The reply itself holds an error.",
  empty: "The upstream answered with nothing.",
  refused: "The upstream, or the gateway, refused the request.",
  unreachable: "The upstream could not be reached.",
  timeout: "The upstream was silent for too long.",
  empty: "The upstream answered with nothing: neither a reply nor an error.",
  recovered: "The gateway was killed before this ended; what is here was known by then.",
};

/** Why a span stands where it stands; the rule's own name where it is not known here. */
export function ruleInWords(rule) {
  const next = rule.endsWith("+new_message");
  const known = RULES[next ? rule.slice(0, -"+new_message".length) : rule];
  if (!known) return rule;
  return next ? known + NEW_MESSAGE : known;
}

export function outcomeInWords(outcome) {
  return OUTCOMES[outcome] ?? outcome;
}
