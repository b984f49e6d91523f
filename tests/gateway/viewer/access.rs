//! Access to the admin port, and the rights of its page.

use super::{get, header};
use crate::harness::{ClientRequest, Gateway, Payload, Setup, Upstream, Wire, chat_reply};

fn form(target: &str, body: &str) -> ClientRequest {
    ClientRequest::new("POST", target)
        .header("content-type", "application/x-www-form-urlencoded")
        .payload(Payload::Whole(body.as_bytes().to_vec()))
}

async fn guarded() -> (Upstream, Gateway) {
    let upstream = Upstream::always(chat_reply("Fine.")).await;
    let setup = Setup::before(&upstream.url("/v1")).set("server.admin_token", "at-1+2");
    let gateway = setup.start().await;
    (upstream, gateway)
}

#[tokio::test]
async fn a_session_of_the_sign_in_page_opens_everything() {
    let (_upstream, gateway) = guarded().await;
    let page = get(&gateway, "/").await;
    assert_eq!(page.status, 401);
    assert_eq!(header(&page, "content-type"), "text/html; charset=utf-8");
    let text = String::from_utf8(page.body).unwrap();
    assert!(
        text.contains("id=\"wrong\"") && text.contains(" hidden>That token is not right."),
        "{text}"
    );
    for target in ["/viewer.css", "/sign-in.js", "/icon.svg"] {
        assert_eq!(get(&gateway, target).await.status, 200, "{target}");
    }
    for target in ["/api/traces", "/api/events", "/api/health"] {
        let message = super::complaint(&gateway, target, 401).await;
        assert!(message.contains("server.admin_token"), "{message}");
    }

    let wrong = form("/sign-in", "token=at-2").to(gateway.admin).await;
    assert_eq!(wrong.status, 401);
    assert!(header(&wrong, "set-cookie").is_empty());
    let text = String::from_utf8(wrong.body).unwrap();
    assert!(
        text.contains("That token is not right.") && !text.contains("hidden>That"),
        "{text}"
    );

    let right = form("/sign-in", "token=at-1%2B2").to(gateway.admin).await;
    assert_eq!((right.status, header(&right, "location")), (303, "/"));
    let cookie = header(&right, "set-cookie").to_owned();
    assert!(!cookie.contains("at-1"), "{cookie}");
    for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let session = cookie.split(';').next().unwrap();
    let shown =
        |target: &str, cookies: &str| ClientRequest::new("GET", target).header("cookie", cookies);
    for target in ["/", "/api/traces", "/metrics"] {
        let cookies = format!("other=1; {session}");
        assert_eq!(
            shown(target, &cookies).to(gateway.admin).await.status,
            200,
            "{target}"
        );
    }
    let forged = format!("{}0", &session[..session.len() - 1]);
    let forged = if forged == session {
        format!("{forged}1")
    } else {
        forged
    };
    assert_eq!(
        shown("/api/traces", &forged).to(gateway.admin).await.status,
        401
    );
    let out = form("/sign-out", "")
        .header("cookie", session)
        .to(gateway.admin)
        .await;
    assert_eq!(out.status, 303);
    assert!(header(&out, "set-cookie").contains("Max-Age=0"), "{out:?}");
}

#[tokio::test]
async fn a_too_long_form_is_refused() {
    let (_upstream, gateway) = guarded().await;
    let long = format!("token={}", "x".repeat(5000));
    assert_eq!(form("/sign-in", &long).to(gateway.admin).await.status, 413);
}

#[tokio::test]
async fn the_page_may_load_nothing_from_elsewhere_and_not_be_framed() {
    let upstream = Upstream::always(chat_reply("Fine.")).await;
    let gateway = Gateway::before(&upstream).await;
    for (target, content_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/viewer.css", "text/css; charset=utf-8"),
        ("/viewer.js", "text/javascript; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
    ] {
        let reply = get(&gateway, target).await;
        assert_eq!(
            (reply.status, header(&reply, "content-type")),
            (200, content_type)
        );
        assert_eq!(
            header(&reply, "content-security-policy"),
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        );
        assert_eq!(header(&reply, "x-content-type-options"), "nosniff");
        assert_eq!(header(&reply, "cache-control"), "no-store");
    }
}

#[tokio::test]
async fn a_foreign_name_shows_no_trace() {
    let upstream = Upstream::always(chat_reply("Fine.")).await;
    let gateway = Gateway::before(&upstream).await;
    for target in ["/", "/api/traces", "/api/events"] {
        let mut wire = Wire::connect(gateway.admin).await;
        wire.send(format!("GET {target} HTTP/1.1\r\nHost: evil.test\r\n\r\n"))
            .await;
        assert_eq!(wire.reply("GET").await.status, 421, "{target}");
    }
}

#[tokio::test]
async fn health_has_facts_about_the_gateway() {
    let upstream = Upstream::always(chat_reply("Fine.")).await;
    let gateway = Gateway::before(&upstream).await;
    let health = super::answer(&gateway, "/api/health").await;
    let about = &health["gateway"];
    assert_eq!(about["base_url"], format!("http://{}/v1", gateway.address));
    assert_eq!(about["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(about["draining"], false);
    assert_eq!(about["runs_open"], 0);
    assert!(about["started"].as_str().unwrap().ends_with('Z'));
}
