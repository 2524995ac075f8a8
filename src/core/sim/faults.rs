//! What goes wrong: crashes, dying containers, engines that restart, clocks that jump.

use std::time::Duration;

use super::world::World;
use crate::command::Command;
use crate::model::node::{NodeState, NodeStatus};
use crate::time::Timestamp;

impl World {
    /// Lets something go wrong.
    pub(super) fn go_wrong(&mut self) -> Result<(), super::invariants::Broken> {
        match self.random.below(100) {
            0..25 => self.crash_manager()?,
            25..45 => self.kill_container(false),
            45..55 => self.kill_container(true),
            55..65 => self.restart_engine(),
            65..85 => self.crash_agent(),
            _ => self.jump_clock(),
        }
        Ok(())
    }

    fn pick_node(&mut self) -> usize {
        let count = self.nodes.len() as u64;
        usize::try_from(self.random.below(count)).unwrap_or(0)
    }

    /// Ends a container behind everybody's back, or lets it vanish.
    fn kill_container(&mut self, vanish: bool) {
        let node = self.pick_node();
        let engine = &mut self.nodes[node].engine;
        let running: Vec<String> = engine.running().map(|it| it.id.clone()).collect();
        if let Some(id) = self.random.pick(&running) {
            let engine = &mut self.nodes[node].engine;
            if vanish {
                engine.vanish(&id);
            } else {
                engine.end(&id, 137);
            }
        }
    }

    fn restart_engine(&mut self) {
        let node = self.pick_node();
        let back_at = self.now.after(self.random.millis(4000));
        let kill = self.random.percent(50);
        self.nodes[node].engine.restart(back_at, kill);
    }

    /// Crashes the agent of another node than the manager's; if it is away for long, the node counts as down.
    fn crash_agent(&mut self) {
        let node = self.pick_node();
        if node == 0 {
            return;
        }
        let long = self.random.percent(30);
        let away = if long { Duration::from_secs(10) } else { self.random.millis(500) };
        let back_at = self.now.after(away);
        self.nodes[node].crash(back_at);
        self.crashes += 1;
        if long {
            self.report_node(node, NodeState::Down);
        }
    }

    /// Lets the nodes that are back be ready again.
    pub(super) fn welcome_back(&mut self) {
        for node in 0..self.nodes.len() {
            let id = self.nodes[node].id.clone();
            let state = self.state.nodes().get(&id).map(|node| node.status.state);
            if !self.nodes[node].is_away(self.now) && state == Some(NodeState::Down) {
                self.report_node(node, NodeState::Ready);
            }
        }
    }

    fn report_node(&mut self, node: usize, state: NodeState) {
        let status = Some(NodeStatus { state, ..NodeStatus::default() });
        let id = self.nodes[node].id.clone();
        self.propose(Command::ReportNode { id, description: None, status, manager: None }, false);
    }

    /// Sets the clock of the machines; the time in the log never goes back.
    fn jump_clock(&mut self) {
        if self.random.percent(50) {
            self.now = self.now.after(self.random.millis(120_000));
        } else {
            let back = i64::try_from(self.random.below(20_000_000_000)).unwrap_or(0);
            self.now = Timestamp(self.now.0 - back);
        }
    }
}
