//! Words on the command line become one call.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is the program that talks to a terminal"
)]

use std::process::ExitCode;

use clap::Parser;
use rustix::process::{Resource, getrlimit, setrlimit};
use spangate::cli::{Command, CommandLine, Tail, Written};
use spangate::config::{Config, Sources};
use spangate::gateway::Gateway;
use spangate::{check, demo, logging, tail};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Much is allocated on one thread and freed on another, which glibc's allocator answers with locks and with memory that it never gives back. A background thread of this one (a feature in Cargo.toml) gives the pages of a
/// burst back to the system within ten seconds, also where nothing is allocated any more.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The command line or the configuration is wrong.
const WRONG: u8 = 2;

fn main() -> ExitCode {
    let line = CommandLine::parse();
    let sources = sources(&line.written);
    let (config, warnings) = match Config::load(&sources) {
        Ok(loaded) => loaded,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(WRONG);
        }
    };
    if let Err(error) = logging::start(&config.log) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(relaying_threads())
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("raise the limits of this process: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = match line.command() {
        Command::Serve => runtime.block_on(serve(config, &sources)),
        Command::Demo { once } => runtime.block_on(run_demo(config, once)),
        Command::Check { online } => runtime.block_on(run_check(&config, &sources, online)),
        Command::Tail(words) => runtime.block_on(run_tail(&config, &words)),
    };
    // A name that is being looked up cannot be cancelled, and nobody waits for it any more.
    runtime.shutdown_background();
    code
}

/// Half of the cores relay. The other half reads copies, writes the store and encodes spans: on the cores that relay, that would stand in the way
/// of clients, and threads that pass requests to each other cost more than they bring.
fn relaying_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))
}

/// Every stream takes two sockets, and the soft limit of many systems would end at some five hundred of them.
fn raise_open_files(wanted: usize) {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the soft limit of open files could not be raised");
    }
    let needed = wanted as u64 * 2;
    if let Some(most) = limit.maximum.filter(|most| *most < needed) {
        tracing::warn!(
            most,
            needed,
            "the limit of open files is lower than limits.max_in_flight needs; raise it, or lower that"
        );
    }
}

fn sources(written: &Written) -> Sources {
    Sources {
        file: written.config.clone(),
        environment: std::env::vars_os().collect(),
        flags: written.set.clone(),
        ..Sources::default()
    }
}

/// Runs the gateway until it is told to stop; SIGHUP makes it read its configuration again.
async fn serve(config: Config, sources: &Sources) -> ExitCode {
    let (mut terminate, mut interrupt, mut hang_up) = match signals() {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("cannot listen for signals: {error}");
            return ExitCode::FAILURE;
        }
    };
    raise_open_files(config.limits.max_in_flight);
    let mut gateway = match Gateway::start(config) {
        Ok(gateway) => gateway,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(if error.is_configuration() { WRONG } else { 1 });
        }
    };
    loop {
        tokio::select! {
            _ = hang_up.recv() => reload(&mut gateway, sources),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    gateway
        .stop(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await;
    ExitCode::SUCCESS
}

fn signals() -> std::io::Result<(Signal, Signal, Signal)> {
    Ok((
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
        signal(SignalKind::hangup())?,
    ))
}

/// A configuration that is wrong leaves the one in force as it is.
fn reload(gateway: &mut Gateway, sources: &Sources) {
    match Config::load(sources) {
        Ok((config, warnings)) => {
            for warning in &warnings {
                tracing::warn!("{warning}");
            }
            if let Err(error) = gateway.reload(config) {
                tracing::error!("the configuration was not taken: {error}");
            }
        }
        Err(problems) => tracing::error!("the configuration was not taken:\n{problems}"),
    }
}

async fn run_check(config: &Config, sources: &Sources, online: bool) -> ExitCode {
    if let Err(error) = Gateway::verify(config) {
        eprintln!("{error}");
        return ExitCode::from(WRONG);
    }
    println!(
        "{}",
        check::describe(config, sources.chosen_file().as_deref())
    );
    if !online {
        return ExitCode::SUCCESS;
    }
    let found = check::online(config).await;
    println!("{found}");
    if found.is_well() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn run_demo(config: Config, once: bool) -> ExitCode {
    let mut output = std::io::stdout();
    let until = async {
        if once {
            return;
        }
        if let Ok((mut terminate, mut interrupt, _)) = signals() {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
    };
    match demo::run(config, &mut output, until).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run_tail(config: &Config, words: &Tail) -> ExitCode {
    let (mut terminate, mut interrupt, _) = match signals() {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("cannot listen for signals: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut notes = std::io::stderr();
    let ended = tokio::select! {
        ended = tail::run(config, words, tokio::io::stdout(), &mut notes) => ended,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::from(if problem.is_configuration() { WRONG } else { 1 })
        }
    }
}
