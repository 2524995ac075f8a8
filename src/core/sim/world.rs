//! The world: one log, one state, nodes with agents and engines, and a clock, all moved on by one seed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::agent::{SimNode, Surroundings};
use super::invariants::{self, Broken, Invariants, Transition};
use super::log::{Log, Pending};
use super::oracle::Oracle;
use super::random::Random;
use super::{PlantedBug, Report, Settings, Violation, bugs, workload};
use crate::command::{Change, Command, Proposal};
use crate::id::{NetworkId, NodeId};
use crate::model::cluster::Cluster;
use crate::model::network::{Network, NetworkSpec};
use crate::model::node::{
    Availability, Node, NodeDescription, NodeSpec, NodeState, NodeStatus, Role,
};
use crate::model::{Annotations, Meta};
use crate::plan::Planner;
use crate::state::State;
use crate::time::Timestamp;

/// Rounds in which a world without faults must come to rest.
const REST_ROUNDS_MAX: u64 = 3000;

/// States kept so that a plan can be judged by what it was made from.
const RECENT_MAX: usize = 40;

pub(super) struct World {
    seed: u64,
    pub(super) settings: Settings,
    pub(super) random: Random,
    pub(super) now: Timestamp,
    log: Log,
    pub(super) state: State,
    snapshot: Vec<u8>,
    recent: BTreeMap<u64, State>,
    oracle: Oracle,
    invariants: Invariants,
    pub(super) nodes: Vec<SimNode>,
    /// Whether things go wrong.
    faults: bool,
    /// What the leader remembers from plan to plan; a crash forgets it.
    planner: Planner,
    /// Index of the state that was last planned on.
    planned: Option<u64>,
    wake_at: Option<Timestamp>,
    pub(super) crashes: u64,
    report: Report,
    event: u64,
    pub(super) bug_done: bool,
}

impl World {
    pub(super) fn new(seed: u64, settings: Settings) -> Self {
        let nodes = (1..=settings.nodes.max(1)).map(|n| SimNode::new(n, NodeId::from_seed(7, n)));
        let mut world = Self {
            seed,
            settings,
            random: Random::new(seed),
            now: Timestamp::from_secs(1_700_000_000),
            log: Log::default(),
            state: State::default(),
            snapshot: (settings.encode)(&State::default()),
            recent: BTreeMap::new(),
            oracle: Oracle::default(),
            invariants: Invariants::default(),
            nodes: nodes.collect(),
            faults: true,
            planner: Planner::default(),
            planned: None,
            wake_at: None,
            crashes: 0,
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
        let cluster = Box::<Cluster>::default();
        let (node, networks) = (Box::new(node), vec![ingress]);
        self.propose(Command::CreateCluster { cluster, node, networks }, false);
    }

    /// Lives through both phases.
    pub(super) fn live(mut self) -> Result<Report, Violation> {
        let outcome = self.suffer().and_then(|()| self.come_to_rest());
        self.report.crashes = self.crashes;
        self.report.entries = self.log.last_index();
        match outcome {
            Ok(()) => Ok(self.report),
            Err((invariant, detail)) => {
                Err(Violation { seed: self.seed, event: self.event, invariant, detail })
            }
        }
    }

    fn suffer(&mut self) -> Result<(), Broken> {
        self.commit()?;
        while self.event < self.settings.events {
            self.event += 1;
            self.pass_time();
            match self.random.below(100) {
                0..14 => self.ask(),
                14..20 => self.go_wrong()?,
                20..45 => self.lead(),
                45..60 => self.commit()?,
                _ => {
                    self.welcome_back();
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
            node.engine.advance(self.now);
        }
    }

    /// Lets a user ask for something.
    fn ask(&mut self) {
        if let Some(command) = workload::command(&mut self.random, &self.state) {
            self.propose(command, true);
        }
    }

    pub(super) fn propose(&mut self, command: Command, by_user: bool) {
        // The clock of a machine may go back, and the time in the log with it.
        self.log.propose(Proposal { at: self.now, command }, by_user);
    }

    /// Plans, if there is a reason to; one plan is under way at a time.
    fn lead(&mut self) {
        let now = self.now;
        let due = self.wake_at.is_some_and(|at| at <= now);
        let due = due && self.settings.bug != Some(PlantedBug::WakeUpIgnored);
        if self.log.has_pending() || (self.planned == Some(self.state.index()) && !due) {
            return;
        }
        let base = match self.settings.bug {
            Some(PlantedBug::ParallelismIgnored) => bugs::without_update_limits(&self.state),
            _ => self.state.clone(),
        };
        let found = self.planner.plan(&base, now);
        self.planned = Some(self.state.index());
        self.wake_at = found.wake_at;
        let mut changes = found.changes;
        if changes.is_empty() {
            return;
        }
        if self.settings.bug == Some(PlantedBug::SecondTaskInSlot) {
            bugs::repeat_first_task(&mut changes, self.log.last_index());
        }
        self.report.plans += 1;
        let created = |change: &&Change| matches!(change, Change::CreateTask(_));
        self.report.tasks += changes.iter().filter(created).count() as u64;
        let based_on = self.state.index();
        self.propose(Command::Plan { based_on, changes }, false);
    }

    /// Writes all entries under way and applies them.
    fn commit(&mut self) -> Result<(), Broken> {
        while let Some((index, entry)) = self.log.commit_one() {
            self.apply(index, &entry)?;
        }
        if self.random.percent(10) {
            self.snapshot = (self.settings.encode)(&self.state);
        }
        invariants::check_promises(&self.oracle, &self.state)
    }

    fn apply(&mut self, index: u64, entry: &Pending) -> Result<(), Broken> {
        let before = self.state.clone();
        let mut proposal = entry.proposal.clone();
        if self.settings.bug == Some(PlantedBug::ReplicaDiverges) {
            proposal.at = Timestamp(proposal.at.0 + 1);
        }
        let outcome = self.log.apply(&mut self.state, index, &proposal);
        if outcome.is_ok() && entry.by_user {
            self.oracle.acknowledge(index, &entry.proposal.command);
            self.report.commands += 1;
        }
        self.spoil_state();
        let command = &entry.proposal.command;
        let base = if let (Command::Plan { based_on, .. }, Ok(_)) = (command, &outcome) {
            self.recent.get(based_on)
        } else {
            None
        };
        let write = Transition { before: &before, after: &self.state, base };
        self.invariants.check(&write)?;
        self.remember();
        Ok(())
    }

    fn remember(&mut self) {
        self.recent.insert(self.state.index(), self.state.clone());
        while self.recent.len() > RECENT_MAX {
            self.recent.pop_first();
        }
    }

    /// Crashes the manager's daemon, its agent included. What was being written may or may not have been.
    pub(super) fn crash_manager(&mut self) -> Result<(), Broken> {
        self.crashes += 1;
        self.planner = Planner::default();
        let kept = usize::try_from(self.random.below(4)).unwrap_or(0);
        let before = self.log.last_index();
        self.log.crash(kept);
        self.forget_unsure(before);
        if self.settings.bug == Some(PlantedBug::WriteLost) {
            (0..5).for_each(|_| self.log.lose_last());
        } else {
            let replayed = self.log.replay(self.state.clone());
            self.check_unseen(&replayed)?;
        }
        // A daemon that comes back knows its snapshot and its log.
        let snapshot = (self.settings.decode)(&self.snapshot).unwrap_or_default();
        let usable = snapshot.index() <= self.log.last_index();
        self.state = self.log.replay(if usable { snapshot } else { State::default() });
        self.planned = None;
        self.wake_at = None;
        let back_at = self.now.after(self.random.millis(300));
        self.nodes[0].crash(back_at);
        self.remember();
        invariants::check_promises(&self.oracle, &self.state)?;
        self.check_replicas()
    }

    /// Nothing is promised of objects that entries written in the crash changed.
    fn forget_unsure(&mut self, before: u64) {
        for command in self.log.commands_after(before) {
            self.oracle.unsure(&command);
        }
    }

    /// Checks entries that were written in the crash and that nobody saw being applied.
    fn check_unseen(&mut self, replayed: &State) -> Result<(), Broken> {
        let write = Transition { before: &self.state, after: replayed, base: None };
        self.invariants.check(&write)
    }

    fn check_replicas(&self) -> Result<(), Broken> {
        invariants::check_replicas(&self.settings, &self.log, &self.snapshot, &self.state)
    }

    fn tick_nodes(&mut self) -> Result<bool, Broken> {
        let mut acted = false;
        for number in 0..self.nodes.len() {
            acted |= self.tick_node(number)?;
        }
        Ok(acted)
    }

    fn tick_node(&mut self, number: usize) -> Result<bool, Broken> {
        let node = &mut self.nodes[number];
        let deeds = node.tick(&mut Surroundings {
            state: &self.state,
            now: self.now,
            random: &mut self.random,
            faults: self.faults,
            no_adoption: self.settings.bug == Some(PlantedBug::NoAdoption),
        });
        self.report.adopted += deeds.adopted;
        self.report.containers += deeds.started;
        invariants::check_containers(node)?;
        for (task, health) in &deeds.stopped {
            invariants::check_stop(&self.state, task, *health)?;
        }
        let id = node.id.clone();
        if !deeds.statuses.is_empty() && !self.log.has_pending() {
            self.propose(Command::ReportTasks { node: id, statuses: deeds.statuses }, false);
            return Ok(true);
        }
        Ok(deeds.acted || !deeds.statuses.is_empty())
    }

    /// Ends all faults, lets users ask for what can be had, and waits until nothing moves.
    fn come_to_rest(&mut self) -> Result<(), Broken> {
        self.faults = false;
        self.now = self.now.after(Duration::from_secs(30));
        self.commit()?;
        self.repair()?;
        for _ in 0..REST_ROUNDS_MAX {
            self.event += 1;
            self.welcome_back();
            self.lead();
            let mut moved = self.log.has_pending();
            self.commit()?;
            for node in &mut self.nodes {
                node.engine.advance(self.now);
            }
            moved |= self.tick_nodes()?;
            moved |= self.log.has_pending();
            self.commit()?;
            if moved || self.planned != Some(self.state.index()) {
                continue;
            }
            let own = self.nodes.iter().filter_map(|node| node.next_event(self.now)).min();
            let Some(next) = own.into_iter().chain(self.wake_at.filter(|at| *at > self.now)).min()
            else {
                break;
            };
            self.now = next;
        }
        invariants::check_converged(&self.state, self.now, &self.nodes)?;
        self.check_replicas()
    }

    fn repair(&mut self) -> Result<(), Broken> {
        let nodes: Vec<_> = self.state.nodes().values().cloned().collect();
        for node in nodes {
            let spec = NodeSpec { availability: Availability::Active, ..node.spec.clone() };
            let (id, version) = (node.id.clone(), node.meta.version);
            self.propose(Command::UpdateNode { id, version, spec }, true);
        }
        let services: Vec<_> = self.state.services().values().cloned().collect();
        for service in services {
            self.propose(workload::repair(&service), true);
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
            hostname: format!("n{}", sim.number),
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
