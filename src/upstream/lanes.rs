//! Several clients side by side, each for a limited number of calls.
//!
//! hyper-util's client keeps one HTTP/2 connection to an upstream, and an upstream admits some hundred streams on it: the next call would wait
//! for one of them to end. A lane is a client of its own, and a call takes the first lane that has room. Over HTTP/1.1 lanes change nothing
//! but whose pool a connection is kept in.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::connect::Connector;

/// RFC 9113, section 6.5.2, asks servers to admit no fewer streams than this.
const CALLS_PER_LANE: usize = 100;
/// Of an upstream's response head: fields, and bytes of them over HTTP/2.
const MAX_HEADERS: usize = 256;
const MAX_HEADER_LIST: u32 = 128 * 1024;

pub(super) struct Lanes<B> {
    connector: Connector,
    lanes: Mutex<Vec<Lane<B>>>,
}

struct Lane<B> {
    client: Arc<Client<Connector, B>>,
    calls: Arc<AtomicUsize>,
}

/// A call's place in its lane, given back when dropped.
#[derive(Debug)]
pub struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<B> Lanes<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    pub(super) fn new(connector: Connector) -> Self {
        Lanes {
            connector,
            lanes: Mutex::new(Vec::new()),
        }
    }

    /// The first client with room, or a new one.
    pub(super) fn take(&self) -> (Arc<Client<Connector, B>>, Place) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let with_room = lanes
            .iter()
            .position(|lane| lane.calls.load(Ordering::Relaxed) < CALLS_PER_LANE);
        let index = with_room.unwrap_or_else(|| {
            lanes.push(Lane {
                client: Arc::new(client(self.connector.clone())),
                calls: Arc::default(),
            });
            lanes.len() - 1
        });
        let lane = &lanes[index];
        lane.calls.fetch_add(1, Ordering::Relaxed);
        (Arc::clone(&lane.client), Place(Arc::clone(&lane.calls)))
    }
}

fn client<B>(connector: Connector) -> Client<Connector, B>
where
    B: Body<Data = Bytes> + Send,
{
    Client::builder(TokioExecutor::new())
        .pool_idle_timeout(Duration::from_mins(1))
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        // Only a request of which no byte was sent: its pooled connection had died meanwhile.
        .retry_canceled_requests(true)
        .http1_max_headers(MAX_HEADERS)
        .http2_max_header_list_size(MAX_HEADER_LIST)
        .http2_initial_stream_window_size(256 * 1024)
        .http2_initial_connection_window_size(16 * 1024 * 1024)
        .http2_keep_alive_interval(Duration::from_secs(30))
        .http2_keep_alive_timeout(Duration::from_secs(20))
        .build(connector)
}
