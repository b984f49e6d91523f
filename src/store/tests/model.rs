//! Random histories with crashes in them, against a model that is a few maps.

use std::collections::BTreeMap;

use super::disk::{begin, crashed, open, settings, written};
use super::*;

#[derive(Clone, Debug)]
enum Step {
    Begin,
    End(usize),
    /// The span of an exchange that ended, which is then done with.
    Tell(usize),
    /// A span that is no exchange's.
    Add(usize),
    /// So many spans go to Respan: accepted, all refused, or given back.
    Post(usize, u8),
    Replay,
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Begin),
        4 => (0..4_usize).prop_map(Step::End),
        4 => (0..4_usize).prop_map(Step::Tell),
        2 => (0..6_000_usize).prop_map(Step::Add),
        2 => (1..5_usize, 0..3_u8).prop_map(|(spans, how)| Step::Post(spans, how)),
        1 => Just(Step::Replay),
        1 => Just(Step::Crash),
    ];
    proptest::collection::vec(step, 0..40)
}

/// What must be found.
#[derive(Default)]
struct Model {
    begun: Vec<Arc<Exchange>>,
    ended: Vec<Arc<Exchange>>,
    pending: BTreeMap<SpanId, Span>,
    refused: BTreeMap<SpanId, Span>,
    number: u8,
}

impl Model {
    fn add(&mut self, made: &FinishedSpan) {
        let span = made.span();
        self.pending.insert(span.span_id, span);
    }
}

async fn pending(store: &Arc<Store>) -> BTreeMap<SpanId, Span> {
    match store.take(usize::MAX, usize::MAX) {
        None => BTreeMap::new(),
        Some(batch) => {
            let batch = batch.load().await.unwrap();
            batch
                .spans()
                .map(|made| (made.span_id(), made.span()))
                .collect()
        }
    }
}

async fn run(steps: Vec<Step>) {
    let mut dir = tempfile::tempdir().unwrap();
    // Little memory, so that much is in the database alone.
    let little = |dir: &std::path::Path| Settings {
        max_memory: 64_000,
        ..settings(dir)
    };
    let (mut store, mut writing) = open(little(dir.path()));
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Begin => {
                let exchange = exchange("Why?", "because");
                begin(&store, &exchange);
                model.begun.push(exchange);
            }
            Step::End(which) if which < model.begun.len() => {
                let exchange = model.begun.remove(which);
                store.ended(&exchange);
                model.ended.push(exchange);
            }
            Step::Tell(which) if which < model.ended.len() => {
                let exchange = model.ended.remove(which);
                let made = call(&exchange);
                store.add(made.clone());
                store.released(vec![exchange.meta.id]);
                model.add(&made);
            }
            Step::Add(text) => {
                model.number += 1;
                let made = made(model.number, text);
                store.add(made.clone());
                model.add(&made);
                written(&store).await;
            }
            Step::Post(spans, how) => {
                let Some(batch) = store.take(spans, usize::MAX) else {
                    continue;
                };
                let batch = batch.load().await.unwrap();
                let spans: Vec<Span> = batch.spans().map(FinishedSpan::span).collect();
                match how {
                    0 => batch.settle(&accepted()),
                    1 => batch.settle(&Settled {
                        rejected: u64::MAX,
                        reason: Some("bad".to_owned()),
                    }),
                    _ => {
                        drop(batch);
                        continue;
                    }
                }
                for span in spans {
                    let known = model.pending.remove(&span.span_id);
                    assert_eq!(known.as_ref(), Some(&span));
                    if how == 1 {
                        model.refused.insert(span.span_id, span);
                    }
                }
            }
            Step::Replay => {
                let count = store.replay(Replay::Refused).await.unwrap();
                assert_eq!(count, model.refused.len() as u64);
                model.pending.append(&mut model.refused);
            }
            Step::Crash => {
                written(&store).await;
                let copy = crashed(dir.path());
                store.close();
                writing.finish();
                dir = copy;
                (store, writing) = open(little(dir.path()));
                let mut told = Vec::new();
                store.recover(|found| {
                    if let Recovered::Ended(exchange) = found {
                        told.push(Arc::new(exchange));
                    }
                });
                let ids: Vec<_> = told.iter().map(|told| told.meta.id).collect();
                let mut expected = model.ended.clone();
                // At the same moment in the order in which they began.
                expected.sort_by_key(|exchange| (exchange.ended_ns(), exchange.started_ns));
                expected.append(&mut model.begun);
                let expected: Vec<_> = expected.iter().map(|known| known.meta.id).collect();
                assert_eq!(ids, expected);
                // What was cut off ends now.
                for exchange in &told {
                    store.ended(exchange);
                }
                model.ended = told;
                assert_eq!(store.counts().created, model.pending.len() as u64);
            }
            Step::End(_) | Step::Tell(_) => {}
        }
        assert_adds_up(&store);
        assert_eq!(store.counts().pending, model.pending.len() as u64);
    }
    assert_eq!(pending(&store).await, model.pending);
    assert_eq!(store.counts().dropped_in_all(), 0);
    store.close();
    writing.finish();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_happens_between_crashes_nothing_is_lost_or_invented(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(steps));
    }
}
