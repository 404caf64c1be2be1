use tower::ServiceExt as _;

use super::*;
use crate::view::tests::sample;

/// Routes whose questions are answered with `view`.
fn answering(view: View) -> Router {
    let (views, mut questions) = view_channel();
    tokio::spawn(async move {
        while let Some(reply) = questions.recv().await {
            reply.send(view.clone()).unwrap();
        }
    });
    routes(views)
}

async fn get(routes: Router, method: &str, path: &str) -> (StatusCode, String, String) {
    let request = axum::http::Request::builder().method(method).uri(path);
    let request = request.body(axum::body::Body::empty()).unwrap();
    let response = routes.oneshot(request).await.unwrap();
    let kind = response.headers().get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap());
    let (status, kind) = (response.status(), kind.unwrap_or_default().to_owned());
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, kind, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn what_can_be_read_is_json_of_the_documented_shape() {
    let paths = ["/api/v1/status", "/api/v1/peers", "/api/v1/vips", "/api/v1/backends"];
    for path in paths {
        let (status, kind, body) = get(answering(sample()), "GET", path).await;
        assert_eq!((status, kind.as_str()), (StatusCode::OK, "application/json"), "{path}");
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["api_version"], "v1", "{path}");
    }
    let (_, _, body) = get(answering(sample()), "GET", "/api/v1/backends").await;
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["backends"][0]["service"], "web");
    assert_eq!(body["backends"][0]["address"], "10.0.0.11");
}

#[tokio::test]
async fn refusals_are_rfc_9457_problems() {
    let cases = [
        ("GET", "/api/v1/nothing", StatusCode::NOT_FOUND, "urn:tidegate:problem:not-found"),
        ("GET", "/", StatusCode::NOT_FOUND, "urn:tidegate:problem:not-found"),
        (
            "DELETE",
            "/api/v1/vips",
            StatusCode::METHOD_NOT_ALLOWED,
            "urn:tidegate:problem:method-not-allowed",
        ),
    ];
    for (method, path, wanted, kind) in cases {
        let (status, content, body) = get(answering(sample()), method, path).await;
        assert_eq!((status, content.as_str()), (wanted, "application/problem+json"), "{path}");
        let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(problem["type"], kind, "{path}");
        assert_eq!(problem["status"], wanted.as_u16(), "{path}");
        assert!(problem["detail"].as_str().unwrap().contains(path), "{body}");
    }
}

#[tokio::test]
async fn a_daemon_that_is_not_ready_says_why() {
    let (status, _, body) = get(answering(sample()), "GET", "/readyz").await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "ready\n"));

    let mut failing = sample();
    failing.status.converged = false;
    failing.status.problem = Some("the map is full".into());
    let (status, kind, body) = get(answering(failing), "GET", "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(kind, "application/problem+json");
    assert!(body.contains("the map is full"), "{body}");
}

#[tokio::test]
async fn alive_does_not_depend_on_the_reconcile_task_but_answers_do() {
    let (views, questions) = view_channel();
    drop(questions);
    let routes = routes(views);
    let (status, _, body) = get(routes.clone(), "GET", "/healthz").await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "ok\n"));
    let (status, kind, _) = get(routes, "GET", "/api/v1/status").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(kind, "application/problem+json");
}

#[tokio::test]
async fn metrics_are_of_what_is_there() {
    let (status, kind, body) = get(answering(sample()), "GET", "/metrics").await;
    assert_eq!(status, StatusCode::OK);
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    for line in [
        "tidegate_bgp_peer_up{peer=\"tor-1\"} 1",
        "tidegate_vip_announced{service=\"web\"} 1",
        "tidegate_backend_up{service=\"web\",backend=\"10.0.0.12\"} 0",
        "tidegate_backend_packets_total{service=\"web\",backend=\"10.0.0.11\"} 1200",
        "tidegate_datapath_packets_total{verdict=\"forward_tx\"} 1234567",
    ] {
        assert!(body.lines().any(|found| found == line), "{line} is missing in\n{body}");
    }
    let helped = |name: &str| body.contains(&format!("# HELP {name} "));
    for sample in body.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let name = sample.split(['{', ' ']).next().unwrap();
        assert!(helped(name), "{name} has no help text");
    }
}

#[tokio::test]
async fn a_left_over_socket_is_taken_over_and_a_living_one_is_not() {
    let dir = std::env::temp_dir().join(format!("tidegate-api-{}", std::process::id()));
    let path = dir.join("api.sock");
    let first = bind_unix(&path).await.unwrap();
    let refused = bind_unix(&path).await.unwrap_err().to_string();
    assert!(refused.contains("another tidegate answers there"), "{refused}");
    drop(first);
    bind_unix(&path).await.unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
}
