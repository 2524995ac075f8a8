//! Which task a name of a container means. Looks at the state alone.

use std::sync::Arc;

use skep_core::id::{ID_LEN, NodeId, TaskId};
use skep_core::model::service::{Runtime, Slot};
use skep_core::model::task::{Task, TaskState};
use skep_core::state::State;

/// Shortest beginning of an id that counts. Words of a few letters that begin an id by chance must not reach a container of
/// another host.
const PREFIX_MIN: usize = 6;

/// Length of a container's id, and of what the CLI shows of it.
const CONTAINER_ID_LENGTHS: [usize; 2] = [64, 12];

/// What a name means.
#[derive(Debug, PartialEq)]
pub(super) enum Found<'a> {
    /// No task's container.
    Nothing,
    /// The container of a task.
    Task {
        /// The task.
        task: &'a Arc<Task>,
        /// Whether the task's engine knows the container by this name too.
        is_own_name: bool,
    },
    /// Beginnings of so many ids.
    Several(usize),
}

/// Finds the task by its id, its container's id or the beginning of either, by name (`service.slot.task`), or by the slot
/// (`service.slot`), of which the newest task that runs is meant.
pub(super) fn find<'a>(state: &'a State, reference: &str) -> Found<'a> {
    let reference = reference.strip_prefix('/').unwrap_or(reference);
    let by_id = |id: &str| {
        let id: TaskId = id.parse().ok()?;
        state.tasks().get(&id).filter(|task| has_container(task))
    };
    if let Some(task) = by_id(reference) {
        return Found::Task { task, is_own_name: false };
    }
    if let Some((place, last)) = reference.rsplit_once('.') {
        if let Some(task) = by_id(last).filter(|task| task.name() == reference) {
            return Found::Task { task, is_own_name: true };
        }
        if let Some(task) = of_slot(state, place, last) {
            return Found::Task { task, is_own_name: false };
        }
    }
    if reference.len() < PREFIX_MIN { Found::Nothing } else { by_beginning(state, reference) }
}

fn by_beginning<'a>(state: &'a State, reference: &str) -> Found<'a> {
    let is_hex = is_hex(reference);
    let of_container = |task: &Task| {
        let held = task.status.container.as_ref();
        is_hex && held.is_some_and(|held| held.id.starts_with(reference))
    };
    let tasks = state.tasks().values().filter(|task| has_container(task));
    let mut matches = tasks
        .map(|task| (task, of_container(task)))
        .filter(|(task, own)| *own || task.id.as_str().starts_with(reference));
    let Some((task, is_own_name)) = matches.next() else { return Found::Nothing };
    match matches.count() {
        0 => Found::Task { task, is_own_name },
        more => Found::Several(more + 1),
    }
}

fn of_slot<'a>(state: &'a State, service: &str, slot: &str) -> Option<&'a Arc<Task>> {
    let slot = match (slot.parse::<u64>(), slot.parse::<NodeId>()) {
        (Ok(number), _) => Slot::Number(number),
        (_, Ok(node)) => Slot::Node(node),
        (Err(_), Err(_)) => return None,
    };
    let service = state.find_service(service).ok().filter(|it| it.spec.annotations.name == service);
    let tasks = state.service_tasks(&service?.id);
    let tasks = tasks.filter(|task| task.slot == slot && has_container(task));
    tasks.max_by_key(|task| {
        let runs = task.status.state == TaskState::Running;
        let is_wanted = task.desired == TaskState::Running;
        (runs, is_wanted, !task.status.state.is_terminal(), task.meta.created_at, task.id.clone())
    })
}

/// Tells whether the cluster makes a container for a task, on a node that is known.
fn has_container(task: &Task) -> bool {
    task.node.is_some() && matches!(task.spec.runtime, Runtime::Container(_))
}

/// Tells whether a name has the form of a task's, or of its container's id.
pub(super) fn may_be_of_task(reference: &str) -> bool {
    let reference = reference.strip_prefix('/').unwrap_or(reference);
    let last = reference.rsplit_once('.').map_or(reference, |(_, last)| last);
    let is_id = last.len() == ID_LEN && last.parse::<TaskId>().is_ok();
    is_id || (is_hex(reference) && CONTAINER_ID_LENGTHS.contains(&reference.len()))
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}
