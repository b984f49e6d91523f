//! Tables of answers and what they mean.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

use super::*;

fn answer(status: u16, retry_after: Option<&str>, body: &[u8]) -> Verdict {
    let mut headers = HeaderMap::new();
    if let Some(value) = retry_after {
        headers.insert(header::RETRY_AFTER, value.parse().unwrap());
    }
    judge(
        StatusCode::from_u16(status).unwrap(),
        &headers,
        body,
        httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap(),
    )
}

fn wait(retry_after: Option<&str>, body: &str) -> Option<Duration> {
    match answer(429, retry_after, body.as_bytes()) {
        Verdict::Retry { after, .. } => after,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_status_has_its_meaning() {
    for status in [200, 201, 202, 204, 299] {
        assert_eq!(
            answer(status, None, b""),
            Verdict::Accepted { warning: None },
            "{status}"
        );
    }
    for status in [408, 425, 429, 500, 501, 502, 503, 504, 529, 599] {
        assert!(
            matches!(
                answer(status, None, b""),
                Verdict::Retry { after: None, .. }
            ),
            "{status}"
        );
    }
    for status in [401, 402, 403, 407, 451] {
        assert!(
            matches!(answer(status, None, b"{}"), Verdict::Unauthorised { .. }),
            "{status}"
        );
    }
    for status in [301, 302, 304, 307, 308, 404, 405, 406, 410, 415, 421] {
        assert!(
            matches!(answer(status, None, b""), Verdict::WrongAddress { .. }),
            "{status}"
        );
    }
    assert_eq!(answer(413, None, b""), Verdict::TooLarge);
    for status in [400, 409, 422, 424, 431] {
        assert!(
            matches!(answer(status, None, b""), Verdict::Rejected { .. }),
            "{status}"
        );
    }
}

#[test]
fn a_partial_success_is_read_in_every_spelling() {
    let partial = |rejected| Verdict::Partial {
        rejected,
        message: "why".to_owned(),
    };
    for body in [
        &br#"{"partialSuccess":{"rejectedSpans":3,"errorMessage":"why"}}"#[..],
        br#" {"partialSuccess":{"rejectedSpans":"3","errorMessage":"why"}} "#,
        br#"{"partial_success":{"rejected_spans":3,"error_message":"why"},"more":[]}"#,
    ] {
        assert_eq!(answer(200, None, body), partial(3));
    }
    let message = ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess {
            rejected_spans: 4,
            error_message: "why".to_owned(),
        }),
    };
    assert_eq!(answer(200, None, &message.encode_to_vec()), partial(4));
}

#[test]
fn an_odd_answer_to_an_accepted_post_is_a_warning() {
    for body in [
        &b"{}"[..],
        br#"{"partialSuccess":null}"#,
        br#"{"partialSuccess":{}}"#,
        br#"{"partialSuccess":{"rejectedSpans":-1}}"#,
    ] {
        assert_eq!(answer(200, None, body), Verdict::Accepted { warning: None });
    }
    let hint = br#"{"partialSuccess":{"rejectedSpans":0,"errorMessage":"slow down\n"}}"#;
    assert_eq!(
        answer(200, None, hint),
        Verdict::Accepted {
            warning: Some("slow down ".to_owned())
        }
    );
    for body in [
        &b"<html>"[..],
        b"[1]",
        b"\xff\xff",
        br#"{"partialSuccess":{"rejected"#,
    ] {
        assert!(matches!(
            answer(200, None, body),
            Verdict::Accepted { warning: Some(_) }
        ));
    }
}

#[test]
fn the_wait_is_the_headers_then_the_bodys() {
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    assert_eq!(wait(Some("7"), r#"{"retry_after":30}"#), seconds(7));
    assert_eq!(wait(Some(" 0 "), ""), seconds(0));
    assert_eq!(wait(Some("Sun, 06 Nov 1994 08:50:37 GMT"), ""), seconds(60));
    assert_eq!(
        wait(None, r#"{"detail":"Rate limit exceeded","retry_after":30}"#),
        seconds(30)
    );
    assert_eq!(
        wait(None, r#"{"retry_after":"1.5"}"#),
        Some(Duration::from_millis(1500))
    );
    assert_eq!(wait(Some("soon"), r#"{"retry_after":3}"#), seconds(3));
}

#[test]
fn a_wait_that_makes_no_sense_is_none_or_the_longest() {
    for garbage in ["-1", "soon", "", "NaN", "Sun, 06 Nov 1994 08:48:37 GMT"] {
        assert_eq!(wait(Some(garbage), ""), None, "{garbage}");
    }
    for body in [
        r#"{"retry_after":-3}"#,
        r#"{"retry_after":null}"#,
        "[]",
        "{",
    ] {
        assert_eq!(wait(None, body), None, "{body}");
    }
    for huge in [
        "1000000000",
        "99999999999999999999999999",
        "Sat, 06 Nov 2094 08:49:37 GMT",
    ] {
        assert_eq!(wait(Some(huge), ""), Some(LONGEST_WAIT), "{huge}");
    }
    assert_eq!(wait(None, r#"{"retry_after":1e300}"#), Some(LONGEST_WAIT));
}

#[test]
fn a_reason_is_one_short_line() {
    let body = format!(r#"{{"detail":"bad\n{}"}}"#, "é".repeat(400));
    let Verdict::Rejected { reason } = answer(400, None, body.as_bytes()) else {
        panic!()
    };
    assert!(reason.starts_with("answered 400 Bad Request: bad é"));
    assert!(reason.len() < 400);
}
