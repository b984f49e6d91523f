//! A value as it was written, before it is known what it means.

use toml::de::DeValue;

use super::keys::{KEYS, Key};
use super::problem::Place;

/// One key with its value, and where that stands.
pub(super) struct Written {
    pub(super) key: &'static Key,
    pub(super) raw: Raw,
    pub(super) place: Place,
}

/// A value in its written form.
pub(super) enum Raw {
    /// From the environment or a flag, where everything is text. Without spaces around it.
    Word(String),
    Text(String),
    /// As decimal digits with their sign.
    Integer(String),
    Float(String),
    Boolean(bool),
    Date(String),
    List(Vec<Raw>),
    Table(Vec<(String, Raw)>),
}

impl Raw {
    pub(super) fn of(value: DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.into_owned()),
            DeValue::Integer(integer) => {
                match i128::from_str_radix(integer.as_str(), integer.radix()) {
                    Ok(value) => Self::Integer(value.to_string()),
                    Err(_) => Self::Integer(integer.to_string()),
                }
            }
            DeValue::Float(float) => Self::Float(float.to_string()),
            DeValue::Boolean(boolean) => Self::Boolean(boolean),
            DeValue::Datetime(date) => Self::Date(date.to_string()),
            DeValue::Array(list) => Self::List(
                list.into_iter()
                    .map(|each| Self::of(each.into_inner()))
                    .collect(),
            ),
            DeValue::Table(table) => Self::Table(
                table
                    .into_iter()
                    .map(|(key, each)| (key.into_inner().into_owned(), Self::of(each.into_inner())))
                    .collect(),
            ),
        }
    }

    /// What it is, with its article.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Word(_) | Self::Text(_) => "a text",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Boolean(_) => "a boolean",
            Self::Date(_) => "a date",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }

    /// A text that is not empty.
    pub(super) fn text(&self, example: &str) -> Result<&str, String> {
        match self {
            Self::Word(text) | Self::Text(text) if text.is_empty() => {
                Err(format!("is empty; write {example}, or leave the key out"))
            }
            Self::Word(text) | Self::Text(text) => Ok(text),
            other => Err(format!("is {}, not a text; write {example}", other.kind())),
        }
    }
}

/// The key of that name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The known key that an unknown name most likely means: the same key of another section, or the one with the fewest letters to
/// change. None when nothing is near.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let last = name.rsplit('.').next().unwrap_or(name);
    let distance = |known: &str| {
        let same_key = known.rsplit('.').next() == Some(last);
        if same_key { 1 } else { edits(name, known) }
    };
    let (distance, known) = KEYS
        .iter()
        .map(|key| (distance(key.name), key.name))
        .min()?;
    (distance <= 2 + name.len() / 4).then_some(known)
}

/// How many letters to insert, remove or replace to make one text of the other (Levenshtein's distance).
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (above, letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = above + 1;
        for (left, other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[left + 1];
            row[left + 1] = replaced.min(diagonal + 1).min(row[left] + 1);
        }
    }
    row[to.len()]
}
