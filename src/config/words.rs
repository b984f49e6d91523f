//! Environment variables and flags become written keys. Everything in them is text; spaces around a value mean nothing, for they and a
//! last newline are what shells and secret stores add.

use std::ffi::OsString;

use super::FILE_VARIABLE;
use super::keys::KEYS;
use super::problem::{Place, Problem};
use super::written::{Raw, Written, find, nearest};

const PREFIX: &str = "SPANGATE_";

/// Names that Respan's own SDKs read, and the keys they stand for. `SPANGATE_…` wins over them.
const ALIASES: [(&str, &str); 2] = [
    ("RESPAN_API_KEY", "respan.api_key"),
    ("RESPAN_BASE_URL", "respan.base_url"),
];

/// Takes the variables that are meant for spangate. One that begins so and is not known is a problem, so that no misspelt limit or key is
/// silently without effect.
pub(super) fn environment(
    variables: &[(OsString, OsString)],
    written: &mut Vec<Written>,
    problems: &mut Vec<Problem>,
) {
    let mut ours: Vec<(u8, &str, &OsString)> = variables
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .filter_map(|(name, value)| {
            let name = name.to_str()?;
            let is_alias = ALIASES.iter().any(|(alias, _)| *alias == name);
            let is_own = name.starts_with(PREFIX) && name != FILE_VARIABLE && !is_injected(name);
            (is_alias || is_own).then_some((u8::from(!is_alias), name, value))
        })
        .collect();
    ours.sort_unstable();

    for (_, name, value) in ours {
        let key = match ALIASES.iter().find(|(alias, _)| *alias == name) {
            Some((_, key)) => find(key),
            None => KEYS.iter().find(|key| variable(key.name) == name),
        };
        let place = Place::Environment(name.to_owned());
        match (key, value.to_str().map(str::trim)) {
            (Some(_), Some("")) => {}
            (Some(key), Some(value)) => written.push(Written {
                key,
                raw: Raw::Word(value.to_owned()),
                place,
            }),
            (Some(key), None) => problems.push(Problem::new(
                place,
                key.name,
                "is not UTF-8; write it as UTF-8 text",
            )),
            (None, _) => problems.push(Problem::new(place, "", unknown_variable(name))),
        }
    }
}

/// Takes each `--set section.key=value`.
pub(super) fn flags(
    flags: &[(String, String)],
    written: &mut Vec<Written>,
    problems: &mut Vec<Problem>,
) {
    for (name, value) in flags {
        let name = name.trim();
        if let Some(key) = find(name) {
            written.push(Written {
                key,
                raw: Raw::Word(value.trim().to_owned()),
                place: Place::Flag,
            });
        } else {
            let text = match nearest(name) {
                Some(known) => format!("unknown key; did you mean {known}?"),
                None => "unknown key; config/spangate.toml shows all there are".to_owned(),
            };
            problems.push(Problem::new(Place::Flag, name, text));
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
    match nearest(&guess) {
        Some(known) => format!("unknown variable; did you mean {}?", variable(known)),
        None => "unknown variable; config/spangate.toml shows every key, section.key is SPANGATE_SECTION_KEY".to_owned(),
    }
}

/// Whether Kubernetes set it, as it does in every pod for each service of the namespace: here one that is called spangate.
fn is_injected(name: &str) -> bool {
    let rest = name.trim_start_matches(PREFIX);
    rest == "SERVICE_HOST"
        || rest == "PORT"
        || rest.starts_with("PORT_")
        || rest.starts_with("SERVICE_PORT")
}
