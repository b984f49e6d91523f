//! The viewer's files, which are compiled in, and its sign-in page.

use http::header::{CONTENT_SECURITY_POLICY, HeaderName, LOCATION, REFERRER_POLICY, SET_COOKIE};
use http::{HeaderValue, Response, StatusCode};

use super::access::{Access, SessionKey, no_cookie};
use super::response::{self, AdminBody};

/// Allows the viewer's own files, and no frame around it: a model's reply on the page must not become part of its code.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
     base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
const CROSS_ORIGIN: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const SIGN_IN: &str = include_str!("viewer/sign-in.html");
/// Most bytes of the sign-in form.
pub(super) const MOST_FORM: usize = 4096;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// A file of the viewer: its path, its type, its bytes.
struct ViewerFile(&'static str, &'static str, &'static [u8]);

/// A script of the viewer, at the root under its own name, by which the scripts import each other.
macro_rules! script {
    ($name:literal) => {
        ViewerFile(
            concat!("/", $name, ".js"),
            SCRIPT,
            include_bytes!(concat!("viewer/", $name, ".js")),
        )
    };
}

const FILES: &[ViewerFile] = &[
    ViewerFile("/", HTML, include_bytes!("viewer/index.html")),
    ViewerFile("/viewer.css", CSS, include_bytes!("viewer/viewer.css")),
    ViewerFile("/icon.svg", SVG, include_bytes!("viewer/icon.svg")),
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
    script!("phrases"),
];

fn file(path: &str) -> Option<&'static ViewerFile> {
    FILES.iter().find(|file| file.0 == path)
}

/// Whether a file of the viewer has this path.
pub(super) fn has(path: &str) -> bool {
    file(path).is_some()
}

/// Whether a path needs no token. No file holds data, but the page itself is useless without a token.
pub(super) fn is_open(path: &str) -> bool {
    path != "/" && has(path)
}

/// The file at this path.
pub(super) fn page(path: &str) -> Option<Response<AdminBody>> {
    let ViewerFile(_, content_type, bytes) = file(path)?;
    Some(page_response(
        StatusCode::OK,
        content_type,
        response::whole(*bytes),
    ))
}

/// The sign-in page; with `wrong` it says that the last token was wrong.
pub(super) fn sign_in(wrong: bool) -> Response<AdminBody> {
    let page = if wrong {
        SIGN_IN.replacen(" hidden>", ">", 1)
    } else {
        SIGN_IN.to_owned()
    };
    page_response(StatusCode::UNAUTHORIZED, HTML, response::whole(page))
}

/// The response to the sign-in form.
pub(super) fn signed_in(
    form: &[u8],
    access: &Access,
    key: Option<&SessionKey>,
) -> Response<AdminBody> {
    let Some(token) = &access.token else {
        return redirect_to_viewer();
    };
    let entered = form_urlencoded::parse(form).find(|(name, _)| name == "token");
    let is_right = entered.is_some_and(|(_, entered)| token.matches(entered.trim().as_bytes()));
    let Some(cookie) = key.filter(|_| is_right).and_then(|key| key.cookie(token)) else {
        return sign_in(true);
    };
    let mut response = redirect_to_viewer();
    response.headers_mut().insert(SET_COOKIE, cookie);
    response
}

/// The response that signs out.
pub(super) fn signed_out() -> Response<AdminBody> {
    let mut response = redirect_to_viewer();
    response.headers_mut().insert(SET_COOKIE, no_cookie());
    response
}

fn redirect_to_viewer() -> Response<AdminBody> {
    let mut response = response::text(StatusCode::SEE_OTHER, "see /");
    response
        .headers_mut()
        .insert(LOCATION, HeaderValue::from_static("/"));
    response
}

fn page_response(
    status: StatusCode,
    content_type: &'static str,
    body: AdminBody,
) -> Response<AdminBody> {
    let mut response = response::with(status, content_type, body);
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
