//! A simulated node: its engine, and its agent, which forgets everything when it crashes. Decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::PlantedBug;
use super::engine::SimEngine;
use super::faults::Faults;
use super::random::Random;
use super::worker::{Outcome, Worker};
use crate::agent::{Health, ReportQueue, Sight, compare, needed_networks, recover, stale_files};
use crate::assign::Assigned;
use crate::id::{NodeId, TaskId};
use crate::model::task::TaskStatus;
use crate::time::Timestamp;

/// Time between two comparisons with the engine.
const RESYNC: Duration = Duration::from_secs(5);

/// A node: its host, and its agent while that lives.
pub(super) struct SimNode {
    pub(super) id: NodeId,
    pub(super) host: Host,
    /// How far its clock is ahead of the true time, in nanoseconds.
    pub(super) skew: i64,
    agent: Agent,
}

/// What a node's workers work with.
pub(super) struct Host {
    pub(super) number: u64,
    pub(super) engine: SimEngine,
    pub(super) reports: ReportQueue,
}

/// What an agent knows until it crashes.
#[derive(Default)]
struct Agent {
    /// What was last assigned; nothing is done before that is known.
    assigned: Option<Arc<Assigned>>,
    workers: BTreeMap<TaskId, Worker>,
    /// The life of the engine it is connected to.
    connected: Option<u64>,
    resync_at: Timestamp,
    /// Events on their way, and when they come.
    events: Vec<(Timestamp, TaskId)>,
    /// Containers that are nobody's.
    discarded: BTreeSet<String>,
    /// Statuses handed over whose fate is not known yet.
    sent: Option<Vec<(TaskId, TaskStatus)>>,
    report_at: Timestamp,
}

/// What an agent needs to act.
pub(super) struct Surroundings<'a> {
    /// What the node knows that managers want of it.
    pub(super) assigned: Option<Arc<Assigned>>,
    /// The true time, which timers go by.
    pub(super) now: Timestamp,
    /// What the node's clock says.
    pub(super) wall: Timestamp,
    pub(super) random: &'a mut Random,
    pub(super) faults: Faults,
    pub(super) bug: Option<PlantedBug>,
}

impl Surroundings<'_> {
    /// Tells whether a kind of fault that may happen happens now.
    pub(super) fn hits(&mut self, enabled: bool, chance: u64) -> bool {
        enabled && self.random.percent(chance)
    }
}

/// A container that was stopped, and what the agent knew of it.
pub(super) struct Stopped {
    pub(super) task: TaskId,
    pub(super) health: Health,
    /// Whether the task had ended before, as far as the agent knows: a user may start its container again.
    pub(super) ended: bool,
}

impl Stopped {
    /// Makes one of a container that no worker knows.
    fn unknown(task: TaskId) -> Self {
        Self { task, health: Health::Unchecked, ended: false }
    }
}

/// What an agent did.
#[derive(Default)]
pub(super) struct Deeds {
    pub(super) acted: bool,
    pub(super) crashed: bool,
    pub(super) stopped: Vec<Stopped>,
    pub(super) adopted: u64,
    pub(super) started: u64,
}

impl SimNode {
    pub(super) fn new(number: u64, id: NodeId) -> Self {
        let engine = SimEngine::default();
        Self {
            id,
            host: Host { number, engine, reports: ReportQueue::default() },
            skew: 0,
            agent: Agent::default(),
        }
    }

    /// Forgets all that the agent knew and had under way.
    pub(super) fn crash(&mut self) {
        self.agent = Agent::default();
        self.host.reports = ReportQueue::default();
    }

    pub(super) fn wall(&self, now: Timestamp) -> Timestamp {
        Timestamp(now.0.saturating_add(self.skew))
    }

    /// Returns when the node does something although nobody asks.
    pub(super) fn next_event(&self, now: Timestamp) -> Option<Timestamp> {
        let agent = &self.agent;
        let mut times = vec![agent.report_at];
        times.extend(agent.workers.values().filter_map(Worker::next_event));
        times.extend(agent.events.iter().map(|(at, _)| *at));
        times.extend(self.host.engine.next_event(now));
        if self.host.engine.stirred || !agent.discarded.is_empty() {
            times.push(agent.resync_at);
        }
        times.into_iter().filter(|at| *at > now).min()
    }

    /// Takes statuses to hand over, one batch at a time.
    pub(super) fn send(&mut self, now: Timestamp) -> Option<Vec<(TaskId, TaskStatus)>> {
        if self.agent.sent.is_some() || self.agent.report_at > now {
            return None;
        }
        let batch = self.host.reports.take();
        if batch.is_empty() {
            return None;
        }
        self.agent.sent = Some(batch.clone());
        Some(batch)
    }

    /// Tells whether statuses were handed over whose fate is not known yet.
    pub(super) fn is_reporting(&self) -> bool {
        self.agent.sent.is_some()
    }

    /// Tells the agent what became of the statuses it handed over; those that may not have got through it keeps.
    pub(super) fn answer(&mut self, got_through: bool, retry_at: Timestamp) {
        let Some(batch) = self.agent.sent.take() else { return };
        if !got_through {
            self.host.reports.put_back(batch);
            self.agent.report_at = retry_at;
        }
    }

    /// Looks at everything once and acts on it.
    pub(super) fn tick(&mut self, around: &mut Surroundings) -> Deeds {
        let mut deeds = Deeds::default();
        let mut changed = false;
        if let Some(newest) = around.assigned.take() {
            changed = self.agent.assigned.as_ref().is_none_or(|held| !Arc::ptr_eq(held, &newest));
            self.agent.assigned = Some(newest);
        }
        if self.host.engine.is_down(around.now) {
            return deeds;
        }
        let Some(assigned) = self.agent.assigned.clone() else { return deeds };
        let life = self.host.engine.lives;
        if self.agent.connected != Some(life) {
            self.agent.connected = Some(life);
            self.connect(&assigned, around, &mut deeds);
        } else if changed {
            self.sync_workers(&assigned, &BTreeMap::new());
            self.collect_networks(&assigned);
        }
        self.hear(around, &mut deeds);
        if self.agent.resync_at <= around.now && around.bug != Some(PlantedBug::NeverCompares) {
            self.resync(&assigned, around);
        }
        self.let_work(&assigned, around, &mut deeds);
        self.discard(around, &mut deeds);
        deeds
    }

    fn connect(&mut self, assigned: &Assigned, around: &Surroundings, deeds: &mut Deeds) {
        deeds.acted = true;
        self.agent.events.clear();
        self.host.engine.take_events();
        let found = self.host.engine.list();
        if around.bug == Some(PlantedBug::NoAdoption) && self.agent.workers.is_empty() {
            // Whatever is found goes, and each task begins anew.
            for container in &found {
                let task = container.task.clone().filter(|_| container.running);
                self.host.engine.end(&container.container, 143, around.now);
                self.host.engine.remove(&container.container);
                deeds.stopped.extend(task.map(Stopped::unknown));
            }
        }
        let adopt = recover(assigned, &self.host.engine.list()).adopt;
        deeds.adopted += adopt.len() as u64;
        self.resync(assigned, around);
        self.sync_workers(assigned, &adopt);
        self.agent.workers.values_mut().for_each(Worker::wake);
    }

    fn sync_workers(&mut self, assigned: &Assigned, adopt: &BTreeMap<TaskId, String>) {
        for (id, worker) in &mut self.agent.workers {
            worker.tell(assigned.tasks.get(id));
        }
        for (id, task) in &assigned.tasks {
            if !self.agent.workers.contains_key(id) {
                let worker = Worker::new(task, adopt.get(id).cloned());
                self.agent.workers.insert(id.clone(), worker);
            }
        }
    }

    /// Lets events of the engine come: once, twice, late or never.
    fn hear(&mut self, around: &mut Surroundings, deeds: &mut Deeds) {
        for task in self.host.engine.take_events() {
            if around.hits(around.faults.lost_events, 10) {
                continue;
            }
            let late = around.hits(around.faults.lost_events, 15);
            let delay = if late { around.random.millis(2000) } else { Duration::ZERO };
            self.agent.events.push((around.now.after(delay), task.clone()));
            if around.hits(around.faults.lost_events, 10) {
                self.agent.events.push((around.now.after(around.random.millis(500)), task));
            }
        }
        let due = |(at, _): &(Timestamp, TaskId)| *at <= around.now;
        let (come, later) = std::mem::take(&mut self.agent.events).into_iter().partition(due);
        self.agent.events = later;
        let come: Vec<(Timestamp, TaskId)> = come;
        for (_, task) in come {
            if let Some(worker) = self.agent.workers.get_mut(&task) {
                worker.wake();
                deeds.acted = true;
            }
        }
    }

    fn resync(&mut self, assigned: &Assigned, around: &Surroundings) {
        self.agent.resync_at = around.now.after(RESYNC);
        self.host.engine.stirred = false;
        let sights: BTreeMap<TaskId, Sight> =
            self.agent.workers.iter().map(|(id, worker)| (id.clone(), worker.sight)).collect();
        let found = self.host.engine.list();
        let files: Vec<TaskId> = self.host.engine.files.iter().cloned().collect();
        for task in stale_files(assigned, &sights, &found, files) {
            self.host.engine.files.remove(&task);
        }
        let comparison = compare(assigned, &sights, &found);
        for task in &comparison.look {
            if let Some(worker) = self.agent.workers.get_mut(task) {
                worker.wake();
            }
        }
        let discard = comparison.discard.into_iter().map(|found| found.container);
        self.agent.discarded.extend(discard);
        self.collect_networks(assigned);
    }

    fn collect_networks(&mut self, assigned: &Assigned) {
        let needed = needed_networks(assigned, &self.id);
        let surplus: Vec<_> = self.host.engine.networks.difference(&needed).cloned().collect();
        for network in surplus {
            self.host.engine.remove_network(&network);
        }
    }

    fn let_work(&mut self, assigned: &Assigned, around: &mut Surroundings, deeds: &mut Deeds) {
        let mut ended = Vec::new();
        for (id, worker) in &mut self.agent.workers {
            if worker.is_dismissed() && around.bug == Some(PlantedBug::LeavesBehind) {
                ended.push(id.clone());
                continue;
            }
            match worker.tick(&mut self.host, around, deeds) {
                Outcome::Rests => {}
                Outcome::Acted => deeds.acted = true,
                Outcome::Ended => ended.push(id.clone()),
                Outcome::Crashed => {
                    deeds.crashed = true;
                    return;
                }
            }
        }
        if !ended.is_empty() {
            deeds.acted = true;
            self.agent.workers.retain(|id, _| !ended.contains(id));
            self.sync_workers(assigned, &BTreeMap::new());
            self.collect_networks(assigned);
        }
    }

    /// Stops and removes what belongs to no assigned task.
    fn discard(&mut self, around: &mut Surroundings, deeds: &mut Deeds) {
        for id in std::mem::take(&mut self.agent.discarded) {
            let refused = around.hits(around.faults.refusals, 20);
            if refused || around.bug == Some(PlantedBug::LeavesBehind) {
                self.host.engine.stirred |= refused;
                continue;
            }
            deeds.acted = true;
            let engine = &mut self.host.engine;
            let held = engine.containers().find(|held| held.id == id).map(|it| it.task.clone());
            let Some(task) = held else { continue };
            if engine.is_running(&id) {
                deeds.stopped.push(Stopped::unknown(task.clone()));
            }
            engine.end(&id, 143, around.now);
            engine.remove(&id);
            let assigned = self.agent.assigned.as_ref();
            if assigned.is_none_or(|assigned| !assigned.tasks.contains_key(&task)) {
                engine.files.remove(&task);
            }
        }
    }
}
