//! A request takes its place in its scope: in which run, on which level, in whose turn. On the way, tools are known to be over, and names are
//! learned.

use std::sync::Arc;

use super::call::{Asked, Call, CallId, Name, NameRule, Reply, RunId, Speaker};
use super::evidence::{Memo, Scene};
use super::hash::{self, Hash, Map, Set};
use super::kind::Kind;
use super::link::{Link, To, link};
use super::names;
use super::prompts::Prompt;
use super::run::{Extent, Level, Run, Turn};
use super::said::{cut, kept};
use super::scope::{Arrival, Scope};
use super::selector::SELECTORS;
use super::society;
use super::tool::{self, Over, came, shows_handoffs, takes_a_task};
use super::transcript::{NOTHING, Transcript};
use super::{FinishedSpan, Shared};
use crate::openai::ChatRequest;
use crate::span::exchange::own_trace;
use crate::span::operation::{Came, Operation, agent_id, inner_workflow_id, tool_id, workflow_id};

/// Where a request belongs, found by what is known, before anything changes.
struct Decision {
    kind: Kind,
    /// The system message of who asks.
    system: Hash,
    link: Link,
    /// None where one begins.
    run: Option<RunId>,
    speaker: Speaker,
    /// The turn that it goes on with, unless its run says otherwise.
    goes_on: Option<usize>,
    over: Vec<Over>,
    /// Calls whose tools have answered by it.
    answered: Vec<CallId>,
    /// Whose replies it sums up.
    members: Vec<CallId>,
    task: Option<Arc<str>>,
    /// By which other runs know the agent.
    known_by: Option<Prompt>,
}

impl Scope {
    /// Places a request. Gives the runs that are over by it.
    pub(super) fn place(
        &mut self,
        arrival: &Arrival,
        shared: &mut Shared,
        made: &mut Vec<FinishedSpan>,
    ) -> Vec<RunId> {
        arrival.body.asks(&arrival.meta, |request| {
            request.map_or_else(Vec::new, |request| {
                self.place_request(arrival, request, shared, made)
            })
        })
    }

    fn place_request(
        &mut self,
        arrival: &Arrival,
        request: &ChatRequest<'_>,
        shared: &mut Shared,
        made: &mut Vec<FinishedSpan>,
    ) -> Vec<RunId> {
        let transcript = Transcript::of(request, &mut shared.digests);
        let decision = self.decide(arrival, &transcript, shared);
        let (run, before) = match decision.run {
            Some(run) => (run, None),
            None => self.begin_after(&decision, arrival, &transcript),
        };
        let level = self.level(&decision, run, &transcript, arrival);
        for over in &decision.over {
            self.move_on(over.call, over.tool);
            self.tool_is_over(over, run, arrival, made);
        }
        self.answered(&decision, arrival);
        if let Some(selection) = decision.link.chosen_by {
            self.known.followed(selection);
        }
        let turn = self.join(&decision, arrival, &transcript, run, level);
        let mut call = self.call(decision, arrival, &transcript, (run, level, turn));
        call.model = request.model.as_deref().map(Arc::from);
        if let (Some(prompt), Some(Name { text, .. }), Kind::Agent) =
            (call.known_by, call.speaker.name(), call.kind)
            && !call.hears(text)
        {
            shared.prompts.learn(prompt, text);
        }
        self.began(arrival.meta.id, call.id);
        self.known.insert(call);
        shared.capped += u64::from(self.known.work.take_exceeded());
        before.into_iter().collect()
    }

    fn decide(&self, arrival: &Arrival, transcript: &Transcript<'_>, shared: &Shared) -> Decision {
        let identity = &arrival.meta.identity;
        let kind = match Kind::of(transcript, arrival.meta.may_be_agent) {
            Kind::Bare if identity.agent_name.is_some() => Kind::Agent,
            kind => kind,
        };
        let mut scene = Scene {
            transcript,
            kind,
            system: hash::of(&transcript.system),
            started_ns: arrival.started_ns,
            known: &self.known,
            runs: &self.runs,
            credential: &identity.credential,
            shared,
            memo: Memo::default(),
        };
        self.known.work.renew(transcript.size());
        let link = link(&scene);
        // A link that was hard to find takes nothing away from names and results of tools.
        self.known.work.renew(transcript.size());
        let before = match link.to {
            To::Call(call) | To::Conversation(call) | To::Tool(call, _) => self.known.get(call),
            To::Nothing => None,
        };
        // Linked to an agent's run, it is an agent's; a tool of the program's own may use the client by itself.
        let is_agents = before.is_some_and(|before| match link.to {
            To::Call(_) => before.kind != Kind::Bare,
            To::Tool(_, tool) => takes_a_task(&before.reply.tools[tool].call.arguments),
            To::Nothing | To::Conversation(_) => false,
        });
        if kind == Kind::Bare && is_agents {
            scene.kind = Kind::Agent;
        }
        let run = match link.to {
            To::Call(_) | To::Tool(..) => before.map(|before| before.run),
            To::Nothing | To::Conversation(_) if identity.trace.is_some() => {
                self.runs.keys().next().copied()
            }
            To::Conversation(call) => self.begun_by(call, transcript, scene.system),
            To::Nothing => None,
        };
        let near = run.or(before.map(|before| before.run));
        let askers = scene.askers(link, near);
        let own = scene.own_before(near, &askers);
        let speaker = own.map(|own| own.speaker.clone()).unwrap_or_default();
        let asked_last = askers.last().copied().flatten();
        let goes_on = own.filter(|own| {
            transcript.ends_in_round
                && Some(own.run) == run
                && asked_last.is_some_and(|asked| asked.id == own.id)
        });
        if let Some(name) = &identity.agent_name {
            speaker.learn(name, NameRule::Told);
        }
        names::learn(&scene, link, run, &speaker);
        // Whoever asked before had the same instructions.
        let known_by = match own {
            _ if scene.kind != Kind::Agent => None,
            Some(own) => own.known_by,
            None => Prompt::of(&identity.credential, &transcript.system),
        };
        Decision {
            kind: scene.kind,
            system: scene.system,
            link,
            run,
            goes_on: goes_on.and_then(|own| own.turn),
            over: tool::over(&scene, link, run, &speaker, &askers),
            answered: askers
                .iter()
                .flatten()
                .filter(|call| Some(call.run) == run)
                .map(|call| call.id)
                .collect(),
            members: society::members(&scene, run),
            task: transcript.tasks().next().map(|task| {
                let same = before.and_then(|before| before.task.clone());
                same.filter(|same| **same == *cut(task.text()))
                    .unwrap_or_else(|| kept(task.text()))
            }),
            known_by,
            speaker,
        }
    }

    /// A run begins with this request. Gives the run that is over by that, too.
    fn begin_after(
        &mut self,
        decision: &Decision,
        arrival: &Arrival,
        transcript: &Transcript<'_>,
    ) -> (RunId, Option<RunId>) {
        let before = match decision.link.to {
            To::Conversation(call) => self.known.get(call).map(|call| call.run),
            _ => None,
        };
        let run = self.begin(arrival);
        let message = transcript.tasks().next_back().map(|task| task.hash);
        if let (Some(message), Some(before)) = (
            message,
            before.and_then(|before| self.runs.get_mut(&before)),
        ) {
            before.next.insert(message, run);
        }
        (run, before)
    }

    /// The request becomes part of its run. Gives the turn that it is in, where an agent asks.
    fn join(
        &mut self,
        decision: &Decision,
        arrival: &Arrival,
        transcript: &Transcript<'_>,
        run: RunId,
        level: usize,
    ) -> Option<usize> {
        let state = self.runs.get_mut(&run)?;
        if std::mem::replace(&mut state.closed, false) {
            self.open += 1;
        }
        state.is_swarm |= shows_handoffs(transcript);
        state.in_flight += 1;
        state.last_ns = state.last_ns.max(arrival.started_ns);
        state.exchanges.push(arrival.meta.id);
        state.calls.push(self.next_call);
        state.systems.insert(decision.system);
        state.levels[level].calls.push(self.next_call);
        if state.explicit_name.is_none() {
            let told = &arrival.meta.identity.workflow_name;
            state.explicit_name.clone_from(told);
        }
        if decision.kind == Kind::Society {
            state.sum_up(&decision.members, level, arrival, &self.known);
        }
        if decision.kind != Kind::Agent {
            return None;
        }
        // Without tools on offer it can only be a reflection; in a swarm, whoever spoke last speaks again.
        let reflects = transcript.tools.is_empty() || !state.is_swarm;
        let turn = decision
            .goes_on
            .filter(|_| reflects)
            .unwrap_or_else(|| state.take_turn(arrival, level, &decision.speaker, transcript));
        state.turns[turn].span.cover(Extent::at(arrival.started_ns));
        state.turns[turn].calls.push(self.next_call);
        Some(turn)
    }

    /// The call itself, at its place: run, level and turn.
    fn call(
        &mut self,
        decision: Decision,
        arrival: &Arrival,
        transcript: &Transcript<'_>,
        (run, level, turn): (RunId, usize, Option<usize>),
    ) -> Call {
        let id = self.next_call;
        self.next_call += 1;
        let length = transcript.entries.len();
        let input = turn.and_then(|turn| self.runs.get(&run)?.turns[turn].input.as_ref());
        let identity = &arrival.meta.identity;
        // Its turn has the agent's name, its speaker too; its run may have the workflow's.
        let names = 2 * identity.agent_name.as_ref().map_or(0, String::len)
            + identity.workflow_name.as_ref().map_or(0, String::len);
        Call {
            id,
            exchange: arrival.meta.id,
            started_ns: arrival.started_ns,
            ended_ns: None,
            kind: decision.kind,
            system: decision.system,
            length,
            beginning: transcript.beginning(length),
            before_results: transcript
                .reflects
                .then(|| transcript.beginning(length - 1)),
            meta: transcript.beginning(1),
            last: transcript.entries[..transcript.length_before_results()]
                .last()
                .map_or(NOTHING, |last| last.hash),
            history: transcript.history_of_next_round(),
            offer: transcript.offer(),
            model: None,
            task: decision.task,
            prompt: (decision.kind == Kind::Selector).then(|| transcript.whole().into()),
            heard: transcript.heard().to_vec(),
            hands_over: shows_handoffs(transcript),
            content: arrival.meta.content,
            known_by: decision.known_by,
            speaker: decision.speaker,
            rule: decision.link.rule,
            ambiguous: decision.link.ambiguous,
            run,
            level,
            turn,
            reply: Reply::default(),
            contested_ns: 0,
            delivered: Vec::new(),
            failed_as: None,
            answered: false,
            told_bytes: input.map_or(0, |input| input.len()) + names,
            keys: Vec::new(),
        }
    }

    /// The run that this message began after that of `call`, where who asks has not spoken in it yet: several agents may be told at once.
    fn begun_by(&self, call: CallId, transcript: &Transcript<'_>, system: Hash) -> Option<RunId> {
        let before = self.runs.get(&self.known.get(call)?.run)?;
        let message = transcript.tasks().next_back()?.hash;
        let next = *before.next.get(&message)?;
        (!self.runs.get(&next)?.systems.contains(&system)).then_some(next)
    }

    /// A run begins with this request.
    fn begin(&mut self, arrival: &Arrival) -> RunId {
        let meta = &arrival.meta;
        let identity = &meta.identity;
        let trace_id = identity
            .trace
            .map_or_else(|| own_trace(meta.id), |told| told.id);
        let root = workflow_id(trace_id, &identity.credential, identity.thread.as_deref());
        let id = self.next_run;
        self.next_run += 1;
        self.open += 1;
        let run = Run {
            id,
            trace_id,
            meta: Arc::clone(meta),
            explicit_name: None,
            calls: Vec::new(),
            systems: Set::default(),
            turns: Vec::new(),
            levels: vec![Level::of(root)],
            societies: Vec::new(),
            next: Map::default(),
            is_swarm: false,
            in_flight: 0,
            last_ns: arrival.started_ns,
            closed: false,
            is_lone: false,
            exchanges: Vec::new(),
        };
        self.run_bytes += run.weight();
        self.runs.insert(id, Box::new(run));
        id
    }

    /// The level that the request is on. The first request of a level tells what the level was asked.
    fn level(
        &mut self,
        decision: &Decision,
        run: RunId,
        transcript: &Transcript<'_>,
        arrival: &Arrival,
    ) -> usize {
        let Some(run) = self.runs.get_mut(&run) else {
            return 0;
        };
        let task = || transcript.tasks().next_back().map(|task| kept(task.text()));
        let level = match decision.link.to {
            To::Call(call) => self.known.get(call).map_or(0, |call| call.level),
            To::Tool(call, tool) => {
                let level = run.levels.len();
                let Some(asked) = self.known.get_mut(call).filter(|call| call.run == run.id) else {
                    return 0;
                };
                let span_id = inner_workflow_id(asked.exchange, Some(tool));
                if let Some(Asked { level: inner, .. }) = asked.reply.tools.get_mut(tool) {
                    *inner = Some(level);
                }
                run.levels.push(Level {
                    asked_by: Some((call, tool)),
                    above: Some(tool_id(asked.exchange, tool)),
                    input: task(),
                    ..Level::of(span_id)
                });
                level
            }
            // A client used by itself says nothing of the team around it.
            To::Nothing | To::Conversation(_) if decision.kind == Kind::Bare => 0,
            To::Nothing | To::Conversation(_) => {
                if run.levels[0].input.is_none() {
                    run.levels[0].input = task();
                }
                0
            }
        };
        if decision.kind != Kind::Bare {
            let began = Extent::at(arrival.started_ns);
            run.levels[level].span.cover(began);
            run.levels[level].content &= arrival.meta.content;
        }
        level
    }

    /// A tool's result was seen: its span is complete.
    fn tool_is_over(
        &mut self,
        over: &Over,
        run: RunId,
        arrival: &Arrival,
        made: &mut Vec<FinishedSpan>,
    ) {
        let Some(call) = self.known.get_mut(over.call) else {
            return;
        };
        let (Some(ended_ns), Some(state)) = (call.ended_ns, self.runs.get_mut(&call.run)) else {
            return;
        };
        let Some(turn) = call.turn.and_then(|turn| state.turns.get_mut(turn)) else {
            return;
        };
        let asked = &mut call.reply.tools[over.tool];
        if std::mem::replace(&mut asked.told, true) {
            return;
        }
        // In another run than the one that asked, the request says nothing of when the tool was done.
        let end_ns = if call.run == run {
            arrival.started_ns.max(ended_ns)
        } else {
            ended_ns
        };
        turn.span.cover(Extent {
            start_ns: ended_ns,
            end_ns,
        });
        let span = Operation {
            trace_id: state.trace_id,
            span_id: tool_id(call.exchange, over.tool),
            parent_span_id: Some(turn.span_id),
            start_ns: ended_ns,
            end_ns,
            meta: &state.meta,
            content: call.content && arrival.meta.content,
            rule: Some("tool_result"),
            failure: None,
        };
        let what = match &over.text {
            Some(text) => came(&asked.call, text),
            None => Came::Together,
        };
        let span = span.tool(&asked.call.name, &asked.call.arguments, &what);
        made.push(FinishedSpan::from(span));
        if turn.output.is_none() && arrival.meta.content {
            turn.output = over.text.as_deref().map(kept);
        }
    }

    /// What the request follows was delivered to who asks, and tools whose results it shows have answered.
    fn answered(&mut self, decision: &Decision, arrival: &Arrival) {
        let mut answered = decision.answered.clone();
        if let To::Call(id) | To::Conversation(id) = decision.link.to {
            answered.push(id);
            if decision.kind == Kind::Selector {
                // It chooses anew: the choice before was followed, or of no use.
                self.known.followed(id);
            }
            if decision.link.ambiguous
                && let Some(call) = self.known.get_mut(id)
            {
                call.contested_ns = arrival.started_ns;
            }
            let to = match decision.kind {
                Kind::Selector => SELECTORS,
                _ => decision.system,
            };
            self.known.delivered(id, to);
        }
        for call in answered {
            if let Some(call) = self.known.get_mut(call) {
                call.answered = true;
            }
        }
    }
}

impl Run {
    /// An agent takes its turn.
    fn take_turn(
        &mut self,
        arrival: &Arrival,
        level: usize,
        speaker: &Speaker,
        transcript: &Transcript<'_>,
    ) -> usize {
        let identity = &arrival.meta.identity;
        let input = transcript.entries.last().map(|last| kept(last.text()));
        self.levels[level].turns.push(self.turns.len());
        self.turns.push(Turn {
            span_id: agent_id(arrival.meta.id),
            speaker: speaker.clone(),
            explicit_name: identity.agent_name.clone(),
            level,
            society: None,
            calls: Vec::new(),
            span: Extent::at(arrival.started_ns),
            input,
            output: None,
            content: arrival.meta.content,
            explicit_parent: identity.parent.filter(|_| identity.trace.is_some()),
            told: false,
        });
        self.turns.len() - 1
    }
}
