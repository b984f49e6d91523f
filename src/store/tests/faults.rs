//! What bytes cost that are not as they were written, and what goes with a segment.

use std::collections::{BTreeMap, BTreeSet};

use super::faulty_disk::FaultyDisk;
use super::restart::{begin, end, recovered, settings, spans, written};
use super::*;
use crate::store::record::{self, HEAD, RecordBody, RecordKind, RecordScan};
use crate::store::segment::SegmentName;

pub(super) fn small(max_size: u64) -> Settings {
    Settings {
        max_size,
        max_memory: 1 << 20,
        ..settings("a faulty disk".as_ref())
    }
}

pub(super) fn open(disk: &FaultyDisk, settings: &Settings) -> (Arc<Store>, Writing) {
    Store::open_on(disk.share(), settings).unwrap()
}

/// Segments of 64 KiB on a disk that has more room than they need.
pub(super) fn open_small(disk: &FaultyDisk) -> (Arc<Store>, Writing) {
    open(disk, &small(1 << 20))
}

/// A span that does not compress.
pub(super) fn long(number: u8, length: usize) -> FinishedSpan {
    let name = std::iter::repeat_with(fastrand::alphanumeric).take(length);
    FinishedSpan::from(Span {
        name: name.collect(),
        ..span(number, 0)
    })
}

pub(super) async fn numbers_of(store: &Arc<Store>) -> Vec<u8> {
    let spans = spans(store).await;
    spans.iter().map(|span| span.span_id.0[0]).collect()
}

/// Fills segments until the one called `name` is gone.
async fn until_gone(disk: &FaultyDisk, store: &Store, name: &str) {
    while disk.segments().contains(&name.to_owned()) {
        store.add(long(200, 20_000));
        written(store).await;
    }
}

pub(super) async fn all_written(store: &Store) {
    until(|| !store.lock().has_unwritten() && store.state().failing.is_none()).await;
    written(store).await;
}

pub(super) async fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        tokio::task::yield_now().await;
    }
}

/// What a log without a writer holds: readable spans by their numbers.
fn read_all(disk: &FaultyDisk) -> BTreeMap<u64, Span> {
    let index = Arc::new(RwLock::new(RecordIndex::new(Ledger::new(Some(0)))));
    let mut log = Log::new(disk.share(), Arc::clone(&index), small(1 << 30).bounds());
    let found = log.open().unwrap();
    let entry = |seq| index.read().unwrap().spans()[&seq];
    let span = |seq| {
        Some((
            seq,
            reader::read_span(&index, entry(seq), true).ok()?.span(),
        ))
    };
    let pending = found.pending.iter();
    pending.filter_map(|(seq, _)| span(*seq)).collect()
}

#[tokio::test]
async fn a_bit_that_flipped_costs_the_record_that_it_was_part_of_and_no_other() {
    let disk = FaultyDisk::default();
    let (store, writing) = open_small(&disk);
    let exchange = exchange("Why?", "because");
    begin(&store, &exchange);
    store.add(made(1, 20));
    store.ended(&exchange);
    store.add(call(&exchange));
    store.add(made(2, 300));
    store.add(made(3, 20));
    end(&store, writing);
    let name = disk.segments().remove(0);
    let bytes = disk.bytes_of(&name);
    let SegmentName { mark, .. } = SegmentName::parse(&name).unwrap();
    let whole = read_all(&disk);
    assert_eq!(whole.len(), 4);
    let mut cost = BTreeSet::new();
    for (offset, record) in RecordScan::new(&bytes, mark) {
        for at in offset..offset + record.length() {
            disk.flip(&name, at, fastrand::u8(0..8));
            let mut found = read_all(&disk);
            disk.put(&name, bytes.clone());
            let may_be_lost = match record.kind {
                RecordKind::Span => vec![record.number],
                // The call's span is the second one.
                RecordKind::Started | RecordKind::Ended => vec![2],
                _ => Vec::new(),
            };
            let mut expected = whole.clone();
            for seq in may_be_lost {
                if found.get(&seq) != expected.get(&seq) {
                    cost.insert(seq);
                    expected.remove(&seq);
                    found.remove(&seq);
                }
            }
            assert_eq!(found, expected, "byte {at}, {:?}", record.kind);
        }
    }
    assert!(cost.iter().eq(whole.keys()), "every span was hit");
}

#[test]
fn what_looks_like_a_record_in_a_body_is_none() {
    let (mark, guessed) = (0x1234_5678, 0x1234_5679);
    let mut fake = Vec::new();
    record::append(
        &mut fake,
        guessed,
        RecordKind::Span,
        7,
        &(),
        &RecordBody::EMPTY,
    );
    // Whatever precedes it, one of these is where a record may begin.
    let body: Vec<u8> = (0..record::ALIGNMENT)
        .flat_map(|shift| [fake.as_slice(), &[0; 8][..shift]].concat())
        .collect();
    let mut bytes = vec![0; HEAD];
    record::append(
        &mut bytes,
        mark,
        RecordKind::Span,
        1,
        &(),
        &RecordBody::new(body),
    );
    record::append(
        &mut bytes,
        mark,
        RecordKind::Span,
        2,
        &(),
        &RecordBody::EMPTY,
    );
    let numbers = |bytes: &[u8]| -> Vec<u64> {
        let records = RecordScan::new(bytes, mark);
        records.map(|(_, record)| record.number).collect()
    };
    assert_eq!(numbers(&bytes), [1, 2]);
    // The length of the body.
    bytes[HEAD + 12] ^= 1;
    assert_eq!(numbers(&bytes), [2]);
}

#[tokio::test]
async fn a_span_goes_with_the_segment_that_its_exchange_began_in() {
    let disk = FaultyDisk::default();
    let (store, writing) = open_small(&disk);
    let exchange = exchange("Why?", "because");
    begin(&store, &exchange);
    written(&store).await;
    let first = disk.segments().remove(0);
    while disk.segments().len() < 3 {
        store.add(long(200, 20_000));
        written(&store).await;
    }
    store.ended(&exchange);
    store.add(call(&exchange));
    written(&store).await;
    let (seq, entry) = {
        let index = store.read_index();
        index
            .spans()
            .iter()
            .next_back()
            .map(|(seq, entry)| (*seq, *entry))
            .unwrap()
    };
    assert_eq!((entry.home, entry.at.0 > entry.home), (1, true));
    until_gone(&disk, &store, &first).await;
    assert!(!store.read_index().spans().contains_key(&seq));
    let counts = store.counts();
    assert_eq!(
        counts.dropped_in_all(),
        counts.dropped(DropReason::StoreFull)
    );
    let stored = store.read_index().spans().len() as u64;
    assert_adds_up(&store);
    end(&store, writing);

    let (store, writing) = open_small(&disk);
    assert_eq!(store.counts().pending, stored);
    assert_eq!(store.counts().dropped_in_all(), 0, "it was counted before");
    end(&store, writing);
}

#[tokio::test]
async fn an_exchange_that_outlives_the_segment_it_began_in_is_written_anew() {
    let disk = FaultyDisk::default();
    let (store, writing) = open_small(&disk);
    let exchange = exchange("Why does it last?", "because");
    begin(&store, &exchange);
    written(&store).await;
    let first = disk.segments().remove(0);
    until_gone(&disk, &store, &first).await;
    store.ended(&exchange);
    written(&store).await;
    let copy = disk.after_kill();
    end(&store, writing);

    let (store, writing) = open_small(&copy);
    let told = recovered(&store);
    let spans: Vec<_> = told
        .into_iter()
        .map(|told| call(&Arc::new(told)).span())
        .collect();
    assert_eq!(spans, [call(&exchange).span()]);
    end(&store, writing);
}

#[tokio::test]
async fn without_its_checkpoint_a_segment_goes_on_with_the_sum_of_the_one_before() {
    let disk = FaultyDisk::default();
    let (store, writing) = open_small(&disk);
    store.add(made(1, 10));
    store.add(made(2, 10));
    let batch = loaded(store.take(1, usize::MAX).unwrap());
    batch.settle(&accepted());
    while disk.segments().len() < 2 {
        store.add(long(3, 20_000));
        written(&store).await;
    }
    let expected = numbers_of(&store).await;
    end(&store, writing);
    let last = disk.segments().remove(1);
    disk.flip(&last, HEAD + 40, 3);

    let (store, writing) = open_small(&disk);
    assert_eq!(numbers_of(&store).await, expected);
    end(&store, writing);
}

/// Several segments with spans, after an end; how many spans each has.
async fn segments() -> (FaultyDisk, Vec<u8>) {
    let disk = FaultyDisk::default();
    let (store, writing) = open_small(&disk);
    for number in 1..=14 {
        store.add(long(number, 20_000));
        written(&store).await;
    }
    let numbers = numbers_of(&store).await;
    end(&store, writing);
    assert!(disk.segments().len() >= 4);
    (disk, numbers)
}

/// Files that are not as they were written.
const DAMAGES: [fn(&FaultyDisk, &str); 5] = [
    |disk, name| disk.take_away(name),
    |disk, name| disk.put(name, Vec::new()),
    |disk, name| disk.put(name, b"junk ".repeat(10_000)),
    |disk, name| {
        let bytes = disk.bytes_of(name);
        disk.put(name, bytes[..bytes.len() / 2].to_vec());
    },
    |disk, name| {
        let mut bytes = disk.bytes_of(name);
        bytes.iter_mut().step_by(101).for_each(|byte| *byte ^= 0x55);
        disk.put(name, bytes);
    },
];

#[tokio::test]
async fn an_index_file_that_is_not_as_it_was_written_is_made_anew() {
    for damage in DAMAGES {
        let (disk, numbers) = segments().await;
        let indexes = disk.names();
        let indexes: Vec<_> = indexes
            .iter()
            .filter(|name| name.contains(".idx"))
            .collect();
        let before: Vec<_> = indexes.iter().map(|name| disk.bytes_of(name)).collect();
        assert!(before.len() >= 3);
        for name in &indexes {
            damage(&disk, name);
        }
        let (store, writing) = open_small(&disk);
        assert_eq!(numbers_of(&store).await, numbers);
        end(&store, writing);
        let after: Vec<_> = indexes.iter().map(|name| disk.bytes_of(name)).collect();
        assert_eq!(after, before);
    }
}

#[tokio::test]
async fn a_segment_that_is_not_as_it_was_written_costs_what_it_held() {
    for damage in DAMAGES {
        for which in 0..4 {
            let (disk, numbers) = segments().await;
            let name = disk.segments().remove(which);
            damage(&disk, &name);
            let (store, writing) = open_small(&disk);
            let found = numbers_of(&store).await;
            let lost = numbers.len() - found.len();
            assert!((1..=4).contains(&lost), "{lost} of {numbers:?}");
            assert!(found.iter().all(|number| numbers.contains(number)));
            assert_adds_up(&store);
            store.add(made(100, 10));
            written(&store).await;
            end(&store, writing);
            let (store, writing) = open_small(&disk);
            assert!(numbers_of(&store).await.contains(&100));
            end(&store, writing);
        }
    }
}

#[tokio::test]
async fn numbers_of_exchanges_that_are_finished_are_not_given_again() {
    let disk = FaultyDisk::default();
    let (store, writing) = open_small(&disk);
    let first = exchange("One?", "");
    begin(&store, &first);
    store.ended(&first);
    store.finished(vec![first.meta.id]);
    end(&store, writing);
    let (store, writing) = open_small(&disk);
    begin(&store, &exchange("Two?", ""));
    written(&store).await;
    let copy = disk.after_kill();
    end(&store, writing);
    let (store, writing) = open_small(&copy);
    assert_eq!(recovered(&store).len(), 1);
    end(&store, writing);
}

#[tokio::test]
async fn the_number_of_a_span_that_was_accepted_and_is_damaged_is_not_given_again() {
    let disk = FaultyDisk::default();
    let (store, writing) = open_small(&disk);
    store.add(made(1, 10));
    loaded(store.take(1, usize::MAX).unwrap()).settle(&accepted());
    end(&store, writing);
    let name = disk.segments().remove(0);
    let SegmentName { mark, .. } = SegmentName::parse(&name).unwrap();
    let at = {
        let bytes = disk.bytes_of(&name);
        let mut records = RecordScan::new(&bytes, mark);
        records
            .find(|(_, record)| record.kind == RecordKind::Span)
            .unwrap()
            .0
    };
    disk.flip(&name, at + HEAD, 0);
    let (store, writing) = open_small(&disk);
    store.add(made(2, 10));
    end(&store, writing);
    let (store, writing) = open_small(&disk);
    assert_eq!(numbers_of(&store).await, [2]);
    end(&store, writing);
}

#[tokio::test]
async fn files_of_another_layout_stay_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let files = ["spangate.db", "spangate.db-wal", "values-1"];
    for name in files {
        std::fs::write(dir.path().join(name), name).unwrap();
    }
    std::fs::create_dir(dir.path().join("log-2")).unwrap();
    std::fs::write(dir.path().join("log-2/00000001-12345678.log"), "newer").unwrap();
    let (store, writing) = restart::open(&settings(dir.path()));
    store.add(made(1, 10));
    end(&store, writing);
    for name in files {
        assert_eq!(
            std::fs::read_to_string(dir.path().join(name)).unwrap(),
            name
        );
    }
    let newer = dir.path().join("log-2/00000001-12345678.log");
    assert_eq!(std::fs::read_to_string(newer).unwrap(), "newer");
    assert_eq!(restart::log_files(dir.path()).len(), 1);
}
