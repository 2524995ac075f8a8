//! DNS messages from containers and from servers asked on their behalf: no answer to an answer, none too long.

use std::net::IpAddr;
use std::sync::OnceLock;

use serde_json::json;
use skep::dataplane::message::{Decision, Transport, answers, decide, is_failure};
use skep_core::id::{NetworkId, NodeId, ServiceId, TaskId};
use skep_core::net::names::NameTable;
use skep_core::state::State;

use super::{choose, two_parts};

/// Longest answers: over UDP what we agree to, over TCP what its length can say.
const LIMITS: [usize; 2] = [1232, 65_535];

/// Takes a packet as a question, or two as an answer and its question.
pub fn run(data: &[u8]) {
    let Some((choice, packet)) = choose(data, 5) else { return };
    if choice == 4 {
        let (answer, question) = two_parts(packet);
        if answers(answer, question) {
            assert!(answer.len() >= 12 && answer[2] & 0x80 != 0, "an answer that is none");
        }
        is_failure(answer);
        return;
    }
    let transport = if choice & 1 == 0 { Transport::Udp } else { Transport::Tcp };
    // A task, or the bridge's own address.
    let source: IpAddr = if choice & 2 == 0 { [10, 0, 1, 2].into() } else { [10, 0, 1, 1].into() };
    let decision = decide(table(), source, packet, transport, usize::from(choice));
    let reply = match &decision {
        Decision::Drop => return,
        Decision::Reply(reply) => reply,
        Decision::Forward { failure, .. } if failure.is_empty() => return,
        Decision::Forward { failure, .. } => failure,
    };
    assert!(packet[2] & 0x80 == 0, "an answer was answered");
    assert!(reply.len() >= 12 && reply.len() <= LIMITS[usize::from(choice & 1)], "{}", reply.len());
    assert!(reply[..2] == packet[..2] && reply[2] & 0x80 != 0, "the reply is to another question");
}

/// Names of a service `web` with two tasks on one network.
fn table() -> &'static NameTable {
    static TABLE: OnceLock<NameTable> = OnceLock::new();
    TABLE.get_or_init(|| {
        let (node, network, service) =
            (NodeId::from_seed(9, 1), NetworkId::from_seed(1, 1), ServiceId::from_seed(2, 1));
        let ipam = json!({"configs": [{"subnet": "10.0.1.0/24"}]});
        let front = json!({
            "id": network, "spec": {"annotations": {"name": "front"}},
            "allocation": {"ipam": ipam}, "gateways": {node.as_str(): "10.0.1.1"},
        });
        let task = |number: u64| {
            json!({
                "id": TaskId::from_seed(3, number), "service": service, "node": node,
                "service_annotations": {"name": "web"}, "desired": "Running",
                "status": {"state": "Running"},
                "networks": [{"network": front, "addresses": [[format!("10.0.1.{}", number + 2), 24]]}],
            })
        };
        let state = json!({
            "services": [{"id": service, "spec": {"annotations": {"name": "web"}}}],
            "tasks": [task(0), task(1)], "networks": [front],
        });
        let state: State = serde_json::from_value(state).expect("the state can be read");
        NameTable::new(&state, &node, true)
    })
}
