//! Names of agents, learned from what a request shows: a selector's choice, Magentic-One's ledger, a handoff, a reply that comes back under
//! a name. A name that is learned late counts for what was before it. A request that shows a name as somebody else's gives it to nobody.

use super::call::{NameRule, RunId, Speaker};
use super::evidence::Scene;
use super::kind::{self, Kind};
use super::link::{Link, To};
use super::tool::{self, hands_over_to};
use super::transcript::Entry;

/// Learns what the request of `scene` tells: by its link of `asking`, who asks, and of others whose replies it shows.
pub(super) fn learn(scene: &Scene<'_>, link: Link, run: Option<RunId>, asking: &Speaker) {
    learn_from_link(scene, link, asking);
    heard(scene, run, asking);
}

/// What the link itself tells of who asks, and of who was heard.
fn learn_from_link(scene: &Scene<'_>, link: Link, asking: &Speaker) {
    if scene.kind != Kind::Agent {
        return;
    }
    let called = |name: &str, rule| {
        if !scene.transcript.hears(name) {
            asking.learn(name, rule);
        }
    };
    if let Some(chosen) = link.chosen_by.and_then(|call| scene.known.get(call)) {
        called(&chosen.reply.text, NameRule::Selected);
    }
    let To::Call(before) = link.to else { return };
    let Some(before) = scene.known.get(before) else {
        return;
    };
    if before.kind == Kind::Orchestrator
        && let Some(name) = named_by_ledger(&before.reply.text)
    {
        called(&name, NameRule::Ledger);
    }
    let mut tools = before.reply.tools.iter();
    let target = tools.find_map(|asked| hands_over_to(&asked.call.name));
    if let Some(target) = target.filter(|_| before.system != scene.system) {
        called(target, NameRule::Handoff);
    }
    // What its tools gave comes back under its name.
    if before.kind == Kind::Agent
        && let Some(name) = tool::heard(before, link, scene.transcript).and_then(Entry::agent)
    {
        before.speaker.learn(name, NameRule::Echo);
    }
}

/// Magentic-One's ledger says who speaks next.
fn named_by_ledger(ledger: &str) -> Option<String> {
    let ledger: serde_json::Value = serde_json::from_str(ledger).ok()?;
    let name = ledger.pointer("/next_speaker/answer")?.as_str()?;
    kind::is_name(name).then(|| name.to_owned())
}

/// Replies that come back under a name.
fn heard(scene: &Scene<'_>, run: Option<RunId>, asking: &Speaker) {
    let Some(run) = run else { return };
    for (at, entry) in scene.transcript.entries.iter().enumerate() {
        if let Some(name) = entry.agent()
            && let Some(speaker) = scene.speaker_of(at, run)
            && !speaker.is(asking)
        {
            speaker.learn(name, NameRule::Echo);
        }
    }
}
