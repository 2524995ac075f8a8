//! Keeps the list of managers true while this node leads: who is one, who leads, who answers. Decides nothing itself
//! (`skep_core::managers`).

use std::sync::Arc;
use std::time::Duration;

use skep_core::command::{Change, Command, Proposal};
use skep_core::managers::{Group, ManagerStep, plan_managers};
use skep_core::model::node::NodeState;
use skep_raft::{ChangeError, RaftNode};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::clock;

/// Between two looks at who answers: silence is no event.
const LOOK_PERIOD: Duration = Duration::from_millis(500);

/// Looks whenever the state or the leader changes, and every `LOOK_PERIOD`, until `stop`.
pub async fn run(raft: Arc<RaftNode>, stop: CancellationToken) {
    let mut states = raft.watch();
    let mut leadership = raft.leadership();
    loop {
        let state = states.borrow_and_update().clone();
        let leads = leadership.borrow_and_update().ready;
        if leads && let Some(group) = group(&raft) {
            for step in plan_managers(&state, &group) {
                tokio::select! {
                    () = carry_out(&raft, state.index(), step) => {}
                    () = stop.cancelled() => return,
                }
            }
        }
        let silence = async {
            if leads { clock::sleep(LOOK_PERIOD).await } else { std::future::pending().await }
        };
        tokio::select! {
            changed = states.changed() => if changed.is_err() { return },
            changed = leadership.changed() => if changed.is_err() { return },
            () = silence => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Sees to it that this node has the vote and the address it should have, until `stop`. A join that was cut off once the
/// membership was on disk ends here.
pub async fn settle(raft: Arc<RaftNode>, address: String, stop: CancellationToken) {
    let mut states = raft.watch();
    loop {
        states.borrow_and_update();
        let id = raft.node_id();
        let members = raft.members();
        let wanted = match members.addresses.get(&id) {
            None => None,
            Some(known) if *known != address => {
                Some(skep_raft::Change::SetAddress { id, address: address.clone() })
            }
            Some(_) if members.voters.contains(&id) => None,
            Some(_) => Some(skep_raft::Change::Promote { id }),
        };
        if let Some(change) = wanted {
            let changed = tokio::select! {
                changed = raft.change(change) => changed,
                () = stop.cancelled() => return,
            };
            if let Err(error) = changed {
                warn!(error = %error, "this node's place among the managers is yet to be settled");
                clock::sleep(LOOK_PERIOD).await;
            }
            continue;
        }
        tokio::select! {
            changed = states.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
    }
}

fn group(raft: &RaftNode) -> Option<Group> {
    let reachable = raft.reachable()?;
    Some(Group { leader: raft.node_id(), members: raft.members().addresses, reachable })
}

async fn carry_out(raft: &RaftNode, based_on: u64, step: ManagerStep) {
    debug!(step = ?step, "managers change");
    match step {
        ManagerStep::Report(id, status) => {
            let manager = Some(status);
            let command = Command::ReportNode { id, description: None, status: None, manager };
            propose(raft, command).await;
        }
        ManagerStep::Works(id) => {
            let verdicts = vec![(id, NodeState::Ready, String::new())];
            propose(raft, Command::JudgeNodes { verdicts }).await;
        }
        ManagerStep::SetRole(id, role) => {
            info!(node.id = %id, role = ?role, "the node's role changes");
            let changes = vec![Change::SetRole { id, role }];
            propose(raft, Command::Plan { based_on, changes }).await;
        }
        ManagerStep::Remove(id) => match raft.change(skep_raft::Change::Remove { id }).await {
            Ok(()) => info!(raft.id = id, "a manager left the consensus group"),
            Err(ChangeError::WouldLoseQuorum) => {
                debug!(raft.id = id, "a manager stays: the group would lose its quorum");
            }
            Err(error) => warn!(raft.id = id, error = %error, "a manager could not be removed"),
        },
    }
}

async fn propose(raft: &RaftNode, command: Command) {
    match raft.propose(Proposal { at: clock::now(), command }).await {
        Ok((_, Ok(_))) => {}
        // The next look is at a newer state.
        Ok((_, Err(rejected))) => debug!(reason = %rejected, "the state moved on"),
        Err(error) => warn!(error = %error, "a change of managers was not committed"),
    }
}
