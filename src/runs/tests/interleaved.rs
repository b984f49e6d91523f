//! A property: programs that run at the same time, over one client, have the trees that they have alone, however they are interleaved, as
//! long as they do not begin alike.

use proptest::prelude::*;

use super::*;

/// Interleaves the events of several programs at random, each in its own order, and sets the clock anew: an event every 5 ms.
fn interleaved(
    programs: &[&Vec<Call>],
    choices: &[usize],
) -> (Vec<Event>, HashMap<ExchangeId, usize>) {
    let mut waiting: Vec<std::collections::VecDeque<Event>> =
        programs.iter().map(|calls| events(calls).into()).collect();
    let mut order: Vec<(usize, bool, ExchangeId)> = Vec::new();
    let mut exchanges: HashMap<ExchangeId, (usize, Arc<Exchange>, u64)> = HashMap::new();
    let mut choices = choices.iter().cycle();
    while waiting.iter().any(|events| !events.is_empty()) {
        let left: Vec<usize> = (0..waiting.len())
            .filter(|at| !waiting[*at].is_empty())
            .collect();
        let program = left[choices.next().unwrap() % left.len()];
        let at = order.len() as u64 * 5_000_000;
        match waiting[program].pop_front().unwrap() {
            Event::Complete(exchange) => {
                order.push((program, false, exchange.meta.id));
                exchanges.insert(exchange.meta.id, (program, exchange, at));
            }
            Event::Settled(exchange) => {
                let id = exchange.meta.id;
                let (_, known, began) = exchanges.get_mut(&id).unwrap();
                *known = Arc::new(Exchange {
                    meta: Arc::clone(&exchange.meta),
                    started_ns: EPOCH_NS + *began,
                    duration: Duration::from_nanos(at - *began),
                    request: exchange.request.clone(),
                    response: exchange.response.clone(),
                    outcome: exchange.outcome.clone(),
                    reply: exchange.reply.clone(),
                });
                order.push((program, true, id));
            }
        }
    }
    let events = order
        .iter()
        .map(|(_, ended, id)| {
            let exchange = Arc::clone(&exchanges[id].1);
            if *ended {
                Event::Settled(exchange)
            } else {
                Event::Complete(exchange)
            }
        })
        .collect();
    let owners = exchanges
        .into_iter()
        .map(|(id, (program, ..))| (id, program))
        .collect();
    (events, owners)
}

/// Names that are learned elsewhere are no difference.
fn differs(alone: &str, together: &str) -> bool {
    let shape = |tree: &str| {
        let mut lines: Vec<String> = tree.lines().map(str::to_owned).collect();
        lines.retain(|line| !line.is_empty());
        lines
    };
    let (alone, together) = (shape(alone), shape(together));
    alone.len() != together.len()
        || alone.iter().zip(&together).any(|(one, other)| {
            let unnamed = one.trim() == "agent.unknown"
                && other.trim().starts_with("agent.")
                && one.len() - one.trim_start().len() == other.len() - other.trim_start().len();
            one != other && !unnamed
        })
}

/// What a program is asked first: what all of its conversations begin with.
fn task(calls: &[Call]) -> &str {
    calls
        .iter()
        .flat_map(|call| call.request["messages"].as_array().unwrap())
        .find(|message| message["role"] == "user")
        .and_then(|message| message["content"].as_str())
        .unwrap()
}

/// Whether one says what the other is asked first: then nothing tells a run of the one from a part of the other.
fn begin_alike(one: &[Call], other: &[Call]) -> bool {
    let says = |calls: &[Call], task: &str| {
        calls.iter().any(|call| {
            let reply = call
                .reply
                .tool_calls
                .iter()
                .map(Json::to_string)
                .collect::<String>();
            call.request.to_string().contains(task) || reply.contains(task)
        })
    };
    says(one, task(other)) || says(other, task(one))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn programs_side_by_side_have_the_trees_they_have_alone(
        chosen in prop::collection::vec(any::<prop::sample::Index>(), 2..5),
        choices in prop::collection::vec(any::<usize>(), 64),
    ) {
        let all = programs::all();
        let mut picked: Vec<&(String, Vec<Call>)> = Vec::new();
        for index in &chosen {
            let program = index.get(&all);
            if picked.iter().all(|other| other.0 != program.0 && !begin_alike(&other.1, &program.1)) {
                picked.push(program);
            }
        }
        let calls: Vec<&Vec<Call>> = picked.iter().map(|(_, calls)| calls).collect();
        let (events, owners) = interleaved(&calls, &choices);
        let mut play = Play::new(SETTINGS);
        play.all(&events);
        play.rest();

        let owner_of = |trace: TraceId| {
            let mut owners: Vec<usize> = owners
                .iter()
                .filter(|(id, _)| {
                    let span = span_id(**id);
                    play.spans.iter().any(|told| told.span_id == span && told.trace_id == trace)
                })
                .map(|(_, owner)| *owner)
                .collect();
            owners.dedup();
            owners
        };
        for (number, (name, calls)) in picked.iter().enumerate() {
            let its: Vec<&Span> = play
                .spans
                .iter()
                .filter(|span| owner_of(span.trace_id).contains(&number))
                .collect();
            let (alone, together) = (Play::of(calls).tree(), trees(&its));
            prop_assert!(!differs(&alone, &together), "{name} alone:\n{alone}\ntogether:\n{together}");
        }
    }
}
