//! WebSocket upgrades: after the upstream's 101, bytes go both ways unread.

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderName, Method, Request, Version};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

use super::watch::Coming;
use crate::server::Shutdown;
use crate::tap::{End, Observer};

/// Whether a request asks for a WebSocket (RFC 6455, section 4.1). Other upgrades are not passed on.
pub(super) fn is_asked_for<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_11
        && *request.method() == Method::GET
        && lists(request.headers(), &CONNECTION, b"upgrade")
        && lists(request.headers(), &UPGRADE, b"websocket")
}

fn lists(headers: &HeaderMap, name: &HeaderName, word: &[u8]) -> bool {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|listed| listed.trim_ascii().eq_ignore_ascii_case(word))
}

/// Carries bytes until both sides have closed, one breaks off, or serving is cut.
pub(super) async fn run(client: OnUpgrade, upstream: OnUpgrade, shutdown: Shutdown, watch: Coming) {
    let tunnel = async {
        let (client, upstream) =
            tokio::try_join!(client, upstream).map_err(std::io::Error::other)?;
        copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(upstream)).await
    };
    tokio::select! {
        carried = tunnel => {
            if let Err(error) = carried {
                tracing::debug!(%error, "a tunnel broke");
            }
            watch.end(End::Complete);
        }
        () = shutdown.cutting() => watch.end(End::Abandoned),
    }
}
