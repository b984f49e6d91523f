//! Reads environment variables and flags: each becomes an assignment. All values are text here. Spaces around a value mean nothing: shells
//! and secret stores add them, and a last newline.

use std::ffi::{OsStr, OsString};

use super::draft::Draft;
use super::keys::{KEYS, find_key, nearest_key, sections, unknown_key};
use super::problem::{ConfigProblem, SourceLocation};
use super::raw_value::RawValue;
use super::sources::FILE_VARIABLE;

const PREFIX: &str = "SPANGATE_";

/// Names that Respan's own SDKs read, and the keys they stand for. `SPANGATE_…` wins over them.
const ALIASES: [(&str, &str); 2] = [
    ("RESPAN_API_KEY", "respan.api_key"),
    ("RESPAN_BASE_URL", "respan.base_url"),
];

/// Reads the variables that are meant for spangate. An unknown key of a known section is a problem, so that no misspelt key is silently
/// without effect. A variable of no section is a warning: deployments export names like `SPANGATE_VERSION` for themselves.
pub(super) fn read_variables(variables: &[(OsString, OsString)], draft: &mut Draft) {
    let mut ours: Vec<(u8, &str, &OsString)> = variables
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .filter_map(|(name, value)| {
            let name = name.to_str()?;
            let is_alias = ALIASES.iter().any(|(alias, _)| *alias == name);
            let is_own = name.starts_with(PREFIX) && name != FILE_VARIABLE;
            (is_alias || is_own).then_some((u8::from(!is_alias), name, value))
        })
        .collect();
    ours.sort_unstable();

    for (_, name, value) in ours {
        let key = match ALIASES.iter().find(|(alias, _)| *alias == name) {
            Some((_, key)) => find_key(key),
            None => KEYS.iter().find(|key| variable(key.name) == name),
        };
        let location = SourceLocation::Environment(name.to_owned());
        match (key, value.to_str().map(str::trim)) {
            (Some(_), Some("")) => {}
            (Some(key), Some(value)) => {
                draft.assign(key, RawValue::Word(value.to_owned()), location);
            }
            (Some(key), None) => {
                draft.refuse(location, key.name, "is not UTF-8; write it as UTF-8 text");
            }
            (None, _) if is_service_link(name, value) => {}
            (None, _) if is_of_a_section(name) => {
                draft.refuse(location, "", unknown_variable(name));
            }
            (None, _) => {
                let problem = ConfigProblem::new(location, "", unknown_variable(name));
                draft.warn(format!("{problem}; it has no effect"));
            }
        }
    }
}

/// Reads each `--set section.key=value`.
pub(super) fn read_flags(flags: &[(String, String)], draft: &mut Draft) {
    for (name, value) in flags {
        let name = name.trim();
        match find_key(name) {
            Some(key) => {
                let value = RawValue::Word(value.trim().to_owned());
                draft.assign(key, value, SourceLocation::Flag);
            }
            None => draft.refuse(SourceLocation::Flag, name, unknown_key(name)),
        }
    }
}

/// `section.key` as a variable.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}

fn unknown_variable(name: &str) -> String {
    // The first underscore after the prefix is the dot of nearly every key that can be meant.
    let guess = name
        .trim_start_matches(PREFIX)
        .to_lowercase()
        .replacen('_', ".", 1);
    match nearest_key(&guess) {
        Some(known) => format!("unknown variable; did you mean {}?", variable(known)),
        None => "unknown variable; config/spangate.toml shows every key, section.key is SPANGATE_SECTION_KEY".to_owned(),
    }
}

/// Whether the name begins as every variable of some section does.
fn is_of_a_section(name: &str) -> bool {
    let rest = name.trim_start_matches(PREFIX);
    sections().into_iter().any(|section| {
        rest.strip_prefix(section.to_uppercase().as_str())
            .is_some_and(|key| key.starts_with('_'))
    })
}

/// Whether the variable is a service link: Kubernetes sets these in every pod for each Service of the namespace, here for one with the name
/// `spangate` or `spangate-NAME`.
///
/// `NAME_PORT` is a link only with the URL that Kubernetes gives it: `SPANGATE_SERVER_PORT=8080` is somebody's guess at a key.
fn is_service_link(name: &str, value: &OsStr) -> bool {
    let is_url = || value.to_str().is_some_and(|value| value.contains("://"));
    let after = |middle: &str, is_right: fn(&str) -> bool| {
        let mut found = name.match_indices(middle);
        found.any(|(at, _)| is_right(&name[at + middle.len()..]))
    };
    name.ends_with("_SERVICE_HOST")
        || after("_SERVICE_PORT", |rest| {
            rest.is_empty() || rest.starts_with('_')
        })
        || (name.ends_with("_PORT") && is_url())
        || after("_PORT_", is_port_link)
}

/// Whether `rest` can follow `NAME_PORT_` in a service link: `8080_TCP`, alone or with `_PROTO`, `_PORT` or `_ADDR`.
fn is_port_link(rest: &str) -> bool {
    let mut parts = rest.split('_');
    let number = parts.next().unwrap_or_default();
    let protocol = parts.next().unwrap_or_default();
    number.parse::<u16>().is_ok()
        && ["TCP", "UDP", "SCTP"].contains(&protocol)
        && matches!(parts.next(), None | Some("PROTO" | "PORT" | "ADDR"))
        && parts.next().is_none()
}
