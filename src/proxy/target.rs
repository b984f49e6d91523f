//! What a request target becomes on its way up: `/v1` or `/api` is replaced by the base URL's path, the rest is appended as it came.

use http::Uri;
use http::uri::PathAndQuery;

use crate::config::{BaseUrl, Scheme};

/// The upstream's URI for a target that the gateway serves. None for any other target.
///
/// Nothing of the target but its path and query is used, so that no target can lead elsewhere; both stay as they came.
pub(super) fn resolve(base: &BaseUrl, target: &Uri) -> Option<Uri> {
    let rest = beyond_prefix(target)?;
    let path = PathAndQuery::try_from(format!("{}{rest}", base.path)).ok()?;
    let scheme = match base.scheme {
        Scheme::Http => http::uri::Scheme::HTTP,
        Scheme::Https => http::uri::Scheme::HTTPS,
    };
    Uri::builder()
        .scheme(scheme)
        .authority(base.authority.clone())
        .path_and_query(path)
        .build()
        .ok()
}

/// Path and query after `/v1` or `/api`, from the slash on.
fn beyond_prefix(target: &Uri) -> Option<&str> {
    let target = target.path_and_query()?.as_str();
    ["/v1", "/api"].iter().find_map(|prefix| {
        target
            .strip_prefix(prefix)
            .filter(|rest| rest.starts_with('/'))
    })
}

/// Whether a path holds a `.` or `..` segment, spelled out or percent-encoded, behind slashes of either spelling.
pub(super) fn has_dot_segment(path: &str) -> bool {
    let plain = path
        .replace("%2e", ".")
        .replace("%2E", ".")
        .replace("%2f", "/")
        .replace("%2F", "/")
        .replace("%5c", "/")
        .replace("%5C", "/");
    plain
        .split(['/', '\\'])
        .any(|segment| segment == "." || segment == "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(base: &str, target: &str) -> Option<String> {
        let (scheme, rest) = base.split_once("://").unwrap();
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let scheme = if scheme == "https" {
            Scheme::Https
        } else {
            Scheme::Http
        };
        let base = BaseUrl {
            scheme,
            authority: authority.parse().unwrap(),
            path: path.to_owned(),
        };
        resolve(&base, &target.parse().unwrap()).map(|uri| uri.to_string())
    }

    #[test]
    fn the_prefix_is_replaced_and_the_rest_appended_as_it_came() {
        for (base, target, expected) in [
            (
                "https://api.openai.com/v1",
                "/v1/chat/completions",
                "https://api.openai.com/v1/chat/completions",
            ),
            (
                "https://api.openai.com/v1",
                "/api/chat/completions",
                "https://api.openai.com/v1/chat/completions",
            ),
            (
                "http://127.0.0.1:9",
                "/v1/models?a=%2F&b",
                "http://127.0.0.1:9/models?a=%2F&b",
            ),
            (
                "http://h/openai/deployments/x",
                "/v1//a/../b%2e",
                "http://h/openai/deployments/x//a/../b%2e",
            ),
            (
                "http://h/v1",
                "http://evil.example/v1/models",
                "http://h/v1/models",
            ),
            ("http://h/v1", "/v1/?", "http://h/v1/?"),
        ] {
            assert_eq!(
                resolved(base, target).as_deref(),
                Some(expected),
                "{target}"
            );
        }
    }

    #[test]
    fn what_is_not_below_a_prefix_is_not_served() {
        for target in [
            "/",
            "/v1",
            "/v1?x",
            "/api",
            "/v10/models",
            "/apis/x",
            "//evil.example/v1/models",
            "/metrics",
            "/x/v1/models",
            "*",
        ] {
            assert_eq!(resolved("http://h/v1", target), None, "{target}");
        }
    }

    #[test]
    fn no_target_changes_the_authority() {
        for target in [
            "/v1/@evil.example/",
            "/v1//evil.example/",
            "http://user@evil.example/v1/x",
        ] {
            let uri: Uri = resolved("http://h/v1", target).unwrap().parse().unwrap();
            assert_eq!(
                uri.authority().map(http::uri::Authority::as_str),
                Some("h"),
                "{target}"
            );
        }
    }

    #[test]
    fn dot_segments_are_seen_in_every_spelling() {
        for path in [
            "/v1/../admin",
            "/v1/./x",
            "/v1/%2e%2e/x",
            "/v1/%2E./x",
            "/v1/..",
            "/v1/x%2f..%2fy",
            "/v1/x\\..\\y",
        ] {
            assert!(has_dot_segment(path), "{path}");
        }
        for path in ["/v1/files/a.b", "/v1/...", "/v1/x..y/z"] {
            assert!(!has_dot_segment(path), "{path}");
        }
    }
}
