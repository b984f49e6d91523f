//! Attribution: where a request belongs, decided by the state of its conversation before anything changes. [`super::apply`] carries it out.
//!
//! | | evidence | rule |
//! |---|---|---|
//! | 1 | a header names the run | (the conversation holds nothing else) |
//! | 2 | its task was passed to a tool that has not answered | `agent_tool` |
//! | 3 | it shows a tool call's id, and nobody spoke since | `tool_id` |
//! | 4 | it begins with another request and that one's reply | `chain` |
//! | 5 | a message of it is, or holds, a reply | `delivery` |
//! | 6 | it is a selector's prompt that shows a conversation | `selector_prompt` |
//! | 7 | a selector was shown all of it and has just chosen | `selected` |
//! | 8 | it sums up what an inner team said | `society` |
//! | 9 | nothing of that | `root` |
//!
//! A message of the user after the followed call begins the next run of the same conversation: `+new_message`.

use std::sync::Arc;

use super::agent_names::{PromptHash, SharedNames};
use super::autogen::takes_a_task;
use super::call::{CallId, RunId};
use super::caller_kind::CallerKind;
use super::conversation::{Conversation, PendingRequest};
use super::digest_cache::DigestCache;
use super::evidence::names::NameEvidence;
use super::evidence::tool_results::FinishedTool;
use super::evidence::{AttributionTarget, ContextCache, Evidence, Match, RequestContext};
use super::message_text::{cut, stored};
use super::speaker::{NameRule, Speaker};
use super::text_hash::{self, Hash};
use super::transcript::{Transcript, TranscriptEntry};
use super::work_budget::WorkBudget;

/// Where a request belongs, and what it shows of its run.
#[derive(Debug)]
pub(super) struct Attribution {
    pub(super) evidence: Evidence,
    pub(super) kind: CallerKind,
    /// The caller's system message.
    pub(super) system: Hash,
    pub(super) speaker: Speaker,
    /// None where one begins.
    pub(super) run: Option<RunId>,
    /// The caller's turn that goes on, unless its run is a swarm.
    pub(super) continued_turn: Option<usize>,
    pub(super) finished_tools: Vec<FinishedTool>,
    /// The run's calls whose tools have answered.
    pub(super) answered: Vec<CallId>,
    /// The calls that a society sums up.
    pub(super) members: Vec<CallId>,
    pub(super) names: Vec<NameEvidence>,
    pub(super) task: Option<Arc<str>>,
    /// Other runs know the agent's name by this.
    pub(super) prompt_hash: Option<PromptHash>,
    /// The rest of the budget.
    pub(super) work: WorkBudget,
}

/// Decides where a request belongs.
pub(super) fn attribute(
    conversation: &Conversation,
    request: &PendingRequest,
    transcript: &Transcript<'_>,
    digests: &DigestCache,
    shared_names: &SharedNames,
) -> Attribution {
    let identity = &request.meta.identity;
    let kind = match CallerKind::of(transcript, request.meta.may_be_agent) {
        CallerKind::Bare if identity.agent_name.is_some() => CallerKind::Agent,
        kind => kind,
    };
    let mut context = RequestContext {
        transcript,
        kind,
        system: text_hash::of(&transcript.system),
        started_ns: request.started_ns,
        index: &conversation.index,
        runs: &conversation.runs,
        credential: &identity.credential,
        digests,
        own_names: &conversation.names,
        shared_names,
        work: WorkBudget::new(transcript.size()),
        cache: ContextCache::default(),
    };
    let evidence = strongest_evidence(&context);
    // Evidence that was hard to find takes nothing away from names and results of tools.
    context.work.renew(transcript.size());
    let before = match evidence.target {
        AttributionTarget::Call(call)
        | AttributionTarget::Conversation(call)
        | AttributionTarget::Tool(call, _) => conversation.index.get(call),
        AttributionTarget::Nothing => None,
    };
    // A client in an agent's run is an agent's. A tool of the program's own may use a client by itself.
    let is_agents = before.is_some_and(|before| match evidence.target {
        AttributionTarget::Call(_) => before.kind != CallerKind::Bare,
        AttributionTarget::Tool(_, tool) => takes_a_task(&before.reply.tools[tool].call.arguments),
        AttributionTarget::Nothing | AttributionTarget::Conversation(_) => false,
    });
    if kind == CallerKind::Bare && is_agents {
        context.kind = CallerKind::Agent;
    }
    let run = match evidence.target {
        AttributionTarget::Call(_) | AttributionTarget::Tool(..) => before.map(|before| before.run),
        AttributionTarget::Nothing | AttributionTarget::Conversation(_)
            if identity.trace.is_some() =>
        {
            conversation.runs.keys().next().copied()
        }
        AttributionTarget::Conversation(call) => run_begun_after(&context, call),
        AttributionTarget::Nothing => None,
    };
    let near = run.or(before.map(|before| before.run));
    let followed = evidence.followed().and_then(|call| context.index.get(call));
    let requesters = context.requesters(followed, near);
    let own = context.own_before(near, &requesters);
    let speaker = own.map(|own| own.speaker.clone()).unwrap_or_default();
    let last_requester = requesters.last().copied().flatten();
    let continued = own.filter(|own| {
        transcript.ends_in_round
            && Some(own.run) == run
            && last_requester.is_some_and(|requester| requester.id == own.id)
    });
    let explicit = identity.agent_name.as_ref().map(|name| NameEvidence {
        speaker: speaker.clone(),
        name: name.clone(),
        rule: NameRule::Explicit,
    });
    let in_run = requesters
        .iter()
        .flatten()
        .filter(|call| Some(call.run) == run);
    Attribution {
        kind: context.kind,
        system: context.system,
        run,
        continued_turn: continued.and_then(|own| own.turn),
        finished_tools: context.finished_tools(&evidence, run, &speaker, &requesters),
        answered: in_run.map(|call| call.id).collect(),
        members: context.members(run),
        names: explicit
            .into_iter()
            .chain(context.names(&evidence, run, &speaker))
            .collect(),
        task: transcript.tasks().next().map(|task| {
            let same = before.and_then(|before| before.task.clone());
            same.filter(|same| **same == *cut(task.text()))
                .unwrap_or_else(|| stored(task.text()))
        }),
        // The caller had the same instructions before.
        prompt_hash: match own {
            _ if context.kind != CallerKind::Agent => None,
            Some(own) => own.prompt_hash,
            None => context.prompt_hash(),
        },
        evidence,
        speaker,
        work: context.work,
    }
}

/// The run that the request's last task began after that of `call`, where the caller has not spoken in it yet: several agents may be sent the
/// same message at once.
fn run_begun_after(context: &RequestContext<'_>, call: CallId) -> Option<RunId> {
    let before = context.runs.get(&context.index.get(call)?.run)?;
    let message = context.transcript.tasks().next_back()?.hash;
    let next = *before.next.get(&message)?;
    let systems = &context.runs.get(&next)?.systems;
    (!systems.contains(&context.system)).then_some(next)
}

/// Weighs the evidence, in the order of the table.
fn strongest_evidence(context: &RequestContext<'_>) -> Evidence {
    let followed = followed(context);
    let is_direct = matches!(
        followed,
        None | Some(("chain" | "tool_id" | "delivery", ..))
    );
    let new_task = if is_direct {
        new_task(context, followed)
    } else {
        None
    };
    if new_task.is_some() || followed.is_none() {
        let task = new_task.map(|at| &context.transcript.entries[at]);
        if let Some((found, tool)) = context.passed_to_tool(task) {
            return Evidence {
                target: AttributionTarget::Tool(found.call, tool),
                rule: "agent_tool",
                ambiguous: found.ambiguous,
                selected_by: None,
            };
        }
    }
    let Some((rule, found, behind)) = followed else {
        return Evidence {
            target: AttributionTarget::Nothing,
            rule: "root",
            ambiguous: false,
            selected_by: None,
        };
    };
    let ended_ns = context
        .index
        .get(found.call)
        .and_then(|call| call.ended_ns)
        .unwrap_or_default();
    let is_next = is_next_message(context, rule, found, behind);
    // A selector was shown the new message first: it began the run.
    if is_next
        && context.kind == CallerKind::Agent
        && let Some(selection) = context.best(&context.selection(ended_ns))
    {
        return Evidence {
            target: AttributionTarget::Call(selection.call),
            rule: "selected",
            ambiguous: selection.ambiguous,
            selected_by: Some(selection.call),
        };
    }
    // Or another agent had it first, and was heard since.
    if is_next && let Some(evidence) = next_run_heard(context, found, behind) {
        return evidence;
    }
    let selected_by = if rule == "selected" {
        Some(found.call)
    } else {
        selection_in_run(context, found, ended_ns)
    };
    let (target, rule) = match rule {
        _ if !is_next => (AttributionTarget::Call(found.call), rule),
        "chain" => (
            AttributionTarget::Conversation(found.call),
            "chain+new_message",
        ),
        "tool_id" => (
            AttributionTarget::Conversation(found.call),
            "tool_id+new_message",
        ),
        "delivery" => (
            AttributionTarget::Conversation(found.call),
            "delivery+new_message",
        ),
        _ => (
            AttributionTarget::Conversation(found.call),
            "selector_prompt+new_message",
        ),
    };
    Evidence {
        target,
        rule,
        ambiguous: found.ambiguous,
        selected_by,
    }
}

/// The rule that finds the followed call, that call, and the number of entries before the new ones.
fn followed(context: &RequestContext<'_>) -> Option<(&'static str, Match, usize)> {
    let speaks = matches!(
        context.kind,
        CallerKind::Agent | CallerKind::Orchestrator | CallerKind::Bare
    );
    let by_id = context.tool_id();
    let chain = if speaks { context.chain() } else { None };
    let length = |found: Match| context.index.get(found.call).map_or(0, |call| call.length);
    match (by_id, chain) {
        // Others spoke since the tools were called.
        (Some(by_id), Some((longest, found))) if length(by_id) + 1 < longest => {
            return Some(("chain", found, longest));
        }
        (Some(by_id), _) => return Some(("tool_id", by_id, length(by_id))),
        (None, Some((longest, found))) => return Some(("chain", found, longest)),
        (None, None) => {}
    }
    if speaks && let Some((behind, found)) = context.delivery() {
        return Some(("delivery", found, behind));
    }
    if let Some(found) = context.shown_to_selector() {
        return Some(("selector_prompt", found, 0));
    }
    if context.kind == CallerKind::Agent
        && let Some(found) = context.best(&context.selection(0))
    {
        return Some(("selected", found, context.transcript.entries.len()));
    }
    let found = context.summed_up()?;
    Some(("society", found, context.transcript.entries.len()))
}

/// The entry that is a task new to this conversation.
fn new_task(context: &RequestContext<'_>, followed: Option<(&str, Match, usize)>) -> Option<usize> {
    let entries = &context.transcript.entries;
    if followed.is_none() {
        return entries.iter().rposition(TranscriptEntry::is_from_outside);
    }
    let last = entries.len().checked_sub(1)?;
    let is_new = entries[last].is_from_outside()
        && entries[..last]
            .iter()
            .all(|entry| entry.hash != entries[last].hash);
    is_new.then_some(last)
}

/// Whether the user has spoken since.
fn is_next_message(context: &RequestContext<'_>, rule: &str, found: Match, behind: usize) -> bool {
    match rule {
        "chain" | "tool_id" | "delivery" => {
            context.kind != CallerKind::Orchestrator
                && context
                    .transcript
                    .entries
                    .iter()
                    .skip(behind)
                    .any(TranscriptEntry::is_from_outside)
        }
        "selector_prompt" => context.index.get(found.call).is_some_and(|call| {
            let prompt = context.transcript.whole();
            let since = prompt
                .rfind(&*call.reply.text)
                .filter(|_| !call.reply.text.is_empty())
                .map(|at| &prompt[at + call.reply.text.len()..]);
            since.is_some_and(|since| since.lines().any(|line| line.starts_with("user: ")))
        }),
        _ => false,
    }
}

/// The reply that a request after a new message has heard since then, in the run that the message began after `found`'s.
fn next_run_heard(context: &RequestContext<'_>, found: Match, behind: usize) -> Option<Evidence> {
    let (heard_to, heard) = context.delivery()?;
    let run = context.index.get(found.call)?.run;
    let is_since = heard_to > behind
        && !context.transcript.entries[heard_to..]
            .iter()
            .any(TranscriptEntry::is_from_outside);
    (is_since && context.index.get(heard.call)?.run > run).then_some(Evidence {
        target: AttributionTarget::Call(heard.call),
        rule: "delivery",
        ambiguous: heard.ambiguous,
        selected_by: None,
    })
}

/// The selection that called the agent, which is known to follow `found`.
fn selection_in_run(context: &RequestContext<'_>, found: Match, ended_ns: u64) -> Option<CallId> {
    if context.kind != CallerKind::Agent {
        return None;
    }
    let run = context.index.get(found.call)?.run;
    let mut selections = context.selection(ended_ns);
    selections.retain(|call| call.run == run);
    context.best(&selections).map(|found| found.call)
}
