//! Readers of keys that take an amount: a duration, a size, or a count.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::raw_value::RawValue;

pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const GIB: u64 = 1 << 30;

/// Added to an `Instant`, a duration must not overflow.
const LONGEST: Duration = Duration::from_hours(365 * 24);

/// Splits `30 s` into its number and its unit. None where no number stands first, or one that is too large.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let (digits, unit) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
    Some((digits.parse().ok()?, unit.trim_start()))
}

/// A duration that may be `0s`.
pub(crate) fn duration_or_zero(raw: &RawValue) -> Result<Duration, String> {
    let text = match raw {
        RawValue::Integer(digits) => {
            return Err(format!(
                "is {digits}, without a unit; write \"{digits}s\" (ms, s, m or h)"
            ));
        }
        other => other.text("a duration like \"30s\"")?,
    };
    let wrong = || {
        format!(
            "is \"{text}\", not a duration; write a whole number with ms, s, m or h, like \"500ms\", \"30s\" or \"10m\""
        )
    };
    let (number, unit) = number_and_unit(text).ok_or_else(wrong)?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "" => {
            return Err(format!(
                "is \"{text}\", without a unit; write \"{text}s\" (ms, s, m or h)"
            ));
        }
        _ => return Err(wrong()),
    };
    let duration = number.checked_mul(milliseconds).map(Duration::from_millis);
    duration
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| format!("is \"{text}\", longer than a year; write at most \"8760h\""))
}

/// A duration of at least a millisecond.
pub(crate) fn duration(raw: &RawValue) -> Result<Duration, String> {
    let duration = duration_or_zero(raw)?;
    if duration.is_zero() {
        Err("is zero, which leaves no time at all; write a duration like \"30s\"".to_owned())
    } else {
        Ok(duration)
    }
}

/// A number of bytes within `bounds`.
pub(crate) fn size(bounds: RangeInclusive<u64>) -> impl Fn(&RawValue) -> Result<u64, String> {
    move |raw| {
        let bytes = bytes(raw)?;
        let (least, most) = (*bounds.start(), *bounds.end());
        if bytes < least {
            return Err(format!(
                "is {}, too little; write at least \"{}\"",
                spelled(bytes),
                spelled(least)
            ));
        }
        if bytes > most {
            return Err(format!(
                "is {}, too much; write at most \"{}\"",
                spelled(bytes),
                spelled(most)
            ));
        }
        Ok(bytes)
    }
}

/// A number of bytes that are held in memory, within `bounds`.
pub(crate) fn memory(bounds: RangeInclusive<u64>) -> impl Fn(&RawValue) -> Result<usize, String> {
    let size = size(bounds);
    move |raw| {
        usize::try_from(size(raw)?)
            .map_err(|_| "is more than this machine can address; write less".to_owned())
    }
}

fn bytes(raw: &RawValue) -> Result<u64, String> {
    let text = match raw {
        RawValue::Integer(digits) => {
            let example = digits.parse().map_or_else(|_| "64KiB".to_owned(), spelled);
            return Err(format!(
                "is {digits}, without a unit; write \"{example}\" (B, KiB, MiB or GiB)"
            ));
        }
        other => other.text("a size like \"64KiB\"")?,
    };
    let (number, unit) = number_and_unit(text).ok_or_else(|| {
        format!(
            "is \"{text}\", not a size; write a whole number with B, KiB, MiB or GiB, like \"64KiB\""
        )
    })?;
    let scale = match unit {
        "B" => 1,
        "KiB" => KIB,
        "MiB" => MIB,
        "GiB" => GIB,
        "TiB" => GIB << 10,
        "" => {
            return Err(format!(
                "is \"{text}\", without a unit; write \"{}\" (B, KiB, MiB or GiB)",
                spelled(number)
            ));
        }
        other => {
            let likely = match other.bytes().next() {
                Some(b'k' | b'K') => "KiB",
                Some(b'm' | b'M') => "MiB",
                Some(b'g' | b'G') => "GiB",
                Some(b't' | b'T') => "TiB",
                _ => "B",
            };
            return Err(format!(
                "is \"{text}\", in a unit that is not known here; write \"{number}{likely}\" (B, KiB, MiB or GiB)"
            ));
        }
    };
    number
        .checked_mul(scale)
        .ok_or_else(|| format!("is \"{text}\", more than can be counted; write less"))
}

/// A size in the largest unit that holds it without a rest.
fn spelled(bytes: u64) -> String {
    let units = [(GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")];
    match units
        .iter()
        .find(|(scale, _)| bytes != 0 && bytes.is_multiple_of(*scale))
    {
        Some((scale, unit)) => format!("{}{unit}", bytes / scale),
        None => format!("{bytes}B"),
    }
}

/// A count within `bounds`.
pub(crate) fn count(bounds: RangeInclusive<usize>) -> impl Fn(&RawValue) -> Result<usize, String> {
    move |raw| {
        let (least, most) = (bounds.start(), bounds.end());
        let instead =
            format!("write a whole number from {least} to {most}, without quotes in a file");
        match raw {
            RawValue::Integer(digits) | RawValue::Word(digits) => match digits.parse() {
                Ok(number) if bounds.contains(&number) => Ok(number),
                _ => Err(format!("is {digits}; {instead}")),
            },
            other => Err(format!("is {}, not an integer; {instead}", other.kind())),
        }
    }
}
