//! The two processes a program talks to: the built gateway, and the scripted model behind it.
//!
//! Each is killed when its handle is dropped, so a test that fails leaves nothing running.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tempfile::TempDir;

use super::python;

/// How long a process may take to get ready or to end, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// `spangate serve` in a directory of its own, configured through its environment alone.
pub(crate) struct Gateway {
    process: Child,
    address: SocketAddr,
    directory: TempDir,
}

impl Gateway {
    /// Starts it and waits until `/readyz` says so.
    pub(crate) fn start(upstream: &str, respan: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (address, admin) = (free_address(), free_address());
        let log = File::create(directory.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_spangate"));
        for (name, _) in std::env::vars()
            .filter(|(name, _)| name.starts_with("SPANGATE_") || name.starts_with("RESPAN_"))
        {
            command.env_remove(name);
        }
        command
            .arg("serve")
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        command
            .env("SPANGATE_SERVER_LISTEN", address.to_string())
            .env("SPANGATE_SERVER_ADMIN", admin.to_string());
        command
            .env("SPANGATE_SERVER_DRAIN_DELAY", "0s")
            .env("SPANGATE_SERVER_DRAIN_DEADLINE", "5s");
        command
            .env("SPANGATE_UPSTREAM_BASE_URL", upstream)
            .env("SPANGATE_STORE_DIR", directory.path().join("store"));
        command
            .env("RESPAN_API_KEY", "rk-test")
            .env("RESPAN_BASE_URL", respan)
            .env("SPANGATE_RESPAN_FLUSH_INTERVAL", "100ms");
        let mut gateway = Self {
            process: command.spawn().unwrap(),
            address,
            directory,
        };
        gateway.wait("to get ready", |it| {
            let exited = it.process.try_wait().unwrap();
            assert_eq!(
                exited,
                None,
                "the gateway ended instead of getting ready:\n{}",
                it.log()
            );
            get(it.address, "/readyz").filter(|(status, _)| *status == 200)
        });
        gateway
    }

    /// What an AutoGen program is given as `base_url`.
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Asks it to end, as a supervisor does. Afterwards every span it had has been posted.
    pub(crate) fn stop(mut self) {
        let ask = format!("kill -TERM {}", self.process.id()); // the shell's own `kill`: slim systems have no other
        assert!(
            Command::new("sh")
                .args(["-c", &ask])
                .status()
                .unwrap()
                .success()
        );
        let status: ExitStatus =
            self.wait("to end after SIGTERM", |it| it.process.try_wait().unwrap());
        assert_eq!(status.code(), Some(0), "{}", self.log());
    }

    fn wait<T>(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(value) = done(self) {
                return value;
            }
            assert!(
                Instant::now() < end,
                "the gateway took too long {what}:\n{}",
                self.log()
            );
            thread::sleep(POLL); // another process's readiness and end cannot be awaited, only asked for
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `tests/autogen/scripted_model.py`.
pub(crate) struct ScriptedModel {
    process: Child,
    base_url: String,
}

/// One request that reached the model, and what it answered.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Call {
    pub(crate) headers: std::collections::BTreeMap<String, String>,
    pub(crate) body: String,
    pub(crate) reply: Reply,
}

/// What the model said; `usage` only where the wire had it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Reply {
    pub(crate) id: String,
    pub(crate) model: String,
    pub(crate) text: Option<String>,
    pub(crate) tool_calls: Vec<serde_json::Value>,
    pub(crate) finish_reason: String,
    pub(crate) usage: Option<serde_json::Value>,
}

impl ScriptedModel {
    /// Starts it on a port of its own choice.
    pub(crate) fn start() -> Self {
        let script: PathBuf = python::programs().join("scripted_model.py");
        let mut process = Command::new(python::interpreter())
            .arg(script)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut base_url = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut base_url)
            .unwrap();
        Self {
            process,
            base_url: base_url.trim_end().to_owned(),
        }
    }

    /// Where it answers.
    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Every request so far, in order of arrival.
    pub(crate) fn calls(&self) -> Vec<Call> {
        let address = self
            .base_url
            .trim_start_matches("http://")
            .trim_end_matches("/v1")
            .parse()
            .unwrap();
        let (_, body) = get(address, "/calls").expect("the scripted model answers");
        serde_json::from_slice(&body).unwrap()
    }
}

impl Drop for ScriptedModel {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Status and body of a GET, if anybody answers.
fn get(address: SocketAddr, path: &str) -> Option<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
    let mut response = Vec::new();
    stream.read_to_end(&mut response).ok()?;
    let head = response.windows(4).position(|at| at == b"\r\n\r\n")?;
    let status = str::from_utf8(response.get(9..12)?).ok()?.parse().ok()?;
    Some((status, response.split_off(head + 4)))
}

/// An address nobody listens on at this moment.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}
