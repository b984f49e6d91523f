//! Environment variables and flags become written keys. Everything in them is text; spaces around a value mean nothing, for they and a
//! last newline are what shells and secret stores add.

use std::ffi::{OsStr, OsString};

use super::FILE_VARIABLE;
use super::file::sections;
use super::keys::KEYS;
use super::problem::{Place, Problem, Warning};
use super::written::{Raw, Written, find, nearest};

const PREFIX: &str = "SPANGATE_";

/// Names that Respan's own SDKs read, and the keys they stand for. `SPANGATE_…` wins over them.
const ALIASES: [(&str, &str); 2] = [
    ("RESPAN_API_KEY", "respan.api_key"),
    ("RESPAN_BASE_URL", "respan.base_url"),
];

/// Takes the variables that are meant for spangate. An unknown key of a known section is a problem, so that no misspelt limit or key is
/// silently without effect. A variable of no section is only warned of: deployments export names like `SPANGATE_VERSION` for themselves.
pub(super) fn environment(
    variables: &[(OsString, OsString)],
    written: &mut Vec<Written>,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Warning>,
) {
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
            (None, _) if is_service_link(name, value) => {}
            (None, _) if is_of_a_section(name) => {
                problems.push(Problem::new(place, "", unknown_variable(name)));
            }
            (None, _) => {
                let problem = Problem::new(place, "", unknown_variable(name));
                warnings.push(Warning(format!("{problem}; it has no effect")));
            }
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

/// Whether the name begins as every variable of some section does.
fn is_of_a_section(name: &str) -> bool {
    let rest = name.trim_start_matches(PREFIX);
    sections().into_iter().any(|section| {
        rest.strip_prefix(section.to_uppercase().as_str())
            .is_some_and(|key| key.starts_with('_'))
    })
}

/// Whether it is a service link: Kubernetes sets these in every pod for each Service of the namespace, here for one that is called `spangate`
/// or `spangate-NAME`.
///
/// `NAME_PORT` is one only with the URL that Kubernetes gives it: `SPANGATE_SERVER_PORT=8080` is somebody's guess at a key.
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

/// What follows `NAME_PORT_` in a service link: `8080_TCP`, alone or with `_PROTO`, `_PORT` or `_ADDR`.
fn is_port_link(rest: &str) -> bool {
    let mut parts = rest.split('_');
    let number = parts.next().unwrap_or_default();
    let protocol = parts.next().unwrap_or_default();
    number.parse::<u16>().is_ok()
        && ["TCP", "UDP", "SCTP"].contains(&protocol)
        && matches!(parts.next(), None | Some("PROTO" | "PORT" | "ADDR"))
        && parts.next().is_none()
}
