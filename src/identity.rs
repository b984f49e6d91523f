//! Headers become who is asking: customer, thread, run, agent, and how much of the call may be recorded.
//!
//! Nothing in here fails. What cannot be read is left out, what is too long is cut, and both are listed in [`Identity::unreadable`], field by
//! field; everything else counts. The order of strength is single headers, `X-Data-Respan-Params`, `X-Data-Keywordsai-Params`, configured defaults.
//!
//! [`read`] runs for every request; one without any of these headers costs a walk over its header names and the credential's hash.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName};
use serde::{Deserialize, Serialize};

pub use credential::Credential;
pub use trace::{ExplicitTrace, TraceSource};

use crate::config;
use crate::id::{SpanId, TraceId};
use bounds::IdentityBounds;
use told::Told;

mod bounds;
mod credential;
#[cfg(test)]
mod tests;
mod told;
mod trace;

/// Single headers begin so.
const SINGLE: &str = "x-respan-";
/// Base64 objects begin so, the second by Respan's former name.
const PARAMS: [&str; 2] = ["x-data-respan-", "x-data-keywordsai-"];

/// Who is asking. Texts are never empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Identity {
    /// For whom the agents work.
    #[serde(skip_serializing_if = "Customer::is_unknown")]
    pub customer: Customer,
    /// The conversation; it groups traces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread: Option<String>,
    /// The session, as the caller counts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The caller's own identifier of the call, or of the run that it begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom: Option<String>,
    /// A group of traces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_group: Option<String>,
    /// Further texts; defaults and all carriers merged key by key. No key is empty or begins with `spangate_`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Production, staging or the like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// The trace it says it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<ExplicitTrace>,
    /// The span it says it happens in. May be told without a trace, and then means something only where the trace is known otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<SpanId>,
    /// The name for the run's root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow_name: Option<String>,
    /// The name of the calling agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_name: Option<String>,
    /// The name for the call's own span.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub span_name: Option<String>,
    /// What may be recorded. Configuration may allow less: the stricter counts.
    #[serde(skip_serializing_if = "Log::is_full")]
    pub log: Log,
    /// Whose key it is.
    pub credential: Credential,
    /// What could not be read or was cut: sentences that name a header or parameter and never its value.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<String>,
}

/// A customer, as far as named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Customer {
    /// The caller's id of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identifier: Option<String>,
    /// How it is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How it is reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

impl Customer {
    fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

/// What a request lets be recorded of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Log {
    /// Everything.
    #[default]
    Full,
    /// No prompts, replies, tool arguments or results.
    Metadata,
    /// Nothing: no span at all.
    Off,
}

impl Log {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    fn is_full(&self) -> bool {
        *self == Self::Full
    }

    fn of(word: &str) -> Option<Self> {
        let words = [
            ("full", Self::Full),
            ("metadata", Self::Metadata),
            ("off", Self::Off),
        ];
        words
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(word))
            .map(|(_, log)| *log)
    }
}

/// What is configured for requests that do not say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// `respan.customer_identifier`
    pub customer_identifier: Option<String>,
    /// `respan.metadata`
    pub metadata: BTreeMap<String, String>,
    /// `respan.environment`
    pub environment: Option<String>,
}

impl From<&config::Respan> for Defaults {
    fn from(respan: &config::Respan) -> Self {
        Self {
            customer_identifier: respan.customer_identifier.clone(),
            metadata: respan.metadata.clone(),
            environment: respan.environment.clone(),
        }
    }
}

/// Whether the gateway keeps a request's header to itself.
pub fn is_consumed(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-")
        && (name.starts_with(SINGLE) || PARAMS.iter().any(|prefix| name.starts_with(prefix)))
}

/// Reads who is asking. Of a request that is not to be recorded nobody wants to know.
pub fn read(headers: &HeaderMap, defaults: &Defaults) -> Identity {
    let mut unreadable = Vec::new();
    let told = told(headers, &mut unreadable);
    if told.told.log == Some(Log::Off) {
        return Identity {
            log: Log::Off,
            unreadable,
            ..Identity::default()
        };
    }
    let credential = Credential::of(headers);
    let traceparent = trace::traceparent(headers).unwrap_or_else(|sentence| {
        unreadable.push(sentence.to_owned());
        None
    });
    let (trace, parent) = place(&told, traceparent, &credential, &mut unreadable);

    let told = told.told;
    let mut keep = IdentityBounds::new(&mut unreadable);
    // What groups calls and traces comes first, metadata last: the last ones get what room is left.
    let thread = keep.identifier("thread_identifier", told.thread);
    let customer_identifier = told
        .customer_identifier
        .or_else(|| defaults.customer_identifier.clone());
    let customer_identifier = keep.identifier("customer_identifier", customer_identifier);
    let session = keep.identifier("session_identifier", told.session);
    let custom = keep.identifier("custom_identifier", told.custom);
    let trace_group = keep.identifier("trace_group_identifier", told.trace_group);
    let environment = told.environment.or_else(|| defaults.environment.clone());
    let environment = keep.text("environment", environment);
    let workflow_name = keep.text("the workflow's name", told.workflow_name);
    let agent_name = keep.text("the agent's name", told.agent_name);
    let span_name = keep.text("span_name", told.span_name);
    let customer_name = keep.text("the customer's name", told.customer_name);
    let customer_email = keep.text("the customer's email", told.customer_email);
    let metadata = keep.metadata(&defaults.metadata, told.metadata);
    keep.end();
    Identity {
        customer: Customer {
            identifier: customer_identifier,
            name: customer_name,
            email: customer_email,
        },
        thread,
        session,
        custom,
        trace_group,
        metadata,
        environment,
        trace,
        parent,
        workflow_name,
        agent_name,
        span_name,
        log: told.log.unwrap_or_default(),
        credential,
        unreadable,
    }
}

/// All carriers merged, and which kind named the trace.
struct Merged {
    told: Told,
    trace_by: TraceSource,
}

fn told(headers: &HeaderMap, unreadable: &mut Vec<String>) -> Merged {
    let (mut single, mut params, mut former) = (Told::default(), None, None);
    for name in headers.keys() {
        let Some(rest) = name.as_str().strip_prefix("x-") else {
            continue;
        };
        if let Some(field) = rest.strip_prefix("respan-") {
            single.header(field, name, headers, unreadable);
        } else if rest == "data-respan-params" {
            params = Some(Told::params(name, headers, unreadable));
        } else if rest == "data-keywordsai-params" {
            former = Some(Told::params(name, headers, unreadable));
        }
    }
    let trace_by = if single.trace.is_some() {
        TraceSource::Header
    } else {
        TraceSource::Params
    };
    let mut told = single;
    for weaker in [params, former].into_iter().flatten() {
        told = told.or(weaker, unreadable);
    }
    Merged { told, trace_by }
}

/// The trace in force, and the parent in it.
fn place(
    merged: &Merged,
    traceparent: Option<(TraceId, SpanId)>,
    credential: &Credential,
    unreadable: &mut Vec<String>,
) -> (Option<ExplicitTrace>, Option<SpanId>) {
    let named = merged.told.trace.as_deref().map(|text| ExplicitTrace {
        id: trace::named(text, credential),
        by: merged.trace_by,
    });
    let trace = named.or(traceparent.map(|(id, _)| ExplicitTrace {
        id,
        by: TraceSource::Traceparent,
    }));

    let explicit_parent = merged.told.parent.as_deref().and_then(|text| {
        let parent = trace::span(text);
        if parent.is_none() {
            unreadable.push("span_parent_id is not 16 hex digits".to_owned());
        }
        parent
    });
    // A span of another trace is nobody's parent here.
    let caller = traceparent
        .filter(|(id, _)| trace.is_some_and(|trace| trace.id == *id))
        .map(|(_, span)| span);
    (trace, explicit_parent.or(caller))
}

impl Identity {
    /// About how many bytes it takes beyond its own size.
    pub fn weight(&self) -> usize {
        // A place in a map's node, or in a vector.
        const PLACE: usize = 2 * size_of::<String>();
        let texts = [
            &self.customer.identifier,
            &self.customer.name,
            &self.customer.email,
            &self.thread,
            &self.session,
            &self.custom,
            &self.trace_group,
            &self.environment,
            &self.workflow_name,
            &self.agent_name,
            &self.span_name,
        ];
        let texts: usize = texts.into_iter().flatten().map(String::len).sum();
        let metadata = self.metadata.iter();
        let metadata: usize = metadata
            .map(|(key, value)| PLACE + key.len() + value.len())
            .sum();
        let unreadable = self.unreadable.iter();
        let unreadable: usize = unreadable.map(|sentence| PLACE + sentence.len()).sum();
        texts + metadata + unreadable
    }
}
