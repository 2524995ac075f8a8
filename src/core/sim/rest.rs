//! The beginning and the end: a cluster that has come together, and one in which all faults have ended and everything must come
//! right.

use std::sync::Arc;
use std::time::Duration;

use super::calls::By;
use super::consensus::{Entry, Members, Payload, Snapshot, Store};
use super::faults::Faults;
use super::invariants::{self, Broken};
use super::link::{Link, address};
use super::machine::{Machine, Timer};
use super::node::SimNode;
use super::workload;
use super::world::World;
use crate::command::{Command, Proposal};
use crate::id::{NetworkId, NodeId};
use crate::model::cluster::Cluster;
use crate::model::network::{Network, NetworkSpec};
use crate::model::node::{
    Availability, ManagerStatus, Node, NodeAgent, NodeDescription, NodeSpec, NodeState, NodeStatus,
    Role,
};
use crate::model::{Annotations, Meta};
use crate::state::State;

/// Time in which a world without faults must come to rest.
const REST_MAX: Duration = Duration::from_secs(15 * 60);

/// Time in which nothing may move in a world at rest: longer than agents and sessions take to notice anything.
const QUIET: Duration = Duration::from_secs(7);

/// Between two looks whether the world is at rest.
const LOOK: Duration = Duration::from_secs(1);

/// Looks until users have what they asked for last.
const REPAIRS_MAX: u32 = 60;

impl World {
    /// Makes a cluster whose managers have long had one another, and whose nodes have all come.
    pub(super) fn found(&mut self) {
        let managers = usize::try_from(self.settings.managers.max(1)).unwrap_or(1);
        let count = managers + usize::try_from(self.settings.workers).unwrap_or(0);
        self.next_member = managers as u64;
        let ids = |place: usize| NodeId::from_seed(7, place as u64 + 1);
        let mut commands = vec![self.first_command(ids(0))];
        for place in 0..count {
            let role = if place < managers { Role::Manager } else { Role::Worker };
            commands.extend(arrival(place, ids(place), role));
        }
        let at = self.now;
        let mut entries = Vec::new();
        for command in commands {
            self.next_ticket += 1;
            let payload =
                Payload::Write { ticket: self.next_ticket, proposal: Proposal { at, command } };
            entries.push(Arc::new(Entry { term: 1, payload }));
        }
        let all = (0..managers).map(|place| (place as u64 + 1, place)).collect();
        let members = Members { voters: (1..=managers as u64).collect(), all };
        self.ledger.members = members.clone();
        let known: Vec<_> = (0..managers).map(|place| (ids(place), address(place))).collect();
        let bytes = (self.settings.encode)(&State::default());
        for place in 0..count {
            let snapshot =
                Snapshot { members: members.clone(), bytes: bytes.clone(), ..Snapshot::default() };
            let store = Store::founded(snapshot, entries.clone());
            let disk = (place < managers).then_some((place as u64 + 1, store));
            let node = SimNode::new(place as u64 + 1, ids(place));
            self.machines.push(Machine::new(node, disk, Link::new(known.clone())));
            self.arm(place, Timer::Start, at);
        }
    }

    fn first_command(&mut self, id: NodeId) -> Command {
        let ingress = NetworkSpec {
            annotations: Annotations { name: "ingress".to_owned(), ..Annotations::default() },
            ingress: true,
            ..NetworkSpec::default()
        };
        let ingress =
            Network { id: NetworkId::from_seed(7, 0), spec: ingress, ..Network::default() };
        let mut cluster = Box::<Cluster>::default();
        cluster.spec.task_history_retention_limit =
            i64::try_from(self.random.below(5)).unwrap_or(5);
        cluster.spec.heartbeat_period = Duration::from_secs(5);
        let role = Role::Manager;
        let node = Node {
            id,
            meta: Meta { version: 1, ..Meta::default() },
            spec: NodeSpec { role, ..NodeSpec::default() },
            role,
            status: NodeStatus { state: NodeState::Ready, ..NodeStatus::default() },
            ..Node::default()
        };
        Command::CreateCluster { cluster, node: Box::new(node), networks: vec![ingress] }
    }

    /// Ends all faults, lets users ask for what can be had, and waits until nothing moves. Then lets containers die
    /// without anyone being told, and waits again.
    pub(super) fn come_to_rest(&mut self) -> Result<(), Broken> {
        self.end_faults()?;
        self.repair()?;
        self.rest()?;
        if self.settings.faults.lost_events {
            self.kill_unseen();
            self.rest()?;
        }
        let copies = self.machines.iter().filter_map(|machine| machine.manager.as_ref());
        for manager in copies {
            invariants::check_replicas(&self.settings, &self.ledger, manager)?;
        }
        Ok(())
    }

    /// Ends all faults: no new ones come, and those under way pass.
    fn end_faults(&mut self) -> Result<(), Broken> {
        self.faults = Faults::NONE;
        self.net.lossy = false;
        let troubles = self
            .machines
            .iter()
            .map(|machine| machine.trouble_until.max(machine.paused_until).max(machine.full_until));
        let calm_at = troubles.max().unwrap_or(self.now).max(self.net.well_at());
        self.run_for(calm_at.since(self.now))
    }

    /// Returns the machine of the one leader that has all.
    fn leader(&self) -> Option<usize> {
        let leads = |place: &usize| {
            let manager = self.machines[*place].manager.as_ref();
            manager.is_some_and(|manager| manager.ready.is_some())
        };
        let term = |place: &usize| self.machines[*place].manager.as_ref().map(|it| it.peer.term());
        (0..self.machines.len()).filter(leads).max_by_key(term)
    }

    fn repair(&mut self) -> Result<(), Broken> {
        for _ in 0..REPAIRS_MAX {
            self.run_for(LOOK)?;
            let wishes = self.wishes();
            let Some(leader) = self.leader() else { continue };
            self.name_manager(leader);
            if wishes.is_empty() {
                return Ok(());
            }
            for command in wishes {
                self.propose(leader, command, By::User);
            }
        }
        let wishes = self.wishes();
        Err((invariants::CONVERGES, format!("nobody carries out {wishes:?}")))
    }

    /// An operator tells nodes that were away while all managers they knew were replaced where one is.
    fn name_manager(&mut self, leader: usize) {
        let members: Vec<usize> = self.ledger.members.all.values().copied().collect();
        for machine in self.machines.iter_mut().filter(|machine| machine.manager.is_none()) {
            let lost = machine.link.known().iter().all(|place| !members.contains(place));
            if lost && machine.link.session().is_none() {
                machine.link.name(leader);
            }
        }
    }

    fn wishes(&self) -> Vec<Command> {
        let state = &self.ledger.state;
        let mut wishes = Vec::new();
        for node in state.nodes().values().filter(|it| it.spec.availability != Availability::Active)
        {
            let spec = NodeSpec { availability: Availability::Active, ..node.spec.clone() };
            let (id, version) = (node.id.clone(), node.meta.version);
            wishes.push(Command::UpdateNode { id, version, spec });
        }
        wishes.extend(state.services().values().filter_map(|service| workload::repair(service)));
        wishes
    }

    fn rest(&mut self) -> Result<(), Broken> {
        let rest_by = self.now.after(REST_MAX);
        self.moved_at = self.now;
        while self.now < rest_by && !self.is_at_rest() {
            self.run_for(LOOK)?;
            // What a user asked for long ago may have been committed only now.
            if !self.wishes().is_empty() {
                self.repair()?;
            }
        }
        let leader = self.leader().unwrap_or(0);
        let wall = self.machines[leader].node.wall(self.now);
        let nodes: Vec<&SimNode> = self.machines.iter().map(|machine| &machine.node).collect();
        invariants::check_rest(&self.ledger.state, wall, &nodes, self.now)?;
        invariants::check_group(&self.ledger, &self.machines)
    }

    fn is_at_rest(&self) -> bool {
        let Some(leader) = self.leader() else { return false };
        let Some(manager) = &self.machines[leader].manager else { return false };
        let waits = |place: usize| {
            let machine = &self.machines[place];
            let idle = machine.node.next_event(self.now).is_none();
            // What was sent into a cut is waited for longer than anything else.
            let told = !machine.node.is_reporting();
            let known = place == leader || machine.link.session().is_some();
            !machine.is_up || !idle || !told || !known || machine.wanted.is_none()
        };
        self.now.since(self.moved_at) >= QUIET
            && manager.leader.is_silent(manager.state.index())
            && !(0..self.machines.len()).any(waits)
    }

    fn kill_unseen(&mut self) {
        for place in 0..self.machines.len() {
            let engine = &mut self.machines[place].node.host.engine;
            let running: Vec<String> = engine.running().map(|it| it.id.clone()).collect();
            if let Some(id) = self.random.pick(&running) {
                engine.end(&id, 137, self.now);
                engine.take_events();
            }
            self.arm(place, Timer::Agent, self.now.after(LOOK));
        }
    }
}

/// What a node brings about that comes for the first time.
fn arrival(place: usize, id: NodeId, role: Role) -> Vec<Command> {
    let description = NodeDescription {
        hostname: format!("n{}", place + 1),
        os: "linux".to_owned(),
        architecture: "x86_64".to_owned(),
        nano_cpus: 8_000_000_000,
        memory_bytes: 8 << 30,
        ..NodeDescription::default()
    };
    let mut commands = Vec::new();
    if place > 0 {
        let (availability, request) =
            (Availability::Active, vec![u8::try_from(place).unwrap_or(0)]);
        commands.push(Command::AdmitNode { id: id.clone(), role, availability, request });
    }
    commands.push(Command::RegisterNode {
        id: id.clone(),
        description: Box::new(description),
        addr: String::new(),
        agent: NodeAgent::Skep { version: "1".to_owned() },
        restarted: true,
    });
    if role == Role::Manager {
        let addr = address(place);
        let raft_id = place as u64 + 1;
        let manager = Some(ManagerStatus { leader: place == 0, reachable: true, addr, raft_id });
        commands.push(Command::ReportNode { id, description: None, status: None, manager });
    }
    commands
}
