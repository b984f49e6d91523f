//! Readers of keys that take one of a few words.

use tracing::Level;

use crate::config::raw_value::RawValue;
use crate::openai::Media;

/// Reads one of `choices`.
fn choice<T: Copy>(raw: &RawValue, choices: &[(&str, T)]) -> Result<T, String> {
    let all = choices
        .iter()
        .map(|(word, _)| format!("\"{word}\""))
        .collect::<Vec<_>>()
        .join(" or ");
    let text = raw.text(&all)?;
    let found = choices.iter().find(|(word, _)| *word == text);
    found
        .map(|(_, value)| *value)
        .ok_or_else(|| format!("is \"{text}\"; write {all}"))
}

/// How spans are encoded for Respan; both are OTLP over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireEncoding {
    /// `application/json`
    Json,
    /// `application/x-protobuf`
    Protobuf,
}

pub(crate) fn encoding(raw: &RawValue) -> Result<WireEncoding, String> {
    choice(
        raw,
        &[
            ("json", WireEncoding::Json),
            ("protobuf", WireEncoding::Protobuf),
        ],
    )
}

/// Which parts of a call spans record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentMode {
    /// All of it.
    Full,
    /// No prompts, replies, tool arguments or results.
    Metadata,
}

pub(crate) fn content(raw: &RawValue) -> Result<ContentMode, String> {
    choice(
        raw,
        &[
            ("full", ContentMode::Full),
            ("metadata", ContentMode::Metadata),
        ],
    )
}

pub(crate) fn media(raw: &RawValue) -> Result<Media, String> {
    choice(raw, &[("size", Media::Size), ("full", Media::Full)])
}

/// Where the token usage of streams comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageMode {
    /// From the reply as the client asked for it; bytes stay as they are.
    Passive,
}

pub(crate) fn usage(raw: &RawValue) -> Result<UsageMode, String> {
    if raw.text("\"passive\"")? == "inject" {
        return Err("is \"inject\", which this version cannot do yet; write \"passive\", and let the client ask for \
                    stream_options.include_usage (AutoGen: create_stream(…, include_usage=True))"
            .to_owned());
    }
    choice(raw, &[("passive", UsageMode::Passive)])
}

pub(crate) fn log_level(raw: &RawValue) -> Result<Level, String> {
    let levels = [
        ("error", Level::ERROR),
        ("warn", Level::WARN),
        ("info", Level::INFO),
        ("debug", Level::DEBUG),
        ("trace", Level::TRACE),
    ];
    choice(raw, &levels)
}

/// The format of messages on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One line of text per message.
    Text,
    /// One JSON object per line.
    Json,
}

pub(crate) fn log_format(raw: &RawValue) -> Result<LogFormat, String> {
    choice(raw, &[("text", LogFormat::Text), ("json", LogFormat::Json)])
}
