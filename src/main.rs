//! Words on the command line become one call.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is the program that talks to a terminal"
)]

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use rustix::process::{Resource, getrlimit, setrlimit};
use spangate::cli::{Command, CommandLine, ConfigArgs, ExportArgs, ReplayArgs, TailArgs};
use spangate::config::{Config, Sources};
use spangate::gateway::Gateway;
use spangate::{check, demo, export_command, logging, replay, tail};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Much is allocated on one thread and freed on another, which glibc's allocator answers with locks and with memory that it never gives back. A background thread of this one (a feature in Cargo.toml) gives the pages of a
/// burst back to the system within ten seconds, also where nothing is allocated any more.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How long after the drain deadline, and after a second signal, the process ends although its orderly end hangs.
const LAST_RESORT: Duration = Duration::from_secs(20);
const LAST_RESORT_IN_HURRY: Duration = Duration::from_secs(3);
/// The command line or the configuration is wrong.
const WRONG: u8 = 2;

fn main() -> ExitCode {
    let line = CommandLine::parse();
    let sources = sources(&line.config);
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
        Command::Serve => serve(&runtime, config, &sources),
        Command::Demo { once } => runtime.block_on(run_demo(config, once)),
        Command::Check { online } => runtime.block_on(run_check(&config, &sources, online)),
        Command::Tail(words) => runtime.block_on(run_tail(&config, &words)),
        Command::Replay(words) => runtime.block_on(run_replay(&config, &words)),
        Command::Export(args) => run_export(&config, &args),
    };
    // A name that is being looked up cannot be cancelled, and nobody waits for it any more.
    runtime.shutdown_background();
    code
}

/// Half of the cores relay. The rest is for the threads that trace, and for those of the runtime's blocking pool: on the cores that relay, they
/// would stand in the way of clients. Threads that pass requests to each other cost more than they bring.
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

fn sources(args: &ConfigArgs) -> Sources {
    Sources {
        file: args.config.clone(),
        environment: std::env::vars_os().collect(),
        flags: args.set.clone(),
        ..Sources::default()
    }
}

/// Runs the gateway until it is told to stop; SIGHUP makes it read its configuration again.
///
/// Signals are waited for on this thread, apart from the threads that relay: even where all of them hang, a second signal ends the process.
fn serve(relay: &Runtime, config: Config, sources: &Sources) -> ExitCode {
    raise_open_files(config.limits.max_in_flight);
    let control = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let control = match control {
        Ok(control) => control,
        Err(error) => {
            eprintln!("raise the limits of this process: {error}");
            return ExitCode::FAILURE;
        }
    };
    control.block_on(async {
        let (mut terminate, mut interrupt, mut hang_up) = match signals() {
            Ok(signals) => signals,
            Err(error) => {
                eprintln!("cannot listen for signals: {error}");
                return ExitCode::FAILURE;
            }
        };
        let mut deadline = config.server.drain_deadline;
        let started = {
            let _relay = relay.enter();
            Gateway::start(config)
        };
        let mut gateway = match started {
            Ok(gateway) => gateway,
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::from(if error.is_configuration() { WRONG } else { 1 });
            }
        };
        loop {
            tokio::select! {
                _ = hang_up.recv() => {
                    let _relay = relay.enter();
                    if let Some(taken) = reload(&mut gateway, sources) {
                        deadline = taken;
                    }
                }
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
        }
        let stopping = TaskTracker::new();
        let hurry = CancellationToken::new();
        let hurried = hurry.clone().cancelled_owned();
        let mut stopped = stopping.spawn_on(gateway.stop(hurried), relay.handle());
        let ended = tokio::select! {
            ended = &mut stopped => Some(ended),
            () = tokio::time::sleep(deadline.saturating_add(LAST_RESORT)) => None,
            () = either(&mut terminate, &mut interrupt) => {
                hurry.cancel();
                tokio::time::timeout(LAST_RESORT_IN_HURRY, stopped).await.ok()
            }
        };
        if let Some(Ok(())) = ended {
            return ExitCode::SUCCESS;
        }
        tracing::error!(
            "a part of the gateway hangs or failed while it ended; spans that are not on the disk are lost. Please report this"
        );
        ExitCode::FAILURE
    })
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

fn signals() -> std::io::Result<(Signal, Signal, Signal)> {
    Ok((
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
        signal(SignalKind::hangup())?,
    ))
}

/// A configuration that is wrong leaves the one in force as it is. Gives the drain deadline of one that is taken.
fn reload(gateway: &mut Gateway, sources: &Sources) -> Option<Duration> {
    match Config::load(sources) {
        Ok((config, warnings)) => {
            for warning in &warnings {
                tracing::warn!("{warning}");
            }
            let deadline = config.server.drain_deadline;
            match gateway.reload(config) {
                Ok(()) => Some(deadline),
                Err(error) => {
                    tracing::error!("the configuration was not taken: {error}");
                    None
                }
            }
        }
        Err(problems) => {
            tracing::error!("the configuration was not taken:\n{problems}");
            None
        }
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
    if found.is_ok() {
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
            either(&mut terminate, &mut interrupt).await;
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

async fn run_tail(config: &Config, words: &TailArgs) -> ExitCode {
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
        () = either(&mut terminate, &mut interrupt) => Ok(()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => failed(&problem),
    }
}

async fn run_replay(config: &Config, words: &ReplayArgs) -> ExitCode {
    match replay::run(config, words).await {
        Ok(lines) => {
            println!("{lines}");
            ExitCode::SUCCESS
        }
        Err(problem) => failed(&problem),
    }
}

fn run_export(config: &Config, args: &ExportArgs) -> ExitCode {
    // Each segment of the store is an open file.
    raise_open_files(0);
    match export_command::run(config, args, std::io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => failed(&problem),
    }
}

fn failed(problem: &tail::CommandError) -> ExitCode {
    eprintln!("{problem}");
    ExitCode::from(if problem.is_configuration() { WRONG } else { 1 })
}
