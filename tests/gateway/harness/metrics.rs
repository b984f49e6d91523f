//! `/metrics` as numbers.

use std::collections::BTreeMap;

/// One scrape: every sample by its name with labels, as it was written.
#[derive(Clone, Debug)]
pub(crate) struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Reads Prometheus' text format.
    pub(crate) fn read(text: &str) -> Self {
        let samples = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        let sample = |line: &str| {
            let (name, value) = line
                .rsplit_once(' ')
                .unwrap_or_else(|| panic!("no sample: {line:?}"));
            (
                name.to_owned(),
                value
                    .parse()
                    .unwrap_or_else(|_| panic!("no number: {line:?}")),
            )
        };
        Self(samples.map(sample).collect())
    }

    /// All samples of this name added up, whatever their labels. A name that is not there counts as nothing.
    pub(crate) fn total(&self, name: &str) -> f64 {
        let ours = |key: &str| {
            key.strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
        };
        self.0
            .iter()
            .filter(|(key, _)| ours(key))
            .map(|(_, value)| value)
            .sum()
    }

    /// Whether there is a sample of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.keys().any(|key| {
            key.strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
        })
    }

    /// Checks that every span that was made is accounted for, once.
    #[track_caller]
    pub(crate) fn expect_balanced(&self) {
        let [created, exported, rejected, dropped, pending] = [
            "spangate_spans_created_total",
            "spangate_spans_exported_total",
            "spangate_spans_rejected_total",
            "spangate_spans_dropped_total",
            "spangate_spans_pending",
        ]
        .map(|name| self.total(name));
        let rest = created - exported - rejected - dropped - pending;
        assert!(
            rest.abs() < 0.5,
            "created {created}, exported {exported}, rejected {rejected}, dropped {dropped}, pending {pending}"
        );
    }
}
