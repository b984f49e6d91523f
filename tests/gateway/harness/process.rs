//! The program under test: the built binary in a directory of its own, configured through its environment.
//!
//! The rule: nothing of the surroundings reaches it (no `SPANGATE_` or `RESPAN_` variable, no file), and it never outlives its test.

use std::{
    collections::BTreeMap,
    fs::File,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    sync::atomic::{AtomicU16, Ordering},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{Call, ClientRequest, Metrics, Protocol, Reply, Respan, Upstream, until};

/// What the gateway is told before it starts.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    environment: BTreeMap<String, String>,
    file: Option<String>,
}

impl Setup {
    /// In front of this base URL, exporting nothing.
    pub(crate) fn before(base_url: &str) -> Self {
        let setup = Self {
            environment: BTreeMap::new(),
            file: None,
        };
        setup
            .set("server.drain_delay", "0s")
            .set("server.drain_deadline", "5s")
            .set("respan.flush_interval", "50ms")
            .set("upstream.base_url", base_url)
    }

    /// In front of this upstream, exporting to this Respan.
    pub(crate) fn between(upstream: &Upstream, respan: &Respan) -> Self {
        Self::before(&upstream.url("/v1")).exporting(respan)
    }

    /// Exporting to this Respan.
    pub(crate) fn exporting(mut self, respan: &Respan) -> Self {
        self.environment
            .insert("RESPAN_API_KEY".to_owned(), super::KEY.to_owned());
        self.set("respan.base_url", &respan.url())
    }

    /// With this key of the configuration, `section.key`, set in the environment.
    pub(crate) fn set(mut self, key: &str, value: &str) -> Self {
        self.environment.insert(
            format!("SPANGATE_{}", key.replace('.', "_").to_uppercase()),
            value.to_owned(),
        );
        self
    }

    /// With this variable of the environment.
    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With this configuration file.
    pub(crate) fn file(mut self, text: &str) -> Self {
        self.file = Some(text.to_owned());
        self
    }

    /// Without a key of Respan's: exporting nothing.
    pub(crate) fn without_key(mut self) -> Self {
        self.environment.remove("RESPAN_API_KEY");
        self
    }

    /// Starts it in a directory of its own and waits until it is ready.
    pub(crate) async fn start(self) -> Gateway {
        let directory = tempfile::tempdir().expect("a directory");
        if let Some(text) = &self.file {
            std::fs::write(directory.path().join("spangate.toml"), text).expect("a file");
        }
        let addresses = [free_address(), free_address()];
        let mut gateway = Gateway {
            child: self.spawn(directory.path(), addresses),
            address: addresses[0],
            admin: addresses[1],
            directory,
            setup: self,
        };
        gateway.ready().await;
        gateway
    }

    fn spawn(&self, directory: &Path, [address, admin]: [SocketAddr; 2]) -> Child {
        let log = File::options()
            .create(true)
            .append(true)
            .open(directory.join("log"));
        let log = log.expect("a file");
        let mut command = command(directory);
        command.arg("serve").envs(&self.environment);
        if self.file.is_some() {
            command.args(["--config", "spangate.toml"]);
        }
        command
            .env("SPANGATE_SERVER_LISTEN", address.to_string())
            .env("SPANGATE_SERVER_ADMIN", admin.to_string())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("the binary can be run")
    }
}

/// A running gateway.
#[derive(Debug)]
pub(crate) struct Gateway {
    child: Child,
    /// Where AutoGen would connect.
    pub(crate) address: SocketAddr,
    /// Where its health and metrics are.
    pub(crate) admin: SocketAddr,
    directory: TempDir,
    setup: Setup,
}

impl Gateway {
    /// In front of this upstream, exporting nothing, nothing else said.
    pub(crate) async fn before(upstream: &Upstream) -> Self {
        Setup::before(&upstream.url("/v1")).start().await
    }

    async fn ready(&mut self) {
        // A listener that speaks TLS cannot be asked in plain words; the admin port always can.
        let tls = "SPANGATE_SERVER_TLS_CERT";
        let ready = if self.setup.environment.contains_key(tls) {
            self.admin
        } else {
            self.address
        };
        until("the gateway to be ready", async || {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("the gateway ended with {status}:\n{}", self.log());
            }
            tokio::net::TcpStream::connect(ready).await.ok()?;
            let reply = ClientRequest::new("GET", "/readyz").to(ready).await;
            (reply.status == 200).then_some(())
        })
        .await;
    }

    /// Starts it again, after it has ended: in the same directory, on the same addresses, told the same.
    pub(crate) async fn restart(&mut self) {
        self.restart_as(|setup| setup).await;
    }

    /// Starts it again, told something else.
    pub(crate) async fn restart_as(&mut self, change: impl FnOnce(Setup) -> Setup) {
        self.setup = change(self.setup.clone());
        self.child = self
            .setup
            .spawn(self.directory.path(), [self.address, self.admin]);
        self.ready().await;
    }

    /// Begins a chat completion with an empty object on a new connection.
    pub(crate) async fn call(&self, protocol: Protocol) -> Call {
        let request = ClientRequest::post("/v1/chat/completions", "{}");
        Call::begin(protocol, self.address, &request).await
    }

    /// Makes a request on a new connection and reads the whole reply.
    pub(crate) async fn ask(&self, ask: &ClientRequest) -> Reply {
        ask.over(Protocol::One, self.address).await
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is running");
    }

    /// SIGTERM, and what it came to.
    pub(crate) async fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended().await
    }

    /// `kill -9`: whatever it is doing, it does not do it any more.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it is running");
        self.child.wait().expect("it is our child");
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        until("the gateway to end", async || {
            self.child.try_wait().expect("it is our child")
        })
        .await
    }

    /// What it has written so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Its configuration file, for writing another one.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.directory.path().join(name), text).expect("a file");
    }

    /// The directory of its store, unless it was told another.
    pub(crate) fn store(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    /// Scrapes it until the counters are as wanted; every scrape must add up.
    pub(crate) async fn counts(
        &self,
        what: &str,
        mut enough: impl FnMut(&Metrics) -> bool,
    ) -> Metrics {
        until(what, async || {
            let metrics = self.metrics().await;
            metrics.expect_balanced();
            enough(&metrics).then_some(metrics)
        })
        .await
    }

    /// Its counters now.
    pub(crate) async fn metrics(&self) -> Metrics {
        let reply = ClientRequest::new("GET", "/metrics").to(self.admin).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        Metrics::read(&String::from_utf8(reply.body).expect("the text format is UTF-8"))
    }

    /// Memory of the process in KiB: what is resident now, and the most there ever was.
    pub(crate) fn memory(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))
            .expect("it is running");
        let field = |name: &str| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap_or_else(|| panic!("no {name}"));
            line.split_whitespace()
                .next()
                .and_then(|number| number.parse().ok())
                .unwrap_or_else(|| panic!("{line:?}"))
        };
        (field("VmRSS:"), field("VmHWM:"))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("-- log of the gateway\n{}--", self.log());
        }
    }
}

/// Runs the binary with these words and this configuration file until it ends by itself; its exit code and what it wrote to stderr.
pub(crate) async fn refusal(
    words: &[&str],
    file: Option<&str>,
    environment: &[(&str, &str)],
) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().expect("a directory");
    if let Some(text) = file {
        std::fs::write(directory.path().join("spangate.toml"), text).expect("a file");
    }
    let errors = File::create(directory.path().join("log")).expect("a file");
    let mut command = command(directory.path());
    command
        .args(words)
        .envs(environment.iter().copied())
        .stdout(std::process::Stdio::null())
        .stderr(errors);
    let mut child = command.spawn().expect("the binary can be run");
    let status = until("the program to end", async || {
        child.try_wait().expect("it is our child")
    })
    .await;
    (
        status.code(),
        std::fs::read_to_string(directory.path().join("log")).expect("it wrote text"),
    )
}

/// The binary, with nothing of the surroundings that it would listen to.
pub(super) fn command(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spangate"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("SPANGATE_")
            || name.starts_with("RESPAN_")
            || name.to_lowercase().ends_with("_proxy")
        {
            command.env_remove(name);
        }
    }
    command
        .current_dir(directory)
        .env("SPANGATE_STORE_DIR", directory.join("store"))
        .stdin(std::process::Stdio::null());
    command
}

/// An address nobody listens on, from below the range that outgoing connections take theirs from, so that none of ours takes it first.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let start = u16::try_from(std::process::id() % 20_000).expect("below 20,000");
        let port = 10_000 + (start + step % 20_000) % 20_000;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
