//! Watches over `kill -9`: what a client got a head of, a little before, is one span at Respan in the end, made once.
//!
//! The moment of a kill is random but not a time: a number of heads that clients have got, and then the first of a later request that is on
//! the disk, for what was told before it is on the disk as well. Half of the requests are streams, and some of those never end, so every
//! kill cuts some off. `cargo bench --bench soak -- kill` is the long form, and measures how little before it may be.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Instant,
};

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::{sync::watch, task::JoinSet};

use crate::harness::{
    Call, ClientRequest, Framing, Gateway, Protocol, Respan, Setup, Span, Upstream, Wire,
    chat_events, chat_reply, chat_request, has_ended, has_started, json_reply, log_records,
    request_id, until, value, within,
};

/// Clients at a time.
const CLIENTS: usize = 8;

/// An exchange of which a client got the head.
#[derive(Clone, Debug)]
struct Answered {
    id: String,
    question: String,
    sent: Instant,
}

/// What the clients saw.
#[derive(Debug)]
struct Load {
    seen: Arc<Mutex<Vec<Answered>>>,
    heads: watch::Sender<usize>,
    /// What must not be lost.
    written: Vec<Answered>,
}

impl Load {
    fn new() -> Self {
        Self {
            seen: Arc::default(),
            heads: watch::Sender::new(0),
            written: Vec::new(),
        }
    }

    /// Keeps clients asking until this many heads have come and what they belong to is written, and kills the gateway then.
    async fn until_killed(&mut self, gateway: &mut Gateway, round: usize, heads: usize) {
        let wanted = *self.heads.borrow() + heads;
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let (seen, heads) = (self.seen.clone(), self.heads.clone());
            let address = gateway.address;
            clients.spawn(async move {
                let mut number = 0;
                let mut open = JoinSet::new();
                let place = format!("{round}-{client}");
                loop {
                    number += 1;
                    let question = match number % 4 {
                        0 => format!("endless {place}-{number}"),
                        2 => format!("stream {place}-{number}"),
                        _ => format!("plain {place}-{number}"),
                    };
                    let endless = number % 4 == 0;
                    let asking = ask(address, question, seen.clone(), heads.clone());
                    if endless {
                        open.spawn(asking);
                    } else if asking.await.is_none() {
                        break;
                    }
                }
                while open.join_next().await.is_some() {}
            });
        }
        let mut coming = self.heads.subscribe();
        within(
            "heads of replies",
            coming.wait_for(|heads| *heads >= wanted),
        )
        .await
        .expect("the sender lives");
        let seen = self.seen();
        let now = Instant::now();
        let store = gateway.store();
        until("a later request to be on the disk", async || {
            let mut later = self.seen().split_off(seen.len()).into_iter();
            let later = later.find(|answered| answered.sent > now)?;
            has_started(&log_records(&store), &later.id).then_some(())
        })
        .await;
        gateway.kill();
        while let Some(done) = clients.join_next().await {
            done.expect("a client only ends");
        }
        self.seen.lock().unwrap().clear();
        self.written.extend(seen);
    }

    fn seen(&self) -> Vec<Answered> {
        self.seen.lock().unwrap().clone()
    }
}

/// One request on a connection of its own; none when the gateway does not answer any more.
async fn ask(
    address: SocketAddr,
    question: String,
    seen: Arc<Mutex<Vec<Answered>>>,
    heads: watch::Sender<usize>,
) -> Option<()> {
    let body = chat_request(&question, !question.starts_with("plain"));
    let stream = tokio::net::TcpStream::connect(address).await.ok()?;
    let sent = Instant::now();
    let mut wire = Wire::new(stream);
    wire.send(format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ))
    .await;
    let (_, headers) = wire.head().await.ok()?;
    let id = request_id(&headers).expect("an id").to_owned();
    let answered = Answered { id, question, sent };
    seen.lock().unwrap().push(answered);
    heads.send_modify(|heads| *heads += 1);
    let mut framing = match value(&headers, "content-length") {
        Some(length) => Framing::Length(length.parse().expect("a number")),
        None => Framing::CHUNKED,
    };
    wire.rest(&mut framing).await;
    Some(())
}

/// Answers plain requests, streams, and streams that stop in the middle and stay open.
async fn upstream() -> Upstream {
    Upstream::answering(|request| {
        let asked = String::from_utf8_lossy(&request.body);
        if asked.contains("\"plain ") {
            return chat_reply("It is fine.");
        }
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        let mut reply = head.to_owned();
        let events = chat_events(&["It", " is", " fine."]);
        let endless = asked.contains("\"endless ");
        for event in events.iter().take(if endless { 3 } else { events.len() }) {
            write!(reply, "{:x}\r\n{event}\r\n", event.len()).expect("it is a text");
        }
        if !endless {
            reply += "0\r\n\r\n";
        }
        reply.into_bytes()
    })
    .await
}

/// The spans of one post, each as the bytes it is made of.
fn posted(body: &[u8]) -> Vec<(String, String)> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Post<'a> {
        #[serde(borrow)]
        resource_spans: Vec<Resource<'a>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Resource<'a> {
        #[serde(borrow)]
        scope_spans: Vec<Scope<'a>>,
    }
    #[derive(Deserialize)]
    struct Scope<'a> {
        #[serde(borrow)]
        spans: Vec<&'a RawValue>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Named {
        span_id: String,
    }
    let post: Post<'_> = serde_json::from_slice(body).expect("OTLP in JSON");
    let spans = post.resource_spans.into_iter();
    let spans = spans.flat_map(|resource| resource.scope_spans);
    spans
        .flat_map(|scope| scope.spans)
        .map(|span| {
            let named: Named = serde_json::from_str(span.get()).expect("a span has an id");
            (named.span_id, span.get().to_owned())
        })
        .collect()
}

/// Every span that was posted, by its id, whatever came of the post: the same each time.
fn expect_the_same_bytes(respan: &Respan) {
    let mut bytes: BTreeMap<String, String> = BTreeMap::new();
    for post in respan.posts() {
        for (id, span) in posted(&post.body) {
            if let Some(before) = bytes.insert(id, span.clone()) {
                assert_eq!(before, span, "a span was sent again with other content");
            }
        }
    }
}

/// The one span of each exchange; never two ids for one exchange.
fn by_exchange(spans: Vec<Span>) -> BTreeMap<String, Span> {
    let mut one: BTreeMap<String, Span> = BTreeMap::new();
    for span in spans {
        let exchange = span.text("respan.metadata.spangate_exchange");
        if let Some(before) = one.insert(exchange, span.clone()) {
            assert_eq!(before, span, "one exchange, two spans");
        }
    }
    one
}

async fn nothing_pending(gateway: &Gateway) {
    gateway
        .counts("nothing to be pending", |metrics| {
            metrics.total("spangate_spans_pending") < 0.5
        })
        .await;
}

/// Waits for the spans of what was written.
async fn everything_arrives(respan: &Respan, load: &Load) {
    let ids = load.written.iter().map(|answered| answered.id.clone());
    let mut missing: BTreeSet<String> = ids.collect();
    respan
        .wait_for("the spans of all that was answered", |spans| {
            for span in spans {
                missing.remove(&span.text("respan.metadata.spangate_exchange"));
            }
            missing.is_empty().then_some(())
        })
        .await;
}

/// Checks what Respan has after all the kills against what clients saw.
fn expect_nothing_lost(respan: &Respan, load: &Load) {
    let spans = by_exchange(respan.spans());
    let mut recovered = 0;
    for answered in &load.written {
        let span = spans.get(&answered.id);
        let span = span.unwrap_or_else(|| panic!("lost: {answered:?}"));
        assert_eq!(span.text("gen_ai.request.model"), "gpt-4o-mini");
        assert_eq!(span.text("gen_ai.prompt.1.content"), answered.question);
        if answered.question.starts_with("endless") {
            assert_eq!(span.outcome(), "recovered", "{answered:?}");
            assert_eq!(span.status, 2);
            recovered += 1;
        } else {
            // The end of one that is over is written a little later.
            assert!(["complete", "recovered"].contains(&span.outcome().as_str()));
        }
    }
    assert!(recovered > 0, "every kill cuts some off");
    expect_the_same_bytes(respan);
}

/// Kills it as often as there are numbers of heads, `before` each start doing something to Respan.
async fn killed_again_and_again(before: impl Fn(usize, &Respan)) {
    let (upstream, respan) = (upstream().await, Respan::start().await);
    before(0, &respan);
    let mut gateway = Setup::between(&upstream, &respan).start().await;
    let mut load = Load::new();
    for round in 0..4 {
        let heads = fastrand::usize(20..200);
        load.until_killed(&mut gateway, round, heads).await;
        before(round + 1, &respan);
        gateway.restart().await;
        gateway.metrics().await.expect_balanced();
    }
    everything_arrives(&respan, &load).await;
    nothing_pending(&gateway).await;
    expect_nothing_lost(&respan, &load);
}

#[tokio::test]
async fn a_kill_under_load_loses_no_span() {
    killed_again_and_again(|_, _| ()).await;
}

#[tokio::test]
async fn a_kill_while_respan_is_down_loses_no_span() {
    let down = json_reply("503 Service Unavailable", "{}");
    killed_again_and_again(|round, respan| {
        respan.answer_always((round < 4).then(|| down.clone()));
    })
    .await;
}

#[tokio::test]
async fn a_kill_while_respan_hangs_sends_the_same_spans_again() {
    killed_again_and_again(|round, respan| respan.be_silent(round < 4)).await;
}

#[tokio::test]
async fn a_kill_between_a_post_and_its_answer_sends_at_most_what_was_under_way_twice() {
    let upstream = Upstream::always(chat_reply("It is fine.")).await;
    let respan = Respan::start().await;
    respan.be_silent(true);
    // All of them are to be under way at once, and only so many posts can be.
    let mut gateway = Setup::between(&upstream, &respan)
        .set("respan.flush_interval", "2s")
        .start()
        .await;
    let mut ids = BTreeSet::new();
    for number in 0..30 {
        let question = chat_request(&format!("Number {number}?"), false);
        let reply = gateway
            .ask(&ClientRequest::post("/v1/chat/completions", question))
            .await;
        ids.insert(request_id(&reply.headers).expect("an id").to_owned());
    }
    respan
        .wait_for("every span to be under way", |spans| {
            (by_exchange(spans.to_vec()).len() == ids.len()).then_some(())
        })
        .await;
    gateway.kill();
    respan.be_silent(false);
    gateway.restart().await;
    nothing_pending(&gateway).await;
    let spans = respan.spans();
    assert_eq!(spans.len(), 2 * ids.len(), "each once more, and no more");
    assert!(by_exchange(spans).keys().eq(&ids));
    expect_the_same_bytes(&respan);
    let created = gateway
        .metrics()
        .await
        .total("spangate_spans_created_total");
    assert!((created - 30.0).abs() < 0.5, "found spans count as created");
}

#[tokio::test]
async fn attempts_with_a_kill_between_them_are_one_span() {
    let (mut upstream, respan) = (Upstream::listen().await, Respan::start().await);
    let mut gateway = Setup::between(&upstream, &respan).start().await;
    let mut ids = Vec::new();
    let late = json_reply("429 Too Many Requests", r#"{"error":{"message":"later"}}"#);
    for (attempt, answer) in [(0, late), (1, chat_reply("It is Rust."))] {
        let again = ClientRequest::post("/v1/chat/completions", chat_request("What is it?", false))
            .header("authorization", "Bearer sk-0123456789")
            .header("x-stainless-retry-count", &attempt.to_string());
        let call = Call::begin(Protocol::One, gateway.address, &again).await;
        let mut peer = upstream.next().await;
        peer.request().await;
        peer.send(answer).await;
        let reply = call.reply().await;
        ids.push(request_id(&reply.headers).expect("an id").to_owned());
        if attempt == 0 {
            until("the end to be written", async || {
                has_ended(&log_records(&gateway.store()), &ids[0]).then_some(())
            })
            .await;
            gateway.kill();
            gateway.restart().await;
        }
    }
    let span = respan.span_of(&ids[1]).await;
    nothing_pending(&gateway).await;
    assert_eq!(respan.spans().len(), 1, "one span for one call");
    assert_eq!(span.outcome(), "complete");
    assert_eq!(span.events.len(), 1);
    assert!(span.events[0].to_string().contains(&ids[0]));
}
