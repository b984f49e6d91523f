//! A property: runs do not depend on the number of workers that call.

use std::collections::VecDeque;
use std::sync::Barrier;
use std::thread;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// Conversations of programs side by side, of one credential. Each batch begins with requests and ends with settled exchanges, an event every
/// millisecond. Each conversation takes part in half of them.
fn batches(programs: &[&[Call]], seed: u64) -> Vec<Vec<Event>> {
    let mut conversations: Vec<VecDeque<Event>> = programs
        .iter()
        .enumerate()
        .map(|(number, calls)| {
            let told = |call: &Call| {
                call.clone()
                    .saying("x-respan-thread-identifier", &number.to_string())
            };
            events(&calls.iter().map(told).collect::<Vec<_>>()).into()
        })
        .collect();
    let (mut batches, mut now_ns) = (Vec::new(), EPOCH_NS);
    let mut began = HashMap::new();
    let mut random = fastrand::Rng::with_seed(seed);
    while conversations.iter().any(|events| !events.is_empty()) {
        let mut batch = Vec::new();
        for is_request in [true, false] {
            for events in &mut conversations {
                let goes_on = random.bool();
                while goes_on
                    && events
                        .front()
                        .is_some_and(|event| matches!(event, Event::Complete(_)) == is_request)
                {
                    now_ns += 1_000_000;
                    batch.push(match events.pop_front().unwrap() {
                        Event::Complete(exchange) => {
                            began.insert(exchange.meta.id, now_ns);
                            Event::Complete(at(&exchange, now_ns, now_ns))
                        }
                        Event::Settled(exchange) => {
                            let began_ns = began[&exchange.meta.id];
                            Event::Settled(at(&exchange, began_ns, now_ns))
                        }
                    });
                }
            }
        }
        batches.push(batch);
    }
    batches
}

fn at(exchange: &Exchange, began_ns: u64, now_ns: u64) -> Arc<Exchange> {
    Arc::new(Exchange {
        meta: Arc::clone(&exchange.meta),
        started_ns: began_ns,
        duration: Duration::from_nanos(now_ns - began_ns),
        request: exchange.request.clone(),
        response: exchange.response.clone(),
        outcome: exchange.outcome.clone(),
        reply: exchange.reply.clone(),
    })
}

/// All spans and finished exchanges, sorted. Workers wait for each other only between batches, as a run's first call takes longer than one worker
/// lags behind another.
fn play(batches: &[Vec<Event>], workers: usize) -> (Vec<Span>, Vec<ExchangeId>) {
    let runs = Runs::new(SETTINGS, Vec::new(), workers);
    let (barrier, began) = (Barrier::new(workers), Instant::now());
    let work = |worker: usize| {
        let mut updates = Vec::new();
        for batch in batches {
            for event in batch {
                let (Event::Complete(exchange) | Event::Settled(exchange)) = event;
                if partition(&exchange.meta) % workers as u64 != worker as u64 {
                    continue;
                }
                let now = began + Duration::from_nanos(exchange.ended_ns() - EPOCH_NS);
                let meta = Arc::clone(&exchange.meta);
                match event {
                    Event::Complete(exchange) => runs.request_complete(
                        meta,
                        exchange.started_ns,
                        exchange.request.clone(),
                        now,
                    ),
                    Event::Settled(exchange) => {
                        updates.push(runs.settled(Arc::clone(exchange), now));
                    }
                }
            }
            barrier.wait();
        }
        updates.push(runs.expire(worker, began + Duration::from_mins(10)));
        updates
    };
    let updates: Vec<RunUpdate> = thread::scope(|scope| {
        let workers: Vec<_> = (0..workers)
            .map(|worker| scope.spawn(move || work(worker)))
            .collect();
        let updates = workers.into_iter().map(|worker| worker.join().unwrap());
        updates.flatten().collect()
    });
    assert_eq!(runs.counts(), RunCounts::default());
    let all = updates.iter().flat_map(|update| &update.spans);
    let mut spans: Vec<Span> = all.map(FinishedSpan::span).collect();
    spans.sort_by_key(|span| (span.trace_id, span.span_id));
    let finished = updates.iter().flat_map(|update| &update.finished);
    let mut finished: Vec<ExchangeId> = finished.copied().collect();
    finished.sort_by_key(|id| *id.as_bytes());
    (spans, finished)
}

#[test]
fn an_exchange_that_another_worker_finished_is_finished_once_both_have_stored_their_spans() {
    let settings = Settings {
        max_open: 1,
        ..SETTINGS
    };
    let runs = Runs::new(settings, Vec::new(), 2);
    let mut threads = (0..).map(|thread| {
        let call = call(0, 10, &[WRITER, TASK], "Owls fly.");
        call.saying("x-respan-thread-identifier", &thread.to_string())
            .exchange()
    });
    let mut of = |worker| {
        threads
            .find(|exchange| partition(&exchange.meta) % 2 == worker)
            .unwrap()
    };
    let (first, second, now) = (of(0), of(1), Instant::now());
    assert_eq!(runs.settled(Arc::clone(&first), now).spans.len(), 1);
    let update = runs.settled(second, now);
    assert_eq!(update.spans.len(), 2, "its own call, and the other's agent");
    assert!(update.finished.is_empty());
    assert!(runs.expire(0, now).finished.is_empty());
    assert!(runs.expire(1, now).finished.is_empty());
    assert_eq!(runs.expire(0, now).finished, [first.meta.id]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn any_number_of_workers_makes_the_same_spans(
        // A few programs, each several times; some break off, so that only others learn the names of their agents.
        kinds in prop::collection::vec(any::<Index>(), 1..4),
        chosen in prop::collection::vec((any::<Index>(), any::<Index>()), 4..12),
        seed in any::<u64>(),
    ) {
        let all = programs::all();
        let programs: Vec<&[Call]> = chosen
            .iter()
            .map(|(program, length)| {
                let (_, calls) = kinds[program.index(kinds.len())].get(&all);
                &calls[..=length.index(calls.len())]
            })
            .collect();
        let batches = batches(&programs, seed);
        let alone = play(&batches, 1);
        prop_assert_eq!(alone.1.len(), programs.iter().map(|calls| calls.len()).sum::<usize>());
        for workers in [2, 4] {
            prop_assert_eq!(&play(&batches, workers), &alone);
        }
    }
}
