//! One machine: its node with agent and engine, what its disk keeps, and what its process knows while it lives.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::calls::Call;
use super::consensus::{Peer, Store};
use super::leader::Leader;
use super::link::Link;
use super::node::SimNode;
use crate::assign::Assigned;
use crate::id::NodeId;
use crate::managers::ManagerStep;
use crate::sessions::Sessions;
use crate::state::State;
use crate::time::Timestamp;
use crate::view::View;

/// What a process is woken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// It starts.
    Start,
    /// Its agent looks at its engine.
    Agent,
    /// Consensus has something to do.
    Consensus,
    /// What consensus appended is on disk.
    Sync,
    /// The leader plans.
    Lead,
    /// The leader proposes what it planned.
    Propose,
    /// The leader judges nodes.
    Judge,
    /// The leader looks at managers.
    Roster,
    /// A manager sees to its place among the others.
    Settle,
    /// The node's way to the leader.
    Link,
    /// A call tries again, or gives up.
    Call(u64),
    /// A manager that started learns what is current.
    CatchUp,
}

/// A machine.
pub(super) struct Machine {
    pub(super) node: SimNode,
    /// Counts starts of the process.
    pub(super) life: u64,
    pub(super) is_up: bool,
    /// Until when the process does not run, and all that comes lies unread.
    pub(super) paused_until: Timestamp,
    /// Until when nothing more fits on its disk.
    pub(super) full_until: Timestamp,
    /// Until when something was wrong with it.
    pub(super) trouble_until: Timestamp,
    /// Since when its process does not run, if it does not.
    pub(super) trouble_since: Timestamp,
    pub(super) timers: BTreeMap<Timer, Timestamp>,
    /// A manager's part of the disk, with its consensus id, while its process does not run.
    pub(super) disk: Option<(u64, Store)>,
    /// What a manager knows while its process runs.
    pub(super) manager: Option<Box<Manager>>,
    pub(super) link: Link,
    /// What the node is to run, once that is known.
    pub(super) wanted: Option<Arc<Assigned>>,
    /// The state that says so.
    pub(super) shown: Option<State>,
}

/// A manager's process.
pub(super) struct Manager {
    pub(super) peer: Peer,
    /// Its copy of the state.
    pub(super) state: State,
    /// The last entry applied to it.
    pub(super) applied: u64,
    pub(super) leader: Leader,
    /// Absent while another one leads.
    pub(super) sessions: Option<Sessions>,
    pub(super) streams: BTreeMap<NodeId, Stream>,
    /// Whether verdicts are being written.
    pub(super) judges: bool,
    pub(super) roster: VecDeque<ManagerStep>,
    /// Index of the state that the roster's steps are from.
    pub(super) roster_of: u64,
    /// Whether a step is under way.
    pub(super) roster_waits: bool,
    pub(super) calls: BTreeMap<u64, Call>,
    /// Tickets of what this one appended, by index.
    pub(super) written: BTreeMap<u64, u64>,
    /// Whether its agent may believe its copy of the state.
    pub(super) is_current: bool,
    /// Since when it leads and has all that was committed before, and in which term.
    pub(super) ready: Option<(u64, Timestamp)>,
    /// Whether it was seen to belong to the group.
    pub(super) was_member: bool,
    /// Managers that it asked to be taken in.
    pub(super) asked: usize,
    /// Until when it tries that.
    pub(super) joins_until: Timestamp,
}

/// What the leader shows a node.
pub(super) struct Stream {
    pub(super) session: String,
    pub(super) place: usize,
    pub(super) view: Option<View>,
    pub(super) seen: State,
    pub(super) told: super::net::Told,
}

impl Manager {
    pub(super) fn new(peer: Peer, state: State, applied: u64) -> Self {
        Self {
            peer,
            state,
            applied,
            leader: Leader::default(),
            sessions: None,
            streams: BTreeMap::new(),
            judges: false,
            roster: VecDeque::new(),
            roster_of: 0,
            roster_waits: false,
            calls: BTreeMap::new(),
            written: BTreeMap::new(),
            is_current: false,
            ready: None,
            was_member: false,
            asked: 0,
            joins_until: Timestamp::default(),
        }
    }

    /// Tells whether it leads and has applied all that was committed before its term.
    pub(super) fn is_ready(&self) -> bool {
        self.peer.began_at().is_some_and(|began| self.applied >= began)
    }

    /// Returns the machine of the leader, as far as is known.
    pub(super) fn leader_place(&self) -> Option<usize> {
        let leader = self.peer.leader?;
        self.peer.store.members().all.get(&leader).copied()
    }
}

impl Machine {
    pub(super) fn new(node: SimNode, disk: Option<(u64, Store)>, link: Link) -> Self {
        Self {
            node,
            life: 0,
            is_up: false,
            paused_until: Timestamp::default(),
            full_until: Timestamp::default(),
            trouble_until: Timestamp::default(),
            trouble_since: Timestamp::default(),
            timers: BTreeMap::new(),
            disk,
            manager: None,
            link,
            wanted: None,
            shown: None,
        }
    }

    /// Tells whether its process runs now.
    pub(super) fn runs(&self, now: Timestamp) -> bool {
        self.is_up && self.paused_until <= now
    }

    /// Tells whether it is a manager, be its process there or not.
    pub(super) fn manages(&self) -> bool {
        self.disk.is_some() || self.manager.is_some()
    }
}
