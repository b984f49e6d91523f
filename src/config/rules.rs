//! What keys ask of each other and of the files they name. A rule is silent where a key it judges by could not be read: one mistake, one
//! problem.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::base_url::{BaseUrl, Scheme};
use super::problem::{Place, Problem, Warning};
use super::{Draft, read};

/// Respan rejects larger spans.
const LARGEST_SPAN: usize = 20_000_000;

pub(super) fn check(draft: &mut Draft, problems: &mut Vec<Problem>, warnings: &mut Vec<Warning>) {
    read_key_file(draft, problems, warnings);
    let mut rules = Rules { draft, problems };
    rules.listeners();
    rules.client_keys();
    rules.tls(warnings);
    rules.respan();
    rules.capture(warnings);
    warn_of_secret_flags(draft, warnings);
}

struct Rules<'a> {
    draft: &'a Draft,
    problems: &'a mut Vec<Problem>,
}

impl Rules<'_> {
    /// Reports `text` at the first of `keys` that was written. `keys` are all that the rule judges by.
    fn refuse(&mut self, keys: &[&'static str], text: impl Into<String>) {
        if keys.iter().any(|key| self.draft.failed.contains(key)) {
            return;
        }
        let written = keys
            .iter()
            .find_map(|key| Some((*key, self.draft.places.get(key)?)));
        if let Some((key, place)) = written {
            self.problems.push(Problem::new(place.clone(), key, text));
        }
    }

    fn listeners(&mut self) {
        let (server, upstream) = (
            &self.draft.config.server,
            &self.draft.config.upstream.base_url,
        );
        let meets = |one: IpAddr, other: IpAddr| {
            one == other || one.is_unspecified() || other.is_unspecified()
        };
        if server.listen.port() != 0
            && server.listen.port() == server.admin.port()
            && meets(server.listen.ip(), server.admin.ip())
        {
            let text = format!(
                "is {}, which server.listen takes too; write another port",
                server.admin
            );
            self.refuse(&["server.admin", "server.listen"], text);
        }
        if !server.admin.ip().is_loopback() && server.admin_token.is_none() {
            let text = format!(
                "is {}, which others can reach, and it shows prompts; set server.admin_token, or write \"127.0.0.1:{}\"",
                server.admin,
                server.admin.port()
            );
            self.refuse(&["server.admin", "server.admin_token"], text);
        }
        if upstream.port() == server.listen.port() && names_this(upstream, server.listen.ip()) {
            let text = "is the gateway's own server.listen, so that every request would go round for ever; write where the model is";
            self.refuse(&["upstream.base_url", "server.listen"], text);
        }
    }

    fn client_keys(&mut self) {
        let (server, upstream) = (&self.draft.config.server, &self.draft.config.upstream);
        if !server.client_keys.is_empty() && upstream.api_key.is_none() {
            let text = "works only together with upstream.api_key, for a client's key is not the upstream's; set that too, or leave this out";
            self.refuse(&["server.client_keys", "upstream.api_key"], text);
        }
        if upstream.api_key.is_some()
            && server.client_keys.is_empty()
            && !server.listen.ip().is_loopback()
        {
            let text = format!(
                "would be lent to whoever reaches server.listen {}; set server.client_keys, or listen on 127.0.0.1",
                server.listen
            );
            self.refuse(
                &["upstream.api_key", "server.client_keys", "server.listen"],
                text,
            );
        }
    }

    fn tls(&mut self, warnings: &mut Vec<Warning>) {
        let config = &self.draft.config;
        match (&config.server.tls_cert, &config.server.tls_key) {
            (Some(_), None) => self.refuse(
                &["server.tls_cert", "server.tls_key"],
                "needs server.tls_key beside it; write both or none",
            ),
            (None, Some(_)) => self.refuse(
                &["server.tls_key", "server.tls_cert"],
                "needs server.tls_cert beside it; write both or none",
            ),
            _ => {}
        }
        let pem = |path: &Option<PathBuf>, holds: fn(&[u8]) -> bool, what: &str| {
            let path = path.as_deref()?;
            match std::fs::read(path) {
                Ok(bytes) if holds(&bytes) => None,
                Ok(_) => Some(format!(
                    "{} holds no {what} in PEM; write a file that does",
                    path.display()
                )),
                Err(error) => Some(format!(
                    "{} cannot be read ({error}); write a file that can",
                    path.display()
                )),
            }
        };
        let is_certificate = |bytes: &[u8]| {
            let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
            all.is_ok_and(|all| !all.is_empty())
        };
        let wrong = [
            (
                "server.tls_cert",
                pem(&config.server.tls_cert, is_certificate, "certificate"),
            ),
            (
                "server.tls_key",
                pem(
                    &config.server.tls_key,
                    |bytes| PrivateKeyDer::from_pem_slice(bytes).is_ok(),
                    "private key",
                ),
            ),
            (
                "upstream.ca_file",
                pem(&config.upstream.ca_file, is_certificate, "certificate"),
            ),
        ];
        for (key, text) in wrong {
            if let Some(text) = text {
                self.refuse(&[key], text);
            }
        }
        if let Some(path) = &config.server.tls_key {
            warn_when_others_may_read(path, warnings);
        }
    }

    fn respan(&mut self) {
        let respan = &self.draft.config.respan;
        if respan.api_key.is_some()
            && respan.base_url.scheme == Scheme::Http
            && !respan.base_url.is_loopback()
        {
            let text =
                "is http://, over which respan.api_key would travel in clear; write https://";
            self.refuse(&["respan.base_url", "respan.api_key"], text);
        }
    }

    fn capture(&mut self, warnings: &mut Vec<Warning>) {
        let capture = &self.draft.config.capture;
        if capture.max_memory < capture.max_body {
            let text = "is less than capture.max_body, so that one body would not fit; write more, or lower capture.max_body";
            self.refuse(&["capture.max_memory", "capture.max_body"], text);
        }
        if capture.max_body > LARGEST_SPAN / 2 {
            let text = "capture.max_body allows a request and a response of more than 20 MB together; Respan rejects such spans";
            warnings.push(Warning(text.to_owned()));
        }
    }
}

/// `respan.api_key_file` becomes `respan.api_key`. Of the two, the one from the later source counts.
fn read_key_file(draft: &mut Draft, problems: &mut Vec<Problem>, warnings: &mut Vec<Warning>) {
    const FILE: &str = "respan.api_key_file";
    let Some(path) = draft.config.respan.api_key_file.clone() else {
        return;
    };
    let Some(place) = draft.places.get(FILE).cloned() else {
        return;
    };
    if let Some(key_place) = draft.places.get("respan.api_key") {
        if key_place.rank() == place.rank() {
            problems.push(Problem::new(
                place,
                FILE,
                "stands beside respan.api_key; write one of the two",
            ));
            return;
        }
        if key_place.rank() > place.rank() {
            draft.config.respan.api_key_file = None;
            return;
        }
    }
    let content = std::fs::read_to_string(&path)
        .map_err(|error| format!("cannot be read ({error}); write a file that can"));
    match content.and_then(|content| read::secret_text(content.trim())) {
        Ok(secret) => draft.config.respan.api_key = Some(secret),
        Err(text) => {
            problems.push(Problem::new(
                place,
                FILE,
                format!("{} {text}", path.display()),
            ));
            draft.failed.insert("respan.api_key");
        }
    }
    warn_when_others_may_read(&path, warnings);
}

/// Whether a request to `url` would come back to the listener at `listen`.
fn names_this(url: &BaseUrl, listen: IpAddr) -> bool {
    let host = url
        .authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']');
    let here = listen.is_loopback() || listen.is_unspecified();
    here && url.is_loopback()
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address == listen)
}

/// A flag can be seen by every user of the machine.
fn warn_of_secret_flags(draft: &Draft, warnings: &mut Vec<Warning>) {
    for name in super::keys::SECRETS {
        if draft.places.get(name) == Some(&Place::Flag) {
            warnings.push(Warning(format!(
                "--set {name} shows the secret to everyone who can list processes; use {} or a file",
                super::words::variable(name)
            )));
        }
    }
}

/// Warns when a file that holds a secret can be read by more than its owner.
#[cfg(unix)]
pub(super) fn warn_when_others_may_read(path: &Path, warnings: &mut Vec<Warning>) {
    use std::os::unix::fs::PermissionsExt;

    let Ok(metadata) = std::fs::metadata(path) else {
        return;
    };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o044 != 0 {
        let path = path.display();
        warnings.push(Warning(format!(
            "{path} holds a secret and others may read it (mode {mode:03o}); chmod 600 {path}"
        )));
    }
}

/// Elsewhere than on Unix, permissions are not read.
#[cfg(not(unix))]
pub(super) fn warn_when_others_may_read(_: &Path, _: &mut Vec<Warning>) {}
