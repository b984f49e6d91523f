//! Reads the identity in one kind of header: in the single headers together, or in one base64 object. The kinds are then merged field by
//! field, the stronger over the weaker. Objects are read member by member and no further than their limits, see [`super::bounds`].

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, HeaderName};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::bounds::{MAX_KEY, MAX_KEYS, MAX_MEMBERS, MAX_VALUE, cut};
use super::{Identity, LogMode};

/// Accepts base64 of every encoder: with or without padding, with any last bits.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The beginning of the gateway's own keys of metadata, which a request must not forge.
const RESERVED_KEYS: &str = "spangate_";

/// The parameters of a base64 object that spans have.
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

/// The fields in one kind of header. A text is never empty.
#[derive(Default)]
pub(super) struct IdentityHeaders {
    /// The texts alone.
    pub(super) identity: Identity,
    pub(super) trace: Option<String>,
    pub(super) parent: Option<String>,
    pub(super) log: Option<LogMode>,
}

impl IdentityHeaders {
    /// Reads one of the single headers; `field` is its name after `x-respan-`.
    pub(super) fn header(
        &mut self,
        field: &str,
        name: &HeaderName,
        headers: &HeaderMap,
        unreadable: &mut Vec<String>,
    ) {
        let slot = match field {
            "customer-identifier" => &mut self.identity.customer.identifier,
            "customer-name" => &mut self.identity.customer.name,
            "customer-email" => &mut self.identity.customer.email,
            "thread-identifier" => &mut self.identity.thread,
            "session-identifier" => &mut self.identity.session,
            "custom-identifier" => &mut self.identity.custom,
            "trace-group-identifier" => &mut self.identity.trace_group,
            "environment" => &mut self.identity.environment,
            "trace-id" => &mut self.trace,
            "workflow-name" => &mut self.identity.workflow_name,
            "agent-name" => &mut self.identity.agent_name,
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
                    let log = LogMode::of(&word);
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

    /// Reads a base64 object, as Respan's hosted gateway does.
    pub(super) fn params(
        name: &HeaderName,
        headers: &HeaderMap,
        unreadable: &mut Vec<String>,
    ) -> Self {
        let mut fields = Self::default();
        let Some(encoded) = text(name, headers, unreadable) else {
            return fields;
        };
        let header = display_name(name);
        let encoded = encoded.replace('-', "+").replace('_', "/");
        let Ok(json) = BASE64.decode(encoded) else {
            unreadable.push(format!("{header} is not base64"));
            return fields;
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
            Some(MembersRead::All) => {}
            Some(MembersRead::First) => {
                unreadable.push(format!("{header} was cut at {MAX_MEMBERS} parameters"));
            }
            None => {
                unreadable.push(format!("{header} is not base64 of a JSON object"));
                return fields;
            }
        }
        let mut group = None;
        for (parameter, value) in parameters {
            fields.parameter(parameter, value, &mut group, &header, unreadable);
        }
        let trace_group = &mut fields.identity.trace_group;
        *trace_group = trace_group.take().or(group);
        fields
    }

    fn parameter(
        &mut self,
        parameter: &str,
        value: &RawValue,
        group: &mut Option<String>,
        header: &str,
        unreadable: &mut Vec<String>,
    ) {
        let wrong = |expected: &str| format!("{header}: {parameter} is not {expected}");
        let slot = match parameter {
            // `customer_params` sorts after this parameter, so it wins.
            "customer_identifier" => &mut self.identity.customer.identifier,
            "thread_identifier" => &mut self.identity.thread,
            "session_identifier" => &mut self.identity.session,
            "custom_identifier" => &mut self.identity.custom,
            "trace_group_identifier" => &mut self.identity.trace_group,
            "group_identifier" => group,
            "environment" => &mut self.identity.environment,
            "trace_unique_id" => &mut self.trace,
            "span_parent_id" => &mut self.parent,
            "span_workflow_name" => &mut self.identity.workflow_name,
            "span_name" => &mut self.identity.span_name,
            "customer_params" => {
                if value.get() != "null" && self.customer(value, header, unreadable).is_none() {
                    unreadable.push(wrong("an object"));
                }
                return;
            }
            "metadata" => {
                let json = value.get();
                if json != "null" && self.metadata(json, header, unreadable).is_none() {
                    unreadable.push(wrong("an object"));
                }
                return;
            }
            "disable_log" => {
                match serde_json::from_str::<Option<bool>>(value.get()) {
                    Ok(disable) => {
                        self.log = disable.map(|disable| {
                            if disable {
                                LogMode::Metadata
                            } else {
                                LogMode::Full
                            }
                        });
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

    /// Reads the customer; none where the value is no object.
    fn customer(
        &mut self,
        customer: &RawValue,
        header: &str,
        unreadable: &mut Vec<String>,
    ) -> Option<()> {
        let mut slots = [
            (
                "customer_identifier",
                &mut self.identity.customer.identifier,
                None,
            ),
            ("name", &mut self.identity.customer.name, None),
            ("email", &mut self.identity.customer.email, None),
        ];
        members(customer.get(), MAX_MEMBERS, |parameter, value| {
            for (known, _, value_of) in &mut slots {
                if *known == parameter {
                    *value_of = Some(value);
                }
            }
        })?;
        for (parameter, slot, value) in slots {
            match value.map(json_text) {
                Some(Ok(Some(text))) => *slot = Some(text),
                Some(Ok(None)) | None => {}
                Some(Err(())) => unreadable.push(format!(
                    "{header}: customer_params.{parameter} is not a text"
                )),
            }
        }
        Some(())
    }

    /// Reads the first [`MAX_KEYS`] members of a JSON object; none, and no member, where it is no object.
    fn metadata(&mut self, object: &str, header: &str, unreadable: &mut Vec<String>) -> Option<()> {
        let (mut reserved, mut unread) = (false, false);
        let (mut long_key, mut long_value) = (false, false);
        let mut metadata = BTreeMap::new();
        let read = members(object, MAX_KEYS, |mut key, value| {
            if key.is_empty() || key.starts_with(RESERVED_KEYS) {
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
        self.identity.metadata.extend(metadata);
        let mut report = |applies: bool, problem: &str| {
            if applies {
                unreadable.push(format!("{header}: metadata {problem}"));
            }
        };
        report(
            reserved,
            &format!("has an empty key or one that begins with {RESERVED_KEYS}"),
        );
        report(unread, "has a text that is not Unicode");
        report(
            read == MembersRead::First,
            &format!("was cut at {MAX_KEYS} keys"),
        );
        report(
            long_key,
            &format!("has a key that was cut at {MAX_KEY} bytes"),
        );
        report(
            long_value,
            &format!("has a value that was cut at {} KiB", MAX_VALUE / 1024),
        );
        Some(())
    }

    /// Sets missing fields from a weaker kind of header, up to the limit of metadata.
    pub(super) fn or(self, weaker: Self, unreadable: &mut Vec<String>) -> Self {
        let (mut identity, other) = (self.identity, weaker.identity);
        let metadata = &mut identity.metadata;
        for (key, text) in other.metadata {
            if metadata.len() < MAX_KEYS {
                metadata.entry(key).or_insert(text);
            } else if !metadata.contains_key(&key) {
                unreadable.push(format!("metadata was cut at {MAX_KEYS} keys"));
                break;
            }
        }
        for (slot, text) in [
            (&mut identity.customer.identifier, other.customer.identifier),
            (&mut identity.customer.name, other.customer.name),
            (&mut identity.customer.email, other.customer.email),
            (&mut identity.thread, other.thread),
            (&mut identity.session, other.session),
            (&mut identity.custom, other.custom),
            (&mut identity.trace_group, other.trace_group),
            (&mut identity.environment, other.environment),
            (&mut identity.workflow_name, other.workflow_name),
            (&mut identity.agent_name, other.agent_name),
            (&mut identity.span_name, other.span_name),
        ] {
            *slot = slot.take().or(text);
        }
        Self {
            identity,
            trace: self.trace.or(weaker.trace),
            parent: self.parent.or(weaker.parent),
            log: self.log.or(weaker.log),
        }
    }
}

/// The value of a header without spaces around it; none when it is empty or its values differ.
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
            display_name(name)
        ));
        return None;
    }
    let text = std::str::from_utf8(value).ok();
    if text.is_none() {
        unreadable.push(format!("{} is not UTF-8", display_name(name)));
    }
    text.map(str::to_owned)
}

/// A JSON text without spaces around it; none of null and of an empty text.
fn json_text(value: &RawValue) -> Result<Option<String>, ()> {
    let text: Option<String> = serde_json::from_str(value.get()).map_err(|_| ())?;
    Ok(text
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty()))
}

/// How many members of an object were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MembersRead {
    All,
    /// The limit. The rest of the object was not read and may be anything.
    First,
}

/// Calls `each` with the first `most` members of a JSON object; none where it is no object or breaks off before that.
fn members<'j>(
    json: &'j str,
    most: usize,
    each: impl FnMut(String, &'j RawValue),
) -> Option<MembersRead> {
    struct FirstMembers<F> {
        most: usize,
        each: F,
        stopped: bool,
    }

    impl<'j, F: FnMut(String, &'j RawValue)> DeserializeSeed<'j> for &mut FirstMembers<F> {
        type Value = ();

        fn deserialize<D: Deserializer<'j>>(self, json: D) -> Result<(), D::Error> {
            json.deserialize_map(self)
        }
    }

    impl<'j, F: FnMut(String, &'j RawValue)> Visitor<'j> for &mut FirstMembers<F> {
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
                // An error is the only way out of an object before its end.
                return Err(A::Error::custom("there is more"));
            }
            Ok(())
        }
    }

    let mut members = FirstMembers {
        most,
        each,
        stopped: false,
    };
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let read = (&mut members)
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end());
    match read {
        _ if members.stopped => Some(MembersRead::First),
        Ok(()) => Some(MembersRead::All),
        Err(_) => None,
    }
}

/// The beginning of JSON without the spaces between its tokens. A parsed value would lose the spelling of numbers and the order of members.
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
    // One character beyond the limit shows that there are more.
    json.chars().filter(keep).take(MAX_VALUE + 1).collect()
}

/// The name of a header as the documentation writes it: `X-Respan-Log`.
fn display_name(name: &HeaderName) -> String {
    let words = name.as_str().split('-').map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_ascii_uppercase() + rest
    });
    words.collect::<Vec<_>>().join("-")
}
