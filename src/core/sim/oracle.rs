//! Remembers what users were promised. Knows nothing of how it is kept.

use std::collections::BTreeMap;

use crate::command::Command;
use crate::model::Kind;
use crate::state::State;

/// An object by kind and id.
type Key = (Kind, String);

/// What is known of an object from the answers users got.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Promise {
    /// It is there, and was last written at this index or later.
    There(u64),
    /// It is gone.
    Gone,
}

/// The promises.
#[derive(Default)]
pub(super) struct Oracle {
    promises: BTreeMap<Key, Promise>,
    /// When each object was last written, by whomever.
    written: BTreeMap<Key, u64>,
    /// The newest entry that anybody was told of, or saw.
    floor: u64,
}

impl Oracle {
    /// Notes that a user was told of the success of a command.
    pub(super) fn acknowledge(&mut self, index: u64, command: &Command) {
        self.saw(index);
        let Some((key, removed)) = object(command) else { return };
        // Somebody else may have written since, and not have been told yet, or never.
        if self.written.get(&key).is_none_or(|written| *written <= index) {
            let promise = if removed { Promise::Gone } else { Promise::There(index) };
            self.promises.insert(key, promise);
        }
    }

    /// Notes that a command was carried out, whether or not anybody is told.
    pub(super) fn commit(&mut self, index: u64, command: &Command) {
        if let Some((key, _)) = object(command) {
            self.promises.remove(&key);
            self.written.insert(key, index);
        }
    }

    /// Notes that a user saw a state.
    pub(super) fn saw(&mut self, index: u64) {
        self.floor = self.floor.max(index);
    }

    /// Returns what every read that begins now has to see.
    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    /// Returns a promise that is broken.
    pub(super) fn broken(&self, state: &State) -> Option<String> {
        self.promises.iter().find_map(|((kind, id), promise)| {
            let found = version(state, *kind, id);
            let kept = match promise {
                Promise::There(index) => found.is_some_and(|version| version >= *index),
                Promise::Gone => found.is_none(),
            };
            (!kept).then(|| format!("{kind} {id}: promised {promise:?}, found {found:?}"))
        })
    }
}

/// Returns the object that a user's command makes, changes or removes.
fn object(command: &Command) -> Option<(Key, bool)> {
    let (kind, id, removed) = match command {
        Command::CreateService { id, .. } | Command::UpdateService { id, .. } => {
            (Kind::Service, id.to_string(), false)
        }
        Command::RemoveService { id } => (Kind::Service, id.to_string(), true),
        Command::CreateSecret { id, .. } | Command::UpdateSecret { id, .. } => {
            (Kind::Secret, id.to_string(), false)
        }
        Command::RemoveSecret { id } => (Kind::Secret, id.to_string(), true),
        Command::CreateConfig { id, .. } | Command::UpdateConfig { id, .. } => {
            (Kind::Config, id.to_string(), false)
        }
        Command::RemoveConfig { id } => (Kind::Config, id.to_string(), true),
        Command::CreateNetwork { id, .. } => (Kind::Network, id.to_string(), false),
        Command::RemoveNetwork { id } => (Kind::Network, id.to_string(), true),
        Command::UpdateNode { id, .. } => (Kind::Node, id.to_string(), false),
        Command::RemoveNode { id, .. } => (Kind::Node, id.to_string(), true),
        Command::CreateCluster { .. }
        | Command::UpdateCluster { .. }
        | Command::FinishRotation { .. }
        | Command::AdmitNode { .. }
        | Command::RenewNode { .. }
        | Command::RegisterNode { .. }
        | Command::JudgeNodes { .. }
        | Command::ReportNode { .. }
        | Command::Attach { .. }
        | Command::Detach { .. }
        | Command::ReportTasks { .. }
        | Command::Plan { .. } => return None,
    };
    Some(((kind, id), removed))
}

/// Returns the index of the last write of an object: for services that of their spec, which only users write.
fn version(state: &State, kind: Kind, id: &str) -> Option<u64> {
    let id = id.parse::<crate::id::ServiceId>().ok()?;
    let text = id.as_str();
    match kind {
        Kind::Service => state.services().get(&id).map(|service| service.spec_version),
        Kind::Secret => {
            find(state.secrets().values(), text, |it| (it.id.as_str(), it.meta.version))
        }
        Kind::Config => {
            find(state.configs().values(), text, |it| (it.id.as_str(), it.meta.version))
        }
        Kind::Network => {
            find(state.networks().values(), text, |it| (it.id.as_str(), it.meta.version))
        }
        Kind::Node => find(state.nodes().values(), text, |it| (it.id.as_str(), it.meta.version)),
        Kind::Cluster | Kind::Task => None,
    }
}

fn find<'a, T: 'a>(
    mut objects: impl Iterator<Item = &'a T>,
    id: &str,
    describe: impl Fn(&T) -> (&str, u64),
) -> Option<u64> {
    objects.find(|object| describe(object).0 == id).map(|object| describe(object).1)
}
