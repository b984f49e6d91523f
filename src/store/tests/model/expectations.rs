//! What a restart must find: how much may differ from the model, by the fault.

use super::*;

/// What a store has.
pub(super) struct Present {
    pub(super) pending: Spans,
    pub(super) refused: Spans,
    pub(super) kept: Spans,
    pub(super) rows: BTreeSet<SpanId>,
}

impl Present {
    pub(super) fn spans(&self) -> BTreeMap<SpanId, &Span> {
        let all = [&self.pending, &self.refused, &self.kept];
        let spans = all.into_iter().flatten();
        spans.map(|(id, span)| (*id, span)).collect()
    }
}

pub(super) async fn present(store: &Arc<Store>) -> Present {
    let mut pending = Spans::new();
    if let Some(batch) = store.take(usize::MAX, usize::MAX)
        && let Some(loaded) = batch.load().await
    {
        pending.extend(loaded.spans().map(|made| (made.span_id(), made.span())));
    }
    let reader = SpanReader::new(store);
    let read = |ranges: Vec<(u64, u64)>| {
        let seqs = ranges.into_iter().flat_map(|(first, last)| first..=last);
        let spans = seqs.filter_map(|seq| reader.made(seq, true).unwrap());
        spans.map(|made| (made.span_id(), made.span())).collect()
    };
    let (refused, kept) = {
        let index = store.read_index();
        let ledger = &index.ledger;
        (
            ledger.refused.iter().collect(),
            ledger.kept.iter().collect(),
        )
    };
    Present {
        pending,
        refused: read(refused),
        kept: read(kept),
        rows: rows(store),
    }
}

/// The spans that are stored, by what a list says of them.
pub(super) fn rows(store: &Arc<Store>) -> BTreeSet<SpanId> {
    let reader = SpanReader::new(store);
    let rows = reader.after(0, usize::MAX).unwrap().into_iter();
    rows.map(|row| SpanSummary::read(&row.summary).unwrap().span)
        .collect()
}

impl Run {
    /// Every exchange that is told again, as it ended.
    fn told(&self) -> Vec<Arc<Exchange>> {
        let told = restart::recovered(&self.store);
        told.into_iter().map(Arc::new).collect()
    }

    /// The model goes on with these: what was cut off ends now.
    fn take_over_told(&mut self, told: Vec<Arc<Exchange>>) {
        for exchange in &told {
            self.store.ended(exchange);
        }
        self.model.begun.clear();
        self.model.ended = told;
        self.model.is_unsure = false;
        // Spans of this process start long before it.
        let since = self.store.lock().exports_since;
        self.model.has_no_destination = since.is_none_or(|since| since > 1 << 32);
    }

    pub(super) async fn expect_everything(&mut self) {
        let present = present(&self.store).await;
        let mut lost = 0;
        if let Some(torn) = self.torn.take()
            && present.rows.contains(&torn.span_id())
        {
            if present.spans().contains_key(&torn.span_id()) {
                self.model.add(&torn);
            } else {
                // Its head was written whole, and its body was not.
                self.model.all.insert(torn.span_id(), torn.span());
                lost = 1;
            }
        }
        let counts = self.store.counts();
        assert_eq!(counts.dropped_in_all(), lost, "{counts:?}");
        assert_same(&present.pending, &self.model.pending);
        assert_same(&present.refused, &self.model.refused);
        assert_same(&present.kept, &self.model.kept);
        assert!(present.rows.iter().eq(self.model.all.keys()));
        let told = self.told();
        let ids: Vec<_> = told.iter().map(|told| told.meta.id).collect();
        let before = self.model.clone();
        let mut expected = self.model.unfinished();
        if before.is_unsure {
            expected.retain(|id| ids.contains(id));
        }
        assert_eq!(ids, expected);
        for told in &told {
            let is_same = |exchange: &&Arc<Exchange>| exchange.meta.id == told.meta.id;
            if let Some(ended) = before.ended.iter().find(is_same) {
                assert_eq!(call(told).span(), call(ended).span());
            }
            if before.whole.contains(&told.meta.id)
                && let Some(begun) = before.begun.iter().find(is_same)
            {
                assert_eq!(told.request.bytes(), begun.request.bytes());
            }
        }
        let had_no_destination = self.model.has_no_destination;
        self.take_over_told(told);
        assert_eq!(self.model.has_no_destination, had_no_destination);
    }

    /// All that the last orderly end had synced is there, and nothing that was never made.
    pub(super) async fn expect_what_was_synced(&mut self) {
        let present = present(&self.store).await;
        let here = present.spans();
        for (id, span) in self.synced.known() {
            if let Some(here) = here.get(&id) {
                assert_eq!(**here, span);
            } else {
                assert!(
                    !self.model.known().contains_key(&id),
                    "a synced span is lost"
                );
            }
        }
        assert!(self.synced.all.keys().all(|id| present.rows.contains(id)));
        assert!(
            present
                .rows
                .iter()
                .all(|id| self.model.all.contains_key(id))
        );
        let told = self.told();
        let ids: HashSet<_> = told.iter().map(|told| told.meta.id).collect();
        let now: HashSet<_> = self.model.unfinished().into_iter().collect();
        for id in self.synced.unfinished() {
            assert!(
                ids.contains(&id) || !now.contains(&id),
                "a synced exchange is lost"
            );
        }
        self.take_over(present);
        self.take_over_told(told);
    }

    /// A record of this kind was hit, which costs what it held and no more.
    pub(super) async fn expect_all_but(&mut self, hit: RecordKind) {
        let present = present(&self.store).await;
        let here = present.spans();
        let known = self.model.known();
        let lost = known.keys().filter(|id| !here.contains_key(id)).count();
        let rows_lost = self.model.all.keys();
        let rows_lost = rows_lost.filter(|id| !present.rows.contains(id)).count();
        let differ = here
            .iter()
            .filter(|(id, span)| self.model.all[id] != ***span);
        let differ = differ.count();
        let told = self.told();
        let ids: HashSet<_> = told.iter().map(|told| told.meta.id).collect();
        let expected = self.model.unfinished();
        let untold = expected.iter().filter(|id| !ids.contains(id)).count();
        let (most_lost, most_rows, most_differ, most_untold) = match hit {
            RecordKind::Started | RecordKind::Ended => (1, 0, 1, 1),
            RecordKind::Span | RecordKind::KeptSpan => (1, 1, 0, 0),
            RecordKind::Text => (0, 0, usize::MAX, 0),
            RecordKind::Change | RecordKind::Checkpoint => (0, 0, 0, 0),
        };
        assert!(lost <= most_lost, "{hit:?}: {lost} spans");
        assert!(rows_lost <= most_rows, "{hit:?}: {rows_lost} rows");
        assert!(differ <= most_differ, "{hit:?}: {differ} spans differ");
        assert!(
            untold <= most_untold || self.model.is_unsure,
            "{hit:?}: {untold} exchanges"
        );
        if !matches!(hit, RecordKind::Change | RecordKind::Checkpoint) {
            assert!(here.keys().all(|id| known.contains_key(id)));
        }
        self.take_over(present);
        self.take_over_told(told);
    }
}

/// Without telling all of what they hold.
#[track_caller]
fn assert_same(found: &Spans, expected: &Spans) {
    assert!(found.keys().eq(expected.keys()));
    assert!(found == expected);
}
