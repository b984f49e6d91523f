//! What spangate costs beside HAProxy and nginx: CPU time, added latency and memory, of requests and of streams.
//!
//! `cargo bench --bench gateway` runs all; after `--`, `quick` makes each a few seconds, `rounds 3` says how many rounds, and words choose
//! workloads: `requests`, `history`, `latency`, `streams`, `memory`. It needs Debian's packages `haproxy` and `nginx`, and compares the
//! release binary with them in turns, on loopback. Clients, upstream and Respan are threads of this process and not counted.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    reason = "a bench that cannot go on says why and stops; its figures have three digits"
)]

use std::process::ExitCode;

use rustix::process::{Resource, getrlimit, setrlimit};

#[path = "../parts/accounting.rs"]
mod accounting;
mod bench;
mod checks;
#[path = "../parts/gateway.rs"]
mod gateway;
mod load;
mod machine;
mod options;
mod proxies;
mod respan;
mod streams;
mod table;
mod traffic;
mod upstream;
#[path = "../parts/words.rs"]
mod words;

fn main() -> ExitCode {
    let ready = options::Options::read(std::env::args().skip(1))
        .and_then(|options| Ok((options, proxies::Installed::look()?)));
    let (options, installed) = match ready {
        Ok(ready) => ready,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::FAILURE;
        }
    };
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files).unwrap();
    println!("{}\n", machine::shape(&installed.versions));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let held = runtime.block_on(bench::Bench::new(options, &installed).run());
    if held {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
