//! AutoGen's own words and conventions: names, handoffs, selector prompts, tools that are agents (autogen-agentchat 0.7).

use serde_json::{Map, Value};

/// Most bytes of an agent's name that is recognised. AutoGen's names are Python identifiers.
pub(super) const LONGEST_NAME: usize = 64;

/// Parts of `SelectorGroupChat`'s default prompt.
const SELECTOR_WORDS: [&str; 2] = ["select the next role", "Only return the role"];

/// Whether AutoGen would accept this text as an agent's name.
pub(super) fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    text.len() <= LONGEST_NAME
        && characters
            .next()
            .is_some_and(|first| first.is_alphabetic() || first == '_')
        && characters.all(|character| character.is_alphanumeric() || "_-".contains(character))
}

/// The agent that a tool hands over to, by the name that `Handoff` gives such tools.
pub(super) fn handoff_target(tool: &str) -> Option<&str> {
    tool.strip_prefix("transfer_to_")
        .filter(|target| !target.is_empty())
}

/// Whether the text is `Handoff.message` as AutoGen words it. A program may have words of its own.
pub(super) fn is_handoff_text(text: &str) -> bool {
    text.strip_prefix("Transferred to ")
        .is_some_and(|rest| rest.ends_with(" immediately."))
}

/// Whether a tool with these arguments can be an `AgentTool` or a `TeamTool`, which take a task and nothing else.
pub(super) fn takes_a_task(arguments: &str) -> bool {
    serde_json::from_str::<Map<String, Value>>(arguments)
        .is_ok_and(|arguments| arguments.len() == 1 && arguments.contains_key("task"))
}

/// The agent that Magentic-One's progress ledger lets speak next.
pub(super) fn next_speaker(ledger: &str) -> Option<String> {
    let ledger: Value = serde_json::from_str(ledger).ok()?;
    let name = ledger.pointer("/next_speaker/answer")?.as_str()?;
    is_name(name).then(|| name.to_owned())
}

/// Whether the prompt has the words of `SelectorGroupChat`'s default prompt.
pub(super) fn is_selector(prompt: &str) -> bool {
    SELECTOR_WORDS.iter().all(|words| prompt.contains(words))
}

/// Whether the prompt lists at least two participants, as a program's own `selector_prompt` may: `{participants}` becomes a Python list.
pub(super) fn lists_participants(prompt: &str) -> bool {
    prompt.match_indices("['").any(|(at, opening)| {
        let mut rest = &prompt[at + opening.len()..];
        let mut names = 0;
        // Names have a greatest length, so each bracket costs a bounded look.
        while let Some(end) = rest
            .bytes()
            .take(LONGEST_NAME + 1)
            .position(|byte| byte == b'\'')
            && is_name(&rest[..end])
        {
            names += 1;
            let Some(next) = rest[end..].strip_prefix("', '") else {
                return names > 1 && rest[end..].starts_with("']");
            };
            rest = next;
        }
        false
    })
}

/// Whether a selector's answer is a name that its prompt mentions.
pub(super) fn is_choice(prompt: &str, answer: &str) -> bool {
    is_name(answer) && prompt.contains(answer)
}
