//! A file of the third version of the layout, in which each span that waited and each exchange that was open had a row of its own.

use rusqlite::{Connection, params};

use super::disk::{crashed, open, recovered, settings, spans, written};
use super::*;

const LAYOUT: &str = "
    CREATE TABLE meta    (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
    CREATE TABLE begun   (n INTEGER PRIMARY KEY, id BLOB NOT NULL, started_ns INTEGER NOT NULL, opening TEXT NOT NULL, request BLOB);
    CREATE TABLE asked   (n INTEGER PRIMARY KEY, request BLOB NOT NULL);
    CREATE TABLE ended   (n INTEGER PRIMARY KEY, ended_ns INTEGER NOT NULL, ending BLOB NOT NULL);
    CREATE TABLE open    (n INTEGER PRIMARY KEY, seq INTEGER NOT NULL);
    CREATE TABLE spans   (seq INTEGER PRIMARY KEY, n INTEGER, trace_id BLOB NOT NULL, span_id BLOB NOT NULL, made INTEGER NOT NULL, record BLOB NOT NULL);
    CREATE TABLE unsent  (seq INTEGER PRIMARY KEY, weight INTEGER NOT NULL);
    CREATE TABLE refused (seq INTEGER PRIMARY KEY, refused INTEGER NOT NULL, reason TEXT NOT NULL);
    INSERT INTO meta VALUES ('identity', random());
    CREATE TABLE agents (prompt BLOB PRIMARY KEY, name TEXT) WITHOUT ROWID;
    ALTER TABLE spans ADD COLUMN summary TEXT;
    PRAGMA application_id = 1936744814;
    PRAGMA user_version = 3;
";
const OPENING: &str = r#"{"identity":{"customer":{},"thread":"thread","log":"Full","credential":[7,0,1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,255]},"method":"POST","path":"/v1/chat/completions","chat":true,"content":true,"entity_content":false,"may_be_agent":true,"max_body":1048576,"system":"openai"}"#;
const REQUEST: &str = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"Why?"}]}"#;
const ENDING: &str = r#"{"duration_ns":7000000,"answer":{"status":200,"first_byte_ns":3000,"content_type":"application/json","headers":[["x-request-id","req_1"]]},"ending":"complete","reply":{"reply":{"id":"chatcmpl-1","choices":[{"index":0,"content":"because","logprobs":false}],"cut":false,"undecodable":false},"ended":true,"first_token_ns":5000}}"#;
const PLACE: &str = r#"{"trace_id":"01010101010101010101010101010101","parent_span_id":null,"start_ns":1000000001,"events":[],"notes":[]}"#;

/// Writes a file as it was left by a process that was killed.
pub(super) fn write(dir: &std::path::Path) {
    let file = Connection::open(dir.join("spangate.db")).unwrap();
    file.pragma_update(None, "journal_mode", "WAL").unwrap();
    file.execute_batch(LAYOUT).unwrap();
    let blob = |text: &str| blob::Blob::of(text.as_bytes()).written();
    for n in 1..=5_u8 {
        file.execute(
            "INSERT INTO begun VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                n,
                [n; 16],
                1_000_000_000 + i64::from(n),
                OPENING,
                blob(REQUEST)
            ],
        )
        .unwrap();
        if n != 4 {
            let ended = params![n, 1_007_000_000 + i64::from(n), blob(ENDING)];
            file.execute("INSERT INTO ended VALUES (?1, ?2, ?3)", ended)
                .unwrap();
        }
    }
    // The third was open but told by no span yet, the fourth under way; a run of the fifth was open.
    file.execute_batch("INSERT INTO open VALUES (3, 3), (4, 3), (5, 5)")
        .unwrap();
    let calls = [(1, 1), (2, 2), (5, 5)].map(|(seq, n)| (seq, Some(n), blob(PLACE)));
    let others = [3, 4].map(|seq| {
        let json = serde_json::to_string(&span(seq, 10)).unwrap();
        (seq, None, blob(&json))
    });
    for (seq, n, record) in calls.into_iter().chain(others) {
        let span_id = n.map_or(SpanId([seq; 8]), |n| {
            crate::span::exchange::span_id(ExchangeId::from_bytes([n; 16]))
        });
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let made = i64::try_from(now.unwrap().as_secs()).unwrap();
        file.execute(
            "INSERT INTO spans VALUES (?1, ?2, ?3, ?4, ?5, ?6, NULL)",
            params![seq, n, [1_u8; 16], span_id.0, made, record],
        )
        .unwrap();
    }
    file.execute_batch(
        "INSERT INTO unsent VALUES (2, 500), (4, 70);
         INSERT INTO refused VALUES (3, 1, 'it is bad');",
    )
    .unwrap();
}

fn ids(spans: &[Span]) -> Vec<SpanId> {
    spans.iter().map(|span| span.span_id).collect()
}

fn call_of(n: u8) -> SpanId {
    crate::span::exchange::span_id(ExchangeId::from_bytes([n; 16]))
}

#[tokio::test]
async fn what_waited_waits_and_what_was_open_is_told_again() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    let (store, writing) = open(settings(dir.path()));
    assert_eq!(store.state().failing, None);
    assert_eq!(store.counts().pending, 2);
    assert!(store.lock().holds(9, 570) && !store.lock().holds(9, 571));
    let found = spans(&store).await;
    assert_eq!(ids(&found), [call_of(2), SpanId([4; 8])]);
    assert_eq!(
        found[0].text(crate::span::key::THREAD_IDENTIFIER),
        Some("thread")
    );

    let told: Vec<Arc<Exchange>> = recovered(&store).into_iter().map(Arc::new).collect();
    let told_ids: Vec<_> = told.iter().map(|told| told.meta.id.as_bytes()[0]).collect();
    assert_eq!(told_ids, [3, 5, 4]);
    let mut credential = [0; 32];
    (credential[0], credential[2], credential[31]) = (7, 1, 255);
    assert_eq!(told[0].meta.identity.credential.0, credential);
    // The span of the fifth was accepted already.
    for exchange in &told {
        store.ended(exchange);
        store.add(call(exchange));
        store.released(vec![exchange.meta.id]);
    }
    assert_eq!(store.counts().pending, 4);

    assert_eq!(store.refused(9).await.unwrap()[0].reason, "it is bad");
    assert_eq!(store.replay(Replay::Refused).await, Some(1));
    assert!(store.lock().holds(5, usize::MAX));

    let copy = crashed(dir.path());
    store.close();
    writing.finish();
    let (store, writing) = open(settings(copy.path()));
    assert_eq!(store.state().recovered, 0);
    let found = spans(&store).await;
    let expected = [
        call_of(2),
        SpanId([3; 8]),
        SpanId([4; 8]),
        call_of(3),
        call_of(4),
    ];
    assert_eq!(ids(&found), expected);
    let batch = store.take(9, usize::MAX).unwrap().load().await.unwrap();
    batch.settle(&accepted());
    written(&store).await;
    store.close();
    writing.finish();
    let (store, writing) = open(settings(copy.path()));
    assert_eq!(store.counts(), Counts::default());
    store.close();
    writing.finish();
}

#[tokio::test]
async fn an_empty_file_has_nothing_to_bring_over() {
    let dir = tempfile::tempdir().unwrap();
    let file = Connection::open(dir.path().join("spangate.db")).unwrap();
    file.execute_batch(LAYOUT).unwrap();
    drop(file);
    let (store, writing) = open(settings(dir.path()));
    store.add(made(1, 10));
    assert_eq!(spans(&store).await, [span(1, 10)]);
    store.close();
    writing.finish();
    let file = Connection::open(dir.path().join("spangate.db")).unwrap();
    let ranges: i64 = file
        .query_row("SELECT count(*) FROM settled", [], |row| row.get(0))
        .unwrap();
    assert_eq!(ranges, 0);
}
