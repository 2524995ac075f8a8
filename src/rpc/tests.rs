//! Real sockets on loopback: who is let in with which certificate, and what happens when it changes.

use std::sync::Arc;

use async_trait::async_trait;
use skep_core::id::{ClusterId, NodeId};
use skep_core::state::State;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::authorize::Gate;
use super::client::{Trust, channel};
use super::glue::{RpcService, unary, unimplemented};
use super::proto::{GetRootCaCertificateRequest, GetRootCaCertificateResponse};
use super::server::{Server, peer_of};
use super::tls::Tls;

/// Tells every caller whom the server takes it for.
struct Mirror(&'static str);

#[async_trait]
impl RpcService for Mirror {
    fn name(&self) -> &'static str {
        self.0
    }

    async fn call(&self, method: &str, request: http::Request<Body>) -> http::Response<Body> {
        match method {
            "GetRootCACertificate" | "Session" | "Append" => {
                unary(request, |request: Request<GetRootCaCertificateRequest>| async move {
                    let identity = peer_of(&request)?.identity;
                    let text = identity
                        .map_or("nobody".to_owned(), |it| format!("{:?} {}", it.role, it.node));
                    Ok(GetRootCaCertificateResponse { certificate: text.into_bytes() })
                })
                .await
            }
            _ => unimplemented(),
        }
    }
}

struct World {
    root: skep_pki::RootCa,
    cluster: ClusterId,
    address: String,
    server: Arc<Tls>,
    stop: CancellationToken,
}

fn now() -> i64 {
    crate::manager::cluster::now_unix()
}

impl World {
    async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let world = Self {
            root: skep_pki::RootCa::generate(now())?,
            cluster: ClusterId::from_entropy(1),
            address: listener.local_addr()?.to_string(),
            server: Arc::default(),
            stop: CancellationToken::new(),
        };
        let (sender, states) = watch::channel(Arc::new(State::default()));
        let gate = Gate::new(world.cluster.clone(), states);
        let services: [Arc<dyn RpcService>; 3] = [
            Arc::new(Mirror("docker.swarmkit.v1.CA")),
            Arc::new(Mirror("docker.swarmkit.v1.Dispatcher")),
            Arc::new(Mirror("skep.v1.Raft")),
        ];
        let server = Server::new(world.server.clone(), gate, services.into());
        let stop = world.stop.clone();
        tokio::spawn(async move {
            server.run(listener, stop).await;
            drop(sender);
        });
        Ok(world)
    }

    fn certify(
        &self,
        tls: &Tls,
        root: &skep_pki::RootCa,
        role: skep_pki::NodeRole,
    ) -> anyhow::Result<()> {
        let node = NodeId::from_entropy(7).to_string();
        let validity = std::time::Duration::from_secs(7200);
        let made =
            skep_pki::generate_node(root, &node, role, self.cluster.as_str(), now(), validity)?;
        tls.replace(&made.certificate_pem, &made.key_pem, &root.certificate_pem)?;
        Ok(())
    }

    fn member(&self, root: &skep_pki::RootCa, role: skep_pki::NodeRole) -> anyhow::Result<Trust> {
        let tls = Arc::new(Tls::default());
        self.certify(&tls, root, role)?;
        Ok(Trust::Mutual(tls))
    }

    async fn call(&self, trust: Trust, path: &'static str) -> Result<String, Status> {
        let channel = channel(&self.address, trust).expect("a loopback address");
        ask(channel, path).await
    }
}

async fn ask(channel: Channel, path: &'static str) -> Result<String, Status> {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let codec = ProstCodec::<GetRootCaCertificateRequest, GetRootCaCertificateResponse>::default();
    let path = http::uri::PathAndQuery::from_static(path);
    let request = Request::new(GetRootCaCertificateRequest {});
    let answer = grpc.unary(request, path, codec).await?;
    Ok(String::from_utf8_lossy(&answer.into_inner().certificate).into_owned())
}

const ROOT: &str = "/docker.swarmkit.v1.CA/GetRootCACertificate";
const SESSION: &str = "/docker.swarmkit.v1.Dispatcher/Session";
const APPEND: &str = "/skep.v1.Raft/Append";

#[tokio::test]
async fn certificates_decide_who_may_call() -> anyhow::Result<()> {
    use skep_pki::NodeRole::{Manager, Worker};
    let world = World::start().await?;
    world.certify(&world.server, &world.root, Manager)?;
    assert_eq!(world.call(Trust::Unverified, ROOT).await?, "nobody");
    let roots = world.root.certificate_pem.clone();
    assert_eq!(world.call(Trust::Root(roots), ROOT).await?, "nobody");
    let refused = world.call(Trust::Unverified, SESSION).await.map_err(|status| status.code());
    assert_eq!(refused, Err(Code::PermissionDenied));
    let worker = world.member(&world.root, Worker)?;
    let node = NodeId::from_entropy(7);
    assert_eq!(world.call(worker.clone(), SESSION).await?, format!("Worker {node}"));
    let refused = world.call(worker, APPEND).await.map_err(|status| status.code());
    assert_eq!(refused, Err(Code::PermissionDenied));
    let manager = world.member(&world.root, Manager)?;
    assert_eq!(world.call(manager, APPEND).await?, format!("Manager {node}"));
    // Whom another root certified is a stranger, and so are its managers to our nodes.
    let other = skep_pki::RootCa::generate(now())?;
    let foreign = world.member(&other, Manager)?;
    assert!(world.call(foreign, SESSION).await.is_err());
    world.stop.cancel();
    Ok(())
}

/// While a root is replaced, certificates of the next one are sent with its name and key as the present one signed them: those who
/// trust either root, or both, take them, on either side.
#[tokio::test]
async fn during_a_rotation_either_root_is_enough() -> anyhow::Result<()> {
    use skep_pki::NodeRole::Manager;
    let world = World::start().await?;
    let next = skep_pki::RootCa::generate(now())?;
    let vouched = skep_pki::cross_sign(&world.root, &next.certificate_pem, now())?;
    let (present, next_only) = (&world.root.certificate_pem, &next.certificate_pem);
    let both = format!("{present}{next_only}");
    let node = NodeId::from_entropy(7).to_string();
    let validity = std::time::Duration::from_secs(7200);
    let made = |root: &skep_pki::RootCa, appended: &str| -> anyhow::Result<_> {
        let cluster = world.cluster.as_str();
        let made = skep_pki::generate_node(root, &node, Manager, cluster, now(), validity)?;
        Ok((made.certificate_pem + appended, made.key_pem))
    };
    let old = made(&world.root, "")?;
    let new = made(&next, &vouched)?;
    // Certificate and trust of one side, of the other, and whether both take each other.
    let cases = [
        (&old, present, &new, &both, true),
        (&old, &both, &new, &both, true),
        (&new, &both, &new, next_only, true),
        (&new, present, &new, next_only, true),
        (&old, &both, &new, next_only, false),
    ];
    for (a, trusted_by_a, b, trusted_by_b, meet) in cases {
        for (server, client) in
            [((a, trusted_by_a), (b, trusted_by_b)), ((b, trusted_by_b), (a, trusted_by_a))]
        {
            let ((chain, key), trusted) = server;
            world.server.replace(chain, key, trusted)?;
            let tls = Arc::new(Tls::default());
            let ((chain, key), trusted) = client;
            tls.replace(chain, key, trusted)?;
            let answer = world.call(Trust::Mutual(tls), SESSION).await;
            assert_eq!(answer.is_ok(), meet, "{answer:?}");
        }
    }
    world.stop.cancel();
    Ok(())
}

#[tokio::test]
async fn a_new_certificate_is_used_without_a_restart() -> anyhow::Result<()> {
    use skep_pki::NodeRole::Manager;
    let world = World::start().await?;
    let next = skep_pki::RootCa::generate(now())?;
    world.certify(&world.server, &world.root, Manager)?;
    let before = Trust::Root(world.root.certificate_pem.clone());
    let after = Trust::Root(next.certificate_pem.clone());
    assert!(world.call(before.clone(), ROOT).await.is_ok());
    let open = channel(&world.address, before.clone())?;
    assert!(ask(open.clone(), ROOT).await.is_ok());
    world.certify(&world.server, &next, Manager)?;
    assert!(world.call(after, ROOT).await.is_ok());
    assert!(world.call(before, ROOT).await.is_err());
    // What was connected stays so.
    assert!(ask(open, ROOT).await.is_ok());
    world.stop.cancel();
    Ok(())
}
