//! What goes wrong, by kinds that can be switched: crashes, dying containers, engines that restart, clocks that jump.

use std::time::Duration;

use super::invariants::Broken;
use super::world::World;
use crate::time::Timestamp;

/// Kinds of things that may go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// Daemons crash: between two writes, around a write, around a call of the engine.
    pub crashes: bool,
    /// Containers are killed, stopped, restarted and removed by users.
    pub users: bool,
    /// Engines restart; their containers live on or die.
    pub engine_restarts: bool,
    /// Events of the engine are lost, come late or twice.
    pub lost_events: bool,
    /// Pulls take long.
    pub slow_pulls: bool,
    /// Pulls fail.
    pub pull_failures: bool,
    /// The engine refuses what it is asked, for now or for good.
    pub refusals: bool,
    /// The engine does what it is asked, and the answer is lost.
    pub timeouts: bool,
    /// Health checks of containers fail for a while.
    pub sickness: bool,
    /// Clocks of machines are set, forward and back.
    pub clock_jumps: bool,
    /// Statuses come once more, when newer ones are there.
    pub stale_reports: bool,
    /// The manager's disk is full for a while.
    pub full_disk: bool,
    /// Nodes lose contact with the managers for a while.
    pub silence: bool,
}

impl Faults {
    /// Everything that can go wrong.
    pub const ALL: Self = Self {
        crashes: true,
        users: true,
        engine_restarts: true,
        lost_events: true,
        slow_pulls: true,
        pull_failures: true,
        refusals: true,
        timeouts: true,
        sickness: true,
        clock_jumps: true,
        stale_reports: true,
        full_disk: true,
        silence: true,
    };

    /// A world in which nothing goes wrong.
    pub const NONE: Self = Self {
        crashes: false,
        users: false,
        engine_restarts: false,
        lost_events: false,
        slow_pulls: false,
        pull_failures: false,
        refusals: false,
        timeouts: false,
        sickness: false,
        clock_jumps: false,
        stale_reports: false,
        full_disk: false,
        silence: false,
    };
}

impl World {
    /// Lets something go wrong.
    pub(super) fn go_wrong(&mut self) -> Result<(), Broken> {
        let faults = self.faults;
        match self.random.below(100) {
            0..20 if faults.crashes => self.crash_manager()?,
            20..30 if faults.crashes => self.crash_agent(),
            30..55 if faults.users => self.meddle(),
            55..63 if faults.engine_restarts => self.restart_engine(),
            63..70 if faults.sickness => self.sicken(),
            70..80 if faults.clock_jumps => self.jump_clock(),
            80..87 if faults.full_disk => {
                self.full_until = self.now.after(self.random.millis(3000));
            }
            87..100 if faults.silence => self.cut_off(),
            _ => {}
        }
        Ok(())
    }

    fn pick_node(&mut self) -> usize {
        let count = self.nodes.len() as u64;
        usize::try_from(self.random.below(count)).unwrap_or(0)
    }

    /// Lets a user do something to a container, or to the images.
    fn meddle(&mut self) {
        let node = self.pick_node();
        let now = self.now;
        let engine = &mut self.nodes[node].host.engine;
        let running: Vec<String> = engine.running().map(|it| it.id.clone()).collect();
        let all: Vec<String> = engine.containers().map(|it| it.id.clone()).collect();
        let (Some(one), Some(any)) = (self.random.pick(&running), self.random.pick(&all)) else {
            return engine.prune_images();
        };
        match self.random.below(10) {
            0..3 => engine.end(&one, 137, now),
            3..5 => engine.end(&one, 0, now),
            5..7 => engine.vanish(&one),
            7 => engine.vanish(&any),
            8 => engine.revive(&any, now, &mut self.random),
            _ => engine.prune_images(),
        }
    }

    fn restart_engine(&mut self) {
        let node = self.pick_node();
        let back_at = self.now.after(self.random.millis(4000));
        let kill = self.random.percent(50);
        self.nodes[node].host.engine.restart(self.now, back_at, kill);
    }

    fn sicken(&mut self) {
        let node = self.pick_node();
        let until = self.now.after(self.random.millis(4000));
        let engine = &mut self.nodes[node].host.engine;
        let running: Vec<String> = engine.running().map(|it| it.id.clone()).collect();
        if let Some(id) = self.random.pick(&running) {
            engine.sicken(&id, until);
        }
    }

    /// Crashes the agent of another node than the manager's, whose agent crashes with it.
    fn crash_agent(&mut self) {
        let node = self.pick_node();
        if node != 0 {
            let long = self.random.percent(30);
            let away_ms = if long { 20_000 } else { 500 };
            self.crash_node(node, away_ms);
        }
    }

    /// Lets a worker and the managers no longer reach each other, for a moment or until it counts as down.
    fn cut_off(&mut self) {
        let node = self.pick_node();
        if node != 0 {
            let long = self.random.percent(40);
            let away_ms = if long { 30_000 } else { 2000 };
            self.nodes[node].cut_until = self.now.after(self.random.millis(away_ms));
            self.nodes[node].answer(false, Timestamp::default());
        }
    }

    /// Sets the clock of a machine, mostly by little. The true time goes on.
    fn jump_clock(&mut self) {
        let node = self.pick_node();
        let bound_ms = if self.random.percent(20) { 7_200_000 } else { 60_000 };
        let jump = self.random.millis(bound_ms) + Duration::from_millis(1);
        let jump = i64::try_from(jump.as_nanos()).unwrap_or(0);
        let back = self.random.percent(50);
        self.nodes[node].skew += if back { -jump } else { jump };
    }
}
