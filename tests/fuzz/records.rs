//! A log's records are read back however a segment is damaged: a flipped bit costs its record and no other.

use spangate::internals::store::record::{
    Damaged, HEAD, RecordBody, RecordKind, RecordScan, append,
};

use crate::engine::{fingerprint, magnitude, run};

const MARK: u32 = 0x7f7f_0001;
/// The mark, a head's zeros, and lengths that lead out of the segment.
const TOKENS: &[&str] = &[
    "\u{1}\0\u{7f}\u{7f}",
    "\0\0\0\0\0\0\0\0",
    "\u{7f}\u{7f}\u{7f}\u{7f}",
];

/// Number and body of each record whose body reads.
fn records(segment: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut end = HEAD;
    let mut read = Vec::new();
    for (offset, record) in RecordScan::new(segment, MARK) {
        assert!(offset >= end && offset < segment.len(), "records overlap");
        end = offset + record.stride();
        if let Ok(body) = record.body(|_| Err(Damaged)) {
            read.push((record.number, body));
        }
    }
    read
}

#[test]
fn a_flipped_bit_costs_its_record_and_no_other() {
    run("records", TOKENS, |input| {
        let mut segment = vec![0; HEAD];
        segment.extend_from_slice(input);
        let strange = records(&segment);
        segment.truncate(HEAD);
        let bodies: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
        let written: Vec<(u64, Vec<u8>)> =
            (1..).zip(bodies.iter().map(|body| body.to_vec())).collect();
        for (number, body) in &written {
            let body = RecordBody::new(body.as_slice());
            append(&mut segment, MARK, RecordKind::Text, *number, &(), &body);
        }
        assert_eq!(records(&segment), written);
        let mut random = fastrand::Rng::with_seed(fingerprint(input));
        let at = random.usize(HEAD..segment.len());
        segment[at] ^= 1 << random.u32(0..8);
        let left = records(&segment);
        assert!(
            left.len() + 1 >= written.len(),
            "a flipped bit costs more than its record"
        );
        assert!(
            left.iter().all(|record| written.contains(record)),
            "damage reads as a record"
        );
        // Cut anywhere, all records before the cut are there.
        let cut = random.usize(HEAD..=segment.len());
        let before = records(&segment[..cut]);
        assert!(before.iter().all(|record| left.contains(record)));
        fingerprint((magnitude(strange.len()), magnitude(bodies.len())))
    });
}
