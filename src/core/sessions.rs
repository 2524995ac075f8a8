//! Which nodes are there: sessions opened, beaten and broken come in, verdicts and the next time to look come out.
//! Times are of a clock that never jumps. Lives on the leader alone; a new leader begins with everyone awaited.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::id::NodeId;
use crate::model::node::{NodeAgent, NodeState};
use crate::state::State;
use crate::time::Timestamp;

#[cfg(test)]
mod tests;

/// How long a node whose connection broke may take to come back.
const RECONNECT_MAX: Duration = Duration::from_secs(3);

/// How long engines may take to find a new leader: they wait up to 8 s between two tries.
const ENGINE_TAKEOVER_MAX: Duration = Duration::from_secs(16);

/// How long agents of skep may take, which try once a second at least.
const SKEP_TAKEOVER_MAX: Duration = Duration::from_secs(4);

/// Shortest silence that counts, whatever the cluster's setting says.
const SILENCE_MIN: Duration = Duration::from_secs(2);

/// Beats that fit into the silence that counts: a few may be lost or late.
const BEATS: u32 = 5;

/// The table wants to be asked at least so often, so that it notices when its process did not run.
const LOOK_PERIOD: Duration = Duration::from_millis(250);

/// A longer gap between two looks means that this process did not run; nobody else is to blame for it.
const GAP_MIN: Duration = Duration::from_millis(750);

const TAKEN_OVER: &str = "Node moved to \"unknown\" state due to leadership change in cluster";
const NOT_BACK: &str = "heartbeat failure for node in \"unknown\" state";
const BROKEN: &str = "connection lost";
const SILENT: &str = "heartbeat failure";

/// The call names a session that is not the node's current one: the node has to open a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("session invalid")]
pub struct NoSession;

/// What the leader knows of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// Was there when another manager led.
    Awaited { until: Timestamp },
    /// Beats. `in_force` is the index of the state by which its network was last said to lead packets.
    Open { session: String, until: Timestamp, in_force: u64 },
    /// Its connection broke; the session ended with it.
    Broken { until: Timestamp },
    /// Is gone.
    Down { reason: &'static str },
}

/// The sessions of all nodes.
#[derive(Debug, Default)]
pub struct Sessions {
    silence_max: Duration,
    nodes: BTreeMap<NodeId, Standing>,
    /// Nodes that are being registered, and for how many sessions.
    arriving: BTreeMap<NodeId, u32>,
    looked_at: Timestamp,
}

impl Sessions {
    /// Begins to lead: `nodes` are those that were not down under the last leader. `heartbeat` is the cluster's setting.
    pub fn take_over<'a>(
        nodes: impl IntoIterator<Item = (&'a NodeId, &'a NodeAgent)>,
        heartbeat: Duration,
        now: Timestamp,
    ) -> Self {
        let nodes = nodes.into_iter();
        let nodes = nodes.map(|(node, agent)| (node.clone(), awaited(agent, now))).collect();
        let mut sessions = Self { nodes, looked_at: now, ..Self::default() };
        sessions.set_heartbeat(heartbeat);
        sessions
    }

    /// Takes a changed setting: the silence after which a node is down. Holds from each node's next beat on.
    pub fn set_heartbeat(&mut self, heartbeat: Duration) {
        self.silence_max = heartbeat.max(SILENCE_MIN);
    }

    /// Awaits a node that came to another manager just before this one led. Does nothing to one that is known.
    pub fn expect(&mut self, node: &NodeId, agent: &NodeAgent, now: Timestamp) {
        if !self.nodes.contains_key(node) {
            self.nodes.insert(node.clone(), awaited(agent, now));
        }
    }

    /// Notes that a node is being registered for a session. By that it is ready in the state before its session is open here:
    /// what is known of it until then is no news. [`Sessions::leave_arrival`] ends it.
    pub fn arrive(&mut self, node: NodeId) {
        *self.arriving.entry(node).or_default() += 1;
    }

    /// Notes that a node's session is open, or will not be.
    pub fn leave_arrival(&mut self, node: &NodeId) {
        if let Some(count) = self.arriving.get_mut(node) {
            *count -= 1;
            if *count == 0 {
                self.arriving.remove(node);
            }
        }
    }

    /// Notes a new session, which ends the node's last one.
    pub fn open(&mut self, node: NodeId, session: String, now: Timestamp) {
        self.look(now);
        let until = now.after(self.silence_max);
        self.nodes.insert(node, Standing::Open { session, until, in_force: 0 });
    }

    /// Notes that a node leads packets by the state of an index, or a later one.
    ///
    /// # Errors
    /// When the session is not the node's current one.
    pub fn in_force(&mut self, node: &NodeId, session: &str, index: u64) -> Result<(), NoSession> {
        let (_, in_force) = self.current(node, session)?;
        *in_force = index.max(*in_force);
        Ok(())
    }

    /// Tells whether one of these nodes may still lead packets as it was right before the state of an index. What the kernel
    /// of a node was told holds on while its process is away; one that is down is not waited for.
    pub fn is_behind(&self, nodes: &BTreeSet<NodeId>, index: u64) -> bool {
        nodes.iter().any(|node| match self.nodes.get(node) {
            Some(Standing::Open { in_force, .. }) => *in_force < index,
            Some(Standing::Awaited { .. } | Standing::Broken { .. }) => true,
            Some(Standing::Down { .. }) | None => false,
        })
    }

    /// Notes a sign of life and returns when the next one is due.
    ///
    /// # Errors
    /// When the session is not the node's current one.
    pub fn beat(
        &mut self,
        node: &NodeId,
        session: &str,
        now: Timestamp,
    ) -> Result<Duration, NoSession> {
        self.look(now);
        let (due, period) = (now.after(self.silence_max), self.silence_max / BEATS);
        let (until, _) = self.current(node, session)?;
        *until = due;
        Ok(period)
    }

    /// Finds what is known of a node's session: until when it holds, and what its network leads packets by.
    fn current(
        &mut self,
        node: &NodeId,
        session: &str,
    ) -> Result<(&mut Timestamp, &mut u64), NoSession> {
        match self.nodes.get_mut(node) {
            Some(Standing::Open { session: current, until, in_force }) if current == session => {
                Ok((until, in_force))
            }
            Some(
                Standing::Open { .. }
                | Standing::Awaited { .. }
                | Standing::Broken { .. }
                | Standing::Down { .. },
            )
            | None => Err(NoSession),
        }
    }

    /// Notes that the connection of a session broke: a process that died, for hosts that die are silent.
    pub fn close(&mut self, node: &NodeId, session: &str, now: Timestamp) {
        self.look(now);
        if let Some(standing) = self.nodes.get_mut(node)
            && matches!(standing, Standing::Open { session: current, .. } if current == session)
        {
            *standing = Standing::Broken { until: now.after(RECONNECT_MAX) };
        }
    }

    /// Forgets a node.
    pub fn remove(&mut self, node: &NodeId) {
        self.nodes.remove(node);
    }

    /// Lets deadlines fall and tells whether one did. A gap in which this process did not run puts all of them off.
    pub fn look(&mut self, now: Timestamp) -> bool {
        let mut fell = false;
        let gap = now.since(self.looked_at);
        self.looked_at = now.max(self.looked_at);
        let put_off = if gap >= GAP_MIN { gap } else { Duration::ZERO };
        for standing in self.nodes.values_mut() {
            let (until, reason) = match standing {
                Standing::Awaited { until } => (until, NOT_BACK),
                Standing::Broken { until } => (until, SILENT),
                Standing::Open { until, .. } => (until, SILENT),
                Standing::Down { .. } => continue,
            };
            *until = until.after(put_off);
            if *until <= now {
                *standing = Standing::Down { reason };
                fell = true;
            }
        }
        fell
    }

    /// Returns when to look again at the latest.
    pub fn wake_at(&self) -> Option<Timestamp> {
        let waits = |standing: &Standing| match standing {
            Standing::Awaited { .. } | Standing::Open { .. } | Standing::Broken { .. } => true,
            Standing::Down { .. } => false,
        };
        self.nodes.values().any(waits).then(|| self.looked_at.after(LOOK_PERIOD))
    }

    /// Tells whether this is the node's current session.
    pub fn is_current(&self, node: &NodeId, session: &str) -> bool {
        matches!(self.nodes.get(node), Some(Standing::Open { session: current, .. }) if current == session)
    }

    /// Returns what is to be said of a node, and why; `None` of one that is not known here.
    pub fn verdict(&self, node: &NodeId) -> Option<(NodeState, &'static str)> {
        self.nodes.get(node).map(verdict)
    }

    /// Returns what is to be said of every node that is known here.
    pub fn verdicts(&self) -> impl Iterator<Item = (&NodeId, NodeState, &'static str)> {
        self.nodes.iter().map(|(node, standing)| {
            let (state, reason) = verdict(standing);
            (node, state, reason)
        })
    }
}

/// What is to be said of a node, and why.
pub type Verdict = (NodeId, NodeState, String);

/// Returns the verdicts that the state does not hold yet, and forgets nodes that are gone.
pub fn news(sessions: &mut Sessions, state: &State) -> Vec<Verdict> {
    let mut gone = Vec::new();
    let mut found = Vec::new();
    for (id, verdict, reason) in sessions.verdicts() {
        match state.nodes().get(id) {
            None => gone.push(id.clone()),
            Some(node) => {
                let held = (node.status.state, node.status.message.as_str());
                let is_news = held != (verdict, reason) && !sessions.arriving.contains_key(id);
                if node.agent.is_some() && is_news {
                    found.push((id.clone(), verdict, reason.to_owned()));
                }
            }
        }
    }
    gone.iter().for_each(|node| sessions.remove(node));
    found
}

fn awaited(agent: &NodeAgent, now: Timestamp) -> Standing {
    let limit = match agent {
        NodeAgent::Engine => ENGINE_TAKEOVER_MAX,
        NodeAgent::Skep { .. } => SKEP_TAKEOVER_MAX,
    };
    Standing::Awaited { until: now.after(limit) }
}

fn verdict(standing: &Standing) -> (NodeState, &'static str) {
    match standing {
        Standing::Awaited { .. } => (NodeState::Unknown, TAKEN_OVER),
        Standing::Open { .. } => (NodeState::Ready, ""),
        Standing::Broken { .. } => (NodeState::Disconnected, BROKEN),
        Standing::Down { reason } => (NodeState::Down, reason),
    }
}
