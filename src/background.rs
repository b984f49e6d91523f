//! Threads that nobody waits for run at a lower priority than those that relay: where the cores are busy, a client's bytes go first.

use std::io;
use std::thread::{Builder, JoinHandle};

/// Added to the niceness: about a third of the processor's time of a thread that relays, where both want it. A lower share would let spans
/// pile up on a machine that other programs keep busy.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 5;

/// Starts a thread of this name at the lower priority.
pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).spawn(move || {
        lower_priority();
        work()
    })
}

/// Runs work that takes a processor or waits for a disk in the runtime's pool of blocking threads. Never ends where the runtime is shut down
/// before the work began.
///
/// # Errors
/// The work panicked.
pub(crate) async fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Panicked> {
    let work = tokio::task::spawn_blocking(|| {
        lower_priority();
        work()
    });
    match work.await {
        Ok(done) => Ok(done),
        Err(error) if error.is_panic() => Err(Panicked),
        Err(_) => std::future::pending().await,
    }
}

/// Work ended by a panic, which the log has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panicked;

/// Of the thread that calls this, once. A system that does not allow it leaves the priority as it is.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    {
        thread_local!(static IS_LOWERED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) });
        if !IS_LOWERED.replace(true) {
            use rustix::process::{getpriority_process, setpriority_process};
            // Without a process id, Linux takes the thread that calls; POSIX would take all of its process.
            let lowered = getpriority_process(None)
                .and_then(|niceness| setpriority_process(None, niceness + NICENESS));
            if let Err(error) = lowered {
                tracing::debug!(%error, "a thread keeps its priority");
            }
        }
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use rustix::process::getpriority_process;

    use super::*;

    fn niceness() -> i32 {
        getpriority_process(None).unwrap()
    }

    #[test]
    fn a_thread_in_the_background_gives_way_and_the_one_that_started_it_does_not() {
        let before = niceness();
        let lowered = spawn("test", niceness).unwrap().join().unwrap();
        assert_eq!((lowered, niceness()), ((before + NICENESS).min(19), before));
    }

    #[test]
    fn a_thread_of_the_pool_gives_way_once_however_much_it_does() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        let before = niceness();
        runtime.block_on(async {
            for _ in 0..3 {
                assert_eq!(run(niceness).await, Ok((before + NICENESS).min(19)));
            }
        });
        assert_eq!(niceness(), before);
    }
}
