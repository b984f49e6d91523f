//! What takes too long for a test: the built gateway under load, killed, cut off from Respan, started with a large store, and its cost.
//!
//! `cargo bench --bench soak -- kill|large|outage|cost [number]`; the number is kills, mebibytes, minutes or rounds. Upstream, Respan and
//! clients live in this process; only the gateway's own CPU time and memory are counted.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a soak that cannot go on says why and stops"
)]

#[path = "../parts/accounting.rs"]
mod accounting;
#[path = "../parts/gateway.rs"]
mod gateway;
mod load;
mod peers;
mod scenarios;

fn main() {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .collect();
    let number = words.get(1).and_then(|word| word.parse().ok());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        match words.first().map(String::as_str) {
            Some("kill") => scenarios::kill(number.unwrap_or(50)).await,
            Some("large") => scenarios::large(number.unwrap_or(1024)).await,
            Some("outage") => scenarios::outage(number.unwrap_or(10)).await,
            Some("cost") => scenarios::cost(number.unwrap_or(5)).await,
            _ => println!("say what: kill [kills], large [MiB], outage [minutes] or cost [rounds]"),
        }
    });
}
