//! The world: machines, links and a true time, all moved on by one seed, one event after the other.

use std::collections::BTreeMap;
use std::time::Duration;

use super::faults::Faults;
use super::invariants::{Broken, Invariants};
use super::ledger::Ledger;
use super::machine::{Machine, Timer};
use super::net::{Message, Net};
use super::oracle::Oracle;
use super::random::Random;
use super::{Report, Settings, Violation};
use crate::command::Command;
use crate::time::Timestamp;

/// Something that happens.
enum Event {
    /// A user asks for something, or something goes wrong.
    Act,
    Deliver {
        from: usize,
        to: usize,
        message: Box<Message>,
    },
    Timer {
        place: usize,
        life: u64,
        timer: Timer,
    },
    /// Statuses that were on their way for long.
    Late(Box<Command>),
}

pub(super) struct World {
    seed: u64,
    pub(super) settings: Settings,
    pub(super) random: Random,
    /// The true time; the clocks of machines may be wrong.
    pub(super) now: Timestamp,
    queue: BTreeMap<(Timestamp, u64), Event>,
    queued: u64,
    pub(super) machines: Vec<Machine>,
    pub(super) net: Net,
    pub(super) ledger: Ledger,
    pub(super) oracle: Oracle,
    pub(super) invariants: Invariants,
    /// What goes wrong at present.
    pub(super) faults: Faults,
    pub(super) report: Report,
    /// What users and faults did so far.
    event: u64,
    pub(super) next_ticket: u64,
    pub(super) next_member: u64,
    /// When anything of substance last happened.
    pub(super) moved_at: Timestamp,
    /// When a node last became a manager or none.
    pub(super) turned_at: Timestamp,
    pub(super) bug_done: bool,
}

impl World {
    pub(super) fn new(seed: u64, settings: Settings) -> Self {
        let now = Timestamp::from_secs(1_700_000_000);
        let mut world = Self {
            seed,
            settings,
            random: Random::new(seed),
            now,
            queue: BTreeMap::new(),
            queued: 0,
            machines: Vec::new(),
            net: Net::new(settings.faults.loss),
            ledger: Ledger::default(),
            oracle: Oracle::default(),
            invariants: Invariants::default(),
            faults: settings.faults,
            report: Report::default(),
            event: 0,
            next_ticket: 0,
            next_member: 0,
            moved_at: now,
            turned_at: now,
            bug_done: false,
        };
        world.found();
        world
    }

    /// Lives through both phases.
    pub(super) fn live(mut self) -> Result<Report, Violation> {
        let outcome = self.suffer().and_then(|()| self.come_to_rest());
        self.report.entries = self.ledger.last_index();
        match outcome {
            Ok(()) => Ok(self.report),
            Err((invariant, detail)) => {
                Err(Violation { seed: self.seed, event: self.event, invariant, detail })
            }
        }
    }

    fn suffer(&mut self) -> Result<(), Broken> {
        self.queue_act();
        while self.event < self.settings.events {
            self.step()?;
        }
        Ok(())
    }

    fn queue_act(&mut self) {
        let gap = match self.random.below(10) {
            0..6 => self.random.millis(300),
            6..9 => self.random.millis(2500),
            _ => self.random.millis(8000),
        };
        self.queue(self.now.after(gap), Event::Act);
    }

    fn queue(&mut self, at: Timestamp, event: Event) {
        self.queued += 1;
        self.queue.insert((at.max(self.now), self.queued), event);
    }

    /// Wakes a process at a time, or sooner if that was asked for.
    pub(super) fn arm(&mut self, place: usize, timer: Timer, at: Timestamp) {
        // What is due already comes now: a time that is past never does.
        let at = at.max(self.now);
        let machine = &mut self.machines[place];
        if matches!(timer, Timer::Call(_))
            || machine.timers.get(&timer).is_none_or(|held| at < *held)
        {
            machine.timers.insert(timer, at);
            let life = machine.life;
            self.queue(at, Event::Timer { place, life, timer });
        }
    }

    /// Wakes a process at a time and not before.
    pub(super) fn rearm(&mut self, place: usize, timer: Timer, at: Timestamp) {
        let at = at.max(self.now);
        if self.machines[place].timers.get(&timer) != Some(&at) {
            self.machines[place].timers.remove(&timer);
            self.arm(place, timer, at);
        }
    }

    /// Puts statuses that are on their way for long aside.
    pub(super) fn delay_report(&mut self, command: Command) {
        let at = self.now.after(self.random.millis(5000));
        self.queue(at, Event::Late(Box::new(command)));
    }

    /// Says something to another machine.
    pub(super) fn send(&mut self, from: usize, to: usize, message: Message) {
        let times = self.net.carry((from, to), &message, self.now, &mut self.random);
        for at in times {
            self.queue(at, Event::Deliver { from, to, message: Box::new(message.clone()) });
        }
    }

    /// Lets the next thing happen.
    pub(super) fn step(&mut self) -> Result<(), Broken> {
        let Some(((at, _), event)) = self.queue.pop_first() else {
            return Err(("the world goes on", "nothing happens any more".to_owned()));
        };
        self.now = at;
        match event {
            Event::Act => {
                self.event += 1;
                self.act()?;
                self.queue_act();
                Ok(())
            }
            Event::Deliver { from, to, message } => {
                let machine = &self.machines[to];
                if machine.is_up && machine.paused_until > at {
                    let until = machine.paused_until;
                    self.queue(until, Event::Deliver { from, to, message });
                    return Ok(());
                }
                if machine.is_up { self.deliver(from, to, *message) } else { Ok(()) }
            }
            Event::Timer { place, life, timer } => self.timer(place, life, timer, at),
            Event::Late(command) => {
                self.report_late(*command);
                Ok(())
            }
        }
    }

    fn timer(
        &mut self,
        place: usize,
        life: u64,
        timer: Timer,
        at: Timestamp,
    ) -> Result<(), Broken> {
        let machine = &mut self.machines[place];
        let paused_until = machine.paused_until;
        if machine.life == life && paused_until > at && machine.timers.contains_key(&timer) {
            if machine.timers.get(&timer) == Some(&at) {
                machine.timers.insert(timer, paused_until);
                self.queue(paused_until, Event::Timer { place, life, timer });
            }
            return Ok(());
        }
        if machine.life != life || machine.timers.get(&timer) != Some(&at) {
            return Ok(());
        }
        machine.timers.remove(&timer);
        self.wake(place, timer)
    }

    fn act(&mut self) -> Result<(), Broken> {
        // What remains after the faults have ended is only users' doing.
        if self.event > self.settings.events {
            return Ok(());
        }
        if self.random.percent(70) {
            self.ask();
            Ok(())
        } else {
            self.go_wrong()
        }
    }

    fn wake(&mut self, place: usize, timer: Timer) -> Result<(), Broken> {
        match timer {
            Timer::Start => self.start(place),
            Timer::Agent => self.tick_node(place),
            Timer::Consensus => self.consensus_timer(place),
            Timer::Sync => self.synced(place),
            Timer::Lead => self.lead(place),
            Timer::Propose => {
                self.propose_plan(place);
                Ok(())
            }
            Timer::Judge => self.judge(place),
            Timer::Roster => self.look_at_roster(place),
            Timer::Settle => {
                self.see_to_place(place);
                Ok(())
            }
            Timer::Link => {
                self.link_timer(place);
                Ok(())
            }
            Timer::Call(ticket) => self.call_timer(place, ticket),
            Timer::CatchUp => {
                self.catch_up(place);
                Ok(())
            }
        }
    }

    /// Runs for a while.
    pub(super) fn run_for(&mut self, time: Duration) -> Result<(), Broken> {
        let until = self.now.after(time);
        while self.queue.first_key_value().is_some_and(|((at, _), _)| *at <= until) {
            self.step()?;
        }
        self.now = until;
        Ok(())
    }
}
