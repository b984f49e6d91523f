//! A set of numbers that come nearly in order, kept as ranges: what it takes grows with its gaps, not with its numbers.
//!
//! It knows which ranges changed since they were written down last, so that only those are written again. Numbers begin at 1.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(super) struct Ranges {
    /// The last number of each range, by its first. Between two of them there is a gap.
    lasts: BTreeMap<u64, u64>,
    /// First numbers of ranges that came, went or end elsewhere now.
    changed: BTreeSet<u64>,
}

impl Ranges {
    pub(super) fn contains(&self, number: u64) -> bool {
        self.around(number).is_some()
    }

    pub(super) fn insert(&mut self, number: u64) {
        self.insert_all(number, number);
    }

    /// Takes in the numbers from `first` to `last`.
    pub(super) fn insert_all(&mut self, mut first: u64, mut last: u64) {
        // What they meet or touch becomes one range with them, the nearest first.
        while let Some((&other, &end)) = self.lasts.range(..=last.saturating_add(1)).next_back()
            && end.saturating_add(1) >= first
        {
            if other <= first && last <= end {
                return;
            }
            self.lasts.remove(&other);
            self.changed.insert(other);
            (first, last) = (first.min(other), last.max(end));
        }
        self.lasts.insert(first, last);
        self.changed.insert(first);
    }

    pub(super) fn remove(&mut self, number: u64) {
        let Some((first, last)) = self.around(number) else {
            return;
        };
        self.lasts.remove(&first);
        self.changed.insert(first);
        if first < number {
            self.lasts.insert(first, number - 1);
        }
        if number < last {
            self.lasts.insert(number + 1, last);
            self.changed.insert(number + 1);
        }
    }

    /// Lets go of the ranges that end below `number`: nobody will ask for them.
    pub(super) fn forget_below(&mut self, number: u64) {
        while let Some(range) = self.lasts.first_entry()
            && *range.get() < number
        {
            self.changed.insert(*range.key());
            range.remove();
        }
    }

    /// The greatest number in it.
    pub(super) fn last(&self) -> Option<u64> {
        self.lasts.last_key_value().map(|(_, last)| *last)
    }

    /// How many numbers are in it.
    pub(super) fn count(&self) -> u64 {
        self.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// Its ranges, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.lasts.iter().map(|(first, last)| (*first, *last))
    }

    /// The ranges of numbers above `number` that are not in it, in order; the last one has no end.
    pub(super) fn gaps_above(&self, number: u64) -> impl Iterator<Item = (u64, u64)> {
        let mut from = self.around(number).map_or(number, |(_, last)| last) + 1;
        let ranges = self
            .lasts
            .range(from..)
            .map(|(first, last)| (*first, *last));
        ranges
            .chain([(u64::MAX, u64::MAX)])
            .filter_map(move |(first, last)| {
                let gap = (from, first - 1);
                from = last.saturating_add(1);
                (gap.0 <= gap.1).then_some(gap)
            })
    }

    /// What is to be written anew, by the first numbers of ranges: where each ends now, and nothing where none begins any more.
    pub(super) fn changes(&mut self) -> Vec<(u64, Option<u64>)> {
        let changed = std::mem::take(&mut self.changed);
        let end = |first| (first, self.lasts.get(&first).copied());
        changed.into_iter().map(end).collect()
    }

    fn around(&self, number: u64) -> Option<(u64, u64)> {
        let (first, last) = self.lasts.range(..=number).next_back()?;
        (number <= *last).then_some((*first, *last))
    }
}

impl FromIterator<u64> for Ranges {
    fn from_iter<I: IntoIterator<Item = u64>>(numbers: I) -> Self {
        let mut ranges = Ranges::default();
        numbers.into_iter().for_each(|number| ranges.insert(number));
        ranges
    }
}

#[cfg(test)]
mod tests;
