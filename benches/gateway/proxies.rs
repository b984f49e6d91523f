//! What is compared: HAProxy, nginx, and spangate with tracing off and on, each a process of its own between the same two ends.
//!
//! The rule: each as somebody would run it who wants it fast and streams through it: connections to the upstream kept, nothing buffered
//! whole, no access log, two threads or workers.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::accounting;
use crate::gateway::{self, Gateway};
use crate::load::Target;

/// One of those that are compared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Variant {
    /// No proxy at all: what latencies are compared with.
    Direct,
    Haproxy,
    Nginx,
    /// With `X-Respan-Log: off` on each request.
    Off,
    On,
}

impl Variant {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Variant::Direct => "direct",
            Variant::Haproxy => "haproxy",
            Variant::Nginx => "nginx",
            Variant::Off => "spangate off",
            Variant::On => "spangate on",
        }
    }
}

/// Which of Debian's two packages are there, with their versions.
pub(crate) struct Installed {
    pub(crate) nginx: bool,
    pub(crate) versions: String,
}

impl Installed {
    /// Says what to install; without HAProxy there is nothing to compare with.
    pub(crate) fn look() -> Result<Self, String> {
        let version = |program: &str| {
            let output = Command::new(program).arg("-v").output().ok()?;
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text);
            text.lines().next().map(str::to_owned)
        };
        let Some(haproxy) = version("haproxy") else {
            return Err(
                "haproxy is not installed, and all figures are ratios to it; on Debian: apt-get install haproxy nginx"
                    .to_owned(),
            );
        };
        let nginx = version("nginx");
        if nginx.is_none() {
            eprintln!("nginx is not installed and is left out; on Debian: apt-get install nginx");
        }
        Ok(Installed {
            nginx: nginx.is_some(),
            versions: [Some(haproxy), nginx]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join("; "),
        })
    }
}

/// A variant that runs.
pub(crate) struct Proxy {
    pub(crate) variant: Variant,
    pub(crate) target: Target,
    processes: Vec<u32>,
    pub(crate) gateway: Option<Gateway>,
    child: Option<Child>,
    /// Its files, for as long as it runs.
    _dir: TempDir,
}

impl Proxy {
    pub(crate) async fn start(variant: Variant, upstream: SocketAddr, respan: SocketAddr) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut target = Target {
            address: gateway::free(),
            headers: "",
            keeps_headers: variant != Variant::Nginx,
        };
        let (mut processes, mut gateway, mut child) = (Vec::new(), None, None);
        match variant {
            Variant::Direct => target.address = upstream,
            Variant::Haproxy => {
                let file = dir.path().join("haproxy.cfg");
                std::fs::write(&file, haproxy(target.address, upstream)).unwrap();
                let mut command = Command::new("haproxy");
                command.arg("-db").arg("-f").arg(&file);
                child = Some(run(command, dir.path(), target.address).await);
            }
            Variant::Nginx => {
                let file = dir.path().join("nginx.conf");
                std::fs::write(&file, nginx(dir.path(), target.address, upstream)).unwrap();
                let mut command = Command::new("nginx");
                command.arg("-c").arg(&file).arg("-p").arg(dir.path());
                command.args(["-e", "stderr"]);
                child = Some(run(command, dir.path(), target.address).await);
            }
            Variant::Off | Variant::On => {
                // Runs are over after a second instead of thirty, so that the spans of their teams and agents are part of what is measured.
                let settings = ["server.drain_delay=0s", "runs.idle=1s"];
                let started =
                    Gateway::start(&dir.path().join("store"), upstream, respan, &settings).await;
                target.address = started.address;
                if variant == Variant::Off {
                    target.headers = "X-Respan-Log: off\r\n";
                }
                processes.push(started.process());
                gateway = Some(started);
            }
        }
        if let Some(child) = &child {
            processes.push(child.id());
            if variant == Variant::Nginx {
                processes.extend(workers(child.id()).await);
            }
        }
        Proxy {
            variant,
            target,
            processes,
            gateway,
            child,
            _dir: dir,
        }
    }

    /// CPU time of all its processes so far, in microseconds.
    pub(crate) fn cpu(&self) -> f64 {
        self.processes.iter().map(|of| accounting::cpu(*of)).sum()
    }

    /// Resident memory of all its processes in bytes; what nginx's share counts in each.
    pub(crate) fn memory(&self) -> u64 {
        let each = self.processes.iter().map(|of| accounting::memory(*of));
        each.sum()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        // nginx's workers outlive a master that is killed.
        let process = nix::unistd::Pid::from_raw(child.id().cast_signed());
        _ = nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGTERM);
        _ = child.wait();
    }
}

/// Starts a program, and waits until it accepts connections.
async fn run(mut command: Command, dir: &Path, address: SocketAddr) -> Child {
    let said = dir.join("stderr");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&said).unwrap())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while TcpStream::connect(address).await.is_err() {
        let ended = child.try_wait().unwrap().is_some();
        assert!(
            !ended && began.elapsed() < Duration::from_secs(10),
            "{command:?} does not serve:\n{}",
            std::fs::read_to_string(&said).unwrap()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    child
}

/// nginx's master listens before it has started its workers.
async fn workers(master: u32) -> Vec<u32> {
    let began = Instant::now();
    loop {
        let workers = children(master);
        if workers.len() == 2 {
            return workers;
        }
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "nginx has {} workers instead of 2",
            workers.len()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Processes that this one started.
fn children(parent: u32) -> Vec<u32> {
    let is_child = |process: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        let fields = stat.rsplit(") ").next().unwrap_or_default();
        fields.split(' ').nth(1).and_then(|id| id.parse().ok()) == Some(parent)
    };
    let all = std::fs::read_dir("/proc").unwrap();
    all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(is_child)
        .collect()
}

/// `http-no-delay`, since without it the events of a stream wait for one another.
fn haproxy(listen: SocketAddr, upstream: SocketAddr) -> String {
    format!(
        "global
    nbthread 2
    maxconn 8000
defaults
    mode http
    http-reuse always
    option http-keep-alive
    option http-no-delay
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    timeout http-request 10s
    timeout http-keep-alive 600s
frontend front
    bind {listen}
    default_backend upstream
backend upstream
    server upstream {upstream} pool-purge-delay 600s
"
    )
}

fn nginx(dir: &Path, listen: SocketAddr, upstream: SocketAddr) -> String {
    let dir = dir.display();
    let mut text = String::new();
    if nix::unistd::geteuid().is_root() {
        // Its workers then need no right of others to the directory.
        text += "user root;\n";
    }
    let temporary = [
        "client_body_temp_path",
        "proxy_temp_path",
        "fastcgi_temp_path",
        "uwsgi_temp_path",
        "scgi_temp_path",
    ];
    let temporary = temporary.iter().fold(String::new(), |mut all, key| {
        _ = writeln!(all, "    {key} {dir}/{key};");
        all
    });
    _ = write!(
        text,
        "daemon off;
worker_processes 2;
worker_rlimit_nofile 16384;
pid {dir}/nginx.pid;
error_log stderr error;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    keepalive_timeout 600s;
    keepalive_requests 100000000;
    client_max_body_size 0;
    client_body_buffer_size 64k;
{temporary}
    upstream upstream {{
        server {upstream};
        keepalive 1024;
        keepalive_requests 100000000;
        keepalive_timeout 600s;
    }}
    server {{
        listen {listen} backlog=4096;
        location / {{
            proxy_pass http://upstream;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_buffering off;
            proxy_request_buffering off;
            proxy_read_timeout 600s;
        }}
    }}
}}
"
    );
    text
}
