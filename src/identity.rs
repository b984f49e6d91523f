//! Reads the identity in a request's headers: customer, thread, trace, agent, and how much of the request may be recorded.
//!
//! Nothing in here fails. A field that cannot be read is left out, a field that is too long is cut, and [`Identity::unreadable`] lists both.
//! The order of strength is single headers, `X-Data-Respan-Params`, `X-Data-Keywordsai-Params`, configured defaults.
//!
//! [`read`] runs for every request. Without any of these headers it costs a walk over the header names and the credential's hash.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName};
use serde::{Deserialize, Serialize};

pub(crate) use credential::Credential;
pub(crate) use trace::{ExplicitTrace, TraceSource};

use crate::config;
use crate::id::{SpanId, TraceId};
use bounds::IdentityBounds;
use headers::IdentityHeaders;

mod bounds;
mod credential;
mod headers;
#[cfg(test)]
mod tests;
mod trace;

/// The beginning of single headers.
const SINGLE_PREFIX: &str = "x-respan-";
/// The beginnings of headers of base64 objects, the second with Respan's former name.
const PARAMS_PREFIXES: [&str; 2] = ["x-data-respan-", "x-data-keywordsai-"];

/// The caller's identity. Texts are never empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Identity {
    /// The customer for whom the agents work.
    #[serde(skip_serializing_if = "Customer::is_unknown")]
    pub customer: Customer,
    /// The conversation, which groups traces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread: Option<String>,
    /// The caller's session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The caller's own identifier of the request, or of the run that it begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom: Option<String>,
    /// A group of traces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_group: Option<String>,
    /// Further texts, merged key by key from headers and defaults. No key is empty or begins with `spangate_`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// `production`, `staging` or another word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// The trace that the request names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<ExplicitTrace>,
    /// The parent span that the request names. Without a trace it counts only where the trace is known otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<SpanId>,
    /// The name of the run's root span.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow_name: Option<String>,
    /// The name of the calling agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_name: Option<String>,
    /// The name of the request's own span.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub span_name: Option<String>,
    /// How much may be recorded. Configuration may allow less: the stricter counts.
    #[serde(skip_serializing_if = "LogMode::is_full")]
    pub log: LogMode,
    /// The hash of the caller's key.
    pub credential: Credential,
    /// Sentences about fields that could not be read or were cut. They name a header or parameter and never its value.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<String>,
}

/// A customer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Customer {
    /// The caller's id of the customer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identifier: Option<String>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its email address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

impl Customer {
    fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

/// How much of a request may be recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogMode {
    /// Everything.
    #[default]
    Full,
    /// No prompts, replies, tool arguments or results.
    Metadata,
    /// Nothing: no span at all.
    Off,
}

impl LogMode {
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

/// Configured fields for requests without their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityDefaults {
    /// `respan.customer_identifier`
    pub customer_identifier: Option<String>,
    /// `respan.metadata`
    pub metadata: BTreeMap<String, String>,
    /// `respan.environment`
    pub environment: Option<String>,
}

impl From<&config::RespanSection> for IdentityDefaults {
    fn from(respan: &config::RespanSection) -> Self {
        Self {
            customer_identifier: respan.customer_identifier.clone(),
            metadata: respan.metadata.clone(),
            environment: respan.environment.clone(),
        }
    }
}

/// Whether a request header is for the gateway alone, and not forwarded.
pub fn is_consumed(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-")
        && (name.starts_with(SINGLE_PREFIX)
            || PARAMS_PREFIXES
                .iter()
                .any(|prefix| name.starts_with(prefix)))
}

/// Reads the identity of a request. With [`LogMode::Off`], nothing else is read.
pub fn read(headers: &HeaderMap, defaults: &IdentityDefaults) -> Identity {
    let mut unreadable = Vec::new();
    let merged = MergedHeaders::read(headers, &mut unreadable);
    if merged.fields.log == Some(LogMode::Off) {
        return Identity {
            log: LogMode::Off,
            unreadable,
            ..Identity::default()
        };
    }
    let credential = Credential::of(headers);
    let traceparent = trace::traceparent(headers).unwrap_or_else(|sentence| {
        unreadable.push(sentence.to_owned());
        None
    });
    let (trace, parent) = merged.trace(traceparent, &credential, &mut unreadable);

    let IdentityHeaders {
        mut identity, log, ..
    } = merged.fields;
    identity.fill(defaults);
    let mut bounds = IdentityBounds::new(&defaults.metadata, &mut unreadable);
    // The first calls get their share of the limit first: identifiers that group requests and traces before metadata.
    bounds.identifier("thread_identifier", &mut identity.thread);
    bounds.identifier("customer_identifier", &mut identity.customer.identifier);
    bounds.identifier("session_identifier", &mut identity.session);
    bounds.identifier("custom_identifier", &mut identity.custom);
    bounds.identifier("trace_group_identifier", &mut identity.trace_group);
    bounds.text("environment", &mut identity.environment);
    bounds.text("the workflow's name", &mut identity.workflow_name);
    bounds.text("the agent's name", &mut identity.agent_name);
    bounds.text("span_name", &mut identity.span_name);
    bounds.text("the customer's name", &mut identity.customer.name);
    bounds.text("the customer's email", &mut identity.customer.email);
    bounds.metadata(&mut identity.metadata);
    bounds.finish();
    Identity {
        trace,
        parent,
        log: log.unwrap_or_default(),
        credential,
        unreadable,
        ..identity
    }
}

/// The fields of all headers, the stronger over the weaker.
struct MergedHeaders {
    fields: IdentityHeaders,
    trace_by: TraceSource,
}

impl MergedHeaders {
    fn read(headers: &HeaderMap, unreadable: &mut Vec<String>) -> Self {
        let (mut single, mut params, mut former) = (IdentityHeaders::default(), None, None);
        for name in headers.keys() {
            let Some(rest) = name.as_str().strip_prefix("x-") else {
                continue;
            };
            if let Some(field) = rest.strip_prefix("respan-") {
                single.header(field, name, headers, unreadable);
            } else if rest == "data-respan-params" {
                params = Some(IdentityHeaders::params(name, headers, unreadable));
            } else if rest == "data-keywordsai-params" {
                former = Some(IdentityHeaders::params(name, headers, unreadable));
            }
        }
        let trace_by = if single.trace.is_some() {
            TraceSource::Header
        } else {
            TraceSource::Params
        };
        let mut fields = single;
        for weaker in [params, former].into_iter().flatten() {
            fields = fields.or(weaker, unreadable);
        }
        MergedHeaders { fields, trace_by }
    }

    /// The trace that counts, and the parent span in it.
    fn trace(
        &self,
        traceparent: Option<(TraceId, SpanId)>,
        credential: &Credential,
        unreadable: &mut Vec<String>,
    ) -> (Option<ExplicitTrace>, Option<SpanId>) {
        let named = self.fields.trace.as_deref().map(|text| ExplicitTrace {
            id: trace::id_of(text, credential),
            by: self.trace_by,
        });
        let trace = named.or(traceparent.map(|(id, _)| ExplicitTrace {
            id,
            by: TraceSource::Traceparent,
        }));

        let explicit_parent = self.fields.parent.as_deref().and_then(|text| {
            let parent = SpanId::parse(text.as_bytes());
            if parent.is_none() {
                unreadable.push("span_parent_id is not 16 hex digits".to_owned());
            }
            parent
        });
        // The calling span of `traceparent` is a parent in its own trace alone.
        let caller = traceparent
            .filter(|(id, _)| trace.is_some_and(|trace| trace.id == *id))
            .map(|(_, span)| span);
        (trace, explicit_parent.or(caller))
    }
}

impl Identity {
    /// Sets missing texts from the configuration.
    fn fill(&mut self, defaults: &IdentityDefaults) {
        let or_default = |slot: &mut Option<String>, default: &Option<String>| {
            if slot.is_none() {
                slot.clone_from(default);
            }
        };
        or_default(&mut self.customer.identifier, &defaults.customer_identifier);
        or_default(&mut self.environment, &defaults.environment);
    }

    /// Its memory in bytes beyond its own size, about.
    pub fn size_estimate(&self) -> usize {
        // An entry in the node of a map, or in a vector.
        const ENTRY: usize = 2 * size_of::<String>();
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
            .map(|(key, value)| ENTRY + key.len() + value.len())
            .sum();
        let unreadable = self.unreadable.iter();
        let unreadable: usize = unreadable.map(|sentence| ENTRY + sentence.len()).sum();
        texts + metadata + unreadable
    }
}
