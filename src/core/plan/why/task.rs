//! What there is to say about a task: what it waits for, how it ended, what comes after it. Explains no placement.

use std::sync::Arc;

use super::{Fact, TaskWhy, span};
use crate::model::service::Service;
use crate::model::task::{Hold, Task, TaskState};
use crate::plan::draft::Draft;
use crate::plan::is_dirty;
use crate::plan::restart::refusal;
use crate::plan::slots::{is_wanted, may_run, newest, slots_of};

pub(super) fn explain(draft: &Draft, task: &Task) -> TaskWhy {
    let node = task.node.as_ref().map(|id| {
        let host = draft.state.nodes().get(id).map(|node| node.description.hostname.clone());
        host.filter(|name| !name.is_empty()).unwrap_or_else(|| id.to_string())
    });
    TaskWhy {
        id: task.id.clone(),
        name: task.name(),
        desired: task.desired,
        state: task.status.state,
        node,
        facts: facts(draft, task),
    }
}

fn facts(draft: &Draft, task: &Task) -> Vec<Fact> {
    let mut facts = vec![now(draft, task)];
    if !task.status.error.is_empty() {
        facts.push(Fact::new(format!("error: {}", task.status.error)));
    }
    let service = task.service.as_ref().and_then(|id| draft.state.services().get(id)).cloned();
    if let Some(hold) = &task.hold {
        facts.extend(held(draft, hold));
    }
    for reason in draft.reasons() {
        if reason.task.as_ref() == Some(&task.id) && reason.text != task.status.error {
            facts.push(Fact::new(format!("waits: {}", reason.text)));
        }
    }
    if let Some(service) = &service {
        facts.extend(around(draft, service, task));
    }
    facts
}

fn now(draft: &Draft, task: &Task) -> Fact {
    let age = span(draft.now.since(task.status.at));
    let message = &task.status.message;
    Fact::new(match task.status.state {
        TaskState::New => format!("waits for addresses and ports, for {age}"),
        TaskState::Pending => format!("waits for a node, for {age}"),
        TaskState::Assigned => format!("waits for its node to take it, for {age}"),
        TaskState::Accepted => format!("taken by its node, for {age}"),
        TaskState::Preparing => format!(
            "preparing for {age}: its node pulls the image and makes networks, files and the container"
        ),
        TaskState::Ready if task.desired <= TaskState::Ready => {
            format!("ready for {age}: its container is made and waits for its turn to start")
        }
        TaskState::Ready => format!("ready for {age}: its container is made"),
        TaskState::Starting if has_health_check(task) => format!(
            "starting for {age}: it counts as running once its health check passes for the first time"
        ),
        TaskState::Starting => format!("starting for {age}: its container starts"),
        TaskState::Running => format!("runs, for {age}"),
        TaskState::Complete | TaskState::Shutdown | TaskState::Failed | TaskState::Rejected => {
            let code = task.status.container.as_ref().map(|container| container.exit_code);
            let code = code.map(|code| format!(", exit code {code}")).unwrap_or_default();
            format!("{} {age} ago: {message}{code}", task.status.state.as_str())
        }
        TaskState::Remove | TaskState::Orphaned => format!("lost with its node {age} ago"),
    })
}

/// A check of the image is not known here.
fn has_health_check(task: &Task) -> bool {
    let check = task.spec.container().and_then(|spec| spec.healthcheck.as_ref());
    check.is_some_and(|check| check.test.first().is_some_and(|word| word != "NONE"))
}

fn held(draft: &Draft, hold: &Hold) -> Vec<Fact> {
    let mut facts = Vec::new();
    if hold.until > draft.now {
        let wait = span(hold.until.since(draft.now));
        facts.push(Fact::until(format!("starts in {wait}, after the restart delay"), hold.until));
    }
    let old = hold.after.as_ref().and_then(|id| draft.state.tasks().get(id));
    if let Some(old) = old.filter(|old| may_run(&draft.state, old)) {
        let wait = span(hold.give_up_at.since(draft.now));
        let text = format!(
            "waits for the end of task {}, which is {}, for another {wait} at the most",
            old.name(),
            old.status.state.as_str()
        );
        facts.push(Fact::until(text, hold.give_up_at));
    }
    facts
}

/// What went before and what comes after, in the task's slot.
fn around(draft: &Draft, service: &Service, task: &Task) -> Vec<Fact> {
    let mut facts = Vec::new();
    let slots = slots_of(&draft.state, &service.id);
    let others: Vec<Arc<Task>> = slots
        .get(&task.slot)
        .into_iter()
        .flatten()
        .filter(|other| other.id != task.id)
        .cloned()
        .collect();
    if !is_wanted(task) {
        facts.push(Fact::new(match newest(&others).filter(|other| is_wanted(other)) {
            Some(successor) => format!("replaced by task {}", successor.name()),
            None if !task.status.state.is_terminal() => "was told to stop".to_owned(),
            None => match refusal(service, task) {
                Some(refusal) => format!("not replaced: {refusal}"),
                None => "not replaced: nothing is wanted in its slot".to_owned(),
            },
        }));
        return facts;
    }
    let node = task.node.as_ref().and_then(|id| draft.state.nodes().get(id));
    if is_dirty(service, task, node.map(Arc::as_ref)) {
        facts.push(Fact::new(
            "outdated: the service's spec has changed since; the update replaces it",
        ));
    }
    let failed =
        |other: &&Arc<Task>| matches!(other.status.state, TaskState::Failed | TaskState::Rejected);
    let before: Vec<Arc<Task>> = others.iter().filter(failed).cloned().collect();
    if task.status.state < TaskState::Running
        && let Some(last) = newest(&before)
    {
        let ago = span(draft.now.since(last.status.at));
        facts.push(Fact::new(format!(
            "the task before it, {}, {} {ago} ago: {}",
            last.name(),
            last.status.state.as_str(),
            last.status.error
        )));
    }
    facts
}
