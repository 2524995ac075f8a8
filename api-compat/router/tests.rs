//! Requests in, replies byte for byte, against a fake cluster that applies commands for real.

mod hostile;
mod networks;
mod objects;
mod system;

use std::sync::Arc;

use proptest::prelude::*;

use crate::fake::{Answer, Fake};

/// Returns a manager of a fresh cluster.
fn manager() -> Arc<Fake> {
    Fake::bare()
}

async fn ask(fake: &Arc<Fake>, method: &str, path: &str, body: &str) -> Answer {
    fake.ask(method, path, body).await
}

#[tokio::test]
async fn every_reply_carries_the_headers() {
    let fake = manager();
    for (method, path) in
        [("GET", "/_ping"), ("GET", "/v1.51/secrets"), ("GET", "/nodes/x"), ("PUT", "/swarm")]
    {
        let answer = ask(&fake, method, path, "").await;
        let header = |name: &str| answer.header(name);
        assert_eq!(header("api-version"), "1.51", "{path}");
        assert_eq!(header("ostype"), "linux", "{path}");
        assert_eq!(header("docker-experimental"), "false", "{path}");
        assert_eq!(header("server"), "Docker/28.5.2 (linux)", "{path}");
    }
}

#[tokio::test]
async fn wrong_methods_and_shapes_are_not_found() {
    let fake = manager();
    for (method, path) in [("PUT", "/swarm"), ("POST", "/nodes"), ("GET", "/v1.51/services/a/b")] {
        ask(&fake, method, path, "").await.is(404, "{\"message\":\"page not found\"}\n");
    }
}

#[tokio::test]
async fn versions_are_bounded() {
    let fake = manager();
    ask(&fake, "GET", "/v1.52/nodes", "").await.is(
        400,
        "{\"message\":\"client version 1.52 is too new. Maximum supported API version is 1.51\"}\n",
    );
    let old = ask(&fake, "GET", "/v1.23/nodes", "").await;
    assert_eq!(old.header("content-type"), "text/plain; charset=utf-8");
    old.is(400, "client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version\n");
}

#[tokio::test]
async fn the_engines_bounds_are_ours() {
    let fake = Fake::outside();
    fake.inner().api = ((1, 40), (1, 50));
    let answer = ask(&fake, "GET", "/v1.51/info", "").await;
    assert!(answer.text().contains("Maximum supported API version is 1.50"), "{}", answer.text());
    ask(&fake, "GET", "/v1.39/info", "").await.is(
        400,
        "{\"message\":\"client version 1.39 is too old. Minimum supported API version is 1.40, please upgrade your client to a newer version\"}\n",
    );
}

#[tokio::test]
async fn all_else_is_the_engines() {
    let fake = manager();
    fake.engine("/v1.51/images/json?all=1", 418, "[]");
    let answer = ask(&fake, "GET", "/v1.51/images/json?all=1", "").await;
    answer.is(418, "[]");
    assert_eq!(answer.header("api-version"), "", "the engine's answer is untouched");
}

#[tokio::test]
async fn nodes_outside_a_cluster_say_so() {
    let fake = Fake::outside();
    for path in ["/swarm", "/nodes", "/secrets", "/configs/x", "/swarm/unlockkey"] {
        ask(&fake, "GET", path, "").await.is(
            503,
            "{\"message\":\"This node is not a swarm manager. Use \\\"docker swarm init\\\" or \\\"docker swarm join\\\" to connect this node to swarm and try again.\"}\n",
        );
    }
}

proptest! {
    #[test]
    fn no_request_panics(
        method in prop::sample::select(vec!["GET", "POST", "DELETE", "PUT", "HEAD"]),
        root in prop::sample::select(vec!["swarm", "nodes", "secrets", "configs", "networks", "events", "_ping", "info", "services", "tasks"]),
        rest in "(/[a-z%0-9]{0,8}){0,2}(\\?(filters|version|force|since)=[%a-z0-9\\[\\]]{0,12})?",
        body in "[{}\\[\\]\":,a-zA-Z0-9]{0,40}",
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let path = format!("/{root}{rest}");
        if path.parse::<http::Uri>().is_ok() {
            runtime.block_on(async { ask(&manager(), method, &path, &body).await });
        }
    }
}

#[test]
fn a_server_may_move_an_answer_between_threads() {
    fn check<T: Send>(_: &T) {}
    let request = http::Request::new(crate::reply::nothing());
    check(&super::serve(manager(), request));
}
