//! JSON that others wrote, read member by member so that one bad member costs only itself.
//!
//! serde's derived structs fail as a whole on a repeated key or a wrong type. Here a type takes its members one at a time into itself, so
//! what was read before the bytes ended or went bad is still there. Nested values that no type asks for are skipped without recursion, so
//! depth is no danger.

use std::borrow::Cow;
use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

/// Something that is read from the members of a JSON object.
pub(super) trait Members<'de> {
    /// Takes the value of the member `name` from `map`, exactly once.
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error>;
}

/// Reads the object that `text` begins with. On an error, what came before it was read.
pub(super) fn read<'de>(
    text: &'de str,
    into: &mut impl Members<'de>,
) -> Result<(), serde_json::Error> {
    Object(into).deserialize(&mut serde_json::Deserializer::from_str(text))
}

/// Takes the next value of `map` into `slot`, if it is what `meaning` can use. A value of another type changes nothing.
pub(super) fn take<'de, A: MapAccess<'de>, T>(
    map: &mut A,
    slot: &mut Option<T>,
    meaning: impl FnOnce(&'de RawValue) -> Option<T>,
) -> Result<(), A::Error> {
    if let Some(value) = meaning(map.next_value()?) {
        *slot = Some(value);
    }
    Ok(())
}

/// Passes over the next value of `map`.
pub(super) fn skip<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(drop)
}

/// A string; lone surrogates become U+FFFD.
pub(super) fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if !inner.as_bytes().contains(&b'\\') {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str::<Text<'_>>(raw.get())
        .ok()
        .map(|text| text.0)
}

/// Any value but null, as it was written.
pub(super) fn written(raw: &RawValue) -> Option<Cow<'_, str>> {
    (raw.get() != "null").then(|| Cow::Borrowed(raw.get()))
}

/// A string as its text, any other value but null as it was written.
pub(super) fn text_or_written(raw: &RawValue) -> Option<Cow<'_, str>> {
    text(raw).or_else(|| written(raw))
}

/// A finite number.
pub(super) fn number(raw: &RawValue) -> Option<f64> {
    serde_json::from_str(raw.get()).ok()
}

/// A whole number, also if it was written as `12.0`.
pub(super) fn whole(raw: &RawValue) -> Option<i64> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a whole number below 2^53 is exact in both"
    )]
    let from_float =
        |float: f64| (float.fract() == 0.0 && float.abs() < 9e15).then_some(float as i64);
    serde_json::from_str(raw.get())
        .ok()
        .or_else(|| number(raw).and_then(from_float))
}

/// A whole number that is not negative.
pub(super) fn count(raw: &RawValue) -> Option<u64> {
    whole(raw).and_then(|number| u64::try_from(number).ok())
}

/// True or false.
pub(super) fn flag(raw: &RawValue) -> Option<bool> {
    serde_json::from_str(raw.get()).ok()
}

/// What a visitor does with JSON that it has no use for: nothing.
macro_rules! passed_over {
    () => {
        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("any JSON value")
        }

        fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
            Ok(())
        }

        fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
            Ok(())
        }

        fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
            Ok(())
        }

        fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
            Ok(())
        }

        fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
            Ok(())
        }

        fn visit_unit<E: Error>(self) -> Result<(), E> {
            Ok(())
        }
    };
}

/// Reads an object's members into a value; anything but an object is passed over.
pub(super) struct Object<'t, T>(pub(super) &'t mut T);

impl<'de, T: Members<'de>> DeserializeSeed<'de> for Object<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Members<'de>> Visitor<'de> for Object<'_, T> {
    type Value = ();

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<Text<'de>>()? {
            self.0.member(&name.0, &mut map)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    passed_over!();
}

/// Reads an array, one value for each element, whatever it is, so that places keep their numbers; anything but an array is passed over.
///
/// Elements that were there before are dropped: of a repeated key the last one counts. What becomes of an element that the text breaks
/// off in is for [`Broken`] to say.
pub(super) struct Array<'t, T> {
    pub(super) into: &'t mut Vec<T>,
    /// What to do with an element that was not read to its end.
    pub(super) broken: Broken,
}

/// What becomes of an array's element that the text breaks off in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    Kept,
    Dropped,
}

impl<'de, T: Members<'de> + Default> DeserializeSeed<'de> for Array<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Members<'de> + Default> Visitor<'de> for Array<'_, T> {
    type Value = ();

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        self.into.clear();
        loop {
            let mut element = T::default();
            match elements.next_element_seed(Object(&mut element)) {
                Ok(Some(())) => self.into.push(element),
                Ok(None) => return Ok(()),
                Err(error) => {
                    if self.broken == Broken::Kept {
                        self.into.push(element);
                    }
                    return Err(error);
                }
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }

    passed_over!();
}

/// A string, borrowed where it was written without escapes. Read as bytes, for only so does serde_json take a lone surrogate.
struct Text<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string")
    }

    fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Text<'de>, E> {
        Ok(Text(readable(bytes)))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(readable(bytes).into_owned())))
    }
}

/// Looking for what is wrong takes several times as long as seeing that nothing is, and nearly always nothing is.
fn readable(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}
