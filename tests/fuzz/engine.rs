//! Runs one target: on its corpus as it is, then on inputs made from that, for a number of cases or a time.
//!
//! A target returns a [`fingerprint`] of the facts that it saw. An input with a new fingerprint joins the seeds of the next inputs.

use std::cell::Cell;
use std::collections::HashSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Write, stderr};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fastrand::Rng;

use crate::mutation::mutate;

/// How many inputs are made where no time is set.
const CASES: usize = 1_500;
/// Most seeds: the corpus, and inputs that showed something new.
const SEEDS: usize = 10_000;
/// How often a failing input is tried with a part left out.
const SHRINKS: usize = 2_000;
/// How many bytes of a failing input are shown; the file has them all.
const SHOWN: usize = 500;

thread_local! {
    /// The engine catches panics of this thread and reports them itself.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `target` under the name of its corpus. `tokens` are texts that its inputs are likely to hold.
pub(crate) fn run(name: &str, tokens: &[&str], target: impl Fn(&[u8]) -> u64) {
    silence_caught_panics();
    let mut seeds = corpus(name);
    let mut seen = HashSet::new();
    for seed in &seeds {
        seen.insert(check(name, seed, &target));
    }
    let (mut rng, end) = plan(name);
    for case in 0.. {
        match end {
            Some(end) if Instant::now() >= end => break,
            None if case == CASES => break,
            _ => {}
        }
        let input = mutate(&seeds, tokens, &mut rng);
        if seen.insert(check(name, &input, &target)) && seeds.len() < SEEDS {
            seeds.push(input);
        }
    }
}

/// A number that is the same for inputs that showed the same.
pub(crate) fn fingerprint(seen: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    seen.hash(&mut hasher);
    hasher.finish()
}

/// How many binary digits a number has: sizes of the same magnitude are no news.
pub(crate) fn magnitude(size: usize) -> u32 {
    usize::BITS - size.leading_zeros()
}

/// Cuts of `bytes` at places that depend on the bytes alone, so that a failure can be had again.
pub(crate) fn pieces(bytes: &[u8]) -> Vec<&[u8]> {
    let mut rng = Rng::with_seed(fingerprint(bytes));
    let longest = 1 << rng.usize(1..8);
    let mut rest = bytes;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rng.usize(0..=longest).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// The random numbers of this run, and its end where a time is set.
fn plan(name: &str) -> (Rng, Option<Instant>) {
    let seconds = std::env::var("SPANGATE_FUZZ_SECONDS").ok();
    let Some(seconds) = seconds.map(|text| text.parse().expect("a number of seconds")) else {
        return (Rng::with_seed(0), None);
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = std::env::var("SPANGATE_FUZZ_SEED").ok();
    let seed = seed.map_or(now.as_secs(), |text| text.parse().expect("a number"));
    // Not captured, so that it is there when the process aborts.
    _ = writeln!(
        stderr(),
        "{name}: {seconds} s with SPANGATE_FUZZ_SEED={seed}"
    );
    let end = Instant::now() + Duration::from_secs(seconds);
    (Rng::with_seed(seed), Some(end))
}

/// The files of a corpus, in the order of their names.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = root().join("tests/fuzz/corpus").join(name);
    let mut paths: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    let read = |path: &PathBuf| fs::read(path).unwrap();
    paths.iter().map(read).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The fingerprint of an input. One that fails is made smaller and kept.
fn check(name: &str, input: &[u8], target: &impl Fn(&[u8]) -> u64) -> u64 {
    attempt(input, target).unwrap_or_else(|_| {
        let smallest = shrunk(input, target);
        let why = attempt(&smallest, target).expect_err("it fails each time");
        let folder = root().join("target/fuzz").join(name);
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{:016x}", fingerprint(&smallest)));
        fs::write(&path, &smallest).unwrap();
        panic!(
            "{why}\n\ninput: {}\n{}\nto replay it: cp {} tests/fuzz/corpus/{name}/ && cargo test --test fuzz {name}",
            smallest[..smallest.len().min(SHOWN)].escape_ascii(),
            path.display(),
            path.display(),
        )
    })
}

fn attempt(input: &[u8], target: &impl Fn(&[u8]) -> u64) -> Result<u64, String> {
    QUIET.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(|| target(input)));
    QUIET.set(false);
    result.map_err(|payload| {
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| {
            payload
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
        });
        text.unwrap_or_else(|| "a panic without a text".to_owned())
    })
}

/// An input that fails, too, without the parts that it does not take.
fn shrunk(input: &[u8], target: &impl Fn(&[u8]) -> u64) -> Vec<u8> {
    let mut smallest = input.to_vec();
    let mut left = SHRINKS;
    let mut size = smallest.len();
    while size > 0 {
        let mut start = 0;
        while start < smallest.len() && left > 0 {
            left -= 1;
            let end = smallest.len().min(start + size);
            let shorter = [&smallest[..start], &smallest[end..]].concat();
            if attempt(&shorter, target).is_err() {
                smallest = shorter;
            } else {
                start = end;
            }
        }
        size /= 2;
    }
    smallest
}

fn silence_caught_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                usual(info);
            }
        }));
    });
}

#[test]
fn a_failing_input_is_made_smaller() {
    silence_caught_panics();
    let target = |input: &[u8]| {
        assert!(!input.windows(2).any(|pair| pair == b"ab"), "found ab");
        0
    };
    assert_eq!(shrunk(b"xxxxaxxabxxxbxx", &target), b"ab");
    assert_eq!(attempt(b"ab", &target), Err("found ab".to_owned()));
    assert_eq!(attempt(b"ba", &target), Ok(0));
}

#[test]
fn pieces_are_the_whole() {
    let bytes: Vec<u8> = (0..=255).cycle().take(2_000).collect();
    assert_eq!(pieces(&bytes).concat(), bytes);
    assert!(pieces(&bytes).len() > 2);
}
