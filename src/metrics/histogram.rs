//! A histogram of durations with fixed buckets.
//!
//! Each bucket is an atomic that counts only its own durations; a scrape adds them up. The shown count is the sum of the buckets that were
//! read, so `_count` and the last bucket agree while others record.

use std::fmt::Arguments;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::text::Exposition;

#[derive(Debug)]
pub(super) struct Histogram<const N: usize> {
    /// In ascending order. A duration equal to an end belongs to its bucket.
    ends: [Duration; N],
    buckets: [AtomicU64; N],
    beyond: AtomicU64,
    sum_ns: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    pub(super) fn new(ends: [Duration; N]) -> Self {
        Self {
            ends,
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            beyond: AtomicU64::new(0),
            sum_ns: AtomicU64::new(0),
        }
    }

    pub(super) fn observe(&self, took: Duration) {
        let bucket = self.ends.partition_point(|end| *end < took);
        self.buckets
            .get(bucket)
            .unwrap_or(&self.beyond)
            .fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sum_ns.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// A family of one histogram without labels.
    pub(super) fn render(&self, text: &mut Exposition, name: &str, help: &str) {
        text.family(name, "histogram", help);
        self.samples(text, name, format_args!(""));
    }

    /// The samples without the family's head. `labels` are empty or end with a comma.
    pub(super) fn samples(&self, text: &mut Exposition, name: &str, labels: Arguments<'_>) {
        let mut count = 0;
        for (end, bucket) in self.ends.iter().zip(&self.buckets) {
            count += bucket.load(Ordering::Relaxed);
            text.line(format_args!(
                "{name}_bucket{{{labels}le=\"{}\"}} {count}",
                end.as_secs_f64()
            ));
        }
        count += self.beyond.load(Ordering::Relaxed);
        text.line(format_args!("{name}_bucket{{{labels}le=\"+Inf\"}} {count}"));
        let sum = Duration::from_nanos(self.sum_ns.load(Ordering::Relaxed)).as_secs_f64();
        let labels = labels.to_string();
        let labels = match labels.strip_suffix(',') {
            Some(labels) => format!("{{{labels}}}"),
            None => labels,
        };
        text.line(format_args!("{name}_sum{labels} {sum}"));
        text.line(format_args!("{name}_count{labels} {count}"));
    }
}
