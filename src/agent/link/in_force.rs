//! Tells the leader by which state this node leads packets, where it asks, and asks the same of all nodes for a task of this one.

use http::uri::PathAndQuery;
use skep_core::id::TaskId;
use tokio::sync::watch;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::session::{Open, Way};
use crate::rpc::proto::{AwaitRequest, AwaitResponse, InForceRequest, InForceResponse};

/// Tells what is asked for until that fails; returns why it did.
pub(super) async fn tell(way: &Way, open: &Open, mut asked: watch::Receiver<u64>) -> Status {
    let gone = || Status::unavailable("the node stops");
    let mut in_force = way.in_force.clone();
    let mut told = 0;
    loop {
        let Ok(wanted) = asked.wait_for(|asked| *asked > told).await.map(|asked| *asked) else {
            return gone();
        };
        let reached = in_force.wait_for(|index| *index >= wanted).await.map(|index| *index);
        let Ok(index) = reached else { return gone() };
        if let Err(status) = tell_once(open, index).await {
            return status;
        }
        told = index;
    }
}

async fn tell_once(open: &Open, index: u64) -> Result<(), Status> {
    let path = PathAndQuery::from_static("/skep.v1.Agent/InForce");
    let request = Request::new(InForceRequest { session_id: open.id.clone(), index });
    let codec = ProstCodec::<InForceRequest, InForceResponse>::default();
    open.grpc().await?.unary(request, path, codec).await.map(drop)
}

/// Waits, in the session there is or the next one, until every node that may lead packets to a task of this node does so by the
/// state of `index`, or a later one.
///
/// # Errors
/// When no answer came; it may be asked again.
pub async fn await_in_force(way: &Way, task: &TaskId, index: u64) -> Result<(), Status> {
    let mut sessions = way.open.subscribe();
    let open = sessions.wait_for(Option::is_some).await.ok().and_then(|open| open.clone());
    let open = open.ok_or_else(|| Status::unavailable("the node stops"))?;
    let path = PathAndQuery::from_static("/skep.v1.Agent/Await");
    let asked = AwaitRequest { session_id: open.id.clone(), task_id: task.to_string(), index };
    let codec = ProstCodec::<AwaitRequest, AwaitResponse>::default();
    open.grpc().await?.unary(Request::new(asked), path, codec).await.map(drop)
}
