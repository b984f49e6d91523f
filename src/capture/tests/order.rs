//! What the sink hears of exchanges, when, and from which thread.

use std::sync::Condvar;
use std::thread::ThreadId;

use proptest::prelude::*;

use super::*;
use crate::exchange::{CapturedBody, ExchangeId};

/// Something that a sink was told: of an exchange, with how much of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    Recovered,
    Started(ExchangeId, Option<usize>),
    Settled(ExchangeId),
    Closed,
}

#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Vec<(ThreadId, Heard)>>>);

impl Listener {
    fn hear(&self, heard: Heard) {
        let thread = std::thread::current().id();
        self.0.lock().unwrap().push((thread, heard));
    }

    fn heard(&self) -> Vec<Heard> {
        let heard = self.0.lock().unwrap();
        heard.iter().map(|(_, heard)| heard.clone()).collect()
    }
}

impl ExchangeSink for Listener {
    fn recover(&self) {
        self.hear(Heard::Recovered);
    }

    fn started(&self, meta: &Arc<RequestMeta>, _: u64, body: Option<CapturedBody>) {
        let length = body.map(|body| body.bytes().len());
        self.hear(Heard::Started(meta.id, length));
    }

    fn request_complete(&self, _: Arc<RequestMeta>, _: u64, _: CapturedBody) {}

    fn settled(&self, exchange: Exchange) {
        self.hear(Heard::Settled(exchange.meta.id));
    }

    fn on_idle(&self, _: usize) -> Option<Instant> {
        None
    }

    fn close(&self) {
        self.hear(Heard::Closed);
    }
}

fn by_hand(listener: &Listener) -> (Capture, Worker) {
    let budget = Budget::new(1 << 24);
    let capture = Capture::new(settings(&budget));
    (capture, Worker::new(0, budget, Arc::new(listener.clone())))
}

fn work_off(capture: &Capture, worker: &mut Worker) {
    let queue = &capture.0.queues[0];
    queue.nudge();
    queue.flush();
    worker.work_off(queue.take(None).unwrap(), queue);
}

#[test]
fn an_exchange_that_is_whole_when_it_is_seen_is_told_once_with_its_body() {
    let listener = Listener::default();
    let (capture, mut worker) = by_hand(&listener);
    let meta = meta("/v1/chat/completions");
    let id = meta.id;
    let (mut asked, answered) = capture.open(meta, None);
    asked.data(&Bytes::from_static(b"{}"));
    asked.complete();
    work_off(&capture, &mut worker);
    assert_eq!(listener.heard(), [Heard::Started(id, Some(2))]);
    drop(answered);
    work_off(&capture, &mut worker);
    assert_eq!(listener.heard()[1..], [Heard::Settled(id)]);
}

#[test]
fn an_exchange_that_is_not_whole_is_told_again_once_it_is() {
    for settles_first in [false, true] {
        let listener = Listener::default();
        let (capture, mut worker) = by_hand(&listener);
        let meta = meta("/v1/chat/completions");
        let id = meta.id;
        let (mut asked, answered) = capture.open(meta, None);
        asked.data(&Bytes::from_static(b"{"));
        work_off(&capture, &mut worker);
        assert_eq!(listener.heard(), [Heard::Started(id, None)]);
        if settles_first {
            drop(answered);
            asked.data(&Bytes::from_static(b"}"));
            asked.complete();
        } else {
            asked.data(&Bytes::from_static(b"}"));
            asked.complete();
            drop(answered);
        }
        work_off(&capture, &mut worker);
        let length = if settles_first { 1 } else { 2 };
        let whole = Heard::Started(id, Some(length));
        assert_eq!(listener.heard()[1..], [whole, Heard::Settled(id)]);
    }
}

#[test]
fn beginnings_are_told_before_all_else_that_waits() {
    let listener = Listener::default();
    let (capture, mut worker) = by_hand(&listener);
    let [first, second] = [(), ()].map(|()| meta("/v1/models"));
    let ids = [first.id, second.id];
    drop(capture.open(first, None));
    drop(capture.open(second, None));
    work_off(&capture, &mut worker);
    let started = ids.map(|id| Heard::Started(id, Some(0)));
    assert_eq!(listener.heard()[..2], started);
    assert_eq!(listener.heard()[2..], ids.map(Heard::Settled));
}

#[test]
fn a_request_that_became_whole_is_told_before_one_that_began_later() {
    let listener = Listener::default();
    let (capture, mut worker) = by_hand(&listener);
    let [first, second] = [(), ()].map(|()| meta("/v1/chat/completions"));
    let ids = [first.id, second.id];
    let (asked, answered) = capture.open(first, None);
    work_off(&capture, &mut worker);
    asked.complete();
    let later = capture.open(second, None);
    later.0.complete();
    drop(answered);
    work_off(&capture, &mut worker);
    let started = ids.map(|id| Heard::Started(id, Some(0)));
    assert_eq!(listener.heard()[1..3], started);
    assert_eq!(listener.heard()[3..], [Heard::Settled(ids[0])]);
}

/// Recovers until it hears of a beginning.
#[derive(Clone, Default)]
struct LongRecovery(Arc<(Mutex<Vec<&'static str>>, Condvar)>);

impl LongRecovery {
    fn hear(&self, heard: &'static str) {
        self.0.0.lock().unwrap().push(heard);
        self.0.1.notify_all();
    }
}

impl ExchangeSink for LongRecovery {
    fn recover(&self) {
        let heard = self.0.0.lock().unwrap();
        let heard = self
            .0
            .1
            .wait_while(heard, |heard| heard.is_empty())
            .unwrap();
        drop(heard);
        self.hear("recovered");
    }

    fn started(&self, _: &Arc<RequestMeta>, _: u64, _: Option<CapturedBody>) {
        self.hear("started");
    }

    fn request_complete(&self, _: Arc<RequestMeta>, _: u64, _: CapturedBody) {
        self.hear("complete");
    }

    fn settled(&self, _: Exchange) {
        self.hear("settled");
    }

    fn on_idle(&self, _: usize) -> Option<Instant> {
        None
    }

    fn close(&self) {}
}

#[test]
fn a_beginning_is_handed_on_while_an_earlier_process_is_recovered_and_grouped_after_it() {
    let recovery = LongRecovery::default();
    let settings = settings(&Budget::new(1 << 24));
    let (capture, threads) = Capture::start(settings, recovery.clone()).unwrap();
    drop(capture.open(meta("/v1/models"), None));
    threads.finish();
    let heard = recovery.0.0.lock().unwrap().clone();
    assert_eq!(heard, ["started", "recovered", "complete", "settled"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn of_one_partition_all_comes_from_one_thread_in_order(
        workers in 1_usize..5,
        partitions in prop::collection::vec(0_u8..6, 1..40),
    ) {
        let listener = Listener::default();
        let settings = CaptureSettings {
            workers,
            partition: |meta| meta.retry.unwrap_or_default().into(),
            ..settings(&Budget::new(1 << 24))
        };
        let (capture, threads) = Capture::start(settings, listener.clone()).unwrap();
        let mut opened = Vec::new();
        for partition in partitions {
            let mut meta = meta("/v1/models");
            meta.retry = Some(partition.into());
            opened.push((meta.id, partition));
            drop(capture.open(meta, None));
        }
        threads.finish();
        let heard = listener.0.lock().unwrap().clone();
        let first = |wanted: fn(&Heard) -> bool| heard.iter().position(|(_, heard)| wanted(heard));
        let recovered = first(|heard| *heard == Heard::Recovered);
        prop_assert!(recovered < first(|heard| matches!(heard, Heard::Settled(_))));
        prop_assert_eq!(&heard.last().unwrap().1, &Heard::Closed);
        for partition in 0..6 {
            let ids: Vec<_> = opened.iter().filter(|(_, own)| *own == partition).map(|(id, _)| *id).collect();
            let of_it = |heard: &Heard| match heard {
                Heard::Settled(id) => ids.contains(id),
                _ => false,
            };
            let settled: Vec<_> = heard.iter().filter(|(_, heard)| of_it(heard)).collect();
            let expected: Vec<_> = ids.iter().map(|id| Heard::Settled(*id)).collect();
            let order: Vec<_> = settled.iter().map(|(_, heard)| heard.clone()).collect();
            prop_assert_eq!(order, expected);
            prop_assert!(settled.windows(2).all(|pair| pair[0].0 == pair[1].0));
        }
        let threads: std::collections::HashSet<_> = heard.iter().map(|(thread, _)| thread).collect();
        // Another thread recovers, and the thread that finishes closes.
        prop_assert!(threads.len() <= workers + 2);
    }
}
