//! Keys whose value is one of a few words.

use super::Raw;
use crate::openai::Media;

/// Reads one of `choices`.
fn choice<T: Copy>(raw: &Raw, choices: &[(&str, T)]) -> Result<T, String> {
    let all = choices
        .iter()
        .map(|(word, _)| format!("\"{word}\""))
        .collect::<Vec<_>>()
        .join(" or ");
    let text = raw.text(&all)?;
    let found = choices.iter().find(|(word, _)| *word == text);
    found
        .map(|(_, meant)| *meant)
        .ok_or_else(|| format!("is \"{text}\"; write {all}"))
}

/// How spans are encoded for Respan; OTLP over HTTP both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `application/json`
    Json,
    /// `application/x-protobuf`
    Protobuf,
}

pub(in crate::config) fn encoding(raw: &Raw) -> Result<Encoding, String> {
    choice(
        raw,
        &[("json", Encoding::Json), ("protobuf", Encoding::Protobuf)],
    )
}

/// What of a call is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// All of it.
    Full,
    /// No prompts, replies, tool arguments or results.
    Metadata,
}

pub(in crate::config) fn content(raw: &Raw) -> Result<Content, String> {
    choice(
        raw,
        &[("full", Content::Full), ("metadata", Content::Metadata)],
    )
}

pub(in crate::config) fn media(raw: &Raw) -> Result<Media, String> {
    choice(raw, &[("size", Media::Size), ("full", Media::Full)])
}

/// How token usage of streams is learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// From what the client asked for anyway; bytes stay as they are.
    Passive,
}

pub(in crate::config) fn usage(raw: &Raw) -> Result<Usage, String> {
    if raw.text("\"passive\"")? == "inject" {
        return Err("is \"inject\", which this version cannot do yet; write \"passive\", and let the client ask for \
                    stream_options.include_usage (AutoGen: create_stream(…, include_usage=True))"
            .to_owned());
    }
    choice(raw, &[("passive", Usage::Passive)])
}

/// The least severe messages that are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// What needs someone.
    Error,
    /// What may soon.
    Warn,
    /// What happens seldom and is good to know.
    Info,
    /// What one request or export does.
    Debug,
    /// Every step.
    Trace,
}

pub(in crate::config) fn log_level(raw: &Raw) -> Result<LogLevel, String> {
    let levels = [
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];
    choice(raw, &levels)
}

/// How messages look on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object per line.
    Json,
}

pub(in crate::config) fn log_format(raw: &Raw) -> Result<LogFormat, String> {
    choice(raw, &[("text", LogFormat::Text), ("json", LogFormat::Json)])
}
