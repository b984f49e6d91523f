//! What one carrier tells: the single headers together are one, each base64 object is another. Carriers are then merged, the stronger
//! over the weaker, field by field.

use std::collections::BTreeMap;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, HeaderName};
use serde_json::value::RawValue;

use super::Log;

/// Padding may be there or not, and the last bits may be anything: what encoders disagree on means nothing.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Keys under which the gateway itself writes metadata; from outside they would forge what it says of a span.
const OWN_METADATA: &str = "spangate_";

/// The fields that one carrier names. A text is never empty.
#[derive(Default)]
pub(super) struct Told {
    pub(super) customer_identifier: Option<String>,
    pub(super) customer_name: Option<String>,
    pub(super) customer_email: Option<String>,
    pub(super) thread: Option<String>,
    pub(super) session: Option<String>,
    pub(super) custom: Option<String>,
    pub(super) trace_group: Option<String>,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) environment: Option<String>,
    pub(super) trace: Option<String>,
    pub(super) parent: Option<String>,
    pub(super) workflow_name: Option<String>,
    pub(super) agent_name: Option<String>,
    pub(super) span_name: Option<String>,
    pub(super) log: Option<Log>,
}

impl Told {
    /// Takes one of the single headers; `field` is its name after `x-respan-`.
    pub(super) fn header(
        &mut self,
        field: &str,
        name: &HeaderName,
        headers: &HeaderMap,
        unreadable: &mut Vec<String>,
    ) {
        let slot = match field {
            "customer-identifier" => &mut self.customer_identifier,
            "customer-name" => &mut self.customer_name,
            "customer-email" => &mut self.customer_email,
            "thread-identifier" => &mut self.thread,
            "session-identifier" => &mut self.session,
            "custom-identifier" => &mut self.custom,
            "trace-group-identifier" => &mut self.trace_group,
            "environment" => &mut self.environment,
            "trace-id" => &mut self.trace,
            "workflow-name" => &mut self.workflow_name,
            "agent-name" => &mut self.agent_name,
            "metadata" => {
                if let Some(json) = text(name, headers, unreadable) {
                    match serde_json::from_str(&json) {
                        Ok(object) => self.metadata(object, "X-Respan-Metadata", unreadable),
                        Err(_) => {
                            unreadable.push("X-Respan-Metadata is not a JSON object".to_owned());
                        }
                    }
                }
                return;
            }
            "log" => {
                self.log = text(name, headers, unreadable).and_then(|word| {
                    let log = Log::of(&word);
                    if log.is_none() {
                        unreadable.push("X-Respan-Log is none of full, metadata, off".to_owned());
                    }
                    log
                });
                return;
            }
            _ => return,
        };
        *slot = text(name, headers, unreadable);
    }

    /// Reads a base64 object, as Respan's hosted gateway takes it.
    pub(super) fn params(
        name: &HeaderName,
        headers: &HeaderMap,
        unreadable: &mut Vec<String>,
    ) -> Self {
        let mut told = Self::default();
        let Some(encoded) = text(name, headers, unreadable) else {
            return told;
        };
        let shown = shown(name);
        let encoded = encoded.replace('-', "+").replace('_', "/");
        let Ok(json) = BASE64.decode(encoded) else {
            unreadable.push(format!("{shown} is not base64"));
            return told;
        };
        let Ok(object) = serde_json::from_slice::<BTreeMap<String, Box<RawValue>>>(&json) else {
            unreadable.push(format!("{shown} is not base64 of a JSON object"));
            return told;
        };
        let mut group = None;
        for (parameter, value) in object {
            told.parameter(&parameter, &value, &mut group, shown, unreadable);
        }
        told.trace_group = told.trace_group.or(group);
        told
    }

    fn parameter(
        &mut self,
        parameter: &str,
        value: &RawValue,
        group: &mut Option<String>,
        shown: &str,
        unreadable: &mut Vec<String>,
    ) {
        let mut wrong = |what: &str| unreadable.push(format!("{shown}: {parameter} is not {what}"));
        let slot = match parameter {
            // `customer_params` sorts after it and so wins over it.
            "customer_identifier" => &mut self.customer_identifier,
            "thread_identifier" => &mut self.thread,
            "session_identifier" => &mut self.session,
            "custom_identifier" => &mut self.custom,
            "trace_group_identifier" => &mut self.trace_group,
            "group_identifier" => group,
            "environment" => &mut self.environment,
            "trace_unique_id" => &mut self.trace,
            "span_parent_id" => &mut self.parent,
            "span_workflow_name" => &mut self.workflow_name,
            "span_name" => &mut self.span_name,
            "customer_params" => {
                match serde_json::from_str::<Option<BTreeMap<String, Box<RawValue>>>>(value.get()) {
                    Ok(customer) => self.customer(&customer.unwrap_or_default(), shown, unreadable),
                    Err(_) => wrong("an object"),
                }
                return;
            }
            "metadata" => {
                match serde_json::from_str::<Option<_>>(value.get()) {
                    Ok(object) => self.metadata(object.unwrap_or_default(), shown, unreadable),
                    Err(_) => wrong("an object"),
                }
                return;
            }
            "disable_log" => {
                match serde_json::from_str::<Option<bool>>(value.get()) {
                    Ok(disable) => {
                        self.log =
                            disable.map(|disable| if disable { Log::Metadata } else { Log::Full });
                    }
                    Err(_) => wrong("true or false"),
                }
                return;
            }
            _ => return,
        };
        match json_text(value) {
            Ok(text) => *slot = text,
            Err(()) => wrong("a text"),
        }
    }

    fn customer(
        &mut self,
        customer: &BTreeMap<String, Box<RawValue>>,
        shown: &str,
        unreadable: &mut Vec<String>,
    ) {
        let slots = [
            ("customer_identifier", &mut self.customer_identifier),
            ("name", &mut self.customer_name),
            ("email", &mut self.customer_email),
        ];
        for (parameter, slot) in slots {
            match customer.get(parameter).map(|value| json_text(value)) {
                Some(Ok(Some(text))) => *slot = Some(text),
                Some(Ok(None)) | None => {}
                Some(Err(())) => unreadable.push(format!(
                    "{shown}: customer_params.{parameter} is not a text"
                )),
            }
        }
    }

    fn metadata(
        &mut self,
        object: BTreeMap<String, Box<RawValue>>,
        shown: &str,
        unreadable: &mut Vec<String>,
    ) {
        let (mut reserved, mut unread) = (false, false);
        for (key, value) in object {
            if key.is_empty() || key.starts_with(OWN_METADATA) {
                reserved = true;
            } else if !value.get().starts_with('"') {
                self.metadata.insert(key, compact(value.get()));
            } else if let Ok(text) = serde_json::from_str(value.get()) {
                self.metadata.insert(key, text);
            } else {
                unread = true;
            }
        }
        if reserved {
            unreadable.push(format!(
                "{shown}: metadata has an empty key or one that begins with {OWN_METADATA}"
            ));
        }
        if unread {
            unreadable.push(format!("{shown}: metadata has a text that is not Unicode"));
        }
    }

    /// Fills what is not told here from a weaker carrier.
    pub(super) fn or(self, weaker: Self) -> Self {
        let mut metadata = weaker.metadata;
        metadata.extend(self.metadata);
        Self {
            customer_identifier: self.customer_identifier.or(weaker.customer_identifier),
            customer_name: self.customer_name.or(weaker.customer_name),
            customer_email: self.customer_email.or(weaker.customer_email),
            thread: self.thread.or(weaker.thread),
            session: self.session.or(weaker.session),
            custom: self.custom.or(weaker.custom),
            trace_group: self.trace_group.or(weaker.trace_group),
            metadata,
            environment: self.environment.or(weaker.environment),
            trace: self.trace.or(weaker.trace),
            parent: self.parent.or(weaker.parent),
            workflow_name: self.workflow_name.or(weaker.workflow_name),
            agent_name: self.agent_name.or(weaker.agent_name),
            span_name: self.span_name.or(weaker.span_name),
            log: self.log.or(weaker.log),
        }
    }
}

/// The one value of a header, without spaces around it; none when it is empty, or when its values differ.
fn text(name: &HeaderName, headers: &HeaderMap, unreadable: &mut Vec<String>) -> Option<String> {
    let mut values = headers
        .get_all(name)
        .iter()
        .map(|value| value.as_bytes().trim_ascii())
        .filter(|value| !value.is_empty());
    let value = values.next()?;
    if values.any(|other| other != value) {
        unreadable.push(format!(
            "{} was sent more than once, with different values",
            shown(name)
        ));
        return None;
    }
    let text = std::str::from_utf8(value).ok();
    if text.is_none() {
        unreadable.push(format!("{} is not UTF-8", shown(name)));
    }
    text.map(str::to_owned)
}

/// A JSON text without spaces around it; null and empty are none.
fn json_text(value: &RawValue) -> Result<Option<String>, ()> {
    let text: Option<String> = serde_json::from_str(value.get()).map_err(|_| ())?;
    Ok(text
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty()))
}

/// JSON without the spaces between its tokens. Numbers keep their spelling and objects their order, which a parsed value would lose.
fn compact(json: &str) -> String {
    let (mut inside_text, mut escaped) = (false, false);
    let keep = |letter: &char| {
        let keep = inside_text || !letter.is_ascii_whitespace();
        if *letter == '"' && !escaped {
            inside_text = !inside_text;
        }
        escaped = *letter == '\\' && !escaped;
        keep
    };
    json.chars().filter(keep).collect()
}

/// A header's name as INTERFACE and users write it.
fn shown(name: &HeaderName) -> &'static str {
    match name.as_str() {
        "x-respan-customer-identifier" => "X-Respan-Customer-Identifier",
        "x-respan-customer-name" => "X-Respan-Customer-Name",
        "x-respan-customer-email" => "X-Respan-Customer-Email",
        "x-respan-thread-identifier" => "X-Respan-Thread-Identifier",
        "x-respan-session-identifier" => "X-Respan-Session-Identifier",
        "x-respan-custom-identifier" => "X-Respan-Custom-Identifier",
        "x-respan-trace-group-identifier" => "X-Respan-Trace-Group-Identifier",
        "x-respan-metadata" => "X-Respan-Metadata",
        "x-respan-environment" => "X-Respan-Environment",
        "x-respan-trace-id" => "X-Respan-Trace-Id",
        "x-respan-workflow-name" => "X-Respan-Workflow-Name",
        "x-respan-agent-name" => "X-Respan-Agent-Name",
        "x-respan-log" => "X-Respan-Log",
        "x-data-respan-params" => "X-Data-Respan-Params",
        "x-data-keywordsai-params" => "X-Data-Keywordsai-Params",
        _ => "a header",
    }
}
