//! The runtime of what nobody waits for: the export and the admin port. Encoding a batch, or showing a large trace, takes a thread for some
//! milliseconds, in which that thread would relay nothing.

use std::future::Future;
use std::io;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::task::TaskTracker;

/// Such a runtime, with one thread.
pub(super) struct Backstage {
    /// There until it is dropped.
    runtime: Option<Runtime>,
    tasks: TaskTracker,
}

impl Backstage {
    /// # Errors
    /// The system gives no thread.
    pub(super) fn new() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("backstage")
            .enable_all()
            .build()?;
        Ok(Backstage {
            runtime: Some(runtime),
            tasks: TaskTracker::new(),
        })
    }

    /// Its tasks.
    pub(super) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Does `work` as one of its threads would: sockets that are bound and tasks that are spawned by it are of this runtime.
    pub(super) fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        let _guard = self.runtime.as_ref().map(|runtime| runtime.enter());
        work()
    }

    /// Runs `task` there.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let here = self
            .runtime
            .as_ref()
            .map_or_else(Handle::current, |runtime| runtime.handle().clone());
        self.tasks.spawn_on(task, &here);
    }
}

impl Drop for Backstage {
    fn drop(&mut self) {
        // Whoever drops it may be a task, which cannot wait.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
