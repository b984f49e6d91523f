//! A value as its source has it, before the reader of its key gives it a type.

use toml::de::DeValue;

pub(super) enum RawValue {
    /// From the environment or a flag, where all values are text. Without spaces around it.
    Word(String),
    Text(String),
    /// As decimal digits with their sign.
    Integer(String),
    Float(String),
    Boolean(bool),
    Date(String),
    List(Vec<RawValue>),
    Table(Vec<(String, RawValue)>),
}

impl RawValue {
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

    /// The name of its type, with an article.
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
