//! Durations, counted into buckets with fixed ends.
//!
//! A bucket is an atomic of its own and holds only what fell into it; they are added up when they are read. The count that is shown is
//! the sum of what was read, so `_count` and the last bucket agree even while others observe.

use std::fmt::Arguments;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::text::Exposition;

#[derive(Debug)]
pub(super) struct Histogram<const N: usize> {
    /// Nanoseconds, rising; a value equal to an end belongs to its bucket.
    ends: [u64; N],
    buckets: [AtomicU64; N],
    beyond: AtomicU64,
    sum: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    pub(super) fn new(ends: [u64; N]) -> Self {
        Self {
            ends,
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            beyond: AtomicU64::new(0),
            sum: AtomicU64::new(0),
        }
    }

    pub(super) fn observe(&self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let place = self.ends.partition_point(|end| *end < nanoseconds);
        self.buckets
            .get(place)
            .unwrap_or(&self.beyond)
            .fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// A family of one histogram without labels.
    pub(super) fn render(&self, text: &mut Exposition, name: &str, help: &str) {
        text.family(name, "histogram", help);
        self.samples(text, name, format_args!(""));
    }

    /// The samples alone; `labels` are none, or end with a comma.
    pub(super) fn samples(&self, text: &mut Exposition, name: &str, labels: Arguments<'_>) {
        let mut count = 0;
        for (end, bucket) in self.ends.iter().zip(&self.buckets) {
            count += bucket.load(Ordering::Relaxed);
            text.line(format_args!(
                "{name}_bucket{{{labels}le=\"{}\"}} {count}",
                seconds(*end)
            ));
        }
        count += self.beyond.load(Ordering::Relaxed);
        text.line(format_args!("{name}_bucket{{{labels}le=\"+Inf\"}} {count}"));
        let sum = seconds(self.sum.load(Ordering::Relaxed));
        let labels = labels.to_string();
        let labels = match labels.strip_suffix(',') {
            Some(labels) => format!("{{{labels}}}"),
            None => labels,
        };
        text.line(format_args!("{name}_sum{labels} {sum}"));
        text.line(format_args!("{name}_count{labels} {count}"));
    }
}

fn seconds(nanoseconds: u64) -> f64 {
    Duration::from_nanos(nanoseconds).as_secs_f64()
}
