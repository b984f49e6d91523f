//! `spangate tail` as a user runs it: into a file, a pipe, or on a terminal of a width that the test decides.

use std::{
    fs::File,
    net::SocketAddr,
    path::Path,
    process::{Child, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use rustix::{
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use tempfile::TempDir;

use super::{process::command, until};

/// A running `spangate tail`.
#[derive(Debug)]
pub(crate) struct Tail {
    child: Child,
    directory: TempDir,
    /// What came out of its terminal or pipe; none where it writes into a file.
    read: Option<Arc<Mutex<Vec<u8>>>>,
}

impl Tail {
    /// Writes into a file.
    pub(crate) fn piped(admin: SocketAddr, args: &[&str]) -> Self {
        Self::with_environment(admin, args, &[])
    }

    /// Writes into a file, with these variables in its environment.
    pub(crate) fn with_environment(
        admin: SocketAddr,
        args: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let output = File::create(directory.path().join("output")).expect("a file");
        let child = spawn(directory.path(), admin, args, environment, output.into());
        Tail {
            child,
            directory,
            read: None,
        }
    }

    /// Writes into a pipe that is closed after the first line of it.
    pub(crate) fn into_closing_pipe(admin: SocketAddr, args: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut child = spawn(directory.path(), admin, args, &[], Stdio::piped());
        let output = child.stdout.take().expect("it is piped");
        let read = collect(output, |read| read.contains(&b'\n'));
        Tail {
            child,
            directory,
            read: Some(read),
        }
    }

    /// Writes to a terminal.
    pub(crate) fn on_terminal(
        admin: SocketAddr,
        args: &[&str],
        environment: &[(&str, &str)],
        columns: u16,
    ) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&ours).expect("it is ours");
        unlockpt(&ours).expect("it is ours");
        let name = ptsname(&ours, Vec::new()).expect("it has a name");
        let theirs = File::options()
            .read(true)
            .write(true)
            .open(name.to_str().expect("a plain name"))
            .expect("the other side");
        let size = Winsize {
            ws_row: 40,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&theirs, size).expect("it is a terminal");
        let child = spawn(directory.path(), admin, args, environment, theirs.into());
        let read = collect(File::from(ours), |_| false);
        Tail {
            child,
            directory,
            read: Some(read),
        }
    }

    /// What it has printed so far.
    pub(crate) fn printed(&self) -> String {
        let bytes = match &self.read {
            Some(read) => read.lock().unwrap().clone(),
            None => std::fs::read(self.directory.path().join("output")).expect("a file"),
        };
        // A character may be half there.
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What it has said on stderr so far.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("said")).expect("a file")
    }

    /// What it has printed, as soon as this holds of it.
    pub(crate) async fn prints(&self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        until(what, async || {
            Some(self.printed()).filter(|printed| holds(printed))
        })
        .await
    }

    /// What it has said, as soon as this is in it.
    pub(crate) async fn says(&self, part: &str) -> String {
        until(part, async || {
            Some(self.said()).filter(|said| said.contains(part))
        })
        .await
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        until("the tail to end", async || {
            self.child.try_wait().expect("it is our child")
        })
        .await
    }

    /// Sends it a signal, and waits until it ends.
    pub(crate) async fn ends_on(&mut self, signal: Signal) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), signal).expect("it is running");
        self.ended().await
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("-- the tail printed\n{}", self.printed());
            eprintln!("-- and said\n{}--", self.said());
        }
    }
}

fn spawn(
    directory: &Path,
    admin: SocketAddr,
    args: &[&str],
    environment: &[(&str, &str)],
    output: Stdio,
) -> Child {
    let said = File::create(directory.join("said")).expect("a file");
    command(directory)
        .arg("tail")
        .args(args)
        .env("SPANGATE_SERVER_ADMIN", admin.to_string())
        .env_remove("NO_COLOR")
        .env("TERM", "xterm")
        .envs(environment.iter().copied())
        .stdout(output)
        .stderr(said)
        .spawn()
        .expect("the binary can be run")
}

/// Reads until the other side is closed, or this holds; then it is closed here.
fn collect(
    mut from: impl std::io::Read + Send + 'static,
    enough: impl Fn(&[u8]) -> bool + Send + 'static,
) -> Arc<Mutex<Vec<u8>>> {
    let read = Arc::new(Mutex::new(Vec::new()));
    let shared = read.clone();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let mut read = shared.lock().unwrap();
            read.extend_from_slice(&buffer[..length]);
            if enough(&read) {
                return;
            }
        }
    });
    read
}
