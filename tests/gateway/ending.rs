//! Watches over a stop while Respan fails: an idle gateway ends within seconds, and a second signal ends it at once in any state.
//!
//! The deadline is far beyond the patience of any test, so a gateway that ended did not wait for it.

use rustix::process::Signal;

use crate::harness::{
    Call, ClientRequest, End, Gateway, KEY, Protocol, Respan, Setup, Upstream, chat_reply,
    chat_request, json_reply, request_id, until,
};

const HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// A fault of Respan.
#[derive(Clone, Copy, Debug)]
enum RespanFault {
    /// It takes posts and never answers.
    Silent,
    /// It answers 503 at once, without a pause before the next post.
    Busy,
    /// It wants to be paid.
    Unpaid,
}

impl RespanFault {
    const ALL: [Self; 3] = [Self::Silent, Self::Busy, Self::Unpaid];

    fn apply(self, respan: &Respan) {
        match self {
            RespanFault::Silent => respan.be_silent(true),
            RespanFault::Busy => respan.answer_always(Some(
                b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 0\r\ncontent-length: 17\r\n\r\n{\"retry_after\":0}"
                    .to_vec(),
            )),
            RespanFault::Unpaid => respan.answer_always(Some(json_reply("402 Payment Required", "{}"))),
        }
    }
}

async fn start(upstream: &Upstream, respan: &Respan, delay: &str) -> Gateway {
    Setup::between(upstream, respan)
        .set("server.drain_delay", delay)
        .set("server.drain_deadline", "300s")
        .start()
        .await
}

async fn ask(gateway: &Gateway, question: &str) -> String {
    let ask = ClientRequest::post("/v1/chat/completions", chat_request(question, false));
    let reply = gateway.ask(&ask).await;
    request_id(&reply.headers).expect("an id").to_owned()
}

async fn posted(respan: &Respan) {
    until("a post", async || {
        (!respan.posts().is_empty()).then_some(())
    })
    .await;
}

async fn says(gateway: &Gateway, words: &str) {
    until(words, async || gateway.log().contains(words).then_some(())).await;
}

async fn not_ready(gateway: &Gateway) {
    until("readiness to fail", async || {
        let ready = ClientRequest::new("GET", "/readyz").to(gateway.admin).await;
        (ready.status == 503).then_some(())
    })
    .await;
}

async fn ends_and_is_sent_later(fault: RespanFault) {
    let upstream = Upstream::always(chat_reply("It is fine.")).await;
    let respan = Respan::start().await;
    fault.apply(&respan);
    let mut gateway = start(&upstream, &respan, "0s").await;
    let id = ask(&gateway, "Why?").await;
    posted(&respan).await;
    assert_eq!(gateway.stop().await.code(), Some(0), "{fault:?}");
    let posts = respan.posts().len();
    assert!(posts < 200, "{fault:?}: {posts} posts");
    let log = gateway.log();
    assert!(
        log.contains("sent after the next start"),
        "{fault:?}: {log}"
    );

    respan.be_silent(false);
    respan.answer_always(None);
    gateway.restart().await;
    assert_eq!(respan.span_of(&id).await.outcome(), "complete", "{fault:?}");
}

#[tokio::test]
async fn a_failing_respan_does_not_delay_the_end_of_an_idle_gateway() {
    let [silent, busy, unpaid] = RespanFault::ALL.map(ends_and_is_sent_later);
    tokio::join!(silent, busy, unpaid);
}

#[tokio::test]
async fn a_silent_respan_does_not_delay_the_end_after_the_last_stream() {
    let mut upstream = Upstream::listen().await;
    let respan = Respan::start().await;
    respan.be_silent(true);
    let mut gateway = start(&upstream, &respan, "0s").await;
    let request = ClientRequest::post("/v1/chat/completions", chat_request("Why?", true));
    let mut call = Call::begin(Protocol::One, gateway.address, &request).await;
    let mut peer = upstream.next_request().await;
    peer.send(HEAD).await;
    call.head().await;
    gateway.signal(Signal::TERM);
    says(&gateway, "s for what is under way").await;
    peer.send_chunk(b"data: [DONE]\n\n").await;
    peer.send("0\r\n\r\n").await;
    assert_eq!(call.rest().await.2, End::Clean);
    says(&gateway, "s for the export of").await;
    assert_eq!(gateway.ended().await.code(), Some(0));
}

/// Stops a gateway twice, the second time once `phase` has come; a stream of the admin port is open all the while.
async fn stopped_twice(
    store: &str,
    fault: RespanFault,
    delay: &str,
    phase: impl AsyncFnOnce(&Gateway, &mut Upstream) -> Option<Call>,
) {
    let mut upstream = Upstream::listen().await;
    let respan = Respan::start().await;
    fault.apply(&respan);
    let mut gateway = Setup::between(&upstream, &respan)
        .set("server.drain_delay", delay)
        .set("server.drain_deadline", "300s")
        .set("store.dir", store)
        .start()
        .await;
    let mut events = Call::begin(
        Protocol::One,
        gateway.admin,
        &ClientRequest::new("GET", "/api/events"),
    )
    .await;
    assert_eq!(events.head().await.0, 200);
    let request = ClientRequest::post("/v1/chat/completions", chat_request("Why?", false));
    tokio::join!(gateway.ask(&request), async {
        let mut peer = upstream.next_request().await;
        peer.send(chat_reply("It is fine.")).await;
    });
    posted(&respan).await;
    let cut = phase(&gateway, &mut upstream).await;
    gateway.signal(Signal::TERM);
    if let Some(mut cut) = cut {
        assert_ne!(cut.rest().await.2, End::Clean);
    }
    assert_eq!(gateway.ended().await.code(), Some(0), "{store} {fault:?}");
}

async fn at_each_phase(store: &str, fault: RespanFault) {
    stopped_twice(store, fault, "300s", async |gateway, _| {
        gateway.signal(Signal::TERM);
        not_ready(gateway).await;
        None
    })
    .await;
    stopped_twice(store, fault, "0s", async |gateway, upstream| {
        let request = ClientRequest::post("/v1/chat/completions", chat_request("How?", true));
        let mut call = Call::begin(Protocol::One, gateway.address, &request).await;
        let mut peer = upstream.next_request().await;
        peer.send(HEAD).await;
        call.head().await;
        gateway.signal(Signal::TERM);
        says(gateway, "s for what is under way").await;
        Some(call)
    })
    .await;
    if !matches!(fault, RespanFault::Unpaid) {
        stopped_twice(store, fault, "0s", async |gateway, _| {
            gateway.signal(Signal::TERM);
            says(gateway, "s for the export of").await;
            None
        })
        .await;
    }
}

#[tokio::test]
async fn a_second_signal_ends_the_gateway_in_every_phase_and_fault_of_respan() {
    let directory = tempfile::tempdir().expect("a directory");
    for fault in RespanFault::ALL {
        let store = directory.path().join(format!("{fault:?}"));
        let store = store.to_str().expect("a plain path");
        tokio::join!(
            at_each_phase(store, fault),
            at_each_phase(":memory:", fault)
        );
    }
}

#[tokio::test]
async fn a_store_in_memory_is_flushed_to_a_respan_that_comes_back_late() {
    let upstream = Upstream::always(chat_reply("It is fine.")).await;
    let respan = Respan::start().await;
    RespanFault::Busy.apply(&respan);
    let mut gateway = Setup::between(&upstream, &respan)
        .set("server.drain_deadline", "300s")
        .set("store.dir", ":memory:")
        .start()
        .await;
    let id = ask(&gateway, "Why?").await;
    posted(&respan).await;
    gateway.signal(Signal::TERM);
    says(&gateway, "s for the export of").await;
    respan.answer_always(None);
    respan.span_of(&id).await;
    assert_eq!(gateway.ended().await.code(), Some(0));
}

#[tokio::test]
async fn an_unreachable_respan_does_not_delay_the_end() {
    let upstream = Upstream::always(chat_reply("It is fine.")).await;
    let nobody = crate::harness::free_address();
    let mut gateway = Setup::before(&upstream.url("/v1"))
        .set("respan.api_key", KEY)
        .set("respan.base_url", &format!("http://{nobody}"))
        .set("server.drain_deadline", "300s")
        .start()
        .await;
    ask(&gateway, "Why?").await;
    assert_eq!(gateway.stop().await.code(), Some(0));
}
