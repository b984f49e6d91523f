//! Events of growing traces, and the spans of open runs.

use serde_json::Value;

use super::{answer, asks, listed, named};
use crate::harness::{
    Call, ClientRequest, Gateway, Piece, Protocol, Setup, Upstream, chat_events, chat_reply,
    chat_request, until, within,
};

/// A stream of events under way.
struct Listener {
    call: Call,
    text: String,
}

/// One of them: its name, its id, its data.
#[derive(Clone, Debug)]
struct Event(String, Option<u64>, Value);

impl Listener {
    async fn begin(gateway: &Gateway, query: &str, after: Option<u64>) -> Self {
        let mut ask = ClientRequest::new("GET", &format!("/api/events{query}"));
        if let Some(after) = after {
            ask = ask.header("last-event-id", &after.to_string());
        }
        let mut call = Call::begin(Protocol::One, gateway.admin, &ask).await;
        let (status, headers) = call.head().await;
        assert_eq!(status, 200);
        assert_eq!(
            crate::harness::value(&headers, "content-type"),
            Some("text/event-stream")
        );
        let mut listener = Listener {
            call,
            text: String::new(),
        };
        // Whoever has its first comment misses nothing from here on.
        listener.block().await;
        listener
    }

    /// What comes up to an empty line.
    async fn block(&mut self) -> String {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let rest = self.text.split_off(end + 2);
                return std::mem::replace(&mut self.text, rest);
            }
            match self.call.piece().await {
                Piece::Bytes(bytes) => self.text.push_str(&String::from_utf8(bytes).unwrap()),
                Piece::End(end, _) => panic!("the events ended: {end:?}"),
            }
        }
    }

    async fn next(&mut self) -> Event {
        loop {
            let block = self.block().await;
            let field = |name: &str| {
                block
                    .lines()
                    .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            };
            if let Some(event) = field("event") {
                let data = serde_json::from_str(field("data").unwrap_or("null")).unwrap();
                return Event(
                    event.to_owned(),
                    field("id").map(|id| id.parse().unwrap()),
                    data,
                );
            }
        }
    }

    /// The next event of a trace of which this holds.
    async fn trace(&mut self, what: &str, holds: impl Fn(&Value) -> bool) -> Event {
        within(what, async {
            loop {
                let event = self.next().await;
                if event.0 == "trace" && holds(&event.2) {
                    return event;
                }
            }
        })
        .await
    }
}

#[tokio::test]
async fn a_call_shows_while_it_streams_and_when_it_is_over() {
    let mut upstream = Upstream::listen().await;
    let setup = Setup::before(&upstream.url("/v1")).set("runs.idle", "500ms");
    let gateway = setup.start().await;
    let mut events = Listener::begin(&gateway, "?thread=stream", None).await;
    let ask = ClientRequest::post("/v1/chat/completions", chat_request("Tell me.", true))
        .header("user-agent", "AsyncOpenAI/Python 2.8.0")
        .header("x-respan-thread-identifier", "stream");
    let mut call = Call::begin(Protocol::One, gateway.address, &ask).await;
    let mut peer = upstream.next_request().await;
    peer.send(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
    )
    .await;
    let said = chat_events(&["Owls", " fly."]);
    peer.send_chunk(said[0].as_bytes()).await;
    call.head().await;

    let begun = events
        .trace("the call in flight", |trace| trace["live"] == true)
        .await;
    assert_eq!(begun.2["model_calls"], 1);
    let id = begun.2["trace_id"].as_str().unwrap().to_owned();
    let list = listed(&gateway, "/api/traces?status=live", 1).await;
    assert_eq!(list[0]["trace_id"], id.as_str());
    let trace = answer(&gateway, &format!("/api/traces/{id}")).await;
    assert_eq!(trace["live"], true);
    let in_flight = named(&trace, "llm.gpt-4o-mini");
    assert_eq!(
        (&in_flight["status"], &in_flight["end"]),
        (&"open".into(), &Value::Null)
    );
    let span_id = in_flight["span_id"].as_str().unwrap().to_owned();
    let agent = named(&trace, "agent.unknown")["span_id"].clone();
    assert_eq!(in_flight["parent_span_id"], agent);
    answer(&gateway, &format!("/api/traces/{id}/spans/{span_id}")).await;

    for event in &said[1..] {
        peer.send_chunk(event.as_bytes()).await;
    }
    peer.send("0\r\n\r\n").await;
    call.rest().await;
    let over = events
        .trace("the run to be over", |trace| {
            trace["live"] == false && trace["spans"] == 2
        })
        .await;
    assert_eq!(over.2["trace_id"], id.as_str());
    assert!(over.1 > begun.1);
    let trace = answer(&gateway, &format!("/api/traces/{id}")).await;
    let call = named(&trace, "llm.gpt-4o-mini-2024-07-18");
    assert_eq!(
        (&call["span_id"], &call["status"]),
        (&span_id.as_str().into(), &"ok".into())
    );
    assert_eq!(
        named(&trace, "agent.unknown")["span_id"],
        agent,
        "its id was known before it was over"
    );
}

#[tokio::test]
async fn a_follower_that_comes_back_gets_missed_changes_also_from_the_next_process() {
    let upstream = Upstream::always(chat_reply("Fine.")).await;
    let mut gateway = Gateway::before(&upstream).await;
    let mut events = Listener::begin(&gateway, "", None).await;
    asks(&gateway, "First?", "one").await;
    let first = events
        .trace("the first", |trace| trace["thread_identifier"] == "one")
        .await;
    drop(events);
    asks(&gateway, "Second?", "two").await;
    listed(&gateway, "/api/traces?status=ok", 2).await;
    assert!(gateway.stop().await.success());
    gateway.restart().await;
    let mut events = Listener::begin(&gateway, "?thread=two", first.1).await;
    let second = events.next().await;
    assert_eq!(
        (&*second.0, &second.2["thread_identifier"]),
        ("trace", &"two".into())
    );
    // Of what nobody here knows, nothing can be told.
    let mut lost = Listener::begin(&gateway, "", Some(1 << 60)).await;
    assert_eq!(lost.next().await.0, "reset");
}

#[tokio::test]
async fn followers_are_limited_and_end_with_the_gateway() {
    let upstream = Upstream::always(chat_reply("Fine.")).await;
    let mut gateway = Gateway::before(&upstream).await;
    let mut following = Vec::new();
    for _ in 0..64 {
        following.push(Listener::begin(&gateway, "", None).await);
    }
    super::complaint(&gateway, "/api/events", 503).await;
    following.pop();
    until("room for another", async || {
        let mut call = Call::begin(
            Protocol::One,
            gateway.admin,
            &ClientRequest::new("GET", "/api/events"),
        )
        .await;
        (call.head().await.0 == 200).then_some(())
    })
    .await;
    assert!(gateway.stop().await.success());
}
