//! A request or reply as one side saw it, comparable between direct and proxied, HTTP/1.1 and HTTP/2.
//!
//! The rule: nothing is sorted, merged or defaulted. Names are lower-cased, for HTTP gives case no meaning; everything else is as it came.

/// Header or trailer fields in the order they came, repeats included, names in lower case.
pub(crate) type Headers = Vec<(String, String)>;

/// How a message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// As its framing says: the whole message is there.
    Clean,
    /// The connection was closed before that.
    Closed,
    /// The connection was reset, or failed otherwise, before that.
    Reset,
    /// HTTP/2: this stream was reset, with this code.
    StreamReset(u32),
}

/// The next thing of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Some bytes, however many could be read at once.
    Bytes(Vec<u8>),
    /// No more; with the trailers.
    End(End, Headers),
}

/// A request as an upstream saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Headers,
    pub(crate) end: End,
}

/// A reply as a client saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Headers,
    pub(crate) end: End,
}

impl Reply {
    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", String::from_utf8_lossy(&self.body)))
    }

    /// Checks that this is an error of the gateway's own: status, OpenAI's shape, and an id to find it by.
    #[track_caller]
    pub(crate) fn expect_own_error(&self, status: u16) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.end, End::Clean);
        assert!(
            value(&self.headers, "content-type")
                .is_some_and(|kind| kind.starts_with("application/json")),
            "{self:?}"
        );
        assert!(
            value(&self.headers, super::call::REQUEST_ID).is_some_and(|id| !id.is_empty()),
            "{self:?}"
        );
        let body = self.json();
        assert_eq!(body["error"]["type"], "spangate_error", "{body}");
        assert_eq!(body["error"]["param"], serde_json::Value::Null, "{body}");
        assert!(
            body["error"]["message"]
                .as_str()
                .is_some_and(|message| !message.is_empty()),
            "{body}"
        );
        assert!(
            body["error"]
                .as_object()
                .is_some_and(|error| error.contains_key("code")),
            "{body}"
        );
    }
}

/// The first value of the field.
pub(crate) fn value<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.as_str())
}

/// The fields that are not among these names; a name that ends in `-` stands for all that begin with it.
pub(crate) fn without(headers: &Headers, names: &[&str]) -> Headers {
    let gone = |key: &str| {
        names
            .iter()
            .any(|name| key == *name || (name.ends_with('-') && key.starts_with(name)))
    };
    headers
        .iter()
        .filter(|(key, _)| !gone(key))
        .cloned()
        .collect()
}

/// The same fields with equal names next to each other, in order of first appearance: all the order that the gateway promises.
pub(crate) fn grouped(headers: &Headers) -> Headers {
    let mut names: Vec<&str> = Vec::new();
    for (key, _) in headers {
        if !names.contains(&key.as_str()) {
            names.push(key);
        }
    }
    names
        .iter()
        .flat_map(|name| headers.iter().filter(move |(key, _)| key == name).cloned())
        .collect()
}
