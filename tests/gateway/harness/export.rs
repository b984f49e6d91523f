//! `spangate export` as a user runs it, until it ends by itself.

use std::{fs::File, path::Path, process::Stdio};

use super::{process::command, until};

/// What a `spangate export` came to.
#[derive(Debug)]
pub(crate) struct Exported {
    pub(crate) code: Option<i32>,
    pub(crate) printed: String,
    /// On stderr.
    pub(crate) said: String,
}

/// Exports the store in this directory.
pub(crate) async fn export(store: &Path, words: &[&str]) -> Exported {
    let directory = tempfile::tempdir().expect("a directory");
    let output = directory.path().join("output");
    let printed = File::create(&output).expect("a file");
    let (code, said) = run(directory.path(), store, words, printed.into()).await;
    Exported {
        code,
        printed: std::fs::read_to_string(output).expect("it printed text"),
        said,
    }
}

/// The same into a pipe of which the other end is closed. Its exit code, and what it said on stderr.
pub(crate) async fn export_into_closed_pipe(store: &Path) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let (closed, output) = std::io::pipe().expect("a pipe");
    drop(closed);
    run(directory.path(), store, &[], output.into()).await
}

async fn run(
    directory: &Path,
    store: &Path,
    words: &[&str],
    output: Stdio,
) -> (Option<i32>, String) {
    let said = directory.join("said");
    let mut child = command(directory)
        .arg("export")
        .args(words)
        .env("SPANGATE_STORE_DIR", store)
        .stdout(output)
        .stderr(File::create(&said).expect("a file"))
        .spawn()
        .expect("the binary can be run");
    let status = until("the export to end", async || {
        child.try_wait().expect("it is our child")
    })
    .await;
    let said = std::fs::read_to_string(said).expect("it said text");
    (status.code(), said)
}
