//! Watches over README.md: its Python programs run unchanged, and its table names exactly the keys of the configuration.
//!
//! The one thing changed in a program is the address `127.0.0.1:8080`, which is the gateway's by default and free here.

use std::{collections::BTreeSet, path::PathBuf};

use crate::{
    autogen::{model::ScriptedModel, python},
    harness::{Respan, Setup, Span},
};

const README: &str = include_str!("../../README.md");
const DEFAULTS: &str = include_str!("../../config/spangate.toml");

#[tokio::test]
async fn the_program_with_one_changed_line_is_traced() {
    let spans = traced(0).await;
    assert_eq!(callers(&spans), [("", "")].map(own));
}

#[tokio::test]
async fn the_program_with_default_headers_names_customer_thread_and_metadata() {
    let spans = traced(1).await;
    assert_eq!(
        callers(&spans),
        [("ada@example.com", "conversation-42")].map(own)
    );
    assert_eq!(spans[0].text("respan.metadata.plan"), "pro");
}

#[tokio::test]
async fn the_program_with_event_hooks_names_each_run_by_itself() {
    let spans = traced(2).await;
    let both = [
        ("ada@example.com", "conversation-42"),
        ("grace@example.com", "conversation-43"),
    ];
    assert_eq!(callers(&spans), both.map(own));
    assert!(
        spans.len() > 2,
        "a run of a team makes several calls: {spans:#?}"
    );
    for (customer, _) in both {
        let of_run = spans
            .iter()
            .filter(|span| span.text("respan.customer_params.customer_identifier") == customer);
        let traces: BTreeSet<&str> = of_run.map(|span| span.trace_id.as_str()).collect();
        assert_eq!(traces.len(), 1, "one run is one trace: {spans:#?}");
    }
}

#[test]
fn every_python_program_of_the_readme_is_run_by_a_test() {
    assert_eq!(programs().len(), 3);
}

#[test]
fn the_readme_explains_exactly_the_keys_of_the_configuration() {
    assert_eq!(explained(), shipped());
}

/// Runs the n-th program of the README and gives the spans it led to.
async fn traced(n: usize) -> Vec<Span> {
    let (model, respan) = (ScriptedModel::start(), Respan::start().await);
    let mut gateway = Setup::before(model.base_url())
        .exporting(&respan)
        .start()
        .await;
    let program = programs().swap_remove(n);
    assert!(program.contains("http://127.0.0.1:8080/v1"), "{program}");
    let program = program.replace("127.0.0.1:8080", &gateway.address.to_string());
    let directory = tempfile::tempdir().unwrap();
    let script: PathBuf = directory.path().join("readme.py");
    std::fs::write(&script, program).unwrap();
    let printed = python::run(script, Vec::new()).await;
    assert_ne!(printed, "", "it prints what the model answered");
    assert_eq!(gateway.stop().await.code(), Some(0));
    let spans = respan.spans();
    assert_eq!(
        spans.iter().filter(|span| span.is_call()).count(),
        model.calls().await.len(),
        "one span for each call"
    );
    spans
}

fn programs() -> Vec<String> {
    let blocks = README.split("```python\n").skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap_or_default().to_owned())
        .collect()
}

/// Customer and thread of the spans, each pair once.
fn callers(spans: &[Span]) -> Vec<(String, String)> {
    let pairs = spans.iter().map(|span| {
        (
            span.text("respan.customer_params.customer_identifier"),
            span.text("respan.threads.thread_identifier"),
        )
    });
    pairs.collect::<BTreeSet<_>>().into_iter().collect()
}

fn own((customer, thread): (&str, &str)) -> (String, String) {
    (customer.to_owned(), thread.to_owned())
}

/// The keys in the first column of the README's table: `section.key` in backticks, where the section is one that is shipped.
fn explained() -> BTreeSet<String> {
    let sections: BTreeSet<String> = shipped()
        .iter()
        .filter_map(|key| Some(key.split_once('.')?.0.to_owned()))
        .collect();
    let first_cells = README
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let quoted = first_cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    quoted
        .filter(|key| {
            key.split_once('.')
                .is_some_and(|(section, _)| sections.contains(section))
        })
        .map(str::to_owned)
        .collect()
}

/// The keys of `config/spangate.toml`, which shows each as `# key = default` or `# for example: key = value`.
fn shipped() -> BTreeSet<String> {
    let mut section = "";
    let mut keys = BTreeSet::new();
    for line in DEFAULTS.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        }
        let shown = line
            .trim_start_matches('#')
            .trim_start()
            .trim_start_matches("for example: ");
        let key = shown.split(" = ").next().filter(|key| *key != shown);
        if let Some(key) =
            key.filter(|key| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        {
            keys.insert(format!("{section}.{key}"));
        }
    }
    keys
}
