//! What was held is what is read, and a file stays as long as a row has something of it.

use std::ops::Range;

use proptest::prelude::*;
use tempfile::TempDir;

use super::file::{HEAD, LONG};
use super::outline::Outline;
use super::writing::SHORT;
use super::*;
use crate::identity::Credential;
use crate::openai::ContentHash;
use crate::store::schema;

const NAME: &str = "spangate.db";

struct Disk {
    dir: TempDir,
    connection: Connection,
}

impl Disk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let connection = Connection::open(dir.path().join(NAME)).unwrap();
        schema::migrate(&connection).unwrap();
        Disk { dir, connection }
    }

    fn values(&self, bytes: u64) -> Values {
        self.values_with(Most {
            bytes,
            age: Duration::MAX,
        })
    }

    fn values_with(&self, most: Most) -> Values {
        Values::to_write(&self.dir.path().join(NAME), 7, most, &self.connection).unwrap()
    }

    fn commit(&self, values: &mut Values) {
        values.write(&self.connection).unwrap();
        values.committed();
    }

    /// Numbers of the segments that are there.
    fn segments(&self) -> Vec<u32> {
        let files = files(&self.dir.path().join(NAME)).unwrap();
        let mut numbers: Vec<u32> = files.into_iter().map(|(number, _)| number).collect();
        numbers.sort_unstable();
        numbers
    }
}

/// Holds a value that is long for a row.
fn hold(values: &mut Values, number: u64, value: &[u8]) -> Position {
    match values
        .hold(Among::New, Owner::Exchange(number), &Blob::of(value))
        .unwrap()
    {
        Held::Beside(position) => position,
        Held::Here(_) => panic!("it stays in its row"),
    }
}

fn value(values: &Values, position: Position) -> Option<Vec<u8>> {
    blob::read(&values.read(position).unwrap()).ok().flatten()
}

fn long(fill: u8) -> Vec<u8> {
    vec![fill; SHORT + 1]
}

/// A value that consists of these texts, with a little before, between and behind them, and where they are.
fn of_texts(texts: &[String]) -> (Vec<u8>, Vec<(Range<usize>, ContentHash)>) {
    let (mut value, mut marked) = (b"[".to_vec(), Vec::new());
    for text in texts {
        let start = value.len();
        value.extend_from_slice(text.as_bytes());
        marked.extend(ContentHash::of(text).map(|mark| (start..value.len(), mark)));
        value.extend_from_slice(b", ");
    }
    (value, marked)
}

fn hold_texts(values: &mut Values, number: u64, caller: u8, texts: &[String]) -> Position {
    let (value, marked) = of_texts(texts);
    let (owner, caller) = (Owner::Exchange(number), Credential([caller; 32]));
    match values.hold_texts(owner, &caller, &value, &marked).unwrap() {
        Held::Beside(position) => position,
        Held::Here(_) => panic!("it stays in its row"),
    }
}

/// Texts of which the first shrinks, and the others do not.
fn texts(number: usize) -> Vec<String> {
    let noise = |_| {
        std::iter::repeat_with(fastrand::alphanumeric)
            .take(5_000)
            .collect()
    };
    let repeated = std::iter::once("it repeats itself ".repeat(300));
    repeated.chain((1..number).map(noise)).collect()
}

#[test]
fn a_text_that_comes_again_is_written_once_for_each_caller() {
    let disk = Disk::new();
    let mut values = disk.values(u64::MAX);
    let texts = texts(20);
    let mut held = Vec::new();
    let mut grows = |values: &mut Values, caller, texts: &[String]| {
        let before = values.bytes();
        held.push((hold_texts(values, 1, caller, texts), of_texts(texts).0));
        values.bytes() - before
    };
    assert!(grows(&mut values, 1, &texts[..18]) > 17 * 5_000);
    assert!(grows(&mut values, 1, &texts[..18]) < 1_000);
    let one_more = grows(&mut values, 1, &texts[..19]);
    assert!((5_000..6_000).contains(&one_more), "{one_more}");
    assert!(grows(&mut values, 2, &texts[..18]) > 17 * 5_000);
    // In another order, and one of them twice.
    let again = [&texts[3], "short", &texts[0], &texts[3]].map(str::to_owned);
    assert!(grows(&mut values, 1, &again) < 1_000);
    disk.commit(&mut values);
    // By whoever wrote them, and after a start.
    for values in [values, disk.values(u64::MAX)] {
        for (position, expected) in &held {
            assert_eq!(value(&values, *position).as_ref(), Some(expected));
        }
    }
}

#[test]
fn a_text_of_another_segment_is_written_again() {
    let disk = Disk::new();
    let mut values = disk.values(1);
    let texts = texts(3);
    let held = [1, 2].map(|number| hold_texts(&mut values, number, 1, &texts));
    disk.commit(&mut values);
    values.forget(held[0]);
    disk.commit(&mut values);
    assert_eq!(disk.segments(), [2]);
    assert_eq!(value(&values, held[1]), Some(of_texts(&texts).0));
}

#[test]
fn what_is_moved_has_its_texts_with_it_each_once() {
    let disk = Disk::new();
    let mut values = disk.values(u64::MAX);
    let texts = texts(10);
    let held: Vec<_> = [8, 8, 8, 8, 8, 8, 8, 8, 9, 10]
        .into_iter()
        .zip(1..)
        .map(|(most, number)| hold_texts(&mut values, number, 1, &texts[..most]))
        .collect();
    disk.commit(&mut values);
    let mut values = disk.values(u64::MAX);
    held[..7]
        .iter()
        .for_each(|position| values.forget(*position));
    assert_eq!(values.sparse(u64::MAX), None, "nearly all texts are theirs");
    let before = values.bytes();
    let moved: Vec<_> = held[7..]
        .iter()
        .map(|from| values.move_on(Owner::Exchange(1), *from).unwrap())
        .collect();
    let grown = values.bytes() - before;
    assert!((40_000..60_000).contains(&grown), "{grown}");
    assert!(values.sparse(0).is_some(), "nothing is held any more");
    disk.commit(&mut values);
    for path in values.take_work().remove {
        fs::remove_file(path).unwrap();
    }
    assert_eq!(disk.segments(), [2]);
    for (number, moved) in (8..).zip(moved) {
        let Held::Beside(position) = moved else {
            panic!("{moved:?}")
        };
        let expected = of_texts(&texts[..number]).0;
        assert_eq!(value(&values, position), Some(expected));
    }
}

#[test]
fn what_was_moved_is_not_moved_again_for_nothing() {
    let disk = Disk::new();
    let mut values = disk.values(u64::MAX);
    let texts = texts(10);
    let large = hold_texts(&mut values, 1, 1, &texts);
    let small: Vec<_> = (2..30)
        .map(|number| hold(&mut values, number, &long(1)))
        .collect();
    disk.commit(&mut values);
    let mut values = disk.values(u64::MAX);
    for position in small {
        values.forget(position);
    }
    // By their number it is little.
    assert!(values.sparse(u64::MAX).is_some());
    values.move_on(Owner::Exchange(1), large).unwrap();
    disk.commit(&mut values);
    let mut values = disk.values(u64::MAX);
    assert_eq!(values.sparse(u64::MAX), None);
}

#[test]
fn a_value_of_which_a_text_was_changed_does_not_read() {
    let disk = Disk::new();
    let mut values = disk.values(u64::MAX);
    let texts = texts(3);
    let held = hold_texts(&mut values, 1, 1, &texts);
    let other = hold_texts(&mut values, 2, 1, &texts[1..]);
    disk.commit(&mut values);
    let path = file(&disk.dir.path().join(NAME), 1);
    let mut bytes = fs::read(&path).unwrap();
    // The first text, which only the first value has.
    bytes[HEAD + 20] ^= 1;
    fs::write(path, bytes).unwrap();
    let mut values = disk.values(u64::MAX);
    assert_eq!(value(&values, held), None);
    let expected = of_texts(&texts[1..]).0;
    assert_eq!(value(&values, other), Some(expected.clone()));
    // Nor when both are moved.
    let moved = [held, other].map(|from| values.move_on(Owner::Exchange(1), from).unwrap());
    disk.commit(&mut values);
    let read = moved.map(|held| match held {
        Held::Beside(position) => value(&values, position),
        Held::Here(written) => blob::read(&written).ok().flatten(),
    });
    assert_eq!(read, [None, Some(expected)]);
}

#[test]
fn a_value_is_not_moved_without_a_text_that_is_not_there() {
    let disk = Disk::new();
    let mut values = disk.values(u64::MAX);
    let texts = texts(3);
    let whole = hold_texts(&mut values, 1, 1, &texts[..2]);
    hold_texts(&mut values, 2, 1, &texts[1..]);
    disk.commit(&mut values);
    let path = file(&disk.dir.path().join(NAME), 1);
    let mut values = disk.values(u64::MAX);
    // As far as the first outline, whose second text is made to stand behind the end.
    let mut bytes = fs::read(&path).unwrap();
    let Position { offset, .. } = whole;
    bytes.truncate(offset as usize);
    let outline = {
        let mut outline = Outline::default();
        outline.text(b"[", u32::try_from(HEAD).unwrap());
        outline.text(b", ", u32::MAX);
        Blob::outline(outline.end(b"]")).written()
    };
    let length = u32::try_from(outline.len()).unwrap();
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&outline);
    fs::write(path, bytes).unwrap();
    assert_eq!(value(&values, whole), None);
    let moved = values.move_on(Owner::Exchange(1), whole).unwrap();
    assert!(matches!(moved, Held::Here(written) if written.is_empty()));
    // Nor does the first text stay.
    disk.commit(&mut values);
    assert_eq!(disk.segments(), [1]);
}

proptest! {
    #[test]
    fn an_outline_reads_as_it_was_written(
        texts in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..40), any::<u32>()), 0..8),
        rest in proptest::collection::vec(any::<u8>(), 0..40),
        cut in 0..400_usize,
    ) {
        let mut outline = Outline::default();
        let mut expected = Vec::new();
        for (before, offset) in &texts {
            outline.text(before, *offset);
            expected.extend([Part::Bytes(before), Part::Text(*offset)]);
        }
        expected.push(Part::Bytes(&rest));
        let mut written = outline.end(&rest);
        prop_assert_eq!(outline::parts(&written).collect::<Vec<_>>(), &expected[..]);
        written.truncate(cut);
        let left: Vec<_> = outline::parts(&written).collect();
        prop_assert_eq!(&left, &expected[..left.len()]);
    }

    #[test]
    fn what_is_held_is_what_is_read(
        lengths in proptest::collection::vec(prop_oneof![SHORT..2_000, LONG - 9..LONG + 9, 0..150_000_usize], 0..24),
        most in 0..200_000_u64,
    ) {
        let disk = Disk::new();
        let mut values = disk.values(most);
        let mut random = fastrand::Rng::with_seed(lengths.len() as u64);
        let held: Vec<(Vec<u8>, Held)> = lengths
            .into_iter()
            .map(|length| {
                let value: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
                let held = values.hold(Among::New, Owner::Span(1), &Blob::of(&value)).unwrap();
                (value, held)
            })
            .collect();
        disk.commit(&mut values);
        let again = disk.values(most);
        prop_assert_eq!(again.bytes(), values.bytes());
        for (expected, held) in held {
            match held {
                Held::Here(written) => prop_assert_eq!(blob::read(&written), Ok(Some(expected))),
                Held::Beside(position) => {
                    prop_assert_eq!(value(&values, position), Some(expected.clone()));
                    prop_assert_eq!(value(&again, position), Some(expected));
                }
            }
        }
    }
}

#[test]
fn a_segment_goes_with_the_last_of_its_values_and_not_before() {
    let disk = Disk::new();
    let mut values = disk.values(1);
    let held: Vec<_> = (1..=3)
        .map(|number| hold(&mut values, number, &long(1)))
        .collect();
    disk.commit(&mut values);
    assert_eq!(disk.segments(), [1, 2, 3]);
    values.forget(held[1]);
    assert_eq!(
        disk.segments(),
        [1, 2, 3],
        "not before the rows are committed"
    );
    disk.commit(&mut values);
    assert_eq!(disk.segments(), [1, 3]);
    // Also the one that is still written.
    values.forget(held[2]);
    disk.commit(&mut values);
    assert_eq!(disk.segments(), [1]);
    // And no number is given twice, also after a start.
    hold(&mut values, 4, &long(1));
    disk.commit(&mut values);
    assert_eq!(disk.segments(), [1, 4]);
    let mut values = disk.values(1);
    hold(&mut values, 5, &long(1));
    disk.commit(&mut values);
    assert_eq!(disk.segments(), [1, 4, 5]);
    assert_eq!(value(&values, held[0]), Some(long(1)));
}

#[test]
fn a_segment_that_is_old_gets_no_further_value_and_goes_with_its_own() {
    let disk = Disk::new();
    let mut values = disk.values_with(Most {
        bytes: u64::MAX,
        age: Duration::ZERO,
    });
    let old = hold(&mut values, 1, &long(1));
    disk.commit(&mut values);
    let young = hold(&mut values, 2, &long(2));
    disk.commit(&mut values);
    assert_eq!(disk.segments(), [old.segment, young.segment]);
    values.forget(old);
    disk.commit(&mut values);
    assert_eq!(disk.segments(), [young.segment]);
    assert_eq!(value(&values, young), Some(long(2)));
}

#[test]
fn what_a_crash_left_is_removed_and_what_rows_have_is_kept() {
    let disk = Disk::new();
    let mut values = disk.values(1);
    let kept = hold(&mut values, 1, &long(1));
    disk.commit(&mut values);
    hold(&mut values, 2, &long(2));
    drop(values);
    fs::write(disk.dir.path().join("spangate.db-values-x"), "not ours").unwrap();
    assert_eq!(disk.segments(), [1, 2]);
    let mut values = disk.values(1);
    assert_eq!(disk.segments(), [1]);
    let next = hold(&mut values, 3, &long(3));
    disk.commit(&mut values);
    assert_eq!(value(&values, kept), Some(long(1)));
    assert_eq!(value(&values, next), Some(long(3)));
    assert!(disk.dir.path().join("spangate.db-values-x").exists());
}

#[test]
fn a_segment_is_sparse_when_few_rows_have_something_of_it() {
    let disk = Disk::new();
    let mut values = disk.values(u64::MAX);
    let held: Vec<_> = (10..18)
        .map(|number| hold(&mut values, number, &long(1)))
        .collect();
    held[..7]
        .iter()
        .for_each(|position| values.forget(*position));
    assert_eq!(values.sparse(u64::MAX), None, "it is still written");
    disk.commit(&mut values);
    assert_eq!(values.sparse(u64::MAX), None, "it still is");
    values.stay_within(Most {
        bytes: 1,
        age: Duration::MAX,
    });
    assert!(
        values.sparse(u64::MAX).is_some(),
        "there is less room by now"
    );
    let mut values = disk.values(u64::MAX);
    assert_eq!(values.sparse(SHORT as u64), None, "there is no room");
    let sparse = values.sparse(u64::MAX).unwrap();
    assert_eq!(
        (sparse.number, sparse.exchanges),
        (
            1,
            Numbers {
                first: 10,
                last: 17
            }
        )
    );
    let moved = values.move_on(Owner::Exchange(17), held[7]).unwrap();
    disk.commit(&mut values);
    // It can go when the disk has what is in its place.
    assert_eq!(disk.segments(), [1, 2]);
    assert!(values.has_doomed());
    let path = |number: u32| file(&disk.dir.path().join(NAME), number);
    let work = values.take_work();
    assert_eq!(work.sync, [path(2)].into());
    assert_eq!(work.remove, [path(1)].into());
    let Held::Beside(moved) = moved else {
        panic!("{moved:?}")
    };
    assert_eq!(value(&values, moved), Some(long(1)));
}

#[test]
fn what_is_not_there_or_was_changed_does_not_read() {
    let disk = Disk::new();
    let mut values = disk.values(1);
    let held: Vec<_> = (0..5)
        .map(|fill| hold(&mut values, 1, &long(fill)))
        .collect();
    disk.commit(&mut values);
    let path = |number: u32| disk.dir.path().join(format!("spangate.db-values-{number}"));
    let change = |number, at: usize, to: u8| {
        let mut bytes = fs::read(path(number)).unwrap();
        bytes[at] = to;
        fs::write(path(number), bytes).unwrap();
    };
    fs::remove_file(path(1)).unwrap();
    // Its length, its content, and whose it is.
    change(2, HEAD + 3, 0xff);
    change(3, HEAD + 40, 0xff);
    change(4, 9, 0xff);
    let values = disk.values(1);
    for position in &held[..4] {
        assert_eq!(value(&values, *position), None, "{position:?}");
    }
    assert_eq!(value(&values, held[4]), Some(long(4)));
}
