//! Tunnels WebSockets: after the upstream's 101, bytes go both ways unread.

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderName, Method, Request, Version};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

use super::headers::tokens;
use super::taps::ResponseTap;
use crate::server::Shutdown;
use crate::tap::{BodyEnd, BodyObserver};

/// Whether a request asks for a WebSocket (RFC 6455, section 4.1). Other upgrades are not passed on.
pub(super) fn is_requested<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_11
        && *request.method() == Method::GET
        && lists(request.headers(), &CONNECTION, b"upgrade")
        && lists(request.headers(), &UPGRADE, b"websocket")
}

fn lists(headers: &HeaderMap, name: &HeaderName, word: &[u8]) -> bool {
    headers
        .get_all(name)
        .iter()
        .flat_map(tokens)
        .any(|token| token.eq_ignore_ascii_case(word))
}

/// Copies bytes until both sides have closed, one breaks off, or the shutdown cuts connections.
pub(super) async fn run(
    client: OnUpgrade,
    upstream: OnUpgrade,
    shutdown: Shutdown,
    tap: ResponseTap,
) {
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
            tap.end(BodyEnd::Complete);
        }
        () = shutdown.cutting() => tap.end(BodyEnd::Abandoned),
    }
}
