//! The scripted upstream, on a thread of its own: it sums up the bytes of a request, reads as little of them as it can, and answers from
//! prepared ones. A request that is not what the client sent gets no answer.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::streams;
use crate::traffic::{self, Replies};

/// What of a body is kept: enough to know what is asked.
const KEPT: usize = 1 << 10;

/// Starts a thread that accepts connections, and serves each with this.
pub(crate) fn listen<F, S>(name: &str, serve: S) -> SocketAddr
where
    F: Future<Output = Option<()>> + 'static,
    S: Fn(TcpStream) -> F + Send + 'static,
{
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let serving = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let tasks = tokio::task::LocalSet::new();
        tasks.block_on(&runtime, async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                connections.spawn_local(serve(stream));
                while connections.try_join_next().is_some() {}
            }
        });
    };
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(serving)
        .unwrap();
    address
}

pub(crate) fn start() -> SocketAddr {
    let replies = Arc::new(Replies::new());
    listen("upstream", move |stream| {
        serve(stream, Arc::clone(&replies))
    })
}

async fn serve(mut stream: TcpStream, replies: Arc<Replies>) -> Option<()> {
    let (mut input, mut output) = (Vec::with_capacity(64 << 10), Vec::new());
    loop {
        let (head, length) = read_head(&mut stream, &mut input).await?;
        let mut sum = crc32c::crc32c(&input[head..]);
        let mut missing = (head + length).saturating_sub(input.len());
        while missing > 0 {
            // The rest of a long body is summed up, not kept.
            if input.len() > head + KEPT {
                input.truncate(head + KEPT);
            }
            let read = stream.read_buf(&mut input).await.ok()?;
            if read == 0 {
                return None;
            }
            sum = crc32c::crc32c_append(sum, &input[input.len() - read..]);
            missing = missing.saturating_sub(read);
        }
        if traffic::told_sum(&input[..head]) != Some(sum) {
            return None;
        }
        let body = &input[head..input.len().min(head + length.min(KEPT))];
        let (number, initial, streamed) = traffic::asked(body)?;
        if streamed {
            streams::send(&mut stream, number, &mut output).await?;
        } else {
            replies.write(number, initial, &mut output);
            stream.write_all(&output).await.ok()?;
        }
        input.clear();
    }
}

/// Reads until the head is whole; gives its length and that of the body.
pub(crate) async fn read_head(
    stream: &mut TcpStream,
    input: &mut Vec<u8>,
) -> Option<(usize, usize)> {
    loop {
        if let Some(end) = memchr::memmem::find(input, b"\r\n\r\n") {
            let head = end + 4;
            return Some((head, length(&input[..head])?));
        }
        if stream.read_buf(input).await.ok()? == 0 {
            return None;
        }
    }
}

/// The content-length of a head; the end of its name is enough to find it in any case of letters.
pub(crate) fn length(head: &[u8]) -> Option<usize> {
    let value = memchr::memmem::find(head, b"ength: ")? + 7;
    let digits = head[value..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0')))
}
