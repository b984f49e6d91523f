//! Programs of AutoGen 0.7.5 as they came over the wire, and their trees as they ran. Each file of `programs` holds the calls of one program,
//! a line each: `began_us`, `ended_us`, `request`, `reply`.

use std::path::PathBuf;

use super::*;

/// All programs, by name.
pub(super) fn all() -> Vec<(String, Vec<Call>)> {
    let directory: PathBuf = [env!("CARGO_MANIFEST_DIR"), "src/runs/tests/programs"]
        .iter()
        .collect();
    let mut programs: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let calls = std::fs::read_to_string(&path).unwrap();
            let calls = calls
                .lines()
                .map(|line| serde_json::from_str(line).unwrap());
            let name = path.file_stem().unwrap().to_str().unwrap();
            (name.to_owned(), calls.collect())
        })
        .collect();
    programs.sort_by(|(one, _), (other, _)| one.cmp(other));
    programs
}

#[test]
fn every_program_becomes_the_tree_that_it_ran() {
    let trees: Vec<String> = all()
        .iter()
        .map(|(name, calls)| format!("# {name}\n{}", Play::of(calls).tree()))
        .collect();
    insta::assert_snapshot!(trees.join("\n"));
}

#[test]
fn every_call_of_a_program_is_told_once_and_done_with_in_the_end() {
    for (name, calls) in all() {
        let play = Play::of(&calls);
        let mut ids: Vec<SpanId> = play.spans.iter().map(|span| span.span_id).collect();
        ids.sort_unstable();
        let told = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), told, "{name}: a span was told twice");
        let chats = play
            .spans
            .iter()
            .filter(|span| text(span, key::EXCHANGE).is_some());
        assert_eq!(chats.count(), calls.len(), "{name}");
        assert_eq!(play.finished.len(), calls.len(), "{name}");
        assert_eq!(play.runs.counts(), RunCounts::default(), "{name}");
    }
}
