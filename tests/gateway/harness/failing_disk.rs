//! A disk that fails on request, for a gateway that runs: a library that is loaded before libc and stands in its writes and syncs.

use std::{path::PathBuf, process::Command, sync::OnceLock};

use tempfile::TempDir;

use super::Setup;

/// How every write and sync ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiskFault {
    /// They do not return.
    Stuck = 0,
    /// EIO.
    Broken = 5,
    /// ENOSPC.
    Full = 28,
    /// EROFS.
    ReadOnly = 30,
}

/// What decides it.
#[derive(Debug)]
pub(crate) struct FailingDisk {
    directory: TempDir,
}

impl FailingDisk {
    pub(crate) fn new() -> Self {
        FailingDisk {
            directory: tempfile::tempdir().expect("a directory"),
        }
    }

    /// A gateway that writes to it.
    pub(crate) fn under(&self, setup: Setup) -> Setup {
        let library = library();
        setup
            .environment("LD_PRELOAD", library.to_str().expect("a plain path"))
            .environment("FAILING_DISK", self.fault().to_str().expect("a plain path"))
    }

    /// From now on.
    pub(crate) fn fails(&self, fault: DiskFault) {
        let unfinished = self.directory.path().join("unfinished");
        std::fs::write(&unfinished, (fault as i32).to_string()).expect("a file");
        std::fs::rename(unfinished, self.fault()).expect("a name");
    }

    pub(crate) fn works(&self) {
        std::fs::remove_file(self.fault()).expect("it failed");
    }

    fn fault(&self) -> PathBuf {
        self.directory.path().join("fault")
    }
}

/// The library, made once.
fn library() -> PathBuf {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY
        .get_or_init(|| {
            let place = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
            let source = place.join("failing_disk.c");
            std::fs::write(&source, include_str!("failing_disk.c")).expect("a file");
            let library = place.join(format!("failing_disk-{}.so", std::process::id()));
            let made = Command::new("cc")
                .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
                .args([&library, &source])
                .arg("-ldl")
                .output()
                .expect("a C compiler");
            assert!(made.status.success(), "{made:?}");
            library
        })
        .clone()
}
