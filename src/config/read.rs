//! Reads values: one reader per kind. A reader gives the value, or a predicate with the mistake and its remedy (`is 30, without a unit; write
//! "30s"`). No reader repeats a value that may be secret.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::base_url::BaseUrl;
use super::raw_value::RawValue;
use super::secret::Secret;

pub use choice::{ContentMode, LogFormat, UsageMode, WireEncoding};
pub(super) use choice::{content, encoding, log_format, log_level, media, usage};
pub(super) use quantity::{GIB, KIB, MIB, count, duration, duration_or_zero, memory, size};

mod choice;
mod quantity;

/// `127.0.0.1:8080`, `[::1]:8080` or `localhost:8080`. Other names are refused: what they resolve to may change and may be several.
pub(super) fn address(raw: &RawValue) -> Result<SocketAddr, String> {
    const EXAMPLE: &str = "\"127.0.0.1:8080\"";
    let text = raw.text(EXAMPLE)?;
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let wrong = |what: &str, example: &str| Err(format!("is \"{text}\", {what}; write {example}"));
    if let Ok(host) = text.parse::<IpAddr>() {
        return wrong(
            "without a port",
            &format!("\"{}\"", SocketAddr::new(host, 8080)),
        );
    }
    match text.rsplit_once(':') {
        Some((host, port)) => match port.parse::<u16>() {
            Ok(port) if host.eq_ignore_ascii_case("localhost") => {
                Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
            }
            Ok(port) if host.is_empty() || host == "*" => wrong(
                "without a host",
                &format!(
                    "\"0.0.0.0:{port}\" for every interface, \"127.0.0.1:{port}\" for this machine"
                ),
            ),
            Ok(port) => wrong(
                "whose host is neither an IP address nor localhost",
                &format!("\"127.0.0.1:{port}\""),
            ),
            Err(_) => wrong("whose port is not a number up to 65535", EXAMPLE),
        },
        None => wrong("not an address with a port", EXAMPLE),
    }
}

pub(super) fn boolean(raw: &RawValue) -> Result<bool, String> {
    match raw {
        RawValue::Boolean(boolean) => Ok(*boolean),
        RawValue::Word(word) if word == "true" => Ok(true),
        RawValue::Word(word) if word == "false" => Ok(false),
        RawValue::Word(word) => Err(format!("is {word}; write true or false")),
        other => Err(format!(
            "is {}; write true or false, without quotes",
            other.kind()
        )),
    }
}

pub(super) fn text(raw: &RawValue) -> Result<String, String> {
    raw.text("a text in quotes").map(str::to_owned)
}

pub(super) fn path(raw: &RawValue) -> Result<PathBuf, String> {
    raw.text("a path in quotes").map(PathBuf::from)
}

/// A key or token, which must fit a header: visible ASCII without spaces.
pub(super) fn secret(raw: &RawValue) -> Result<Secret, String> {
    secret_text(raw.text("the secret in quotes")?)
}

pub(super) fn secret_text(text: &str) -> Result<Secret, String> {
    if text.is_empty() {
        return Err("is empty; write the secret, or leave the key out".to_owned());
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("holds spaces, line breaks or letters that a header cannot carry; write the secret alone".to_owned());
    }
    Ok(Secret::new(text.to_owned()))
}

/// A list in a file, words between commas elsewhere.
fn list<T>(
    raw: &RawValue,
    example: &str,
    read: impl Fn(&RawValue) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let nothing = || format!("is empty; write {example}, or leave the key out");
    match raw {
        RawValue::Word(words) => {
            let words = words
                .split(',')
                .map(str::trim)
                .filter(|word| !word.is_empty());
            let list: Vec<T> = words
                .map(|word| read(&RawValue::Word(word.to_owned())))
                .collect::<Result<_, _>>()?;
            if list.is_empty() {
                Err(nothing())
            } else {
                Ok(list)
            }
        }
        RawValue::List(list) if list.is_empty() => Err(nothing()),
        RawValue::List(list) => {
            let numbered = list.iter().enumerate();
            numbered
                .map(|(index, each)| {
                    read(each).map_err(|text| format!("entry {} {text}", index + 1))
                })
                .collect()
        }
        other => Err(format!("is {}, not a list; write {example}", other.kind())),
    }
}

pub(super) fn secrets(raw: &RawValue) -> Result<Vec<Secret>, String> {
    list(raw, "[\"first\", \"second\"]", secret)
}

/// Host names without ports, in lower case.
pub(super) fn hosts(raw: &RawValue) -> Result<Vec<String>, String> {
    list(raw, "[\"traces.example.com\"]", |each| {
        let host = each.text("a host name in quotes")?;
        let is_name = host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
        if is_name {
            Ok(host.to_ascii_lowercase())
        } else {
            Err(format!(
                "is \"{host}\", not a host name; write it without scheme, port or path"
            ))
        }
    })
}

/// The base URL of an OpenAI-compatible service.
pub(super) fn upstream_url(raw: &RawValue) -> Result<BaseUrl, String> {
    let url = BaseUrl::parse(raw.text("a URL like \"https://api.openai.com/v1\"")?)?;
    match url.path.strip_suffix("/chat/completions") {
        Some(base) => Err(format!(
            "names one endpoint, not their base; write \"{}\"",
            BaseUrl {
                path: base.to_owned(),
                ..url.clone()
            }
        )),
        None => Ok(url),
    }
}

/// Respan's traces endpoint, from any of the spellings its users know: the host, the host with `/api`, or the endpoint itself.
pub(super) fn respan_url(raw: &RawValue) -> Result<BaseUrl, String> {
    let text = raw.text("a URL like \"https://api.respan.ai/api\"")?;
    let mut url = if text.contains("://") {
        BaseUrl::parse(text)?
    } else {
        BaseUrl::parse(&format!("https://{text}"))?
    };
    if url.path.ends_with("/v2/traces") {
        return Ok(url);
    }
    let prefix = url.path.strip_suffix("/api").unwrap_or(&url.path);
    if prefix.is_empty() || prefix.len() < url.path.len() {
        url.path = format!("{prefix}/api/v2/traces");
        return Ok(url);
    }
    Err("has a path that is not Respan's; write the host alone, host/api, or the whole URL that ends in /api/v2/traces".to_owned())
}

/// A table of scalars in a file, a JSON object elsewhere. Values become texts.
pub(super) fn metadata(raw: &RawValue) -> Result<BTreeMap<String, String>, String> {
    let pairs: Vec<(String, String)> = match raw {
        RawValue::Word(json) => {
            let example = "write a JSON object like {\"team\":\"support\"}";
            let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json)
                .map_err(|_| format!("is not a JSON object; {example}"))?;
            let value = |value| match value {
                serde_json::Value::String(text) => text,
                other => other.to_string(),
            };
            object
                .into_iter()
                .map(|(key, each)| (key, value(each)))
                .collect()
        }
        RawValue::Table(table) => table
            .iter()
            .map(|(key, value)| Ok((key.clone(), scalar(key, value)?)))
            .collect::<Result<_, String>>()?,
        other => {
            return Err(format!(
                "is {}, not a table; write {{ team = \"support\" }}",
                other.kind()
            ));
        }
    };
    match pairs
        .iter()
        .find(|(key, _)| key.is_empty() || key.starts_with("spangate_"))
    {
        Some((key, _)) => Err(format!(
            "has the key \"{key}\"; write another, for empty keys and those that begin with spangate_ are taken"
        )),
        None => Ok(pairs.into_iter().collect()),
    }
}

fn scalar(key: &str, value: &RawValue) -> Result<String, String> {
    match value {
        RawValue::Word(text)
        | RawValue::Text(text)
        | RawValue::Integer(text)
        | RawValue::Float(text)
        | RawValue::Date(text) => Ok(text.clone()),
        RawValue::Boolean(boolean) => Ok(boolean.to_string()),
        RawValue::List(_) | RawValue::Table(_) => Err(format!(
            "has {} at \"{key}\"; write a text, a number or a boolean",
            value.kind()
        )),
    }
}
