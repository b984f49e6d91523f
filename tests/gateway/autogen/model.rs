//! The model behind the gateway: `tests/autogen/scripted_model.py` in a process of its own, killed when its handle is dropped.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use serde::Deserialize;
use serde_json::Value;

use super::python;
use crate::harness::ClientRequest;

/// The running model.
#[derive(Debug)]
pub(crate) struct ScriptedModel {
    process: Child,
    base_url: String,
}

/// A request to the model and its reply. Header names are in lower case.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ModelCall {
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
    pub(crate) reply: ModelReply,
}

/// The reply; `usage` only where the wire had it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ModelReply {
    pub(crate) id: String,
    pub(crate) model: String,
    pub(crate) text: Option<String>,
    pub(crate) tool_calls: Vec<Value>,
    pub(crate) finish_reason: String,
    pub(crate) usage: Option<Value>,
}

impl ScriptedModel {
    /// Starts it on a free port and waits until it has printed its base URL.
    pub(crate) fn start() -> Self {
        let script = python::programs().join("scripted_model.py");
        let mut process = Command::new(python::interpreter())
            .arg(script)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the interpreter was just made");
        let mut line = String::new();
        let mut printed = BufReader::new(process.stdout.take().expect("it is piped"));
        printed.read_line(&mut line).expect("it prints UTF-8");
        let base_url = line.trim_end().to_owned();
        Self { process, base_url }
    }

    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Every request so far, in order of arrival.
    pub(crate) async fn calls(&self) -> Vec<ModelCall> {
        let address = self.base_url.trim_start_matches("http://");
        let address: SocketAddr = address
            .trim_end_matches("/v1")
            .parse()
            .expect("it printed its base URL");
        let reply = ClientRequest::new("GET", "/calls").to(address).await;
        serde_json::from_slice(&reply.body).expect("its calls are JSON")
    }
}

impl Drop for ScriptedModel {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
