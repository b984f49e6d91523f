//! The viewer's address that the demo prints shows the demo's traces.

use std::sync::{Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

#[derive(Clone, Default)]
struct SharedOutput(Arc<Mutex<Vec<u8>>>);

impl SharedOutput {
    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Write for SharedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_address_of_the_viewer_shows_the_traces() {
    let mut config = Config::default();
    config.server.listen = (Ipv4Addr::LOCALHOST, 0).into();
    config.server.admin = (Ipv4Addr::LOCALHOST, 0).into();
    let output = SharedOutput::default();
    let (printed, mut list) = (output.clone(), String::new());
    let until = async {
        let printed = printed.text();
        let line = printed
            .lines()
            .find_map(|line| line.strip_prefix("The viewer: http://"));
        let address = line.unwrap().trim_end_matches('/');
        let mut viewer = TcpStream::connect(address).await.unwrap();
        let request = format!("GET /api/traces HTTP/1.0\r\nHost: {address}\r\n\r\n");
        viewer.write_all(request.as_bytes()).await.unwrap();
        viewer.read_to_string(&mut list).await.unwrap();
    };
    run(config, &mut output.clone(), until).await.unwrap();
    assert!(list.starts_with("HTTP/1.0 200 OK"), "{list}");
    for shown in ["RoundRobinGroupChat.run_stream", "demo-weather", "planner"] {
        assert!(list.contains(shown), "{shown}: {list}");
    }
}
