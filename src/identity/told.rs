//! What one carrier tells: the single headers together are one, each base64 object is another. Carriers are then merged, the stronger
//! over the weaker, field by field. Objects are read member by member and no further than their bounds, see [`super::bounds`].

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, HeaderName};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Log;
use super::bounds::{MAX_KEY, MAX_KEYS, MAX_MEMBERS, MAX_VALUE, cut};

/// Padding may be there or not, and the last bits may be anything: what encoders disagree on means nothing.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Keys under which the gateway itself writes metadata; from outside they would forge what it says of a span.
const OWN_METADATA: &str = "spangate_";

/// The parameters of a base64 object that are read.
const PARAMETERS: [&str; 14] = [
    "customer_identifier",
    "customer_params",
    "custom_identifier",
    "disable_log",
    "environment",
    "group_identifier",
    "metadata",
    "session_identifier",
    "span_name",
    "span_parent_id",
    "span_workflow_name",
    "thread_identifier",
    "trace_group_identifier",
    "trace_unique_id",
];

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
                if let Some(json) = text(name, headers, unreadable)
                    && self
                        .metadata(&json, "X-Respan-Metadata", unreadable)
                        .is_none()
                {
                    unreadable.push("X-Respan-Metadata is not a JSON object".to_owned());
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
        let mut parameters = BTreeMap::new();
        let read = std::str::from_utf8(&json).ok().and_then(|json| {
            members(json, MAX_MEMBERS, |parameter, value| {
                if let Some(known) = PARAMETERS.iter().find(|known| **known == parameter) {
                    parameters.insert(*known, value);
                }
            })
        });
        match read {
            Some(Members::All) => {}
            Some(Members::First) => {
                unreadable.push(format!("{shown} was cut at {MAX_MEMBERS} parameters"));
            }
            None => {
                unreadable.push(format!("{shown} is not base64 of a JSON object"));
                return told;
            }
        }
        let mut group = None;
        for (parameter, value) in parameters {
            told.parameter(parameter, value, &mut group, shown, unreadable);
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
        let wrong = |what: &str| format!("{shown}: {parameter} is not {what}");
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
                if value.get() != "null" && self.customer(value, shown, unreadable).is_none() {
                    unreadable.push(wrong("an object"));
                }
                return;
            }
            "metadata" => {
                let json = value.get();
                if json != "null" && self.metadata(json, shown, unreadable).is_none() {
                    unreadable.push(wrong("an object"));
                }
                return;
            }
            "disable_log" => {
                match serde_json::from_str::<Option<bool>>(value.get()) {
                    Ok(disable) => {
                        self.log =
                            disable.map(|disable| if disable { Log::Metadata } else { Log::Full });
                    }
                    Err(_) => unreadable.push(wrong("true or false")),
                }
                return;
            }
            _ => return,
        };
        match json_text(value) {
            Ok(text) => *slot = text,
            Err(()) => unreadable.push(wrong("a text")),
        }
    }

    /// None where it is no object.
    fn customer(
        &mut self,
        customer: &RawValue,
        shown: &str,
        unreadable: &mut Vec<String>,
    ) -> Option<()> {
        let mut slots = [
            ("customer_identifier", &mut self.customer_identifier, None),
            ("name", &mut self.customer_name, None),
            ("email", &mut self.customer_email, None),
        ];
        members(customer.get(), MAX_MEMBERS, |parameter, value| {
            for (known, _, found) in &mut slots {
                if *known == parameter {
                    *found = Some(value);
                }
            }
        })?;
        for (parameter, slot, found) in slots {
            match found.map(json_text) {
                Some(Ok(Some(text))) => *slot = Some(text),
                Some(Ok(None)) | None => {}
                Some(Err(())) => unreadable.push(format!(
                    "{shown}: customer_params.{parameter} is not a text"
                )),
            }
        }
        Some(())
    }

    /// Takes the first [`MAX_KEYS`] members of a JSON object. None where it is no object: then nothing is taken.
    fn metadata(&mut self, object: &str, shown: &str, unreadable: &mut Vec<String>) -> Option<()> {
        let (mut reserved, mut unread) = (false, false);
        let (mut long_key, mut long_value) = (false, false);
        let mut metadata = BTreeMap::new();
        let read = members(object, MAX_KEYS, |mut key, value| {
            if key.is_empty() || key.starts_with(OWN_METADATA) {
                reserved = true;
                return;
            }
            let mut text = if value.get().starts_with('"') {
                let Ok(text) = serde_json::from_str(value.get()) else {
                    unread = true;
                    return;
                };
                text
            } else {
                compact(value.get())
            };
            long_key |= cut(&mut key, MAX_KEY);
            long_value |= cut(&mut text, MAX_VALUE);
            metadata.insert(key, text);
        })?;
        self.metadata.extend(metadata);
        let mut tell = |is_so: bool, what: &str| {
            if is_so {
                unreadable.push(format!("{shown}: metadata {what}"));
            }
        };
        tell(
            reserved,
            &format!("has an empty key or one that begins with {OWN_METADATA}"),
        );
        tell(unread, "has a text that is not Unicode");
        tell(
            read == Members::First,
            &format!("was cut at {MAX_KEYS} keys"),
        );
        tell(
            long_key,
            &format!("has a key that was cut at {MAX_KEY} bytes"),
        );
        tell(
            long_value,
            &format!("has a value that was cut at {} KiB", MAX_VALUE / 1024),
        );
        Some(())
    }

    /// Fills what is not told here from a weaker carrier, as far as there is room for its metadata.
    pub(super) fn or(self, weaker: Self, unreadable: &mut Vec<String>) -> Self {
        let mut metadata = self.metadata;
        for (key, text) in weaker.metadata {
            if metadata.len() < MAX_KEYS {
                metadata.entry(key).or_insert(text);
            } else if !metadata.contains_key(&key) {
                unreadable.push(format!("metadata was cut at {MAX_KEYS} keys"));
                break;
            }
        }
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

/// Which members of an object were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Members {
    All,
    /// As many as were asked for. What follows them was not looked at, and may be no JSON.
    First,
}

/// Gives the first `most` members of a JSON object. None where it is no object, or breaks before that.
fn members<'j>(
    json: &'j str,
    most: usize,
    each: impl FnMut(String, &'j RawValue),
) -> Option<Members> {
    struct Reader<F> {
        most: usize,
        each: F,
        stopped: bool,
    }

    impl<'j, F: FnMut(String, &'j RawValue)> DeserializeSeed<'j> for &mut Reader<F> {
        type Value = ();

        fn deserialize<D: Deserializer<'j>>(self, json: D) -> Result<(), D::Error> {
            json.deserialize_map(self)
        }
    }

    impl<'j, F: FnMut(String, &'j RawValue)> Visitor<'j> for &mut Reader<F> {
        type Value = ();

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an object")
        }

        fn visit_map<A: MapAccess<'j>>(self, mut map: A) -> Result<(), A::Error> {
            for _ in 0..self.most {
                let Some((key, value)) = map.next_entry()? else {
                    return Ok(());
                };
                (self.each)(key, value);
            }
            self.stopped = map.next_key::<String>()?.is_some();
            if self.stopped {
                // The only way out of an object whose rest is not to be read.
                return Err(A::Error::custom("there is more"));
            }
            Ok(())
        }
    }

    let mut reader = Reader {
        most,
        each,
        stopped: false,
    };
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let read = (&mut reader)
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end());
    match read {
        _ if reader.stopped => Some(Members::First),
        Ok(()) => Some(Members::All),
        Err(_) => None,
    }
}

/// JSON without the spaces between its tokens, as much of it as can be kept. Numbers keep their spelling and objects their order, which a
/// parsed value would lose.
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
    // One character more than is kept shows that there is more.
    json.chars().filter(keep).take(MAX_VALUE + 1).collect()
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
