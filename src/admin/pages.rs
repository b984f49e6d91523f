//! The viewer's files, as they are compiled in, and the page on which a token is shown.

use http::header::{CONTENT_SECURITY_POLICY, HeaderName, LOCATION, REFERRER_POLICY, SET_COOKIE};
use http::{HeaderValue, Response, StatusCode};

use super::access::{Access, Seal, no_cookie};
use super::answer::{self, Body};

/// Nothing but what is here, and nobody around it: a reply of a model that is shown must not become part of the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
     base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
const CROSS_ORIGIN: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const SIGN_IN: &str = include_str!("viewer/sign-in.html");
/// Bytes of a form.
pub(super) const MOST_FORM: usize = 4096;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// A file of the viewer: its path, its type, its bytes.
struct File(&'static str, &'static str, &'static [u8]);

/// A script of the viewer, at the root under its own name: modules name each other so.
macro_rules! script {
    ($name:literal) => {
        File(
            concat!("/", $name, ".js"),
            SCRIPT,
            include_bytes!(concat!("viewer/", $name, ".js")),
        )
    };
}

const FILES: &[File] = &[
    File("/", HTML, include_bytes!("viewer/index.html")),
    File("/viewer.css", CSS, include_bytes!("viewer/viewer.css")),
    File("/icon.svg", SVG, include_bytes!("viewer/icon.svg")),
    script!("sign-in"),
    script!("api"),
    script!("colour"),
    script!("conversation"),
    script!("dom"),
    script!("format"),
    script!("health"),
    script!("keys"),
    script!("layout"),
    script!("list"),
    script!("route"),
    script!("span"),
    script!("start"),
    script!("text"),
    script!("theme"),
    script!("trace"),
    script!("viewer"),
    script!("waterfall"),
    script!("words"),
];

fn file(path: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.0 == path)
}

/// Whether a file of the viewer has this path.
pub(super) fn has(path: &str) -> bool {
    file(path).is_some()
}

/// Whether it is shown without a token: none of the files holds data, but without a token the page itself would lead nowhere.
pub(super) fn is_open(path: &str) -> bool {
    path != "/" && has(path)
}

/// The file at this path.
pub(super) fn page(path: &str) -> Option<Response<Body>> {
    let File(_, content_type, bytes) = file(path)?;
    Some(shown(StatusCode::OK, content_type, answer::whole(*bytes)))
}

/// The page on which a token is shown; `wrong` says that the one before was.
pub(super) fn sign_in(wrong: bool) -> Response<Body> {
    let page = if wrong {
        SIGN_IN.replacen(" hidden>", ">", 1)
    } else {
        SIGN_IN.to_owned()
    };
    shown(StatusCode::UNAUTHORIZED, HTML, answer::whole(page))
}

/// What a form with a token comes to.
pub(super) fn signed_in(form: &[u8], access: &Access, seal: Option<&Seal>) -> Response<Body> {
    let Some(token) = &access.token else {
        return to_the_viewer();
    };
    let shown = form_urlencoded::parse(form).find(|(name, _)| name == "token");
    let is_right = shown.is_some_and(|(_, shown)| token.matches(shown.trim().as_bytes()));
    let Some(cookie) = seal
        .filter(|_| is_right)
        .and_then(|seal| seal.cookie(token))
    else {
        return sign_in(true);
    };
    let mut response = to_the_viewer();
    response.headers_mut().insert(SET_COOKIE, cookie);
    response
}

/// Nobody is signed in any more.
pub(super) fn signed_out() -> Response<Body> {
    let mut response = to_the_viewer();
    response.headers_mut().insert(SET_COOKIE, no_cookie());
    response
}

fn to_the_viewer() -> Response<Body> {
    let mut response = answer::text(StatusCode::SEE_OTHER, "see /");
    response
        .headers_mut()
        .insert(LOCATION, HeaderValue::from_static("/"));
    response
}

fn shown(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = answer::with(status, content_type, body);
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (CROSS_ORIGIN, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
