//! Chooses among the usages of a reply.

use crate::openai::reply::Usage;

/// Replaces `held` by a later usage. The last complete one counts, and never a sum: servers that send it with each chunk count from the
/// start. Zeros mean that the server does not know. A part of a usage counts until a complete one comes.
pub(super) fn update(held: &mut Option<Usage>, new: &Usage) {
    let complete = |usage: &Usage| usage.prompt.is_some() && usage.completion.is_some();
    let is_unknown = [new.prompt, new.completion, new.total]
        .iter()
        .all(|tokens| tokens.unwrap_or(0) == 0);
    if is_unknown {
        return;
    }
    match held {
        Some(held) if !complete(new) => {
            if !complete(held) {
                *held = Usage {
                    prompt: new.prompt.or(held.prompt),
                    completion: new.completion.or(held.completion),
                    total: new.total.or(held.total),
                    cached: new.cached.or(held.cached),
                    cache_write: new.cache_write.or(held.cache_write),
                    reasoning: new.reasoning.or(held.reasoning),
                    ..*held
                };
            }
        }
        _ => *held = Some(*new),
    }
}

/// The usage of a reply whose choices have one each. They share the tokens of the request, and each has an answer of its own. Equal usages
/// are that of the whole reply.
pub(super) fn of_choices(mut usages: impl Iterator<Item = Usage>) -> Option<Usage> {
    let first = usages.next()?;
    let rest: Vec<Usage> = usages.collect();
    if rest.iter().all(|usage| *usage == first) {
        return Some(first);
    }
    let sum = |one: Option<u64>, other: Option<u64>| match (one, other) {
        (Some(one), Some(other)) => Some(one.saturating_add(other)),
        (one, other) => one.or(other),
    };
    Some(rest.iter().fold(first, |all, usage| Usage {
        prompt: all.prompt.max(usage.prompt),
        completion: sum(all.completion, usage.completion),
        // Each total counts the request again, so a sum would be wrong.
        total: None,
        cached: all.cached.max(usage.cached),
        cache_write: all.cache_write.max(usage.cache_write),
        reasoning: sum(all.reasoning, usage.reasoning),
        prompt_audio: all.prompt_audio.max(usage.prompt_audio),
        completion_audio: sum(all.completion_audio, usage.completion_audio),
        accepted_prediction: sum(all.accepted_prediction, usage.accepted_prediction),
        rejected_prediction: sum(all.rejected_prediction, usage.rejected_prediction),
    }))
}
