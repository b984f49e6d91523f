//! Inputs out of other inputs: bits flipped, parts cut, repeated and exchanged, tokens put in.

use fastrand::Rng;

/// Bytes of an input. Longer ones take longer and show nothing new.
const LONGEST: usize = 16 << 10;
/// Bytes that decide something in one of the formats.
const TELLING: &[u8] = b"\0\n\r\t \"\\{}[],:;=%./-0129eEun\x7f\x80\xbf\xc0\xef\xbb\xff";

/// An input made of `seeds` by up to eight changes.
pub(crate) fn mutate(seeds: &[Vec<u8>], tokens: &[&str], rng: &mut Rng) -> Vec<u8> {
    let mut input = rng.choice(seeds).cloned().unwrap_or_default();
    for _ in 0..1 << rng.u32(0..4) {
        change(&mut input, seeds, tokens, rng);
    }
    input.truncate(LONGEST);
    input
}

fn change(input: &mut Vec<u8>, seeds: &[Vec<u8>], tokens: &[&str], rng: &mut Rng) {
    let at = rng.usize(0..=input.len());
    match rng.u32(0..10) {
        0 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << rng.u32(0..8);
            }
        }
        1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = telling(rng);
            }
        }
        2 => input.insert(at, telling(rng)),
        3 => {
            let part = part(input, rng);
            input.drain(part);
        }
        4 => {
            let copy = input[part(input, rng)].repeat(rng.usize(1..8));
            input.splice(at..at, copy);
        }
        5 => input.truncate(at),
        6 => {
            let other = rng.choice(seeds).map_or(&[][..], Vec::as_slice);
            let copy = other[part(other, rng)].to_vec();
            input.splice(at..at, copy);
        }
        7 => {
            let other = rng.choice(seeds).map_or(&[][..], Vec::as_slice);
            input.truncate(at);
            input.extend_from_slice(&other[rng.usize(0..=other.len())..]);
        }
        // Twice as likely: a token is nearly always news.
        _ => {
            let token = rng.choice(tokens).copied().unwrap_or_default();
            input.splice(at..at, token.bytes());
        }
    }
    input.truncate(2 * LONGEST);
}

fn telling(rng: &mut Rng) -> u8 {
    let byte = rng.choice(TELLING).copied();
    byte.filter(|_| rng.bool()).unwrap_or_else(|| rng.u8(..))
}

/// A part of `bytes`, more often a short one.
fn part(bytes: &[u8], rng: &mut Rng) -> std::ops::Range<usize> {
    let start = rng.usize(0..=bytes.len());
    let longest = (bytes.len() - start).min(1 << rng.u32(0..12));
    start..start + rng.usize(0..=longest)
}

#[test]
fn every_kind_of_change_happens_and_inputs_stay_short() {
    let seeds = [b"abc".to_vec(), vec![b'x'; LONGEST]];
    let mut rng = Rng::with_seed(7);
    let make = |_| mutate(&seeds, &["TOKEN"], &mut rng);
    let inputs: Vec<_> = (0..1_000).map(make).collect();
    assert!(inputs.iter().all(|input| input.len() <= LONGEST));
    for (wanted, how) in [
        ("TOKEN", "put in"),
        ("abcabc", "repeated"),
        ("acx", "cut and exchanged"),
    ] {
        let is_in = |input: &Vec<u8>| String::from_utf8_lossy(input).contains(wanted);
        assert!(inputs.iter().any(is_in), "{how}");
    }
}
