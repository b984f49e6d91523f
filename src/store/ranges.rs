//! A set of numbers that come nearly in order, kept as ranges: what it takes grows with its gaps, not with its numbers.
//! Numbers begin at 1.

use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct Ranges {
    /// The last number of each range, by its first. Between two of them there is a gap.
    lasts: BTreeMap<u64, u64>,
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
            (first, last) = (first.min(other), last.max(end));
        }
        self.lasts.insert(first, last);
    }

    /// Takes in all numbers of another set.
    pub(super) fn extend(&mut self, other: &Ranges) {
        other
            .iter()
            .for_each(|(first, last)| self.insert_all(first, last));
    }

    pub(super) fn remove(&mut self, number: u64) {
        let Some((first, last)) = self.around(number) else {
            return;
        };
        self.lasts.remove(&first);
        if first < number {
            self.lasts.insert(first, number - 1);
        }
        if number < last {
            self.lasts.insert(number + 1, last);
        }
    }

    /// Lets go of the ranges that end below `number`: nobody will ask for them.
    pub(super) fn forget_below(&mut self, number: u64) {
        while let Some(range) = self.lasts.first_entry()
            && *range.get() < number
        {
            range.remove();
        }
    }

    /// The last number in it, or 0.
    pub(super) fn last(&self) -> u64 {
        self.lasts.last_key_value().map_or(0, |(_, last)| *last)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lasts.is_empty()
    }

    /// How many numbers are in it.
    pub(super) fn count(&self) -> u64 {
        self.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// Its ranges, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.lasts.iter().map(|(first, last)| (*first, *last))
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
