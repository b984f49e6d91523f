//! An upstream whose every byte and moment the test decides.
//!
//! The rule: a connection reaches the test only when a request begins on it, so unused connections of a pool are not in the way.
//! Everything stops when the value is dropped.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};

use super::{Request, Wire, within};

/// A listening upstream on HTTP/1.1.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    begun: mpsc::Receiver<Wire>,
    again: mpsc::Sender<Wire>,
    requests: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<Request>>>,
    tasks: JoinSet<()>,
}

impl Upstream {
    /// One whose connections the test drives itself: see [`Upstream::next`].
    pub(crate) async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (again, begun) = mpsc::channel(4096);
        let requests = Arc::new(AtomicUsize::new(0));
        let (sender, count) = (again.clone(), requests.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut waiting = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                waiting.spawn(await_request(
                    Wire::new(stream),
                    sender.clone(),
                    count.clone(),
                ));
                while waiting.try_join_next().is_some() {}
            }
        });
        Self {
            address,
            begun,
            again,
            requests,
            seen: Arc::default(),
            tasks,
        }
    }

    /// One that answers every request with these bytes and keeps the connection.
    pub(crate) async fn always(reply: impl Into<Vec<u8>>) -> Self {
        let reply = reply.into();
        Self::answering(move |_| reply.clone()).await
    }

    /// One that answers every request with the bytes this makes of it, and keeps the connection.
    pub(crate) async fn answering(
        answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let mut upstream = Self::listen().await;
        let (again, none) = mpsc::channel(1);
        let mut begun = std::mem::replace(&mut upstream.begun, none);
        let back = std::mem::replace(&mut upstream.again, again);
        let (seen, count, answer) = (
            upstream.seen.clone(),
            upstream.requests.clone(),
            Arc::new(answer),
        );
        upstream.tasks.spawn(async move {
            let mut serving = JoinSet::new();
            while let Some(mut wire) = begun.recv().await {
                let (seen, back, count, answer) =
                    (seen.clone(), back.clone(), count.clone(), answer.clone());
                serving.spawn(async move {
                    let request = wire.request().await;
                    let reply = answer(&request);
                    seen.lock().unwrap().push(request);
                    wire.send(reply).await;
                    await_request(wire, back, count).await;
                });
                while serving.try_join_next().is_some() {}
            }
        });
        upstream
    }

    /// The next connection on which a request begins, new or kept.
    pub(crate) async fn next(&mut self) -> Wire {
        within("a request at the upstream", self.begun.recv())
            .await
            .expect("the upstream listens")
    }

    /// The next connection on which a request begins, after the whole request.
    pub(crate) async fn next_request(&mut self) -> Wire {
        let mut wire = self.next().await;
        wire.request().await;
        wire
    }

    /// Gives a connection back whose reply has been sent whole, for the next request on it.
    pub(crate) fn keep(&mut self, wire: Wire) {
        self.tasks.spawn(await_request(
            wire,
            self.again.clone(),
            self.requests.clone(),
        ));
    }

    /// How many requests have begun so far.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// The requests that were answered by [`Upstream::always`] or [`Upstream::answering`].
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    /// `http://address` with this path, for `upstream.base_url`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// Waits for the first byte of a request; a connection that ends without one is dropped in silence.
async fn await_request(mut wire: Wire, to: mpsc::Sender<Wire>, requests: Arc<AtomicUsize>) {
    if wire.begins().await {
        requests.fetch_add(1, Ordering::SeqCst);
        let _ = to.send(wire).await;
    }
}
