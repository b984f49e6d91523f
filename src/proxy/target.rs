//! Rewrites a request target for the upstream: `/v1` or `/api` is replaced by the base URL's path, the rest is appended as it came.

use http::Uri;
use http::uri::PathAndQuery;

/// The upstream's path and query for a target that the gateway serves. None for any other target.
///
/// Only the path and query of the target are used, so that no target can lead elsewhere. Both stay as they came.
pub fn resolve(base_path: &str, target: &Uri) -> Option<Uri> {
    let original = target.path_and_query()?;
    let rest = after_prefix(original.as_str())?;
    let is_same = original.as_str().strip_suffix(rest) == Some(base_path);
    let path = if is_same {
        original.clone()
    } else {
        PathAndQuery::try_from(format!("{base_path}{rest}")).ok()?
    };
    Some(Uri::from(path))
}

/// Path and query after `/v1` or `/api`, from the slash on.
fn after_prefix(target: &str) -> Option<&str> {
    ["/v1", "/api"].iter().find_map(|prefix| {
        target
            .strip_prefix(prefix)
            .filter(|rest| rest.starts_with('/'))
    })
}

/// Whether a path holds a `.` or `..` segment, spelled out or percent-encoded, behind slashes of either spelling.
pub fn has_dot_segment(path: &str) -> bool {
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

    fn resolved(base_path: &str, target: &str) -> Option<String> {
        resolve(base_path, &target.parse().unwrap()).map(|uri| uri.to_string())
    }

    #[test]
    fn the_prefix_is_replaced_and_the_rest_appended_as_it_came() {
        for (base_path, target, expected) in [
            ("/v1", "/v1/chat/completions", "/v1/chat/completions"),
            ("/v1", "/api/chat/completions", "/v1/chat/completions"),
            ("", "/v1/models?a=%2F&b", "/models?a=%2F&b"),
            (
                "/openai/deployments/x",
                "/v1//a/../b%2e",
                "/openai/deployments/x//a/../b%2e",
            ),
            ("/v1", "http://evil.example/v1/models", "/v1/models"),
            ("/v1", "/v1/?", "/v1/?"),
            ("", "/v1//evil.example/", "//evil.example/"),
        ] {
            assert_eq!(
                resolved(base_path, target).as_deref(),
                Some(expected),
                "{target}"
            );
        }
    }

    #[test]
    fn targets_outside_of_the_prefixes_are_not_served() {
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
            assert_eq!(resolved("/v1", target), None, "{target}");
        }
    }

    #[test]
    fn no_target_changes_the_authority() {
        for target in [
            "/v1/@evil.example/",
            "/v1//evil.example/",
            "http://user@evil.example/v1/x",
        ] {
            let uri = resolve("/v1", &target.parse().unwrap()).unwrap();
            assert_eq!((uri.scheme(), uri.authority()), (None, None), "{target}");
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
