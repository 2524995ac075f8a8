//! What there is to say about a service: how many tasks, its update, its restarts, its addresses. Explains no single task.

use std::sync::Arc;
use std::time::Duration;

use super::{Fact, ServiceWhy, span};
use crate::model::service::{
    FailureAction, RestartCondition, RestartPolicy, Service, ServiceMode, Slot, UpdateConfig,
    UpdateOrder, UpdateState, UpdateStatus,
};
use crate::plan::draft::Draft;
use crate::plan::is_dirty;
use crate::plan::slots::{is_satisfied, is_wanted, slots_of};
use crate::state::query::service_status;

pub(super) fn explain(draft: &Draft, service: &Service) -> ServiceWhy {
    let mut facts = vec![Fact::new(count(draft, service))];
    if let Some(container) = service.spec.task.container() {
        facts.push(Fact::new(format!("image {}", container.image)));
    }
    facts.extend(restart(service));
    facts.extend(update(draft, service));
    for reason in draft.reasons() {
        if reason.service.as_ref() == Some(&service.id) && reason.task.is_none() {
            facts.push(Fact::new(format!("waits: {}", reason.text)));
        }
    }
    ServiceWhy { id: service.id.clone(), name: service.spec.annotations.name.clone(), facts }
}

fn count(draft: &Draft, service: &Service) -> String {
    let (running, wanted, completed) = service_status(&draft.state, service);
    match service.spec.mode {
        ServiceMode::Replicated { .. } => {
            let slots = slots_of(&draft.state, &service.id);
            let filled = slots.values().filter(|tasks| is_satisfied(service, tasks)).count();
            let rest = if (filled as u64) < wanted {
                format!("; {filled} have a task, the others get one as those come to run")
            } else {
                String::new()
            };
            format!("replicated: {wanted} wanted, {running} running{rest}")
        }
        ServiceMode::Global => {
            format!("global, one task a node that fits: {wanted} wanted, {running} running")
        }
        ServiceMode::ReplicatedJob { max_concurrent, total_completions } => format!(
            "replicated job: {completed} of {total_completions} completed, {running} running, \
             {max_concurrent} at once at the most"
        ),
        ServiceMode::GlobalJob => format!(
            "global job, once on each node that fits: {completed} completed, {running} running, {wanted} to go"
        ),
    }
}

fn restart(service: &Service) -> Vec<Fact> {
    let default = RestartPolicy::default();
    let policy = service.spec.task.restart.as_ref().unwrap_or(&default);
    let condition = match policy.condition {
        RestartCondition::Any => "whatever their end",
        RestartCondition::OnFailure => "on failure",
        RestartCondition::None => "never",
    };
    let delay = span(policy.delay.unwrap_or(Duration::from_secs(5)));
    let mut text = format!("tasks are replaced {condition}, after {delay}");
    if policy.max_attempts > 0 {
        text.push_str(&format!(", {} times at the most", policy.max_attempts));
        if let Some(window) = policy.window.filter(|window| !window.is_zero()) {
            text.push_str(&format!(" within {}", span(window)));
        }
    }
    let mut facts = vec![Fact::new(text)];
    for (slot, history) in &service.restarts {
        if policy.max_attempts > 0 && history.spec_version == service.spec_version {
            let slot = match slot {
                Slot::Number(number) => format!("slot {number}"),
                Slot::Node(node) => format!("node {node}"),
            };
            facts.push(Fact::new(format!(
                "{slot}: replaced {} of {} times",
                history.attempts, policy.max_attempts
            )));
        }
    }
    facts
}

fn update(draft: &Draft, service: &Service) -> Vec<Fact> {
    let Some(status) = &service.update_status else { return Vec::new() };
    let (config, what) = match status.state {
        UpdateState::RollbackStarted | UpdateState::RollbackPaused => {
            (service.spec.rollback, "rollback")
        }
        UpdateState::RollbackCompleted => (None, "rollback"),
        UpdateState::Completed => (None, "update"),
        UpdateState::Updating | UpdateState::Paused => (service.spec.update, "update"),
    };
    let mut facts = vec![Fact::new(format!("{what}: {}", status.message))];
    match status.state {
        UpdateState::Completed | UpdateState::RollbackCompleted => {}
        UpdateState::Paused | UpdateState::RollbackPaused => facts.push(Fact::new(
            "it goes on with the next `docker service update` or goes back with `docker service rollback`",
        )),
        UpdateState::Updating | UpdateState::RollbackStarted => {
            let config = config.unwrap_or(UpdateConfig { parallelism: 1, ..UpdateConfig::default() });
            facts.push(Fact::new(pace(&config)));
            facts.extend(progress(draft, service, status, &config));
        }
    }
    facts
}

fn pace(config: &UpdateConfig) -> String {
    let at_once = match config.parallelism {
        0 => "all slots at once".to_owned(),
        1 => "1 slot at a time".to_owned(),
        some => format!("{some} slots at a time"),
    };
    let order = match config.order {
        UpdateOrder::StopFirst => "the old task stops first",
        UpdateOrder::StartFirst => "the new task starts first",
    };
    let failure = match config.failure_action {
        FailureAction::Pause => "pauses",
        FailureAction::Continue => "goes on",
        FailureAction::Rollback => "goes back",
    };
    let monitor = span(config.monitor.unwrap_or(Duration::from_secs(5)));
    format!(
        "{at_once}, {order}, {} between slots; each new task is watched for {monitor}; \
         when more than {} of them fail it {failure}",
        span(config.delay),
        config.max_failure_ratio
    )
}

fn progress(
    draft: &Draft,
    service: &Service,
    status: &UpdateStatus,
    config: &UpdateConfig,
) -> Vec<Fact> {
    let outdated = draft.state.service_tasks(&service.id).filter(|task| {
        let node = task.node.as_ref().and_then(|id| draft.state.nodes().get(id));
        is_wanted(task) && is_dirty(service, task, node.map(Arc::as_ref))
    });
    let outdated = outdated.count();
    let Some(progress) = &service.progress else {
        return vec![Fact::new(format!("{outdated} tasks are outdated"))];
    };
    let up = progress.slots.values().filter(|slot| slot.running_at.is_some()).count();
    let mut facts = vec![Fact::new(format!(
        "{} of {} slots begun, {up} of them up, {} failed early; {outdated} tasks are outdated",
        progress.slots.len(),
        progress.dirty_slots,
        progress.failed.len()
    ))];
    for entry in progress.slots.values() {
        let free_at = entry.running_at.map(|at| at.after(config.delay));
        if let Some(at) = free_at.filter(|at| *at > draft.now) {
            let text = format!("waits {} before the next slot", span(at.since(draft.now)));
            facts.push(Fact::until(text, at));
        }
    }
    if let Some(done) = progress.slots_done_at {
        let monitor = config.monitor.unwrap_or(Duration::from_secs(5));
        let at = done.after(monitor);
        facts.push(Fact::until("all slots are done; the last ones are being watched", at));
    }
    if let Some(started) = status.started_at {
        facts.push(Fact::new(format!("under way for {}", span(draft.now.since(started)))));
    }
    facts
}
