//! A TOML file becomes written keys, each with its line.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::KEYS;
use super::problem::{Place, Problem};
use super::written::{Raw, Written, find, nearest};

/// Reads the file at `path`. What is not TOML is reported with its line, and what could be read around it is still taken.
pub(super) fn read(path: &Path, written: &mut Vec<Written>, problems: &mut Vec<Problem>) {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(path, &text, written, problems),
        Err(error) => problems.push(Problem::new(
            Place::File {
                path: path.to_owned(),
                line: 0,
            },
            "",
            format!("cannot be read ({error}); name another file with --config, or leave it out"),
        )),
    }
}

fn parse(path: &Path, text: &str, written: &mut Vec<Written>, problems: &mut Vec<Problem>) {
    let place = |offset: usize| Place::File {
        path: path.to_owned(),
        line: line(text, offset),
    };

    let (root, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let offset = error.span().map_or(0, |span| span.start);
        problems.push(Problem::new(
            place(offset),
            "",
            format!("not TOML: {}", error.message().trim()),
        ));
    }
    for (section, table) in root.into_inner() {
        let offset = section.span().start;
        let section = section.into_inner();
        match table.into_inner() {
            DeValue::Table(table) if is_section(&section) => {
                read_section(&section, table, &place, written, problems);
            }
            other => {
                let text = not_a_section(&section, &Raw::of(other));
                problems.push(Problem::new(place(offset), section, text));
            }
        }
    }
}

fn read_section(
    section: &str,
    table: DeTable<'_>,
    place: &dyn Fn(usize) -> Place,
    written: &mut Vec<Written>,
    problems: &mut Vec<Problem>,
) {
    for (key, value) in table {
        let place = place(Spanned::span(&key).start);
        let name = format!("{section}.{}", key.get_ref());
        if let Some(key) = find(&name) {
            written.push(Written {
                key,
                raw: Raw::of(value.into_inner()),
                place,
            });
        } else {
            let text = match nearest(&name) {
                Some(known) => format!("unknown key; did you mean {known}?"),
                None => "unknown key; config/spangate.toml shows all there are".to_owned(),
            };
            problems.push(Problem::new(place, name, text));
        }
    }
}

fn not_a_section(name: &str, value: &Raw) -> String {
    if is_section(name) {
        return format!(
            "is {}, not a section; write [{name}] and its keys below",
            value.kind()
        );
    }
    let sections = sections().join(", ");
    if matches!(value, Raw::Table(_)) {
        return format!("unknown section; there are {sections}");
    }
    match nearest(name) {
        Some(known) => format!("unknown key outside of a section; did you mean {known}?"),
        None => format!("unknown key outside of a section; sections are {sections}"),
    }
}

/// The sections there are, in the order of their declaration.
pub(super) fn sections() -> Vec<&'static str> {
    let mut sections: Vec<_> = KEYS
        .iter()
        .filter_map(|key| key.name.split('.').next())
        .collect();
    sections.dedup();
    sections
}

fn is_section(name: &str) -> bool {
    sections().contains(&name)
}

/// The line, counted from one, of a byte offset.
fn line(text: &str, offset: usize) -> usize {
    1 + text
        .bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
}
