//! Evidence of results: the tools that are finished because a request shows their results.

use super::super::autogen::handoff_target;
use super::super::call::{Call, CallId, RunId};
use super::super::speaker::Speaker;
use super::super::transcript::TranscriptEntry;
use super::{Evidence, RequestContext};

/// A tool whose result a request shows.
#[derive(Debug)]
pub(crate) struct FinishedTool {
    pub(crate) call: CallId,
    /// Its number among the tools of the call's reply.
    pub(crate) tool: usize,
    /// None where the results of several tools came as one text that cannot be split.
    pub(crate) result: Option<String>,
}

impl<'s> RequestContext<'s> {
    /// The tools that the request shows to be finished, in the order they were called. Their results stand in the rounds of `requesters`, or
    /// in the text that other agents of the team see instead.
    pub(crate) fn finished_tools(
        &self,
        evidence: &Evidence,
        run: Option<RunId>,
        caller: &Speaker,
        requesters: &[Option<&Call>],
    ) -> Vec<FinishedTool> {
        let mut finished: Vec<FinishedTool> = Vec::new();
        let mut add = |call: &Call, tool: usize, result: Option<&str>| {
            if !call.reply.tools[tool].emitted {
                finished.push(FinishedTool {
                    call: call.id,
                    tool,
                    result: result.map(str::to_owned),
                });
            }
        };
        for (round, call) in self.transcript.rounds.iter().zip(requesters) {
            let Some(call) = call.filter(|call| Some(call.run) == run || call.speaker.is(caller))
            else {
                continue;
            };
            let tools = self.tools_shown(round, call).unwrap_or_default();
            for (shown, tool) in round.calls.iter().zip(tools) {
                if let Some(result) = shown.result.as_deref() {
                    add(call, tool, Some(result));
                }
            }
        }
        if let Some(call) = evidence.followed().and_then(|call| self.index.get(call))
            && let Some(summary) = self.summary_of(call, evidence)
        {
            let tools = &call.reply.tools;
            let handoff = tools
                .iter()
                .position(|requested| handoff_target(&requested.call.name).is_some());
            match (handoff, split_summary(summary.text(), tools.len())) {
                (Some(tool), _) => add(call, tool, Some(summary.text())),
                (None, Some(results)) => {
                    for (tool, result) in results.into_iter().enumerate() {
                        add(call, tool, Some(result));
                    }
                }
                (None, None) => (0..tools.len()).for_each(|tool| add(call, tool, None)),
            }
        }
        finished.sort_by_key(|finished| (finished.call, finished.tool));
        finished.dedup_by_key(|finished| (finished.call, finished.tool));
        finished
    }

    /// The message by which other agents hear of the tools of `call`, which the request follows. It stands right after the call's own texts.
    /// Where the call handed over, thoughts and results of other tools stand between.
    pub(super) fn summary_of(
        &self,
        call: &Call,
        evidence: &Evidence,
    ) -> Option<&'s TranscriptEntry<'s>> {
        let mut since = self.transcript.entries.get(call.length..)?.iter();
        if call.requests_handoff() {
            since.find(|entry| entry.agent().is_some())
        } else {
            let follows = evidence.rule.starts_with("chain") && !call.reply.tools.is_empty();
            since
                .next()
                .filter(|entry| follows && entry.agent().is_some())
        }
    }
}

/// The results of `tools` tools, which other agents see joined by newlines (`ToolCallSummaryMessage`). None where they cannot be told apart.
fn split_summary(summary: &str, tools: usize) -> Option<Vec<&str>> {
    if tools == 1 {
        return Some(vec![summary]);
    }
    let parts: Vec<&str> = summary.split('\n').collect();
    (parts.len() == tools).then_some(parts)
}
