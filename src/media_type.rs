//! Compares the media type of a `content-type`, without regard to case and parameters (RFC 9110, section 8.3.1).

pub(crate) const EVENT_STREAM: &str = "text/event-stream";

pub(crate) fn is(content_type: impl AsRef<[u8]>, media_type: &str) -> bool {
    let bytes = content_type.as_ref();
    let end = memchr::memchr(b';', bytes).unwrap_or(bytes.len());
    bytes[..end]
        .trim_ascii()
        .eq_ignore_ascii_case(media_type.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_parameters_change_nothing() {
        for same in [
            "text/event-stream",
            "Text/Event-Stream",
            "TEXT/EVENT-STREAM; charset=utf-8",
            " text/event-stream ;charset=UTF-8",
        ] {
            assert!(is(same, EVENT_STREAM), "{same}");
        }
        for other in [
            "",
            "text/event-streams",
            "text/plain",
            "application/json; note=text/event-stream",
        ] {
            assert!(!is(other, EVENT_STREAM), "{other}");
        }
    }
}
