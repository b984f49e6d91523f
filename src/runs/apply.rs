//! The application of an [`Attribution`]: the request joins its run, level and turn. Finished tools are emitted, and names are learned.

use std::sync::Arc;

use super::agent_names::NameLesson;
use super::attribution::{Attribution, attribute};
use super::call::{Call, CallReply, RunId};
use super::caller_kind::CallerKind;
use super::conversation::{Conversation, Effects, PendingRequest};
use super::digest_cache::DigestCache;
use super::evidence::AttributionTarget;
use super::evidence::selector::SELECTORS;
use super::evidence::tool_results::FinishedTool;
use super::finished::{FinishedSpan, RunUpdate};
use super::message_text::stored;
use super::run::{Level, Run, Society, TimeRange, Turn};
use super::shared::SharedState;
use super::text_hash::{Map, Set};
use super::transcript::{NOTHING, Transcript};
use crate::openai::{ChatRequest, ToolCall};
use crate::span::exchange::own_trace;
use crate::span::operation::{
    Operation, ToolOutcome, agent_id, inner_workflow_id, tool_id, workflow_id,
};

/// A request that is about to join its run.
struct Application<'a> {
    conversation: &'a mut Conversation,
    request: &'a PendingRequest,
    transcript: &'a Transcript<'a>,
    attribution: Attribution,
}

/// Attributes the requests that began at `started_ns` or before. Closes the runs that are over by that; it is `at_ns` then.
pub(super) fn attribute_until(
    conversation: &mut Conversation,
    started_ns: u64,
    at_ns: u64,
    (shared, digests): (&SharedState, &mut DigestCache),
    effects: &mut Effects,
) {
    let known = conversation.next_run;
    let mut over = Vec::new();
    while let Some(request) = conversation.next_pending(started_ns) {
        if !conversation.continues_call(&request) {
            let update = &mut effects.update;
            request.body.with_request(&request.meta, |chat| {
                if let Some(chat) = chat {
                    let state = (shared, &mut *digests);
                    over.extend(apply(conversation, &request, chat, at_ns, state, update));
                }
            });
        }
    }
    for (_, run) in conversation.runs.range(known..) {
        effects.begun.push(conversation.run_ref(run));
    }
    for run in over {
        let is_idle = |run: &Run| run.in_flight == 0;
        if conversation.runs.get(&run).is_some_and(|run| is_idle(run)) {
            conversation.close(run, at_ns, shared, effects);
        }
    }
}

/// Attributes one request. Gives the run that is over by it.
fn apply(
    conversation: &mut Conversation,
    request: &PendingRequest,
    chat: &ChatRequest<'_>,
    at_ns: u64,
    (shared, digests): (&SharedState, &mut DigestCache),
    update: &mut RunUpdate,
) -> Option<RunId> {
    let transcript = Transcript::of(chat, digests);
    let attribution = attribute(conversation, request, &transcript, digests, &shared.names);
    for evidence in &attribution.names {
        evidence.speaker.learn(&evidence.name, evidence.rule);
    }
    let mut application = Application {
        conversation: &mut *conversation,
        request,
        transcript: &transcript,
        attribution,
    };
    let (run, over) = match application.attribution.run {
        Some(run) => (run, None),
        None => application.begin_run(),
    };
    let level = application.level(run);
    application.finish_tools(run, update);
    application.mark_answered();
    let turn = application.join(run, level);
    let mut call = application.call(run, level, turn);
    call.model = chat.model.as_deref().map(Arc::from);
    let work = application.attribution.work;
    shared.count_work(&work);
    conversation.learn_name(&call, at_ns, shared, update);
    conversation.begin_exchange(request.meta.id, call.id);
    conversation.index.insert(call);
    over
}

impl Conversation {
    /// The call's agent teaches its name to other runs, unless its request shows the name as another agent's.
    fn learn_name(
        &mut self,
        call: &Call,
        at_ns: u64,
        shared: &SharedState,
        update: &mut RunUpdate,
    ) {
        if let (Some(prompt), Some(name), CallerKind::Agent) =
            (call.prompt_hash, call.speaker.name(), call.kind)
            && !call.hears(&name.text)
        {
            let run = self.runs.get(&call.run);
            let mut lesson = NameLesson {
                own: &mut self.names,
                shared: &shared.names,
                began_ns: run.map_or(call.started_ns, |run| run.began_ns),
                at_ns,
                learned: &mut update.learned,
            };
            lesson.learn(prompt, &name.text);
        }
    }
}

impl Application<'_> {
    /// A run begins with the request. Gives also the run before it in the same conversation, which is over by that.
    fn begin_run(&mut self) -> (RunId, Option<RunId>) {
        let meta = &self.request.meta;
        let identity = &meta.identity;
        let trace_id = identity
            .trace
            .map_or_else(|| own_trace(meta.id), |trace| trace.id);
        let root = workflow_id(trace_id, &identity.credential, identity.thread.as_deref());
        let id = self.conversation.next_run;
        // The conversation has the thread once more.
        let thread = identity.thread.as_ref().map_or(0, String::len);
        self.conversation.insert_run(Run {
            id,
            state: Arc::default(),
            trace_id,
            meta: Arc::clone(meta),
            began_ns: self.request.started_ns,
            explicit_name: None,
            calls: Vec::new(),
            systems: Set::default(),
            turns: Vec::new(),
            levels: vec![Level::of(root)],
            societies: Vec::new(),
            next: Map::default(),
            is_swarm: false,
            in_flight: 0,
            last_ns: self.request.started_ns,
            is_lone: false,
            exchanges: Vec::new(),
            size_estimate: 2048 + meta.size_estimate() + thread,
        });
        let AttributionTarget::Conversation(call) = self.attribution.evidence.target else {
            return (id, None);
        };
        let before = self.conversation.index.get(call).map(|call| call.run);
        let message = self.transcript.tasks().next_back().map(|task| task.hash);
        let run = before.and_then(|before| self.conversation.runs.get_mut(&before));
        if let (Some(message), Some(run)) = (message, run) {
            run.next.insert(message, id);
        }
        (id, before)
    }

    /// The level that the request is on. The first request of a level shows the level's input.
    fn level(&mut self, run: RunId) -> usize {
        let Some(run) = self.conversation.runs.get_mut(&run) else {
            return 0;
        };
        let transcript = self.transcript;
        let task = || {
            transcript
                .tasks()
                .next_back()
                .map(|task| stored(task.text()))
        };
        let index = &mut self.conversation.index;
        let is_bare = self.attribution.kind == CallerKind::Bare;
        let level = match self.attribution.evidence.target {
            AttributionTarget::Call(call) => index.get(call).map_or(0, |call| call.level),
            AttributionTarget::Tool(call, tool) => {
                let level = run.levels.len();
                let Some(asking) = index.get_mut(call).filter(|call| call.run == run.id) else {
                    return 0;
                };
                if let Some(requested) = asking.reply.tools.get_mut(tool) {
                    requested.level = Some(level);
                }
                run.levels.push(Level {
                    requested_by: Some((call, tool)),
                    above: Some(tool_id(asking.exchange, tool)),
                    input: task(),
                    ..Level::of(inner_workflow_id(asking.exchange, Some(tool)))
                });
                level
            }
            // A client used by itself shows nothing of the team around it.
            AttributionTarget::Nothing | AttributionTarget::Conversation(_) if is_bare => 0,
            AttributionTarget::Nothing | AttributionTarget::Conversation(_) => {
                if run.levels[0].input.is_none() {
                    run.levels[0].input = task();
                }
                0
            }
        };
        if !is_bare {
            let began = TimeRange::at(self.request.started_ns);
            run.levels[level].span.cover(began);
            run.levels[level].content &= self.request.meta.content;
        }
        level
    }

    /// Emits the tools whose results the request shows.
    fn finish_tools(&mut self, run: RunId, update: &mut RunUpdate) {
        for finished in std::mem::take(&mut self.attribution.finished_tools) {
            let work = &self.attribution.work;
            self.conversation
                .reassign_tool_call(finished.call, finished.tool, work);
            update.spans.extend(self.finish_tool(&finished, run));
        }
    }

    fn finish_tool(&mut self, finished: &FinishedTool, run: RunId) -> Option<FinishedSpan> {
        let request = self.request;
        let call = self.conversation.index.get_mut(finished.call)?;
        let ended_ns = call.ended_ns?;
        let its_run = self.conversation.runs.get_mut(&call.run)?;
        let turn = its_run.turns.get_mut(call.turn?)?;
        let requested = &mut call.reply.tools[finished.tool];
        if std::mem::replace(&mut requested.emitted, true) {
            return None;
        }
        // A request of another run shows the result, but not when the tool was done.
        let end_ns = if call.run == run {
            request.started_ns.max(ended_ns)
        } else {
            ended_ns
        };
        turn.span.cover(TimeRange {
            start_ns: ended_ns,
            end_ns,
        });
        let operation = Operation {
            trace_id: its_run.trace_id,
            span_id: tool_id(call.exchange, finished.tool),
            parent_span_id: Some(turn.span_id),
            start_ns: ended_ns,
            end_ns,
            meta: &its_run.meta,
            content: call.content && request.meta.content,
            rule: Some("tool_result"),
            failure: None,
        };
        let came = match &finished.result {
            Some(text) => result_of(&requested.call, text),
            None => ToolOutcome::Merged,
        };
        let span = operation.tool(&requested.call.name, &requested.call.arguments, &came);
        if turn.output.is_none() && request.meta.content {
            turn.output = finished.result.as_deref().map(stored);
        }
        Some(span.into())
    }

    /// The caller was sent the reply that it follows, and the tools whose results it shows have answered.
    fn mark_answered(&mut self) {
        let Attribution {
            kind,
            system,
            evidence,
            ..
        } = self.attribution;
        let index = &mut self.conversation.index;
        let followed = evidence.followed();
        if let Some(id) = followed {
            if kind == CallerKind::Selector {
                // It chooses anew: the choice before was followed, or of no use.
                index.follow(id);
            }
            if evidence.ambiguous
                && let Some(call) = index.get_mut(id)
            {
                call.contested_ns = self.request.started_ns;
            }
            let caller = match kind {
                CallerKind::Selector => SELECTORS,
                _ => system,
            };
            index.deliver(id, caller);
        }
        for call in self.attribution.answered.iter().copied().chain(followed) {
            if let Some(call) = index.get_mut(call) {
                call.answered = true;
            }
        }
        if let Some(selection) = evidence.selected_by {
            index.follow(selection);
        }
    }

    /// The request becomes part of its run. Gives the turn that it is in, where an agent asks.
    fn join(&mut self, run: RunId, level: usize) -> Option<usize> {
        let (request, attribution) = (self.request, &self.attribution);
        let call = self.conversation.next_call;
        let run = self.conversation.runs.get_mut(&run)?;
        self.conversation.open += usize::from(run.state.reopen());
        run.is_swarm |= self.transcript.shows_handoffs();
        run.in_flight += 1;
        run.last_ns = run.last_ns.max(request.started_ns);
        run.exchanges.push(request.meta.id);
        run.calls.push(call);
        run.systems.insert(attribution.system);
        run.levels[level].calls.push(call);
        if run.explicit_name.is_none() {
            let explicit = &request.meta.identity.workflow_name;
            run.explicit_name.clone_from(explicit);
        }
        if attribution.kind == CallerKind::Society {
            let index = &self.conversation.index;
            let turns = attribution.members.iter();
            let turns = turns.filter_map(|call| index.get(*call)?.turn);
            run.begin_society(turns, level, request);
        }
        if attribution.kind != CallerKind::Agent {
            return None;
        }
        // Without tools on offer it can only be a reflection; in a swarm, the agent that spoke last speaks again.
        let reflects = self.transcript.tools.is_empty() || !run.is_swarm;
        let turn = attribution
            .continued_turn
            .filter(|_| reflects)
            .unwrap_or_else(|| {
                let input = self.transcript.entries.last();
                let input = input.map(|last| stored(last.text()));
                run.begin_turn(request, level, attribution, input)
            });
        run.turns[turn]
            .span
            .cover(TimeRange::at(request.started_ns));
        run.turns[turn].calls.push(call);
        Some(turn)
    }

    /// The call, in its run, level and turn.
    fn call(&mut self, run: RunId, level: usize, turn: Option<usize>) -> Call {
        let (request, transcript) = (self.request, self.transcript);
        let attribution = &mut self.attribution;
        let conversation = &mut *self.conversation;
        let id = conversation.next_call;
        conversation.next_call += 1;
        let length = transcript.entries.len();
        let input = turn.and_then(|turn| conversation.runs.get(&run)?.turns[turn].input.as_ref());
        let identity = &request.meta.identity;
        // Its turn has the agent's name, its speaker too; its run may have the workflow's.
        let names = 2 * identity.agent_name.as_ref().map_or(0, String::len)
            + identity.workflow_name.as_ref().map_or(0, String::len);
        Call {
            id,
            exchange: request.meta.id,
            started_ns: request.started_ns,
            ended_ns: None,
            kind: attribution.kind,
            system: attribution.system,
            length,
            beginning: transcript.beginning(length),
            before_results: transcript
                .reflects
                .then(|| transcript.beginning(length - 1)),
            opening: transcript.beginning(1),
            last: transcript.entries[..transcript.length_before_results()]
                .last()
                .map_or(NOTHING, |last| last.hash),
            history: transcript.history_of_next_round(),
            offer: transcript.offer(),
            model: None,
            task: attribution.task.take(),
            prompt: (attribution.kind == CallerKind::Selector).then(|| transcript.whole().into()),
            heard: transcript.heard().to_vec(),
            hands_over: transcript.shows_handoffs(),
            content: request.meta.content,
            prompt_hash: attribution.prompt_hash,
            speaker: attribution.speaker.clone(),
            rule: attribution.evidence.rule,
            ambiguous: attribution.evidence.ambiguous,
            run,
            level,
            turn,
            reply: CallReply::default(),
            contested_ns: 0,
            delivered: Vec::new(),
            retry_key: None,
            answered: false,
            turn_bytes: input.map_or(0, |input| input.len()) + names,
        }
    }
}

impl Run {
    /// An agent takes its turn.
    fn begin_turn(
        &mut self,
        request: &PendingRequest,
        level: usize,
        attribution: &Attribution,
        input: Option<Arc<str>>,
    ) -> usize {
        let identity = &request.meta.identity;
        self.levels[level].turns.push(self.turns.len());
        self.turns.push(Turn {
            span_id: agent_id(request.meta.id),
            speaker: attribution.speaker.clone(),
            explicit_name: identity.agent_name.clone(),
            level,
            society: None,
            calls: Vec::new(),
            span: TimeRange::at(request.started_ns),
            input,
            output: None,
            content: request.meta.content,
            explicit_parent: identity.parent.filter(|_| identity.trace.is_some()),
            emitted: false,
        });
        self.turns.len() - 1
    }

    /// A `SocietyOfMindAgent` sums up these turns: they were those of its inner team (autogen-agentchat 0.7).
    fn begin_society(
        &mut self,
        turns: impl Iterator<Item = usize>,
        level: usize,
        request: &PendingRequest,
    ) {
        let number = self.societies.len();
        let mut span = TimeRange::NOTHING;
        for turn in turns {
            let turn = &mut self.turns[turn];
            if turn.society.is_none() && !turn.emitted {
                turn.society = Some(number);
                span.cover(turn.span);
            }
        }
        self.societies.push(Society {
            span_id: inner_workflow_id(request.meta.id, None),
            level,
            span,
            emitted: false,
        });
    }
}

/// What came of a tool call, by the text that came back. AutoGen's `is_error` never reaches the wire, only its own sentences do
/// (autogen-agentchat 0.7, `AssistantAgent._execute_tool_call`; autogen-core 0.7, `StaticWorkbench.call_tool`).
fn result_of<'t>(call: &ToolCall, text: &'t str) -> ToolOutcome<'t> {
    let name = &call.name;
    let not_found = text == format!("Tool {name} not found.")
        || text == format!("Error: tool '{name}' not found in any workbench");
    // The message of the arguments' parser.
    let unreadable = text.starts_with("Error: ")
        && serde_json::from_str::<serde_json::Value>(&call.arguments).is_err();
    if not_found || unreadable {
        ToolOutcome::Error(text)
    } else {
        ToolOutcome::Result(text)
    }
}
