//! Declares every key: its meaning, name, type, default and reader. `config/spangate.toml` explains the keys to users, and a test compares
//! the two. Unknown names are compared with the declared ones here.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use http::uri::Authority;
use tracing::Level;

use super::base_url::{BaseUrl, Scheme};
use super::raw_value::RawValue;
use super::read::{self, ContentMode, GIB, KIB, LogFormat, MIB, UsageMode, WireEncoding};
use super::secret::Secret;
use crate::openai::Media;

pub(super) struct ConfigKey {
    /// `section.key`
    pub(super) name: &'static str,
    /// Reads a value into the configuration. The error is a predicate, see [`read`].
    pub(super) assign: fn(&mut Config, &RawValue) -> Result<(), String>,
}

/// Keys whose value is itself a secret: every reader of the file learns it.
pub(super) const SECRET_KEYS: [&str; 4] = [
    "server.client_keys",
    "server.admin_token",
    "upstream.api_key",
    "respan.api_key",
];

/// Declares sections. Each `key: Type = default, reader;` becomes a field, its default, and an entry of [`KEYS`] that reads into the field.
macro_rules! sections {
    ($(
        $(#[$section_meaning:meta])*
        $section:ident: $Section:ident {
            $( $(#[$meaning:meta])* $key:ident: $type:ty = $default:expr, $reader:expr; )*
        }
    )*) => {
        $(
            $(#[$section_meaning])*
            #[derive(Clone, Debug, PartialEq)]
            pub struct $Section {
                $( $(#[$meaning])* pub $key: $type, )*
            }

            impl Default for $Section {
                fn default() -> Self {
                    Self { $( $key: $default, )* }
                }
            }
        )*

        /// Everything that is configured, valid as a whole. The default is what an empty file means.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Config {
            $( $(#[$section_meaning])* pub $section: $Section, )*
        }

        /// Every key, in the order of its declaration.
        pub(super) const KEYS: &[ConfigKey] = &[
            $( $(
                ConfigKey {
                    name: concat!(stringify!($section), ".", stringify!($key)),
                    assign: |config, raw| {
                        set(&mut config.$section.$key, $reader(raw)?);
                        Ok(())
                    },
                },
            )* )*
        ];
    };
}

fn set<T, F: From<T>>(field: &mut F, value: T) {
    *field = value.into();
}

sections! {
    /// The listening side.
    server: ServerSection {
        /// Where AutoGen connects: HTTP/1.1 and HTTP/2 on one port.
        listen: SocketAddr = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)), read::address;
        /// Viewer, admin API, metrics and health.
        admin: SocketAddr = SocketAddr::from((Ipv4Addr::LOCALHOST, 8081)), read::address;
        /// Certificate chain, PEM; with [`Self::tls_key`] TLS is served on `listen`. Held a certificate when the configuration was read.
        tls_cert: Option<PathBuf> = None, read::path;
        /// Its private key, PEM. Held a key when the configuration was read.
        tls_key: Option<PathBuf> = None, read::path;
        /// How long requests are still served after SIGTERM; may be zero.
        drain_delay: Duration = Duration::from_secs(5), read::duration_or_zero;
        /// When streams are cut, counted from SIGTERM; may be zero, and wins where `drain_delay` is longer.
        drain_deadline: Duration = Duration::from_mins(5), read::duration_or_zero;
        /// A client must present one of them; empty admits every client. Never without `upstream.api_key`.
        client_keys: Vec<Secret> = Vec::new(), read::secrets;
        /// Required on the admin port. Always set where `admin` is not loopback.
        admin_token: Option<Secret> = None, read::secret;
        /// Further host names under which the admin port answers, in lower case.
        admin_hosts: Vec<String> = Vec::new(), read::hosts;
    }

    /// Where requests go.
    upstream: UpstreamSection {
        /// Its path replaces `/v1`.
        base_url: BaseUrl = BaseUrl { scheme: Scheme::Https, authority: Authority::from_static("api.openai.com"), path: "/v1".to_owned() },
            read::upstream_url;
        /// Further trusted roots, PEM. Held a certificate when the configuration was read.
        ca_file: Option<PathBuf> = None, read::path;
        /// Used instead of the client's `Authorization`.
        api_key: Option<Secret> = None, read::secret;
        /// Longest wait for a connection.
        connect_timeout: Duration = Duration::from_secs(10), read::duration;
        /// Longest silence, before the head and within a stream.
        idle_timeout: Duration = Duration::from_mins(10), read::duration;
    }

    /// Bounds of one client's requests and connections.
    limits: LimitsSection {
        /// Bytes of a request's head. At least 8 KiB, which is hyper's least read buffer.
        max_head: usize = 64 << 10, read::memory(8 * KIB..=16 * MIB);
        /// Header lines of a request. At most what `http::HeaderMap` holds with room to spare.
        max_headers: usize = 128, read::count(1..=20_000);
        /// Bytes of a request's target. At most what `http::Uri` can hold.
        max_target: usize = 16 << 10, read::memory(1..=65_534);
        /// Bytes of a request's body; none is no limit.
        max_body: Option<u64> = None, read::size(1..=u64::MAX);
        /// Requests under way at once.
        max_in_flight: usize = 10_000, read::count(1..=1_000_000);
        /// From a head's first byte to its last.
        header_timeout: Duration = Duration::from_secs(10), read::duration;
        /// From a connection's start to its first byte.
        first_byte_timeout: Duration = Duration::from_mins(1), read::duration;
        /// From one request's end to the next one's first byte.
        keep_alive: Duration = Duration::from_secs(650), read::duration;
    }

    /// Where spans go, and the identity of requests that bring none.
    respan: RespanSection {
        /// Without it nothing is exported. Holds the content of [`Self::api_key_file`] where that is set.
        api_key: Option<Secret> = None, read::secret;
        /// The file the key was read from; none when the key was written itself.
        api_key_file: Option<PathBuf> = None, read::path;
        /// The traces endpoint, whole.
        base_url: BaseUrl = BaseUrl { scheme: Scheme::Https, authority: Authority::from_static("api.respan.ai"), path: "/api/v2/traces".to_owned() },
            read::respan_url;
        /// How spans are encoded.
        encoding: WireEncoding = WireEncoding::Json, read::encoding;
        /// Longest wait of a finished span for its batch.
        flush_interval: Duration = Duration::from_secs(1), read::duration;
        /// Bytes of spans that wait in memory while the store's disk takes none.
        max_pending: usize = 64 << 20, read::memory(MIB..=1024 * GIB);
        /// Whether chat spans repeat their content as entity input and output.
        entity_content: bool = false, read::boolean;
        /// The customer of requests that name none.
        customer_identifier: Option<String> = None, read::text;
        /// Metadata of every request; a request's own values win, key by key.
        metadata: BTreeMap<String, String> = BTreeMap::new(), read::metadata;
        /// The environment of requests that name none.
        environment: Option<String> = None, read::text;
    }

    /// How much of the traffic spans record.
    capture: CaptureSection {
        /// The most that is recorded of any request; a request may ask for less.
        content: ContentMode = ContentMode::Full, read::content;
        /// Bytes of one request or one response that are kept.
        max_body: usize = 4 << 20, read::memory(1..=GIB);
        /// How images, audio and other media appear in spans.
        media: Media = Media::Size, read::media;
        /// Bytes of all captured bodies together whose spans are not made yet; never less than `max_body`.
        max_memory: usize = 256 << 20, read::memory(MIB..=1024 * GIB);
        /// How token usage of streams is learnt.
        usage: UsageMode = UsageMode::Passive, read::usage;
    }

    /// How calls become runs.
    runs: RunsSection {
        /// Whether calls are grouped from the traffic when no header says it.
        infer: bool = true, read::boolean;
        /// When a run with nothing in flight is closed.
        idle: Duration = Duration::from_secs(30), read::duration;
        /// Runs open at once; beyond it the oldest is closed early.
        max_open: usize = 10_000, read::count(1..=10_000_000);
        /// Bytes of the state of all runs, estimated; beyond it the oldest are forgotten, closed ones first.
        max_memory: usize = 128 << 20, read::memory(MIB..=1024 * GIB);
        /// Age at which a run is forgotten, and closed if it still is open.
        max_age: Duration = Duration::from_hours(1), read::duration;
    }

    /// The embedded store.
    store: StoreSection {
        /// Its directory; `:memory:` keeps everything in memory.
        dir: PathBuf = PathBuf::from("spangate-data"), read::path;
        /// Bytes on the disk, estimated.
        max_size: u64 = GIB, read::size(MIB..=u64::MAX);
        /// Age at which a record is removed.
        max_age: Duration = Duration::from_hours(24), read::duration;
    }

    /// Messages on stderr; never bodies or secrets.
    log: LogSection {
        /// The least severe that is written.
        level: Level = Level::INFO, read::log_level;
        /// How they look.
        format: LogFormat = LogFormat::Text, read::log_format;
    }
}

pub(super) fn find_key(name: &str) -> Option<&'static ConfigKey> {
    KEYS.iter().find(|key| key.name == name)
}

/// The sections, in the order of their declaration.
pub(super) fn sections() -> Vec<&'static str> {
    let names = KEYS.iter().filter_map(|key| key.name.split('.').next());
    let mut sections: Vec<_> = names.collect();
    sections.dedup();
    sections
}

pub(super) fn is_section(name: &str) -> bool {
    sections().contains(&name)
}

/// The declared key that an unknown name most likely means: the same key of another section, or the one with the fewest letters to
/// change. None when no key is near.
pub(super) fn nearest_key(name: &str) -> Option<&'static str> {
    let last = name.rsplit('.').next().unwrap_or(name);
    let distance = |known: &str| {
        let same_key = known.rsplit('.').next() == Some(last);
        if same_key {
            1
        } else {
            strsim::levenshtein(name, known)
        }
    };
    let distances = KEYS.iter().map(|key| (distance(key.name), key.name));
    let (distance, known) = distances.min()?;
    (distance <= 2 + name.len() / 4).then_some(known)
}

/// The text of the problem with a `section.key` that is not declared.
pub(super) fn unknown_key(name: &str) -> String {
    match nearest_key(name) {
        Some(known) => format!("unknown key; did you mean {known}?"),
        None => "unknown key; config/spangate.toml shows all there are".to_owned(),
    }
}
