//! Reads a TOML file: each of its keys becomes an assignment with its line.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::draft::Draft;
use super::keys::{find_key, is_section, nearest_key, sections, unknown_key};
use super::problem::SourceLocation;
use super::raw_value::RawValue;

/// Reads the file at `path`. A syntax error is a problem with its line; the keys around it are still read.
pub(super) fn read(path: &Path, draft: &mut Draft) {
    let location = |line: usize| SourceLocation::File {
        path: path.to_owned(),
        line,
    };
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text, &|offset| location(line(&text, offset)), draft),
        Err(error) => draft.refuse(
            location(0),
            "",
            format!("cannot be read ({error}); name another file with --config, or leave it out"),
        ),
    }
}

/// `locate` gives the location of a byte offset.
fn parse(text: &str, locate: &dyn Fn(usize) -> SourceLocation, draft: &mut Draft) {
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let offset = error.span().map_or(0, |span| span.start);
        let text = format!("not TOML: {}", error.message().trim());
        draft.refuse(locate(offset), "", text);
    }
    for (section, table) in root.into_inner() {
        let offset = section.span().start;
        let section = section.into_inner();
        match table.into_inner() {
            DeValue::Table(table) if is_section(&section) => {
                read_section(&section, table, locate, draft);
            }
            other => {
                let text = not_a_section(&section, &RawValue::of(other));
                draft.refuse(locate(offset), section, text);
            }
        }
    }
}

fn read_section(
    section: &str,
    table: DeTable<'_>,
    locate: &dyn Fn(usize) -> SourceLocation,
    draft: &mut Draft,
) {
    for (key, value) in table {
        let location = locate(Spanned::span(&key).start);
        let name = format!("{section}.{}", key.get_ref());
        match find_key(&name) {
            Some(key) => draft.assign(key, RawValue::of(value.into_inner()), location),
            None => draft.refuse(location, &name, unknown_key(&name)),
        }
    }
}

fn not_a_section(name: &str, value: &RawValue) -> String {
    if is_section(name) {
        return format!(
            "is {}, not a section; write [{name}] and its keys below",
            value.kind()
        );
    }
    let sections = sections().join(", ");
    if matches!(value, RawValue::Table(_)) {
        return format!("unknown section; there are {sections}");
    }
    match nearest_key(name) {
        Some(known) => format!("unknown key outside of a section; did you mean {known}?"),
        None => format!("unknown key outside of a section; sections are {sections}"),
    }
}

/// The line, counted from one, of a byte offset.
fn line(text: &str, offset: usize) -> usize {
    let before = text.bytes().take(offset);
    1 + before.filter(|byte| *byte == b'\n').count()
}
