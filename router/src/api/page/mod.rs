//! `/`: the page for people. One file with style and script inside, which reads the API like any
//! other client and needs nothing from elsewhere.

use std::sync::LazyLock;

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::digest::{SHA256, digest};

const PAGE: &str = include_str!("index.html");

/// What a browser may run and fetch for it (CSP Level 3): this style and this script, by their
/// hashes, and the API it came from. A name in the configuration that holds a script stays a name.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; style-src '{}'; script-src '{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
        hash_of("style"),
        hash_of("script"),
    )
});

pub(super) fn routes() -> Router {
    Router::new().route("/", get(page)).method_not_allowed_fallback(super::method_not_allowed)
}

async fn page() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, &POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // It goes with the daemon: after an upgrade it is another one.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, PAGE).into_response()
}

/// `sha256-…` of what is in the only element of this kind.
fn hash_of(element: &str) -> String {
    let (start, end) = (format!("<{element}>"), format!("</{element}>"));
    let inside = PAGE.split_once(&start).and_then(|(_, rest)| rest.split_once(&end));
    let inside = inside.map_or("", |(inside, _)| inside);
    format!("sha256-{}", BASE64_STANDARD.encode(digest(&SHA256, inside.as_bytes())))
}

#[cfg(test)]
mod tests {
    use axum::http::{Method, Request, StatusCode};
    use tower::ServiceExt as _;

    use super::*;

    async fn asked(method: Method) -> (StatusCode, String, String) {
        let request = Request::builder().method(method).uri("/");
        let request = request.body(axum::body::Body::empty()).unwrap();
        let response = routes().oneshot(request).await.unwrap();
        let policy = response.headers().get(header::CONTENT_SECURITY_POLICY);
        let policy = policy.map(|policy| policy.to_str().unwrap().to_owned()).unwrap_or_default();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, policy, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn the_page_runs_its_own_script_and_nothing_else() {
        let (status, policy, body) = asked(Method::GET).await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, PAGE));
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        // Of nothing: the element was not found.
        assert!(!policy.contains("47DEQpj8HBSa"), "{policy}");
        for element in ["<style>", "<script>"] {
            assert_eq!(PAGE.matches(element).count(), 1, "{element}");
        }
        let (status, _, body) = asked(Method::POST).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{body}");
    }

    #[test]
    fn the_page_takes_nothing_from_elsewhere_and_text_for_text() {
        let elsewhere = ["http://", "https://", "//cdn", "@import", " src=", "url("];
        // The names of XML's vocabularies lead nowhere.
        let page = PAGE.replace("http://www.w3.org/2000/svg", "");
        for word in elsewhere {
            assert!(!page.contains(word), "{word}");
        }
        let as_code = [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            " style=",
            " onclick=",
        ];
        for word in as_code {
            assert!(!page.contains(word), "{word}");
        }
    }
}
