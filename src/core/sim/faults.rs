//! What goes wrong, by kinds that can be switched: crashes, dying containers, engines that restart, clocks that jump, links that
//! are cut.

use std::collections::BTreeSet;
use std::time::Duration;

use super::invariants::Broken;
use super::machine::Timer;
use super::world::World;

/// Kinds of things that may go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// Processes crash: at any time, around a write, around a call of the engine.
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
    /// A manager's disk is full for a while.
    pub full_disk: bool,
    /// Links are cut for a while: of one machine, between two sides, in one direction, or made slow.
    pub cuts: bool,
    /// Single messages get lost, come late, twice or in another order.
    pub loss: bool,
    /// Processes do not run for a while.
    pub pauses: bool,
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
        cuts: true,
        loss: true,
        pauses: true,
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
        cuts: false,
        loss: false,
        pauses: false,
    };
}

impl World {
    /// Lets something go wrong.
    pub(super) fn go_wrong(&mut self) -> Result<(), Broken> {
        let faults = self.faults;
        match self.random.below(100) {
            0..20 if faults.crashes => self.crash_one(),
            20..25 if faults.crashes => self.crash_all(),
            25..48 if faults.users => self.meddle(),
            48..55 if faults.engine_restarts => self.restart_engine(),
            55..61 if faults.sickness => self.sicken(),
            61..69 if faults.clock_jumps => self.jump_clock(),
            69..74 if faults.full_disk => {
                let place = self.pick_machine();
                let until = self.now.after(self.random.millis(4000));
                self.machines[place].full_until = until;
                self.trouble(place, until);
            }
            74..80 if faults.pauses => self.pause_one(),
            80..100 if faults.cuts => self.cut_links(),
            _ => {}
        }
        Ok(())
    }

    fn pick_machine(&mut self) -> usize {
        let count = self.machines.len() as u64;
        usize::try_from(self.random.below(count)).unwrap_or(0)
    }

    /// Picks whoever leads, as often as not.
    fn pick_victim(&mut self) -> usize {
        let leads = |place: &usize| {
            let manager = self.machines[*place].manager.as_ref();
            manager.is_some_and(|manager| manager.ready.is_some())
        };
        let leader = (0..self.machines.len()).find(leads);
        match leader {
            Some(leader) if self.random.percent(40) => leader,
            Some(_) | None => self.pick_machine(),
        }
    }

    fn trouble(&mut self, place: usize, until: crate::time::Timestamp) {
        let machine = &mut self.machines[place];
        machine.trouble_until = machine.trouble_until.max(until);
    }

    fn crash_one(&mut self) {
        let place = self.pick_victim();
        let long = self.random.percent(30);
        if self.machines[place].is_up {
            self.crash(place, if long { 20_000 } else { 500 });
        }
    }

    /// Crashes every process at once, as when the power fails.
    fn crash_all(&mut self) {
        for place in 0..self.machines.len() {
            if self.machines[place].is_up {
                self.crash(place, 3000);
            }
        }
    }

    fn pause_one(&mut self) {
        let place = self.pick_victim();
        let long = self.random.percent(40);
        if self.machines[place].is_up {
            self.pause(place, if long { 30_000 } else { 3000 });
        }
    }

    /// Lets a process not run for a while; what it is sent waits for it.
    pub(super) fn pause(&mut self, place: usize, bound_ms: u64) {
        let until = self.now.after(self.random.millis(bound_ms));
        let machine = &mut self.machines[place];
        // Were a pause to grow, what waits for its end would be overtaken by what comes later.
        if machine.paused_until > self.now {
            return;
        }
        machine.paused_until = until;
        machine.trouble_since = self.now;
        self.trouble(place, until);
    }

    /// Cuts links, for a moment or until nodes count as down.
    fn cut_links(&mut self) {
        let long = self.random.percent(40);
        let until = self.now.after(self.random.millis(if long { 30_000 } else { 2000 }));
        let all: BTreeSet<usize> = (0..self.machines.len()).collect();
        let victim = self.pick_victim();
        let (one, rest): (BTreeSet<usize>, BTreeSet<usize>) = match self.random.below(10) {
            // One machine alone.
            0..4 => (BTreeSet::from([victim]), &all - &BTreeSet::from([victim])),
            // Two sides, each with some of all.
            4..7 => all.iter().partition(|_| self.random.percent(50)),
            // A manager is cut from all that manage nothing.
            7..8 => {
                let workers = all.iter().filter(|place| !self.machines[**place].manages());
                (BTreeSet::from([victim]), workers.copied().filter(|it| *it != victim).collect())
            }
            8..9 => return self.net.slow_down(victim, until),
            // A single pair.
            _ => (BTreeSet::from([victim]), BTreeSet::from([self.pick_machine()])),
        };
        let one_way = self.random.percent(30);
        if !one_way || self.random.percent(50) {
            self.net.cut(one.clone(), rest.clone(), (self.now, until));
        }
        if !one_way {
            self.net.cut(rest, one, (self.now, until));
        }
    }

    /// Lets a user do something to a container, or to the images.
    fn meddle(&mut self) {
        let place = self.pick_machine();
        let now = self.now;
        self.arm(place, Timer::Agent, now);
        let engine = &mut self.machines[place].node.host.engine;
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
        let place = self.pick_machine();
        let back_at = self.now.after(self.random.millis(4000));
        let kill = self.random.percent(50);
        self.machines[place].node.host.engine.restart(self.now, back_at, kill);
        self.arm(place, Timer::Agent, back_at);
    }

    fn sicken(&mut self) {
        let place = self.pick_machine();
        let until = self.now.after(self.random.millis(4000));
        self.arm(place, Timer::Agent, self.now);
        let engine = &mut self.machines[place].node.host.engine;
        let running: Vec<String> = engine.running().map(|it| it.id.clone()).collect();
        if let Some(id) = self.random.pick(&running) {
            engine.sicken(&id, until);
        }
    }

    /// Sets the clock of a machine, mostly by little. The true time goes on.
    fn jump_clock(&mut self) {
        let place = self.pick_machine();
        let bound_ms = if self.random.percent(20) { 7_200_000 } else { 60_000 };
        let jump = self.random.millis(bound_ms) + Duration::from_millis(1);
        let jump = i64::try_from(jump.as_nanos()).unwrap_or(0);
        let back = self.random.percent(50);
        self.machines[place].node.skew += if back { -jump } else { jump };
    }
}
