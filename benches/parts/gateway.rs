//! The gateway as a process: started, killed, and looked at from outside.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(crate) struct Gateway {
    child: Child,
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
    /// From its start to its readiness.
    pub(crate) ready_after: Duration,
}

impl Gateway {
    /// Starts the release binary with these settings besides.
    pub(crate) async fn start(
        store: &Path,
        upstream: SocketAddr,
        respan: SocketAddr,
        settings: &[&str],
    ) -> Self {
        let (address, admin) = (free(), free());
        let began = Instant::now();
        let child = Command::new(env!("CARGO_BIN_EXE_spangate"))
            .args(settings.iter().flat_map(|setting| ["--set", setting]))
            .env("SPANGATE_STORE_DIR", store)
            .env("SPANGATE_SERVER_LISTEN", address.to_string())
            .env("SPANGATE_SERVER_ADMIN", admin.to_string())
            .env(
                "SPANGATE_UPSTREAM_BASE_URL",
                format!("http://{upstream}/v1"),
            )
            .env("RESPAN_BASE_URL", format!("http://{respan}/api"))
            .env("RESPAN_API_KEY", "bench")
            .stderr(Stdio::null())
            .spawn()
            .expect("the release binary runs");
        let mut gateway = Gateway {
            child,
            address,
            admin,
            ready_after: Duration::ZERO,
        };
        while !gateway
            .get("/readyz")
            .await
            .is_some_and(|text| text.starts_with("HTTP/1.1 200"))
        {
            assert!(
                gateway.child.try_wait().unwrap().is_none(),
                "the gateway ended"
            );
            assert!(
                began.elapsed() < Duration::from_mins(1),
                "not ready in a minute"
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        gateway.ready_after = began.elapsed();
        gateway
    }

    pub(crate) async fn metric(&self, name: &str) -> u64 {
        self.sum(&[name]).await
    }

    /// Of these metrics, with all their labels, from one scrape.
    pub(crate) async fn sum(&self, names: &[&str]) -> u64 {
        let text = self.get("/metrics").await.unwrap_or_default();
        let ours = text
            .lines()
            .filter(|line| names.iter().any(|name| line.starts_with(name)));
        let values = ours.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "counters"
        )]
        let sum = values.sum::<f64>() as u64;
        sum
    }

    /// Whether every span is accounted for.
    pub(crate) async fn balanced(&self) -> bool {
        let text = self.get("/metrics").await.unwrap_or_default();
        let sum = |name: &str| -> f64 {
            let ours = text.lines().filter(|line| line.starts_with(name));
            ours.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                .sum()
        };
        let rest = sum("spangate_spans_created_total")
            - sum("spangate_spans_exported_total")
            - sum("spangate_spans_rejected_total")
            - sum("spangate_spans_dropped_total")
            - sum("spangate_spans_pending");
        rest.abs() < 0.5
    }

    async fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.admin).await.ok()?;
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        Some(text)
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }
}

/// `kill -9`.
impl Drop for Gateway {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// An address that nobody listens on.
pub(crate) fn free() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}
