//! A session with a manager that is none, over a real socket on loopback.

use std::time::Duration;

use async_trait::async_trait;
use skep_core::id::ClusterId;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;

use super::*;
use crate::api::EngineProxy;
use crate::config::Address;
use crate::engine::sim::SimEngine;
use crate::manager::cluster::now_unix;
use crate::rpc::authorize::Gate;
use crate::rpc::glue::{Messages, RpcService, server_streaming, unimplemented};
use crate::rpc::server::Server;
use crate::rpc::tls::Tls;

/// Longest wait for anything; only failing tests take it.
const DEADLINE: Duration = Duration::from_secs(20);

/// Opens every session, tells of what each was opened with, and by then the node is another one.
struct Opener {
    opened: mpsc::Sender<Option<String>>,
    described: watch::Sender<Option<NodeDescription>>,
}

#[async_trait]
impl RpcService for Opener {
    fn name(&self) -> &'static str {
        "docker.swarmkit.v1.Dispatcher"
    }

    async fn call(&self, method: &str, request: http::Request<Body>) -> http::Response<Body> {
        if method != "Session" {
            return unimplemented();
        }
        server_streaming(request, |request: Request<SessionRequest>| async {
            let description = request.into_inner().description;
            let hostname = description.map(|it| it.hostname);
            self.described.send_if_modified(|held| {
                let is_first = hostname.as_deref() == Some("one");
                if is_first {
                    *held = Some(named("two"));
                }
                is_first
            });
            self.opened.try_send(hostname).map_err(|_| Status::internal("nobody listens"))?;
            let first = SessionMessage { session_id: "session".to_owned(), ..Default::default() };
            let all = futures_util::stream::iter([Ok(first)]);
            let all = futures_util::StreamExt::chain(all, futures_util::stream::pending());
            Ok::<Messages<SessionMessage>, _>(Box::pin(all))
        })
        .await
    }
}

fn named(hostname: &str) -> NodeDescription {
    NodeDescription { hostname: hostname.to_owned(), ..NodeDescription::default() }
}

fn credentials(root: &skep_pki::RootCa, role: skep_pki::NodeRole) -> anyhow::Result<Arc<Tls>> {
    let (node, hours) = (NodeId::from_entropy(7).to_string(), Duration::from_secs(7200));
    let cluster = ClusterId::from_entropy(1).to_string();
    let made = skep_pki::generate_node(root, &node, role, &cluster, now_unix(), hours)?;
    let tls = Arc::new(Tls::default());
    tls.replace(&made.certificate_pem, &made.key_pem, &root.certificate_pem)?;
    Ok(tls)
}

#[tokio::test]
async fn what_changes_while_a_session_is_opened_is_told_too() -> anyhow::Result<()> {
    let root = skep_pki::RootCa::generate(now_unix())?;
    let described = watch::channel(Some(named("one"))).0;
    let (opened, mut openings) = mpsc::channel(8);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let manager = Opener { opened, described: described.clone() };
    let states = watch::channel(Arc::new(State::default())).0;
    let gate = Gate::new(ClusterId::from_entropy(1), states.subscribe());
    let tls = credentials(&root, skep_pki::NodeRole::Manager)?;
    let stop = CancellationToken::new();
    tokio::spawn(Server::new(tls, gate, vec![Arc::new(manager)]).run(listener, stop.clone()));

    let engine: Arc<dyn Engine> = Arc::new(SimEngine::new());
    let proxy = Arc::new(EngineProxy::new(&Address::Unix("/nonexistent/docker.sock".into())));
    let node = NodeId::from_entropy(7);
    let way = Arc::new(Way {
        relays: Relays::new(proxy, engine.clone(), node.clone(), stop.clone()),
        node,
        tls: credentials(&root, skep_pki::NodeRole::Worker)?,
        engine,
        described: described.subscribe(),
        states: states.subscribe(),
        in_force: watch::channel(0).1,
        told: watch::channel(None).0,
        open: watch::channel(None).0,
    });
    let mut last = String::new();
    let told = async {
        let first = openings.recv().await;
        (first, openings.recv().await)
    };
    let told = tokio::time::timeout(DEADLINE, async {
        tokio::select! {
            ended = hold(&way, &address, &mut last, None, || ()) => panic!("no session: {ended}"),
            told = told => told,
        }
    });
    let name = |text: &str| Some(Some(text.to_owned()));
    assert_eq!(told.await?, (name("one"), name("two")));
    stop.cancel();
    Ok(())
}
