//! Ranges are the set of numbers that they stand for, after every step.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Insert(u64, u64),
    Remove(u64),
    ForgetBelow(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1..60_u64, 0..4_u64).prop_map(|(first, more)| Step::Insert(first, first + more)),
        3 => (1..64_u64).prop_map(Step::Remove),
        1 => (1..20_u64).prop_map(Step::ForgetBelow),
    ];
    proptest::collection::vec(step, 0..80)
}

proptest! {
    #[test]
    fn it_is_a_set_of_numbers(steps in steps()) {
        let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
        for step in steps {
            match step {
                Step::Insert(first, last) => {
                    ranges.insert_all(first, last);
                    set.extend(first..=last);
                }
                Step::Remove(number) => {
                    ranges.remove(number);
                    set.remove(&number);
                }
                Step::ForgetBelow(number) => {
                    // A range that goes on beyond it stays as a whole.
                    let whole = (1..=number).rev().find(|number| !set.contains(number));
                    ranges.forget_below(number);
                    set.retain(|member| *member > whole.unwrap_or(0));
                }
            }
            let members: BTreeSet<u64> = ranges.iter().flat_map(|(first, last)| first..=last).collect();
            prop_assert_eq!(&members, &set);
            prop_assert_eq!(ranges.count(), set.len() as u64);
            for number in 0..70 {
                prop_assert_eq!(ranges.contains(number), set.contains(&number));
            }
            // Ranges that touch would be one.
            for (one, other) in ranges.iter().zip(ranges.iter().skip(1)) {
                prop_assert!(one.1 + 1 < other.0);
            }
        }
    }
}

#[test]
fn numbers_in_any_order_are_one_range_once_no_gap_is_left() {
    let mut ranges: Ranges = (1..=256).collect();
    ranges.insert(258);
    assert_eq!(ranges.iter().collect::<Vec<_>>(), [(1, 256), (258, 258)]);
    ranges.insert(257);
    assert_eq!(ranges.iter().collect::<Vec<_>>(), [(1, 258)]);
}
