//! Signs of a failure in the result of a tool, shown to people beside a span that has no error.
//!
//! AutoGen's `FunctionExecutionResult.is_error` never reaches the wire: of a tool that raised, the next request has only the exception's text.
//! So the gateway cannot know of the failure, and the status of the span stays as it is.
//!
//! A result may be a web page or a log that mentions errors. So a sign counts only where a failure puts it: at the start of the first or of the
//! last line, where Python and the JVM write the exception.

use serde::Deserialize;
use serde_json::value::RawValue;

/// Bytes of a line that are read.
const LINE: usize = 400;
/// Most bytes of JSON that are parsed.
const MOST_JSON: usize = 256 << 10;
/// Most bytes of the name of an exception.
const MOST_NAME: usize = 80;

/// The first sign in `result`, as it is written there.
pub(super) fn find(result: &str) -> Option<String> {
    let result = result.trim();
    if result.contains("Traceback (most recent call last)") {
        return Some("Traceback".to_owned());
    }
    if let Some(sign) = in_object(result) {
        return Some(sign.to_owned());
    }
    let first = line(result.lines().next()?);
    let last = line(result.lines().next_back()?);
    let raised = raised(first).or_else(|| exception_name(last));
    raised
        .map(str::to_owned)
        .or_else(|| timed_out(first).map(str::to_owned))
}

fn line(text: &str) -> &str {
    text[..text.floor_char_boundary(LINE)].trim()
}

/// The sign in an object with an `error`: JSON, or a dictionary in Python's spelling.
fn in_object(result: &str) -> Option<&'static str> {
    #[derive(Deserialize)]
    struct Object<'r> {
        #[serde(borrow, default)]
        error: Option<&'r RawValue>,
    }
    if !result.starts_with('{') {
        return None;
    }
    let quoted = result[1..].trim_start().strip_prefix("'error'");
    if let Some(value) = quoted.and_then(|rest| rest.trim_start().strip_prefix(':')) {
        let value = value.trim_start();
        let nothing = ["None", "False", "''", "{}", "[]", "0"];
        return (!nothing.iter().any(|nothing| value.starts_with(nothing))).then_some("{'error':");
    }
    let object: Object<'_> = (result.len() <= MOST_JSON)
        .then(|| serde_json::from_str(result).ok())
        .flatten()?;
    let nothing = ["null", "false", "\"\"", "{}", "[]", "0"];
    let error = object.error?.get();
    (!nothing.contains(&error)).then_some("{\"error\":")
}

/// The name of an exception, such as `ValueError:`, at the start of a line or of a sentence in it.
fn raised(line: &str) -> Option<&str> {
    let sentences = line.match_indices([' ', '(', '[']).filter_map(|(at, _)| {
        let ends = line[..at].ends_with(['.', ':', ';', '!', '-', '—', ','])
            || !line[at..].starts_with(' ');
        ends.then_some(at + 1)
    });
    std::iter::once(0)
        .chain(sentences)
        .find_map(|at| exception_name(&line[at..]))
}

/// The name of an exception at the start of `line`.
fn exception_name(line: &str) -> Option<&str> {
    let is_in_name = |character: char| character.is_alphanumeric() || "._$".contains(character);
    let end = line
        .find(|character| !is_in_name(character))
        .unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    if name.len() > MOST_NAME {
        return None;
    }
    let is_error =
        rest.starts_with(':') && (name.ends_with("Error") || name.eq_ignore_ascii_case("error"));
    // Texts about exceptions in general name `Exception`, but hardly ever a class of their own.
    let is_exception = name.ends_with("Exception")
        && (name != "Exception"
            || rest.is_empty()
            || [":", " occurred", " raised", " in ", " while "]
                .iter()
                .any(|follows| rest.starts_with(follows)));
    if is_error {
        Some(&line[..=end])
    } else {
        is_exception.then_some(name)
    }
}

/// The sign of a timeout.
fn timed_out(line: &str) -> Option<&'static str> {
    let lower = line.to_lowercase();
    let phrases = [
        "timed out",
        "timeout exceeded",
        "timeout expired",
        "deadline exceeded",
    ];
    let phrase = phrases.into_iter().find(|phrase| lower.contains(phrase));
    let is_timeout = ["timeout", "timeouterror"].contains(&lower.trim_end_matches(['.', '!']))
        || lower.starts_with("timeout:")
        || lower.starts_with("timeout after")
        || lower.starts_with("timeouterror")
        || lower.ends_with(" timeout");
    phrase.or_else(|| is_timeout.then_some("timeout"))
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn the_result_of_a_failure_has_a_sign() {
        for (result, sign) in [
            ("Error: no such city", "Error:"),
            ("error: could not compile `owls`", "error:"),
            ("ERROR: division by zero", "ERROR:"),
            (
                "ValueError: invalid literal for int() with base 10: 'x'",
                "ValueError:",
            ),
            ("  KeyError: 'owl'\n", "KeyError:"),
            (
                "requests.exceptions.HTTPError: 404 Client Error",
                "requests.exceptions.HTTPError:",
            ),
            ("Tool failed. Error: the disk is full", "Error:"),
            ("Could not read it (OSError: [Errno 5])", "OSError:"),
            ("Exception: nothing there", "Exception"),
            ("Exception", "Exception"),
            ("Exception occurred while reading", "Exception"),
            (
                "java.lang.NullPointerException",
                "java.lang.NullPointerException",
            ),
            (
                "Traceback (most recent call last):\n  File \"a.py\", line 1\nKeyError: 1",
                "Traceback",
            ),
            (
                "The code ran.\nTraceback (most recent call last):\n  …",
                "Traceback",
            ),
            (
                "step 1\nstep 2\nZeroDivisionError: division by zero",
                "ZeroDivisionError:",
            ),
            (r#"{"error": "no such city"}"#, "{\"error\":"),
            (
                r#"{"status": 404, "error": {"message": "no such city"}}"#,
                "{\"error\":",
            ),
            ("{'error': 'no such city'}", "{'error':"),
            ("The request timed out.", "timed out"),
            ("Timed out after 30 s", "timed out"),
            ("timeout", "timeout"),
            ("TimeoutError", "timeout"),
            ("Connection timeout", "timeout"),
            ("context deadline exceeded", "deadline exceeded"),
            ("TimeoutError: it took too long", "TimeoutError:"),
        ] {
            assert_eq!(find(result).as_deref(), Some(sign), "{result}");
        }
    }

    #[test]
    fn a_text_about_errors_has_no_sign() {
        for result in [
            "",
            "12",
            "Owls fly at night.",
            "There are no errors.",
            "Errors: 0",
            "The mean squared error is 0.2",
            "Mean Squared Error: 0.2",
            "With the exception of penguins, birds fly.",
            "Exceptions prove the rule.",
            "Exception handling in Rust has no exceptions.",
            "Set the timeout to 30 s for slow upstreams.",
            "How to handle a Python Exception: a guide, with what to catch",
            "# Guide\nError: is what a shell says before it ends.\nThe end.",
            r#"{"error": null, "city": "Bergen"}"#,
            r#"{"error": "", "city": "Bergen"}"#,
            r#"{"error": false}"#,
            r#"{"city": {"error": "within"}}"#,
            "{'error': None, 'city': 'Bergen'}",
            r#"[{"error": "one of many rows"}]"#,
            "é",
        ] {
            assert_eq!(find(result), None, "{result}");
        }
    }
}
