//! `spangate export`: the traces of a store as lines of JSON. They are read from its files, so that it does not matter whether a gateway runs.

use std::io::{BufWriter, ErrorKind, Write};
use std::time::SystemTime;

use crate::cli::ExportArgs;
use crate::config::Config;
use crate::gateway::MEMORY;
use crate::store::SpanReader;
use crate::tail::CommandError;
use crate::traces::{TraceFilter, WriteLinesError, write_lines};

/// Bytes that are written at once.
const BUFFER: usize = 64 << 10;

/// Writes the traces of the configuration's store to `output`, until that is closed.
///
/// # Errors
/// When there is no store, it cannot be read, or `output` cannot be written.
pub fn run(config: &Config, args: &ExportArgs, output: impl Write) -> Result<(), CommandError> {
    let dir = &config.store.dir;
    if dir.as_os_str() == MEMORY {
        let message = format!(
            "set store.dir to a directory: a gateway with {MEMORY} writes nothing down, and there is nothing to read"
        );
        return Err(CommandError::configuration(message));
    }
    let reader = SpanReader::open_read_only(dir).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => CommandError::configuration(format!(
            "set store.dir, or --config, as the gateway has it: there is no store of this version in {}",
            dir.display()
        )),
        _ => CommandError::other(format!("make {} readable: {error}", dir.display())),
    })?;
    let began = args.since.map_or(0, nanoseconds)..args.until.map_or(u64::MAX, nanoseconds);
    let filter = TraceFilter {
        thread: args.thread.clone(),
        customer: args.customer.clone(),
        ..TraceFilter::default()
    };
    let mut output = BufWriter::with_capacity(BUFFER, output);
    match write_lines(&reader, &began, &filter, &mut output) {
        Err(WriteLinesError::Output(error)) if error.kind() != ErrorKind::BrokenPipe => Err(
            CommandError::other(format!("make room for the output: {error}")),
        ),
        Err(WriteLinesError::Store(why)) => Err(CommandError::other(format!(
            "see to the disk of {}: {}",
            dir.display(),
            why.0
        ))),
        Ok(()) | Err(WriteLinesError::Output(_)) => Ok(()),
    }
}

/// Since the Unix epoch.
fn nanoseconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
        })
}
