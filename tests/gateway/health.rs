//! Watches over health checks and scrapes, and that no path of the admin port exists on the data port.

use crate::harness::{ClientRequest, Gateway, Protocol, Setup, Upstream, Wire};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn health_is_answered_on_both_ports_without_asking_the_upstream() {
    let upstream = Upstream::always(OK).await;
    let gateway = Gateway::before(&upstream).await;
    for address in [gateway.address, gateway.admin] {
        for target in ["/healthz", "/readyz"] {
            assert_eq!(
                ClientRequest::new("GET", target).to(address).await.status,
                200,
                "{target}"
            );
            assert_eq!(
                ClientRequest::new("HEAD", target).to(address).await.status,
                200,
                "{target}"
            );
        }
    }
    for target in ["/healthz", "/readyz"] {
        assert_eq!(
            ClientRequest::new("GET", target)
                .over(Protocol::Two, gateway.address)
                .await
                .status,
            200
        );
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn a_health_check_of_http_1_0_without_a_host_is_answered_on_both_ports() {
    let upstream = Upstream::always(OK).await;
    let gateway = Gateway::before(&upstream).await;
    for address in [gateway.address, gateway.admin] {
        for line in [
            "GET /healthz HTTP/1.0",
            "GET /readyz HTTP/1.0",
            "HEAD /healthz HTTP/1.0",
        ] {
            let mut wire = Wire::connect(address).await;
            wire.send(format!("{line}\r\n\r\n")).await;
            let (status, _, _) = wire.reply_head("GET").await;
            assert_eq!(status, 200, "{line}");
            wire.left().await;
        }
    }
}

#[tokio::test]
async fn health_does_not_depend_on_upstream_or_respan() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port that is free again");
    let setup = Setup::before(&format!("http://{nobody}/v1"))
        .set("respan.base_url", &format!("http://{nobody}"))
        .set("respan.api_key", "rk");
    let gateway = setup.start().await;
    gateway
        .ask(&ClientRequest::post("/v1/chat/completions", "{}"))
        .await
        .expect_own_error(502);
    for target in ["/healthz", "/readyz"] {
        assert_eq!(
            gateway.ask(&ClientRequest::new("GET", target)).await.status,
            200
        );
    }
}

#[tokio::test]
async fn admin_paths_do_not_exist_on_the_data_port() {
    let upstream = Upstream::always(OK).await;
    let gateway = Gateway::before(&upstream).await;
    for target in ["/metrics", "/"] {
        gateway
            .ask(&ClientRequest::new("GET", target))
            .await
            .expect_own_error(404);
    }
    assert_eq!(upstream.requests(), 0);
    for target in ["/api/traces", "/api/events", "/api/health"] {
        assert_eq!(
            gateway.ask(&ClientRequest::new("GET", target)).await.body,
            b"ok",
            "{target} is upstream traffic like any other"
        );
    }
    let targets: Vec<_> = upstream
        .seen()
        .into_iter()
        .map(|request| request.target)
        .collect();
    assert_eq!(targets, ["/v1/traces", "/v1/events", "/v1/health"]);
}

#[tokio::test]
async fn the_admin_port_forwards_nothing() {
    let upstream = Upstream::always(OK).await;
    let gateway = Gateway::before(&upstream).await;
    for target in ["/v1/models", "/v1/chat/completions"] {
        assert_eq!(
            ClientRequest::post(target, "{}")
                .to(gateway.admin)
                .await
                .status
                / 100,
            4
        );
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn the_admin_port_does_not_answer_to_a_foreign_name() {
    let upstream = Upstream::always(OK).await;
    let gateway = Gateway::before(&upstream).await;
    for (host, answered) in [
        ("evil.test", false),
        ("localhost", true),
        ("127.0.0.1", true),
        ("localhost.evil.test", false),
    ] {
        let mut wire = Wire::connect(gateway.admin).await;
        wire.send(format!(
            "GET /metrics HTTP/1.1\r\nHost: {host}:{}\r\n\r\n",
            gateway.admin.port()
        ))
        .await;
        let reply = wire.reply("GET").await;
        assert_eq!(reply.status == 200, answered, "{host}: {reply:?}");
    }
}

#[tokio::test]
async fn the_admin_token_guards_all_but_health() {
    let upstream = Upstream::always(OK).await;
    let gateway = Setup::before(&upstream.url("/v1"))
        .set("server.admin_token", "at-1")
        .start()
        .await;
    let get = |target: &str| ClientRequest::new("GET", target);
    assert_eq!(get("/metrics").to(gateway.admin).await.status, 401);
    assert_eq!(
        get("/metrics")
            .header("authorization", "Bearer wrong")
            .to(gateway.admin)
            .await
            .status,
        401
    );
    assert_eq!(
        get("/metrics")
            .header("authorization", "Bearer at-1")
            .to(gateway.admin)
            .await
            .status,
        200
    );
    assert_eq!(get("/healthz").to(gateway.admin).await.status, 200);
    assert_eq!(get("/readyz").to(gateway.admin).await.status, 200);
}

#[tokio::test]
async fn requests_and_open_streams_are_counted() {
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    let mut call = gateway.call(Protocol::One).await;
    let mut peer = upstream.next_request().await;
    peer.send(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
    )
    .await;
    call.head().await;
    let during = gateway.metrics().await;
    assert!((during.total("spangate_streams_open") - 1.0).abs() < 0.1);
    peer.send("0\r\n\r\n").await;
    call.rest().await;
    let after = crate::harness::until("the stream to be counted out", async || {
        let now = gateway.metrics().await;
        (now.total("spangate_streams_open") < 0.5).then_some(now)
    });
    let after = after.await;
    assert!(
        (after.total("spangate_requests_total") - 1.0).abs() < 0.1,
        "health checks are no requests: {after:?}"
    );
    for name in [
        "spangate_first_byte_seconds_count",
        "spangate_overhead_seconds_count",
    ] {
        assert!((after.total(name) - 1.0).abs() < 0.1, "{name}: {after:?}");
    }
    for name in [
        "spangate_spans_created_total",
        "spangate_spans_exported_total",
        "spangate_spans_rejected_total",
        "spangate_spans_pending",
    ] {
        assert!(
            after.has(name),
            "{name} is there before it has counted anything"
        );
    }
}
