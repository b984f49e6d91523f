//! Checks keys against each other and against the files that they name. A rule is silent where a key that it judges by is unreadable: one
//! mistake, one problem.

use std::net::IpAddr;
use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::base_url::{BaseUrl, Scheme};
use super::draft::Draft;
use super::environment::variable;
use super::keys::{CaptureSection, Config, RespanSection, SECRET_KEYS};
use super::problem::SourceLocation;
use super::read;

/// Respan rejects larger spans.
const LARGEST_SPAN: usize = 20_000_000;

pub(super) fn check(draft: &mut Draft) {
    read_key_file(draft);
    let config = draft.config.clone();
    check_listeners(&config, draft);
    check_client_keys(&config, draft);
    check_tls(&config, draft);
    check_respan(&config.respan, draft);
    check_capture(&config.capture, draft);
    warn_of_secret_flags(draft);
}

/// Reports `text` at the first of `keys` that a source assigns. `keys` are all that the rule judges by.
fn refuse(draft: &mut Draft, keys: &[&'static str], text: impl Into<String>) {
    if keys.iter().any(|key| draft.unreadable.contains(key)) {
        return;
    }
    let mut assigned = keys.iter().filter(|key| draft.locations.contains_key(*key));
    if let Some(key) = assigned.next() {
        draft.refuse(draft.locations[key].clone(), *key, text);
    }
}

fn check_listeners(config: &Config, draft: &mut Draft) {
    let (server, upstream) = (&config.server, &config.upstream.base_url);
    let overlap =
        |one: IpAddr, other: IpAddr| one == other || one.is_unspecified() || other.is_unspecified();
    if server.listen.port() != 0
        && server.listen.port() == server.admin.port()
        && overlap(server.listen.ip(), server.admin.ip())
    {
        let text = format!(
            "is {}, which server.listen takes too; write another port",
            server.admin
        );
        refuse(draft, &["server.admin", "server.listen"], text);
    }
    if !server.admin.ip().is_loopback() && server.admin_token.is_none() {
        let text = format!(
            "is {}, which others can reach, and it shows prompts; set server.admin_token, or write \"127.0.0.1:{}\"",
            server.admin,
            server.admin.port()
        );
        refuse(draft, &["server.admin", "server.admin_token"], text);
    }
    if upstream.port() == server.listen.port() && reaches(upstream, server.listen.ip()) {
        let text = "is the gateway's own server.listen, so that every request would go round for ever; write where the model is";
        refuse(draft, &["upstream.base_url", "server.listen"], text);
    }
}

fn check_client_keys(config: &Config, draft: &mut Draft) {
    let (server, upstream) = (&config.server, &config.upstream);
    if !server.client_keys.is_empty() && upstream.api_key.is_none() {
        let text = "works only together with upstream.api_key, for a client's key is not the upstream's; set that too, or leave this out";
        refuse(draft, &["server.client_keys", "upstream.api_key"], text);
    }
    if upstream.api_key.is_some()
        && server.client_keys.is_empty()
        && !server.listen.ip().is_loopback()
    {
        let text = format!(
            "would be lent to whoever reaches server.listen {}; set server.client_keys, or listen on 127.0.0.1",
            server.listen
        );
        refuse(
            draft,
            &["upstream.api_key", "server.client_keys", "server.listen"],
            text,
        );
    }
}

fn check_tls(config: &Config, draft: &mut Draft) {
    match (&config.server.tls_cert, &config.server.tls_key) {
        (Some(_), None) => refuse(
            draft,
            &["server.tls_cert", "server.tls_key"],
            "needs server.tls_key beside it; write both or none",
        ),
        (None, Some(_)) => refuse(
            draft,
            &["server.tls_key", "server.tls_cert"],
            "needs server.tls_cert beside it; write both or none",
        ),
        _ => {}
    }
    let is_certificate: fn(&[u8]) -> bool = |bytes| {
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
        all.is_ok_and(|all| !all.is_empty())
    };
    let is_key: fn(&[u8]) -> bool = |bytes| PrivateKeyDer::from_pem_slice(bytes).is_ok();
    let (server, ca_file) = (&config.server, &config.upstream.ca_file);
    for (key, path, is_valid, content) in [
        (
            "server.tls_cert",
            &server.tls_cert,
            is_certificate,
            "certificate",
        ),
        ("server.tls_key", &server.tls_key, is_key, "private key"),
        ("upstream.ca_file", ca_file, is_certificate, "certificate"),
    ] {
        let Some(path) = path else { continue };
        let text = match std::fs::read(path) {
            Ok(bytes) if is_valid(&bytes) => continue,
            Ok(_) => format!(
                "{} holds no {content} in PEM; write a file that does",
                path.display()
            ),
            Err(error) => format!(
                "{} cannot be read ({error}); write a file that can",
                path.display()
            ),
        };
        refuse(draft, &[key], text);
    }
    if let Some(path) = &config.server.tls_key {
        warn_when_others_may_read(path, draft);
    }
}

fn check_respan(respan: &RespanSection, draft: &mut Draft) {
    if respan.api_key.is_some()
        && respan.base_url.scheme == Scheme::Http
        && !respan.base_url.is_loopback()
    {
        let text = "is http://, over which respan.api_key would travel in clear; write https://";
        refuse(draft, &["respan.base_url", "respan.api_key"], text);
    }
}

fn check_capture(capture: &CaptureSection, draft: &mut Draft) {
    if capture.max_memory < capture.max_body {
        let text = "is less than capture.max_body, so that one body would not fit; write more, or lower capture.max_body";
        refuse(draft, &["capture.max_memory", "capture.max_body"], text);
    }
    if capture.max_body > LARGEST_SPAN / 2 {
        draft.warn("capture.max_body allows a request and a response of more than 20 MB together; Respan rejects such spans");
    }
}

/// Reads `respan.api_key_file` into `respan.api_key`. Of the two, the one from the later source counts.
fn read_key_file(draft: &mut Draft) {
    const FILE: &str = "respan.api_key_file";
    let Some(path) = draft.config.respan.api_key_file.clone() else {
        return;
    };
    let Some(location) = draft.locations.get(FILE).cloned() else {
        return;
    };
    if let Some(key_location) = draft.locations.get("respan.api_key") {
        if key_location.rank() == location.rank() {
            let text = "stands beside respan.api_key; write one of the two";
            draft.refuse(location, FILE, text);
            return;
        }
        if key_location.rank() > location.rank() {
            draft.config.respan.api_key_file = None;
            return;
        }
    }
    let content = std::fs::read_to_string(&path)
        .map_err(|error| format!("cannot be read ({error}); write a file that can"));
    match content.and_then(|content| read::secret_text(content.trim())) {
        Ok(secret) => draft.config.respan.api_key = Some(secret),
        Err(text) => {
            draft.refuse(location, FILE, format!("{} {text}", path.display()));
            draft.unreadable.insert("respan.api_key");
        }
    }
    warn_when_others_may_read(&path, draft);
}

/// Whether a request to `url` would come back to the listener at `listen`.
fn reaches(url: &BaseUrl, listen: IpAddr) -> bool {
    let is_local = listen.is_loopback() || listen.is_unspecified();
    is_local && url.is_loopback() || url.ip() == Some(listen)
}

/// Every user of the machine can see a flag.
fn warn_of_secret_flags(draft: &mut Draft) {
    for name in SECRET_KEYS {
        if draft.locations.get(name) == Some(&SourceLocation::Flag) {
            draft.warn(format!(
                "--set {name} shows the secret to everyone who can list processes; use {} or a file",
                variable(name)
            ));
        }
    }
}

/// Warns of a file with a secret that more users than its owner can read.
#[cfg(unix)]
pub(super) fn warn_when_others_may_read(path: &Path, draft: &mut Draft) {
    use std::os::unix::fs::PermissionsExt;

    let Ok(metadata) = std::fs::metadata(path) else {
        return;
    };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o044 != 0 {
        let path = path.display();
        draft.warn(format!(
            "{path} holds a secret and others may read it (mode {mode:03o}); chmod 600 {path}"
        ));
    }
}

/// Elsewhere than on Unix, permissions are not read.
#[cfg(not(unix))]
pub(super) fn warn_when_others_may_read(_: &Path, _: &mut Draft) {}
