//! The world: one log, one state, nodes with agents and engines, and a true time, all moved on by one seed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::faults::Faults;
use super::invariants::{self, Broken, Invariants};
use super::leader::{LateReport, Leader};
use super::log::{Log, Proposer};
use super::node::{SimNode, Surroundings};
use super::oracle::Oracle;
use super::random::Random;
use super::{Report, Settings, Violation, workload};
use crate::assign::Assigned;
use crate::command::Command;
use crate::id::{NetworkId, NodeId};
use crate::model::cluster::Cluster;
use crate::model::network::{Network, NetworkSpec};
use crate::model::node::{
    Availability, Node, NodeDescription, NodeSpec, NodeState, NodeStatus, Role,
};
use crate::model::{Annotations, Meta};
use crate::state::State;
use crate::time::Timestamp;

/// Rounds in which a world without faults must come to rest.
const REST_ROUNDS_MAX: u64 = 3000;

/// Time in which a world without faults must come to rest.
const REST_TIME_MAX: Duration = Duration::from_secs(15 * 60);

pub(super) struct World {
    seed: u64,
    pub(super) settings: Settings,
    pub(super) random: Random,
    /// The true time; the clocks of nodes may be wrong.
    pub(super) now: Timestamp,
    pub(super) log: Log,
    pub(super) state: State,
    pub(super) snapshot: Vec<u8>,
    pub(super) recent: BTreeMap<u64, State>,
    pub(super) oracle: Oracle,
    pub(super) invariants: Invariants,
    pub(super) nodes: Vec<SimNode>,
    /// What each node is to know, with the index of the state that says so.
    pub(super) assignments: Vec<Option<(u64, Arc<Assigned>)>>,
    /// What goes wrong at present.
    pub(super) faults: Faults,
    pub(super) leader: Leader,
    /// Until when nothing more fits on the manager's disk.
    pub(super) full_until: Timestamp,
    /// Copies of statuses that are on their way for long.
    pub(super) late: Vec<LateReport>,
    pub(super) report: Report,
    event: u64,
    pub(super) bug_done: bool,
}

impl World {
    pub(super) fn new(seed: u64, settings: Settings) -> Self {
        let now = Timestamp::from_secs(1_700_000_000);
        let node = |number| SimNode::new(number, NodeId::from_seed(7, number), now);
        let nodes: Vec<SimNode> = (1..=settings.nodes.max(1)).map(node).collect();
        let mut world = Self {
            seed,
            settings,
            random: Random::new(seed),
            now,
            log: Log::default(),
            state: State::default(),
            snapshot: (settings.encode)(&State::default()),
            recent: BTreeMap::new(),
            oracle: Oracle::default(),
            invariants: Invariants::default(),
            assignments: vec![None; nodes.len()],
            nodes,
            faults: settings.faults,
            leader: Leader::default(),
            full_until: Timestamp::default(),
            late: Vec::new(),
            report: Report::default(),
            event: 0,
            bug_done: false,
        };
        world.found_cluster();
        world
    }

    fn found_cluster(&mut self) {
        let ingress = NetworkSpec {
            annotations: Annotations { name: "ingress".to_owned(), ..Annotations::default() },
            ingress: true,
            ..NetworkSpec::default()
        };
        let ingress =
            Network { id: NetworkId::from_seed(7, 0), spec: ingress, ..Network::default() };
        self.log.members = self.nodes.iter().skip(1).map(|it| Arc::new(member(it))).collect();
        let node = member(&self.nodes[0]);
        let mut cluster = Box::<Cluster>::default();
        cluster.spec.task_history_retention_limit =
            i64::try_from(self.random.below(5)).unwrap_or(5);
        let (node, networks) = (Box::new(node), vec![ingress]);
        self.propose(Command::CreateCluster { cluster, node, networks }, Proposer::Nobody);
        if let Some((index, entry)) = self.log.commit_one() {
            let _ = self.log.apply(&mut self.state, index, &entry.proposal);
        }
    }

    /// Lives through both phases.
    pub(super) fn live(mut self) -> Result<Report, Violation> {
        let outcome = self.suffer().and_then(|()| self.come_to_rest());
        self.report.entries = self.log.last_index();
        match outcome {
            Ok(()) => Ok(self.report),
            Err((invariant, detail)) => {
                Err(Violation { seed: self.seed, event: self.event, invariant, detail })
            }
        }
    }

    fn suffer(&mut self) -> Result<(), Broken> {
        while self.event < self.settings.events {
            self.event += 1;
            self.pass_time();
            match self.random.below(100) {
                0..14 => self.ask(),
                14..20 => self.go_wrong()?,
                20..45 => self.lead(),
                45..60 => self.commit()?,
                _ => {
                    self.judge_nodes();
                    self.deliver_late();
                    self.tick_nodes()?;
                }
            }
        }
        Ok(())
    }

    fn pass_time(&mut self) {
        let step = match self.random.below(10) {
            0..7 => self.random.millis(50),
            7..9 => self.random.millis(800),
            _ => self.random.millis(5000),
        };
        self.now = self.now.after(step);
        for node in &mut self.nodes {
            node.host.engine.advance(self.now);
        }
    }

    /// Lets a user ask for something.
    fn ask(&mut self) {
        if let Some(command) = workload::command(&mut self.random, &self.state) {
            self.propose(command, Proposer::User);
        }
    }

    fn tick_nodes(&mut self) -> Result<bool, Broken> {
        let mut acted = false;
        for place in 0..self.nodes.len() {
            acted |= self.tick_node(place)?;
        }
        Ok(acted)
    }

    fn tick_node(&mut self, place: usize) -> Result<bool, Broken> {
        let reached = self.nodes[place].is_reached(self.now);
        let assigned = reached.then(|| self.assignment(place));
        let node = &mut self.nodes[place];
        let deeds = node.tick(&mut Surroundings {
            assigned,
            now: self.now,
            wall: node.wall(self.now),
            random: &mut self.random,
            faults: self.faults,
            bug: self.settings.bug,
        });
        self.report.adopted += deeds.adopted;
        self.report.containers += deeds.started;
        invariants::check_containers(node)?;
        if reached {
            invariants::check_secrets(&self.state, node)?;
        }
        for stopped in &deeds.stopped {
            invariants::check_stop(&self.state, stopped)?;
        }
        if deeds.crashed {
            if place == 0 {
                self.crash_manager()?;
            } else {
                self.crash_node(place, 500);
            }
            return Ok(true);
        }
        let batch = self.nodes[place].send(self.now);
        let sent = batch.is_some();
        if let Some(batch) = batch {
            self.report(place, batch);
        }
        Ok(deeds.acted || sent)
    }

    /// Ends all faults, lets users ask for what can be had, and waits until nothing moves. Then lets containers die
    /// without anyone being told, and waits again.
    fn come_to_rest(&mut self) -> Result<(), Broken> {
        self.end_faults();
        self.commit()?;
        self.repair()?;
        self.rest()?;
        if self.settings.faults.lost_events {
            self.kill_unseen();
            self.rest()?;
        }
        invariants::check_replicas(&self.settings, &self.log, &self.snapshot, &self.state)
    }

    fn rest(&mut self) -> Result<(), Broken> {
        let rest_by = self.now.after(REST_TIME_MAX);
        for _ in 0..REST_ROUNDS_MAX {
            self.event += 1;
            self.judge_nodes();
            self.deliver_late();
            self.lead();
            let mut moved = self.log.has_pending();
            self.commit()?;
            for node in &mut self.nodes {
                node.host.engine.advance(self.now);
            }
            moved |= self.tick_nodes()?;
            moved |= self.log.has_pending();
            self.commit()?;
            if moved || self.leader.planned != Some(self.state.index()) {
                continue;
            }
            let Some(next) = self.next_event().filter(|at| *at <= rest_by) else { break };
            self.now = next;
        }
        let wall = self.nodes[0].wall(self.now);
        invariants::check_rest(&self.state, wall, &self.nodes, self.now)
    }

    fn kill_unseen(&mut self) {
        for node in &mut self.nodes {
            let running: Vec<String> = node.host.engine.running().map(|it| it.id.clone()).collect();
            if let Some(id) = self.random.pick(&running) {
                node.host.engine.end(&id, 137, self.now);
                node.host.engine.take_events();
            }
        }
    }

    fn next_event(&self) -> Option<Timestamp> {
        let nodes = self.nodes.iter().filter_map(|node| node.next_event(self.now));
        let late = self.late.iter().map(|report| report.at);
        let all = nodes.chain(late).chain(self.leader.wake_at);
        all.filter(|at| *at > self.now).min()
    }

    fn repair(&mut self) -> Result<(), Broken> {
        let nodes: Vec<_> = self.state.nodes().values().cloned().collect();
        for node in nodes {
            let spec = NodeSpec { availability: Availability::Active, ..node.spec.clone() };
            let (id, version) = (node.id.clone(), node.meta.version);
            self.propose(Command::UpdateNode { id, version, spec }, Proposer::User);
        }
        let services: Vec<_> = self.state.services().values().cloned().collect();
        for service in services {
            if let Some(command) = workload::repair(&service) {
                self.propose(command, Proposer::User);
            }
        }
        self.commit()
    }
}

fn member(sim: &SimNode) -> Node {
    let role = Role::Manager;
    Node {
        id: sim.id.clone(),
        meta: Meta { version: 1, ..Meta::default() },
        spec: NodeSpec { role, ..NodeSpec::default() },
        role,
        description: NodeDescription {
            hostname: format!("n{}", sim.host.number),
            os: "linux".to_owned(),
            architecture: "x86_64".to_owned(),
            nano_cpus: 8_000_000_000,
            memory_bytes: 8 << 30,
            ..NodeDescription::default()
        },
        status: NodeStatus { state: NodeState::Ready, ..NodeStatus::default() },
        ..Node::default()
    }
}
