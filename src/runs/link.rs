//! Where a request belongs: which evidence counts, in one place.
//!
//! | | evidence | rule |
//! |---|---|---|
//! | 1 | the run is named by a header | (told: the scope holds nothing else) |
//! | 2 | its task was passed to a tool that has not answered | `agent_tool` |
//! | 3 | it shows a tool call's id, and nobody spoke since | `tool_id` |
//! | 4 | it begins with another request and that one's reply | `chain` |
//! | 5 | a message of it is, or holds, a reply | `delivery` |
//! | 6 | it is a selector's prompt that shows a conversation | `selector_prompt` |
//! | 7 | a selector was shown all of it and has just chosen | `selected` |
//! | 8 | it sums up what an inner team said | `society` |
//! | 9 | nothing of that | `root` |
//!
//! A message of the user after what it follows makes the next run of the same conversation: `+new_message`.

use super::call::CallId;
use super::evidence::{Found, Scene};
use super::kind::Kind;
use super::transcript::Entry;

/// Where a request belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) to: To,
    pub(super) rule: &'static str,
    /// Other runs could have claimed it.
    pub(super) ambiguous: bool,
    /// The selector's call that chose who asks.
    pub(super) chosen_by: Option<CallId>,
}

/// What a request follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    /// Nothing: a run begins.
    Nothing,
    /// That call, in its run.
    Call(CallId),
    /// That call, of a run of the same conversation before.
    Conversation(CallId),
    /// That call's tool of this number.
    Tool(CallId, usize),
}

/// Finds where the request of `scene` belongs.
pub(super) fn link(scene: &Scene<'_>) -> Link {
    let followed = followed(scene);
    let is_direct = matches!(
        followed,
        None | Some(("chain" | "tool_id" | "delivery", ..))
    );
    let new_task = if is_direct {
        new_task(scene, followed)
    } else {
        None
    };
    if new_task.is_some() || followed.is_none() {
        let task = new_task.map(|at| &scene.transcript.entries[at]);
        if let Some((found, tool)) = scene.passed_to_tool(task) {
            return Link {
                to: To::Tool(found.call, tool),
                rule: "agent_tool",
                ambiguous: found.ambiguous,
                chosen_by: None,
            };
        }
    }
    let Some((rule, found, behind)) = followed else {
        return Link {
            to: To::Nothing,
            rule: "root",
            ambiguous: false,
            chosen_by: None,
        };
    };
    let ended_ns = scene
        .known
        .get(found.call)
        .and_then(|call| call.ended_ns)
        .unwrap_or_default();
    let is_next = is_next_message(scene, rule, found, behind);
    // A selector was shown the new message first: it began the run.
    if is_next
        && scene.kind == Kind::Agent
        && let Some(selection) = scene.best_selection(&scene.selection(ended_ns))
    {
        return Link {
            to: To::Call(selection.call),
            rule: "selected",
            ambiguous: selection.ambiguous,
            chosen_by: Some(selection.call),
        };
    }
    // Or somebody else had it first, and was heard since.
    if is_next && let Some(link) = next_run_heard(scene, found, behind) {
        return link;
    }
    let chosen_by = if rule == "selected" {
        Some(found.call)
    } else {
        selection_in_run(scene, found, ended_ns)
    };
    let (to, rule) = match rule {
        _ if !is_next => (To::Call(found.call), rule),
        "chain" => (To::Conversation(found.call), "chain+new_message"),
        "tool_id" => (To::Conversation(found.call), "tool_id+new_message"),
        "delivery" => (To::Conversation(found.call), "delivery+new_message"),
        _ => (To::Conversation(found.call), "selector_prompt+new_message"),
    };
    Link {
        to,
        rule,
        ambiguous: found.ambiguous,
        chosen_by,
    }
}

/// The call that is followed, by which rule, and how many entries of the request lie before what is new.
fn followed(scene: &Scene<'_>) -> Option<(&'static str, Found, usize)> {
    let speaks = matches!(scene.kind, Kind::Agent | Kind::Orchestrator | Kind::Bare);
    let by_id = scene.tool_id();
    let chain = if speaks { scene.chain() } else { None };
    let length = |found: Found| scene.known.get(found.call).map_or(0, |call| call.length);
    match (by_id, chain) {
        // Others spoke since the tools were called.
        (Some(by_id), Some((longest, found))) if length(by_id) + 1 < longest => {
            return Some(("chain", found, longest));
        }
        (Some(by_id), _) => return Some(("tool_id", by_id, length(by_id))),
        (None, Some((longest, found))) => return Some(("chain", found, longest)),
        (None, None) => {}
    }
    if speaks && let Some((behind, found)) = scene.delivery() {
        return Some(("delivery", found, behind));
    }
    if let Some(found) = scene.shown_to_selector() {
        return Some(("selector_prompt", found, 0));
    }
    if scene.kind == Kind::Agent
        && let Some(found) = scene.best_selection(&scene.selection(0))
    {
        return Some(("selected", found, scene.transcript.entries.len()));
    }
    let found = scene.summed_up()?;
    Some(("society", found, scene.transcript.entries.len()))
}

/// Which entry is a task that is new to this conversation, where there is one.
fn new_task(scene: &Scene<'_>, followed: Option<(&str, Found, usize)>) -> Option<usize> {
    let entries = &scene.transcript.entries;
    if followed.is_none() {
        return entries.iter().rposition(Entry::is_from_outside);
    }
    let last = entries.len().checked_sub(1)?;
    let is_new = entries[last].is_from_outside()
        && entries[..last]
            .iter()
            .all(|entry| entry.hash != entries[last].hash);
    is_new.then_some(last)
}

/// Whether the user said something since.
fn is_next_message(scene: &Scene<'_>, rule: &str, found: Found, behind: usize) -> bool {
    match rule {
        "chain" | "tool_id" | "delivery" => {
            scene.kind != Kind::Orchestrator
                && scene
                    .transcript
                    .entries
                    .iter()
                    .skip(behind)
                    .any(Entry::is_from_outside)
        }
        "selector_prompt" => scene.known.get(found.call).is_some_and(|call| {
            let prompt = scene.transcript.whole();
            let since = prompt
                .rfind(&*call.reply.text)
                .filter(|_| !call.reply.text.is_empty())
                .map(|at| &prompt[at + call.reply.text.len()..]);
            since.is_some_and(|since| since.lines().any(|line| line.starts_with("user: ")))
        }),
        _ => false,
    }
}

/// Of a request that goes on after a new message: what it heard since then, in the run which that message began after `found`'s.
fn next_run_heard(scene: &Scene<'_>, found: Found, behind: usize) -> Option<Link> {
    let (heard_to, heard) = scene.delivery()?;
    let run = scene.known.get(found.call)?.run;
    let is_since = heard_to > behind
        && !scene.transcript.entries[heard_to..]
            .iter()
            .any(Entry::is_from_outside);
    (is_since && scene.known.get(heard.call)?.run > run).then_some(Link {
        to: To::Call(heard.call),
        rule: "delivery",
        ambiguous: heard.ambiguous,
        chosen_by: None,
    })
}

/// The selection that called an agent which is known to follow `found`.
fn selection_in_run(scene: &Scene<'_>, found: Found, ended_ns: u64) -> Option<CallId> {
    if scene.kind != Kind::Agent {
        return None;
    }
    let run = scene.known.get(found.call)?.run;
    let mut selections = scene.selection(ended_ns);
    selections.retain(|call| call.run == run);
    scene.best_selection(&selections).map(|found| found.call)
}
