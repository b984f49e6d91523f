//! Watches over the limits: a request within them passes, one beyond gets its own status, and neither delays the others.

use crate::harness::{
    Call, ClientRequest, Payload, Protocol, Respan, Setup, Upstream, Wire, request_id, value,
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn a_target_beyond_its_limit_is_414() {
    let upstream = Upstream::always(OK).await;
    let gateway = crate::harness::Gateway::before(&upstream).await;
    for protocol in Protocol::BOTH {
        let within = format!("/v1/{}", "x".repeat(16 * 1024 - 4));
        assert_eq!(
            ClientRequest::new("GET", &within)
                .over(protocol, gateway.address)
                .await
                .status,
            200
        );
        ClientRequest::new("GET", &format!("{within}y"))
            .over(protocol, gateway.address)
            .await
            .expect_own_error(414);
    }
    let mut wire = Wire::connect(gateway.address).await;
    wire.send(format!(
        "GET /v1/{} HTTP/1.1\r\nHost: g\r\n\r\n",
        "x".repeat(40_000)
    ))
    .await;
    wire.reply("GET").await.expect_own_error(414);
}

#[tokio::test]
async fn a_head_beyond_its_limits_is_431() {
    let upstream = Upstream::always(OK).await;
    let gateway = crate::harness::Gateway::before(&upstream).await;
    let with = |count: usize, size: usize| {
        (0..count).fold(ClientRequest::new("GET", "/v1/models"), |ask, n| {
            ask.header(&format!("x-{n}"), &"v".repeat(size))
        })
    };
    for protocol in Protocol::BOTH {
        for ask in [with(120, 10), with(6, 10_000)] {
            assert_eq!(
                ask.over(protocol, gateway.address).await.status,
                200,
                "{protocol:?}"
            );
        }
        for ask in [with(129, 10), with(7, 10_000)] {
            ask.over(protocol, gateway.address)
                .await
                .expect_own_error(431);
        }
    }
}

#[tokio::test]
async fn limits_can_be_set() {
    let upstream = Upstream::always(OK).await;
    let setup = Setup::before(&upstream.url("/v1"))
        .set("limits.max_target", "64B")
        .set("limits.max_headers", "4")
        .set("limits.max_head", "8KiB");
    let gateway = setup.start().await;
    let get = |target: &str| ClientRequest::new("GET", target);
    assert_eq!(gateway.ask(&get("/v1/models")).await.status, 200);
    gateway
        .ask(&get(&format!("/v1/{}", "x".repeat(64))))
        .await
        .expect_own_error(414);
    gateway
        .ask(&(0..5).fold(get("/v1/x"), |ask, n| ask.header(&format!("x-{n}"), "v")))
        .await
        .expect_own_error(431);
    gateway
        .ask(&get("/v1/x").header("x-large", &"v".repeat(8200)))
        .await
        .expect_own_error(431);
}

#[tokio::test]
async fn limits_can_be_raised_beyond_those_of_the_transport() {
    let upstream = Upstream::always(OK).await;
    let setup = Setup::before(&upstream.url("/v1"))
        .set("limits.max_headers", "1000")
        .set("limits.max_head", "1MiB");
    let gateway = setup.start().await;
    for protocol in Protocol::BOTH {
        let many = (0..900).fold(ClientRequest::new("GET", "/v1/x"), |ask, n| {
            ask.header(&format!("x-{n}"), "v")
        });
        assert_eq!(
            many.over(protocol, gateway.address).await.status,
            200,
            "{protocol:?}"
        );
        let large = ClientRequest::new("GET", "/v1/x").header("x-large", &"v".repeat(900_000));
        assert_eq!(
            large.over(protocol, gateway.address).await.status,
            200,
            "{protocol:?}"
        );
    }
}

#[tokio::test]
async fn a_body_with_a_length_beyond_its_limit_is_413_before_the_upstream_hears_of_it() {
    let upstream = Upstream::always(OK).await;
    let gateway = Setup::before(&upstream.url("/v1"))
        .set("limits.max_body", "1KiB")
        .start()
        .await;
    for protocol in Protocol::BOTH {
        assert_eq!(
            ClientRequest::post("/v1/files", vec![b'x'; 1024])
                .over(protocol, gateway.address)
                .await
                .status,
            200
        );
        let before = upstream.requests();
        ClientRequest::post("/v1/files", vec![b'x'; 1025])
            .over(protocol, gateway.address)
            .await
            .expect_own_error(413);
        assert_eq!(upstream.requests(), before);
    }
}

#[tokio::test]
async fn a_body_that_grows_beyond_its_limit_is_413_and_the_upstream_sees_no_whole_request() {
    let mut upstream = Upstream::listen().await;
    let respan = Respan::start().await;
    let gateway = Setup::between(&upstream, &respan)
        .set("limits.max_body", "1KiB")
        .start()
        .await;
    for protocol in Protocol::BOTH {
        let mut call = Call::begin(
            protocol,
            gateway.address,
            &ClientRequest::new("POST", "/v1/files").payload(Payload::Open),
        )
        .await;
        call.send(&[b'x'; 1000]).await;
        let mut peer = upstream.next().await;
        let (_, mut framing) = peer.request_head().await;
        call.send(&[b'x'; 1000]).await;
        call.finish().await;
        let (body, _, end) = peer.rest(&mut framing).await;
        assert!(body.len() <= 1024, "{}", body.len());
        assert_ne!(end, crate::harness::End::Clean);
        let reply = call.reply().await;
        reply.expect_own_error(413);
        let span = respan
            .span_of(request_id(&reply.headers).expect("an id"))
            .await;
        assert_eq!(
            (span.outcome().as_str(), span.text("status_code").as_str()),
            ("refused", "413"),
            "not the upstream's failure: {span:?}"
        );
    }
}

#[tokio::test]
async fn a_request_beyond_max_in_flight_is_503_with_retry_after() {
    let mut upstream = Upstream::listen().await;
    let gateway = Setup::before(&upstream.url("/v1"))
        .set("limits.max_in_flight", "2")
        .start()
        .await;
    let mut open = Vec::new();
    for protocol in Protocol::BOTH {
        let mut call = gateway.call(protocol).await;
        let mut peer = upstream.next_request().await;
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            .await;
        call.head().await;
        open.push((call, peer));
    }
    for protocol in Protocol::BOTH {
        let reply = ClientRequest::post("/v1/chat/completions", "{}")
            .over(protocol, gateway.address)
            .await;
        reply.expect_own_error(503);
        let after = value(&reply.headers, "retry-after").expect("a retry-after");
        assert!(
            after.parse::<u64>().is_ok_and(|seconds| seconds >= 1),
            "{after}"
        );
    }
    assert_eq!(upstream.requests(), 2);
    let shed = gateway
        .metrics()
        .await
        .total("spangate_requests_shed_total");
    assert!((shed - 2.0).abs() < 0.1, "{shed}");
    assert_eq!(
        gateway
            .ask(&ClientRequest::new("GET", "/healthz"))
            .await
            .status,
        200,
        "health does not need a place"
    );
    for (mut call, mut peer) in open {
        peer.send("0\r\n\r\n").await;
        assert_eq!(call.rest().await.2, crate::harness::End::Clean);
        upstream.keep(peer);
    }
    let reply = crate::harness::until("a free place", async || {
        let call = Call::begin(
            Protocol::One,
            gateway.address,
            &ClientRequest::new("GET", "/v1/models"),
        )
        .await;
        let reply = call.reply();
        tokio::pin!(reply);
        tokio::select! {
            reply = &mut reply => { assert_eq!(reply.status, 503); None }
            mut peer = upstream.next() => {
                peer.request().await;
                peer.send(OK).await;
                Some(reply.await)
            }
        }
    });
    assert_eq!(reply.await.status, 200);
}

#[tokio::test]
async fn an_unfinished_head_is_cut_off() {
    let upstream = Upstream::always(OK).await;
    let setup = Setup::before(&upstream.url("/v1"))
        .set("limits.header_timeout", "200ms")
        .set("limits.first_byte_timeout", "200ms");
    let gateway = setup.start().await;
    for begun in [
        "",
        "G",
        "GET /v1/models HTTP/1.1\r\nHost: g\r\n",
        "PRI * HTTP/2.0\r\n",
    ] {
        let mut wire = Wire::connect(gateway.address).await;
        wire.send(begun).await;
        wire.left().await;
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn an_idle_connection_outlives_the_time_a_head_may_take() {
    let upstream = Upstream::always(OK).await;
    let setup = Setup::before(&upstream.url("/v1"))
        .set("limits.header_timeout", "100ms")
        .set("limits.first_byte_timeout", "100ms");
    let gateway = setup.start().await;
    let mut idle = Wire::connect(gateway.address).await;
    idle.send("GET /v1/models HTTP/1.1\r\nHost: g\r\n\r\n")
        .await;
    assert_eq!(idle.reply("GET").await.status, 200);
    // Two others in turn are given up for being slow: by then both timers have run out twice while the first one was idle.
    for _ in 0..2 {
        let mut slow = Wire::connect(gateway.address).await;
        slow.send("GET /v1").await;
        slow.left().await;
    }
    idle.send("GET /v1/models HTTP/1.1\r\nHost: g\r\n\r\n")
        .await;
    assert_eq!(idle.reply("GET").await.status, 200);
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_keep_alive() {
    let upstream = Upstream::always(OK).await;
    let gateway = Setup::before(&upstream.url("/v1"))
        .set("limits.keep_alive", "200ms")
        .start()
        .await;
    let mut idle = Wire::connect(gateway.address).await;
    idle.send("GET /v1/models HTTP/1.1\r\nHost: g\r\n\r\n")
        .await;
    assert_eq!(idle.reply("GET").await.status, 200);
    idle.left().await;
}

#[tokio::test]
async fn a_slow_body_is_not_a_slow_head() {
    let mut upstream = Upstream::listen().await;
    let setup = Setup::before(&upstream.url("/v1"))
        .set("limits.header_timeout", "100ms")
        .set("limits.first_byte_timeout", "100ms");
    let gateway = setup.start().await;
    let mut client = Wire::connect(gateway.address).await;
    client
        .send("POST /v1/files HTTP/1.1\r\nHost: g\r\nContent-Length: 4\r\n\r\nbo")
        .await;
    let mut peer = upstream.next().await;
    let (_, mut framing) = peer.request_head().await;
    for _ in 0..2 {
        let mut slow = Wire::connect(gateway.address).await;
        slow.send("GET /v1").await;
        slow.left().await;
    }
    client.send("dy").await;
    assert_eq!(peer.rest(&mut framing).await.0, b"body");
    peer.send(OK).await;
    assert_eq!(client.reply("POST").await.status, 200);
}
