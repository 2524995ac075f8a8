//! Applies a command to the state. Total: a bad command is rejected, never a panic.

mod cluster;
mod network;
mod node;
mod plan;
mod secret;
mod service;
mod task;

pub(super) use network::held_subnets;
pub(super) use task::is_desirable;

use super::{Action, Applied, Event, Rejected, State};
use crate::command::{Command, Proposal};
use crate::model::{Kind, Meta};
use crate::time::Timestamp;

/// One log entry being carried out.
pub(super) struct Write {
    index: u64,
    at: Timestamp,
    events: Vec<Event>,
}

impl Write {
    fn new(index: u64, at: Timestamp) -> Self {
        Self { index, at, events: Vec::new() }
    }

    /// Returns the version and times of an object made by this entry.
    fn made(&self) -> Meta {
        Meta {
            version: self.index,
            created_version: self.index,
            created_at: self.at,
            updated_at: self.at,
        }
    }

    /// Marks an object as changed by this entry.
    fn touch(&self, meta: &mut Meta) {
        meta.version = self.index;
        meta.updated_at = self.at;
    }

    /// Notes what API clients are to be told.
    fn tell(&mut self, kind: Kind, action: Action, id: &impl ToString, name: &str) {
        self.events.push(Event::plain(self.at, kind, action, id.to_string(), name));
    }
}

fn not_found(kind: Kind, id: &impl ToString) -> Rejected {
    Rejected::NotFound { kind, reference: id.to_string() }
}

fn check_version(found: Meta, named: u64) -> Result<(), Rejected> {
    if found.version == named { Ok(()) } else { Err(Rejected::OutOfSequence) }
}

impl State {
    /// Carries out the log entry at `index`, or rejects it and changes nothing but the index.
    ///
    /// # Errors
    /// Says why the command was not carried out.
    pub fn apply(&mut self, index: u64, proposal: &Proposal) -> Result<Applied, Rejected> {
        if index <= self.index {
            return Err(Rejected::Malformed("the log went back"));
        }
        self.index = index;
        let mut write = Write::new(index, proposal.at);
        // A copy costs a few reference counts and makes every command all or nothing.
        let mut next = self.clone();
        next.carry_out(&mut write, &proposal.command)?;
        *self = next;
        Ok(Applied { events: write.events })
    }

    fn carry_out(&mut self, write: &mut Write, command: &Command) -> Result<(), Rejected> {
        let founds = matches!(command, Command::CreateCluster { .. });
        if founds != self.cluster.is_none() {
            return Err(Rejected::WrongPhase);
        }
        match command {
            Command::CreateCluster { cluster, node, networks } => {
                self.create_cluster(write, cluster, node, networks)
            }
            Command::UpdateCluster { version, .. } => {
                self.update_cluster(write, *version, |cluster| cluster::change(cluster, command))
            }
            Command::FinishRotation { public_key, tokens } => {
                self.finish_rotation(write, public_key, tokens)
            }
            Command::UpdateNode { id, version, spec } => {
                self.update_node(write, id, *version, spec)
            }
            Command::RemoveNode { id, force } => self.remove_node(write, id, *force),
            Command::AdmitNode { id, role, availability, request } => {
                self.admit_node(write, id, *role, *availability, request)
            }
            Command::RenewNode { id, request } => self.renew_node(write, id, request),
            Command::RegisterNode { id, description, addr, agent, restarted } => {
                self.register_node(write, id, description, addr, agent, *restarted)
            }
            Command::JudgeNodes { verdicts } => {
                self.judge_nodes(write, verdicts);
                Ok(())
            }
            Command::ReportNode { id, description, status, manager } => {
                self.note_node(write, id, description.as_deref(), status.as_ref(), manager.as_ref())
            }
            Command::CreateService { id, spec } => self.create_service(write, id, spec),
            Command::UpdateService { id, version, rollback: true, .. } => {
                self.roll_back_service(write, id, *version)
            }
            Command::UpdateService { id, version, spec, rollback: false, auth_from } => {
                self.update_service(write, id, *version, spec, *auth_from)
            }
            Command::RemoveService { id } => self.remove_service(write, id),
            Command::CreateSecret { id, spec } => self.create_secret(write, id, spec),
            Command::UpdateSecret { id, version, spec } => {
                self.update_secret(write, id, *version, spec)
            }
            Command::RemoveSecret { id } => self.remove_secret(write, id),
            Command::CreateConfig { id, spec } => self.create_config(write, id, spec),
            Command::UpdateConfig { id, version, spec } => {
                self.update_config(write, id, *version, spec)
            }
            Command::RemoveConfig { id } => self.remove_config(write, id),
            Command::CreateNetwork { id, spec } => self.create_network(write, id, spec),
            Command::RemoveNetwork { id } => self.remove_network(write, id),
            Command::Attach { id, node, container, network } => {
                self.attach(write, id, node, container, network)
            }
            Command::Detach { id } => self.detach(id),
            Command::ReportTasks { node, statuses } => {
                self.report_tasks(write, node, statuses);
                Ok(())
            }
            Command::Plan { based_on, changes } => self.carry_out_plan(write, *based_on, changes),
        }
    }

    fn check_name(&self, kind: Kind, name: &str) -> Result<(), Rejected> {
        if self.name_taken(kind, name) {
            return Err(Rejected::NameTaken { kind, name: name.to_owned() });
        }
        Ok(())
    }
}
