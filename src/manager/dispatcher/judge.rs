//! The dispatcher's loop: watches the connections of sessions and puts the verdicts on nodes into the state.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use skep_core::command::Command;
use skep_core::id::NodeId;
use skep_core::sessions::news;
use skep_core::state::State;
use tracing::{info, warn};

use super::{Dispatcher, Opened, OpenedSessions};
use crate::clock;
use crate::node::propose_rpc;

/// Wait after verdicts could not be written.
const RETRY_PERIOD: Duration = Duration::from_millis(200);

impl Dispatcher {
    /// Judges nodes while this node leads, until the member stops.
    pub async fn run(self: Arc<Self>, mut opened: OpenedSessions) {
        let mut states = self.raft.watch();
        let mut leadership = self.raft.leadership();
        let mut changed = self.changed.subscribe();
        let mut connections = FuturesUnordered::new();
        loop {
            let state = states.borrow_and_update().clone();
            changed.borrow_and_update();
            // Without a quorum a proposal waits long; a stop does not.
            let wait = tokio::select! {
                wait = self.judge(&state) => wait,
                () = self.stop.cancelled() => return,
            };
            tokio::select! {
                news = states.changed() => if news.is_err() { return },
                news = leadership.changed() => if news.is_err() { return },
                _ = changed.changed() => {}
                Some(session) = opened.0.recv() => connections.push(broken(session)),
                Some((node, session)) = connections.next() => self.close(&node, &session),
                () = wake(wait) => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    fn close(&self, node: &NodeId, session: &str) {
        let closed = self.lead(|sessions, now| {
            let was_current = sessions.is_current(node, session);
            sessions.close(node, session, now);
            was_current
        });
        if matches!(closed, Ok(true)) {
            info!(node.id = %node, "connection lost");
            self.note_change();
        }
    }

    /// Writes what is not yet as the sessions say; returns how long to wait if nothing happens before.
    async fn judge(&self, state: &State) -> Option<Duration> {
        let looked = self.lead(|sessions, now| {
            if let Some(cluster) = state.cluster() {
                sessions.set_heartbeat(cluster.spec.heartbeat_period);
            }
            for (node, agent) in state.nodes().values().filter_map(|node| self.expected(node)) {
                sessions.expect(node, agent, now);
            }
            let fell = sessions.look(now);
            (news(sessions, state), sessions.wake_at().map(|at| at.since(now)), fell)
        });
        let Ok((verdicts, wait, fell)) = looked else {
            // Who leads next begins anew.
            if self.sessions.lock().take().is_some() {
                self.note_change();
            }
            return None;
        };
        if fell {
            self.note_change();
        }
        if verdicts.is_empty() {
            return wait;
        }
        for (node, state, reason) in &verdicts {
            info!(node.id = %node, node.state = ?state, reason = %reason, "verdict");
        }
        if let Err(error) = propose_rpc(&self.raft, Command::JudgeNodes { verdicts }).await {
            warn!(error = %error, "verdicts on nodes were not recorded");
            return Some(RETRY_PERIOD);
        }
        wait
    }
}

async fn broken(opened: Opened) -> (NodeId, String) {
    opened.closed.cancelled().await;
    (opened.node, opened.session)
}

async fn wake(wait: Option<Duration>) {
    match wait {
        Some(wait) => clock::sleep(wait).await,
        None => std::future::pending().await,
    }
}
