//! Random histories on a disk that fails, against a model that is a few maps.
//!
//! After every step the account adds up. After a kill everything is as before. After any other fault only so much differs as the fault explains,
//! and the model goes on with that.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::faulty_disk::FaultyDisk;
use super::restart::{begin, end, written};
use super::*;
use crate::store::record::{RecordKind, RecordScan};
use crate::store::segment::SegmentName;

mod expectations;

use expectations::{Present, present, rows};

#[derive(Clone, Debug)]
enum Step {
    /// With its request, or before that is whole; with a long history that other exchanges have, too, or without.
    Begin {
        is_whole: bool,
        is_long: bool,
    },
    /// The request of one that began is whole.
    Body(usize),
    End(usize),
    /// The span of an exchange that ended, which is then done with.
    Tell(usize),
    /// A span that is no exchange's.
    Add(usize),
    /// So many spans go to Respan: accepted, all refused, or given back.
    Post(usize, u8),
    Replay(Replay),
    /// Spans have no destination any more.
    NoDestination,
    /// The process is killed, or ends, and another one begins.
    Restart(Fault),
    /// A write fails in its middle.
    TearWrite(usize),
    /// The disk is full for a while.
    Fill,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Kill,
    End,
    /// The process is killed while it writes.
    KillWhileWriting(usize),
    /// Which pages are left is random, from this seed.
    PowerCut(u64),
    /// A bit is flipped while no process runs.
    Flip(usize, usize, u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fault = prop_oneof![
        3 => Just(Fault::Kill),
        2 => Just(Fault::End),
        1 => (0..30_000_usize).prop_map(Fault::KillWhileWriting),
        1 => any::<u64>().prop_map(Fault::PowerCut),
        2 => (0..64_usize, any::<usize>(), 0..8_u8)
            .prop_map(|(file, at, bit)| Fault::Flip(file, at, bit)),
    ];
    let step = prop_oneof![
        8 => (any::<bool>(), any::<bool>())
            .prop_map(|(is_whole, is_long)| Step::Begin { is_whole, is_long }),
        3 => (0..4_usize).prop_map(Step::Body),
        8 => (0..4_usize).prop_map(Step::End),
        8 => (0..4_usize).prop_map(Step::Tell),
        6 => (0..20_000_usize).prop_map(Step::Add),
        4 => (1..5_usize, 0..3_u8).prop_map(|(spans, how)| Step::Post(spans, how)),
        1 => Just(Step::Replay(Replay::Refused)),
        1 => Just(Step::Replay(Replay::Kept)),
        1 => Just(Step::NoDestination),
        6 => fault.prop_map(Step::Restart),
        1 => (0..10_000_usize).prop_map(Step::TearWrite),
        1 => Just(Step::Fill),
    ];
    proptest::collection::vec(step, 0..60)
}

/// Spans by their ids.
type Spans = BTreeMap<SpanId, Span>;

/// What must be found.
#[derive(Clone, Debug, Default)]
struct Model {
    begun: Vec<Arc<Exchange>>,
    ended: Vec<Arc<Exchange>>,
    /// Exchanges of which a fault may have taken the records.
    is_unsure: bool,
    pending: Spans,
    refused: Spans,
    kept: Spans,
    /// Every span that was ever made, and is stored.
    all: Spans,
    /// Exchanges whose requests were told.
    whole: HashSet<ExchangeId>,
    /// There may be spans that cannot be read.
    has_damages: bool,
    /// Spans are kept.
    has_no_destination: bool,
    number: u64,
}

impl Model {
    fn add(&mut self, made: &FinishedSpan) {
        let span = made.span();
        self.all.insert(span.span_id, span.clone());
        let spans = if self.has_no_destination {
            &mut self.kept
        } else {
            &mut self.pending
        };
        spans.insert(span.span_id, span);
    }

    fn known(&self) -> Spans {
        let all = [&self.pending, &self.refused, &self.kept];
        let spans = all.into_iter().flatten();
        spans.map(|(id, span)| (*id, span.clone())).collect()
    }

    /// What a restart tells, in order: at one moment by their beginnings.
    fn unfinished(&mut self) -> Vec<ExchangeId> {
        let mut ended = std::mem::take(&mut self.ended);
        ended.sort_by_key(|exchange| (exchange.ended_ns(), exchange.started_ns));
        ended.append(&mut self.begun);
        ended.iter().map(|known| known.meta.id).collect()
    }
}

/// A store of small segments, and its model.
struct Run {
    disk: FaultyDisk,
    store: Arc<Store>,
    writing: Option<Writing>,
    model: Model,
    /// What is synced for certain: what the last orderly end left.
    synced: Model,
    /// A span that was being written when the process was killed.
    torn: Option<FinishedSpan>,
    history: String,
}

fn small() -> Settings {
    Settings {
        dir: Some("a faulty disk".into()),
        // Nothing goes for room, and segments are as small as they get.
        max_size: 8 << 20,
        max_age: Duration::from_hours(24),
        max_memory: 600_000,
        exports: true,
    }
}

fn open(disk: &FaultyDisk) -> (Arc<Store>, Writing) {
    // The bound of the disk makes the segments small.
    disk.limit(Some(2 << 20));
    let opened = Store::open_on(disk.share(), &small()).unwrap();
    disk.limit(None);
    opened
}

impl Run {
    fn new() -> Self {
        let disk = FaultyDisk::default();
        let (store, writing) = open(&disk);
        let letters = std::iter::repeat_with(fastrand::alphanumeric);
        Run {
            disk,
            store,
            writing: Some(writing),
            model: Model::default(),
            synced: Model::default(),
            torn: None,
            history: letters.take(20_000).collect(),
        }
    }

    fn exchange(&self, is_long: bool) -> Arc<Exchange> {
        if is_long {
            let history = &self.history;
            let cut = &history[..fastrand::usize(16_000..20_000)];
            let question = format!(
                r#"{history}"}},{{"role":"user","content":"{cut}"}},{{"role":"user","content":"Why?"#
            );
            exchange(&question, "because")
        } else {
            exchange("Why?", "because")
        }
    }

    async fn add(&mut self, made: FinishedSpan) {
        self.store.add(made.clone());
        // What was told again may have been made before.
        if !self.model.all.contains_key(&made.span_id()) {
            self.model.add(&made);
        }
        if self.store.unsaved_count() > 1 {
            written(&self.store).await;
        }
    }

    /// A span that does not compress.
    fn made(&mut self, text: usize) -> FinishedSpan {
        self.model.number += 1;
        let name = std::iter::repeat_with(fastrand::alphanumeric).take(text);
        FinishedSpan::from(Span {
            span_id: SpanId(self.model.number.to_be_bytes()),
            name: name.collect(),
            ..span(1, 0)
        })
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Begin { is_whole, is_long } => {
                let exchange = self.exchange(is_long);
                if is_whole {
                    begin(&self.store, &exchange);
                    self.model.whole.insert(exchange.meta.id);
                } else {
                    self.store
                        .started(&exchange.meta, exchange.started_ns, None);
                }
                self.model.begun.push(exchange);
            }
            Step::Body(which) if which < self.model.begun.len() => {
                begin(&self.store, &self.model.begun[which]);
                let id = self.model.begun[which].meta.id;
                self.model.whole.insert(id);
            }
            Step::End(which) if which < self.model.begun.len() => {
                let exchange = self.model.begun.remove(which);
                self.store.ended(&exchange);
                self.model.ended.push(exchange);
            }
            Step::Tell(which) if which < self.model.ended.len() => {
                let exchange = self.model.ended.remove(which);
                self.add(call(&exchange)).await;
                self.store.finished(vec![exchange.meta.id]);
            }
            Step::Add(text) => {
                let made = self.made(text);
                self.add(made).await;
            }
            Step::Post(spans, how) => self.post(spans, how).await,
            Step::Replay(what) => {
                let count = self.store.replay(what).await.unwrap();
                let spans = match what {
                    Replay::Refused => &mut self.model.refused,
                    Replay::Kept => &mut self.model.kept,
                };
                let lost = count - spans.len() as u64;
                self.model.pending.append(spans);
                if lost > 0 {
                    // Records that a fault took show when they are read.
                    assert!(self.model.has_damages);
                    let dropped = self.store.counts().dropped_in_all();
                    present(&self.store).await;
                    assert_eq!(self.store.counts().dropped_in_all(), dropped + lost);
                }
            }
            Step::NoDestination => {
                self.store.set_exports(false);
                self.model.has_no_destination = true;
            }
            Step::Restart(fault) => self.restart(fault).await,
            Step::TearWrite(kept) => self.tear_write(kept).await,
            Step::Fill => self.fill().await,
            Step::Body(_) | Step::End(_) | Step::Tell(_) => {}
        }
        assert_adds_up(&self.store);
        let counts = self.store.counts();
        assert_eq!(counts.pending, self.model.pending.len() as u64);
    }

    async fn post(&mut self, spans: usize, how: u8) {
        let Some(batch) = self.store.take(spans, usize::MAX) else {
            return;
        };
        let batch = batch.load().await.unwrap();
        let spans: Vec<Span> = batch.spans().map(FinishedSpan::span).collect();
        match how {
            0 => batch.settle(&accepted()),
            1 => batch.settle(&Settled {
                rejected: u64::MAX,
                reason: Some("bad".to_owned()),
            }),
            _ => return,
        }
        for span in spans {
            let known = self.model.pending.remove(&span.span_id);
            assert_eq!(known.as_ref(), Some(&span));
            // One that made room is no more.
            if how == 1 && self.model.all.contains_key(&span.span_id) {
                self.model.refused.insert(span.span_id, span);
            }
        }
    }

    /// A write that fails costs nothing that memory has.
    async fn tear_write(&mut self, kept: usize) {
        written(&self.store).await;
        self.disk.tear_write(kept);
        let made = self.made(kept + 1);
        self.add(made).await;
        written(&self.store).await;
        assert!(self.disk.is_torn());
        self.all_written().await;
        // What had made room and memory still had is written once more.
        for id in rows(&self.store) {
            if let Some(span) = self.model.pending.get(&id) {
                self.model.all.insert(id, span.clone());
            }
        }
    }

    async fn all_written(&self) {
        while self.store.state().failing.is_some() {
            tokio::task::yield_now().await;
        }
        written(&self.store).await;
        while self.store.lock().has_unwritten() {
            tokio::task::yield_now().await;
        }
        written(&self.store).await;
    }

    /// A full disk costs the oldest segments, and what waited in them is counted.
    async fn fill(&mut self) {
        written(&self.store).await;
        let before = self.store.counts().dropped_in_all();
        self.disk.limit(Some(self.disk.used()));
        for _ in 0..6 {
            let made = self.made(15_000);
            self.add(made).await;
            written(&self.store).await;
        }
        self.disk.limit(None);
        self.all_written().await;
        let present = present(&self.store).await;
        let lost = self.model.pending.len() - present.pending.len();
        assert_eq!(
            self.store.counts().dropped_in_all() - before,
            lost as u64,
            "what a full disk costs is counted"
        );
        self.expect_nothing_invented(&present);
        self.take_over(present);
        self.model.is_unsure = true;
        for spans in [
            &mut self.synced.pending,
            &mut self.synced.refused,
            &mut self.synced.kept,
        ] {
            spans.retain(|id, _| self.synced.all.contains_key(id));
        }
        self.synced.begun.clear();
        self.synced.ended.clear();
    }

    fn expect_nothing_invented(&self, present: &Present) {
        let known = self.model.known();
        for (id, span) in present.spans() {
            assert_eq!(known.get(&id), Some(span));
        }
        let mut rows = present.rows.iter();
        assert!(rows.all(|id| self.model.all.contains_key(id)));
    }

    /// The model goes on with what there is.
    fn take_over(&mut self, present: Present) {
        // A record that was hit may have cost a span its content.
        for (id, span) in present.spans() {
            self.model.all.insert(id, span.clone());
        }
        self.model.pending = present.pending;
        self.model.refused = present.refused;
        self.model.kept = present.kept;
        for model in [&mut self.model, &mut self.synced] {
            model.all.retain(|id, _| present.rows.contains(id));
        }
    }

    async fn restart(&mut self, fault: Fault) {
        written(&self.store).await;
        // What only memory has goes with the process.
        let stored = &self.model.all;
        self.model.pending.retain(|id, _| stored.contains_key(id));
        let mut hit = None;
        if let Fault::KillWhileWriting(bytes) = fault
            && !self.model.has_no_destination
        {
            self.disk.die_after(bytes);
            let made = self.made(bytes);
            self.store.add(made.clone());
            written(&self.store).await;
            self.torn = Some(made);
        }
        if matches!(fault, Fault::End | Fault::Flip(..)) {
            end(&self.store, self.writing.take().unwrap());
        }
        let disk = match fault {
            Fault::PowerCut(seed) => self.disk.after_power_cut(seed),
            _ => self.disk.after_kill(),
        };
        if let Fault::Flip(file, at, bit) = fault {
            hit = flip(&disk, file, at, bit);
        }
        if let Some(writing) = self.writing.take() {
            end(&self.store, writing);
        }
        let (store, writing) = open(&disk);
        (self.disk, self.store, self.writing) = (disk, store, Some(writing));
        let found = self.store.counts();
        assert_eq!(found.created, found.pending + found.dropped_in_all());
        self.model.has_damages |= matches!(fault, Fault::PowerCut(_) | Fault::Flip(..));
        match (fault, hit) {
            (Fault::PowerCut(_), _) => self.expect_what_was_synced().await,
            (_, Some(kind)) => self.expect_all_but(kind).await,
            _ => self.expect_everything().await,
        }
        if !matches!(fault, Fault::Kill | Fault::KillWhileWriting(_)) {
            self.synced = self.model.clone();
        }
    }
}

/// Flips a bit of a file, where it holds anything. Returns the kind of the record that it is part of; none of what no start looks at, or of a
/// copy.
fn flip(disk: &FaultyDisk, file: usize, at: usize, bit: u8) -> Option<RecordKind> {
    let names = disk.names();
    let name = &names[file % names.len()];
    let bytes = disk.bytes_of(name);
    let length = bytes.iter().rposition(|byte| *byte != 0)? + 1;
    let at = at % length;
    disk.flip(name, at, bit);
    let SegmentName { mark, .. } = SegmentName::parse(name)?;
    RecordScan::new(&bytes, mark)
        .find(|(offset, record)| (*offset..offset + record.length()).contains(&at))
        .map(|(_, record)| record.kind)
}

async fn run(steps: Vec<Step>) {
    let mut run = Run::new();
    for step in steps {
        run.step(step).await;
    }
    run.restart(Fault::Kill).await;
    end(&run.store, run.writing.take().unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_fails_nothing_is_lost_or_invented_but_what_the_fault_explains(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(run(steps));
    }
}
