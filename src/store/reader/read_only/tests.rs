//! What is read beside the process that writes, and that nothing is written by it.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::*;
use crate::runs::FinishedSpan;
use crate::store::record::{HEAD, RecordKind, RecordScan};
use crate::store::segment::SegmentName;
use crate::store::tests::{call, exchange};
use crate::store::{Settings, Store, Writing};

fn open(dir: &Path, max_size: u64) -> (Arc<Store>, Writing) {
    let settings = Settings {
        dir: Some(dir.to_owned()),
        max_size,
        max_age: Duration::from_hours(24),
        max_memory: 1 << 26,
        exports: true,
    };
    Store::open(&settings).unwrap()
}

/// Writes a call whose question is so many letters that do not compress.
async fn add(store: &Store, letters: usize) -> FinishedSpan {
    let question: String = std::iter::repeat_with(fastrand::alphanumeric)
        .take(letters)
        .collect();
    let exchange = exchange(&question, "because");
    store.ended(&exchange);
    let made = call(&exchange);
    store.add(made.clone());
    store.handled().await;
    made
}

fn read_spans(reader: &SpanReader) -> Vec<crate::span::Span> {
    let numbers = reader.numbers().into_iter();
    let made = numbers.filter_map(|seq| reader.made(seq, true).unwrap());
    made.map(|made| made.span()).collect()
}

fn spans_of(all: &[FinishedSpan]) -> Vec<crate::span::Span> {
    all.iter().map(FinishedSpan::span).collect()
}

/// Everything in the directory of the log: name, bytes, and when it was written to.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>, SystemTime)> {
    let files = fs::read_dir(dir.join("log-1")).unwrap();
    let mut files: Vec<_> = files
        .map(|file| {
            let path = file.unwrap().path();
            let modified = fs::metadata(&path).unwrap().modified().unwrap();
            (path.clone(), fs::read(path).unwrap(), modified)
        })
        .collect();
    files.sort();
    files
}

#[tokio::test]
async fn a_store_in_use_is_read_as_far_as_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(dir.path(), 1 << 30);
    let mut all = vec![add(&store, 10).await, add(&store, 10_000).await];
    let reader = SpanReader::open_read_only(dir.path()).unwrap();
    assert_eq!(read_spans(&reader), spans_of(&all));
    all.push(add(&store, 10).await);
    assert_eq!(read_spans(&reader), spans_of(&all[..2]), "a snapshot");
    let reader = SpanReader::open_read_only(dir.path()).unwrap();
    assert_eq!(read_spans(&reader), spans_of(&all));
    store.close();
    writing.finish();
    let reader = SpanReader::open_read_only(dir.path()).unwrap();
    assert_eq!(read_spans(&reader), spans_of(&all));
}

#[tokio::test]
async fn reading_writes_nothing_not_even_index_files_that_are_missing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(dir.path(), 8 << 20);
    let mut all = Vec::new();
    for _ in 0..20 {
        all.push(add(&store, 100_000).await);
    }
    store.close();
    writing.finish();
    let indexes = files(dir.path()).into_iter().map(|(path, ..)| path);
    let indexes: Vec<_> = indexes
        .filter(|path| path.extension().is_some_and(|end| end == "idx"))
        .collect();
    assert!(!indexes.is_empty(), "there are sealed segments");
    fs::remove_file(&indexes[0]).unwrap();
    let before = files(dir.path());
    let reader = SpanReader::open_read_only(dir.path()).unwrap();
    assert_eq!(read_spans(&reader), spans_of(&all));
    assert!(files(dir.path()) == before, "nothing changed");
}

#[tokio::test]
async fn segments_that_go_are_read_once_they_are_open_and_left_out_before() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(dir.path(), 2 << 20);
    let first = add(&store, 100_000).await;
    let reader = SpanReader::open_read_only(dir.path()).unwrap();
    // Until the store lets go of the segment that has it.
    while store.read_index().spans().contains_key(&1) {
        add(&store, 100_000).await;
    }
    assert_eq!(read_spans(&reader), spans_of(&[first]));
    let later = SpanReader::open_read_only(dir.path()).unwrap();
    assert_eq!(later.numbers(), SpanReader::new(&store).numbers());
    store.close();
    writing.finish();
}

#[tokio::test]
async fn a_record_that_changed_costs_its_span_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(dir.path(), 1 << 30);
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(add(&store, 10).await);
    }
    store.close();
    writing.finish();
    let (path, mut bytes, _) = files(dir.path()).pop().unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    let mark = SegmentName::parse(name).unwrap().mark;
    let mut spans = RecordScan::new(&bytes, mark)
        .filter(|(_, record)| record.number == 2 && record.kind == RecordKind::Span);
    let (offset, _) = spans.next().unwrap();
    bytes[offset + HEAD] ^= 1;
    fs::write(path, bytes).unwrap();
    all.remove(1);
    let reader = SpanReader::open_read_only(dir.path()).unwrap();
    assert_eq!(read_spans(&reader), spans_of(&all));
}

#[tokio::test]
async fn a_run_is_open_until_its_exchanges_are_finished() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(dir.path(), 1 << 30);
    let exchange = exchange("Why?", "because");
    store.ended(&exchange);
    store.add(call(&exchange));
    store.handled().await;
    let is_open = || {
        let reader = SpanReader::open_read_only(dir.path()).unwrap();
        reader.is_in_open_run(reader.numbers()[0]).unwrap()
    };
    assert!(is_open());
    store.finished(vec![exchange.meta.id]);
    store.handled().await;
    assert!(!is_open());
    store.close();
    writing.finish();
}

#[test]
fn where_there_is_no_log_none_is_made() {
    let dir = tempfile::tempdir().unwrap();
    for dir in [dir.path().to_owned(), dir.path().join("nowhere")] {
        let error = SpanReader::open_read_only(&dir).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
