//! Whatever is done to it, it is the set of numbers that it stands for, and what was written down of it is the same.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Insert(u64, u64),
    Remove(u64),
    ForgetBelow(u64),
    Write,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1..60_u64, 0..4_u64).prop_map(|(first, more)| Step::Insert(first, first + more)),
        3 => (1..64_u64).prop_map(Step::Remove),
        1 => (1..20_u64).prop_map(Step::ForgetBelow),
        2 => Just(Step::Write),
    ];
    proptest::collection::vec(step, 0..80)
}

/// Writes what changed, as a table would have it.
fn write(ranges: &mut Ranges, table: &mut BTreeMap<u64, u64>) {
    for (first, last) in ranges.changes() {
        match last {
            Some(last) => table.insert(first, last),
            None => table.remove(&first),
        };
    }
}

proptest! {
    #[test]
    fn it_is_a_set_of_numbers(steps in steps()) {
        let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
        let mut table = BTreeMap::new();
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
                Step::Write => write(&mut ranges, &mut table),
            }
            let members: BTreeSet<u64> = ranges.iter().flat_map(|(first, last)| first..=last).collect();
            prop_assert_eq!(&members, &set);
            prop_assert_eq!(ranges.last(), set.last().copied());
            prop_assert_eq!(ranges.count(), set.len() as u64);
            for number in 0..70 {
                prop_assert_eq!(ranges.contains(number), set.contains(&number));
                let gaps: BTreeSet<u64> = ranges
                    .gaps_above(number)
                    .flat_map(|(first, last)| first..=last.min(70))
                    .collect();
                let absent = (number + 1..=70).filter(|number| !set.contains(number));
                prop_assert_eq!(gaps, absent.collect::<BTreeSet<u64>>());
            }
            // Ranges that touch would be one.
            for (one, other) in ranges.iter().zip(ranges.iter().skip(1)) {
                prop_assert!(one.1 + 1 < other.0);
            }
        }
        write(&mut ranges, &mut table);
        prop_assert!(ranges.iter().eq(table));
    }
}

#[test]
fn numbers_in_order_are_one_range_that_is_written_once() {
    let mut ranges: Ranges = (1..=256).collect();
    assert_eq!(ranges.changes(), [(1, Some(256))]);
    ranges.insert(258);
    ranges.insert(257);
    assert_eq!(ranges.changes(), [(1, Some(258)), (258, None)]);
    ranges.insert(7);
    assert_eq!(ranges.changes(), []);
}
