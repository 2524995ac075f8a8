//! Tables and properties of the step function.

use proptest::prelude::*;

use super::*;

fn task(desired: TaskState, state: TaskState, message: &str) -> Task {
    let status = TaskStatus { state, message: message.to_owned(), ..TaskStatus::default() };
    Task { desired, status, ..Task::default() }
}

fn running(health: Health) -> Container {
    Container::Running { health }
}

fn exited(code: i64, error: &str, health: Health) -> Container {
    Container::Exited { code, error: error.to_owned(), health }
}

fn words(step: &Step) -> String {
    match step {
        Step::Report(progress) => {
            format!("{} [{}] {}", progress.state.as_str(), progress.message, progress.error)
        }
        Step::Prepare
        | Step::Start
        | Step::AwaitHealthy
        | Step::Stop
        | Step::Remove
        | Step::Wait
        | Step::Done => format!("{step:?}"),
    }
}

/// Runs a task against a container that obeys, until nothing is left to do.
fn history(desired: TaskState, mut container: Container, ran: &Container) -> Vec<String> {
    let mut task = task(desired, TaskState::Assigned, "");
    let mut lines = Vec::new();
    for _ in 0..20 {
        let next = step(&task, &Observed { container: container.clone(), failure: None });
        lines.push(words(&next));
        match next {
            Step::Prepare => container = Container::Created,
            Step::Start => container = ran.clone(),
            Step::Stop => container = exited(137, "", health_of(&container)),
            Step::Remove => container = Container::Absent,
            Step::Report(progress) => {
                task.status = progress.status(Timestamp(1), None, Vec::new());
            }
            Step::AwaitHealthy | Step::Wait | Step::Done => break,
        }
    }
    lines
}

fn health_of(container: &Container) -> Health {
    match container {
        Container::Running { health } | Container::Exited { health, .. } => *health,
        Container::Absent | Container::Created => Health::Unchecked,
    }
}

#[test]
fn a_life() {
    let lines = history(TaskState::Running, Container::Absent, &running(Health::Unchecked));
    let expect = [
        "accepted [accepted] ",
        "preparing [preparing] ",
        "Prepare",
        "ready [prepared] ",
        "starting [starting] ",
        "Start",
        "running [started] ",
        "Wait",
    ];
    assert_eq!(lines, expect);
}

#[test]
fn held_back_it_stops_at_ready() {
    let lines = history(TaskState::Ready, Container::Absent, &running(Health::Unchecked));
    assert_eq!(lines.last().map(String::as_str), Some("Wait"));
    assert!(!lines.contains(&"Start".to_owned()), "{lines:?}");
}

#[test]
fn ends() {
    let cases = [
        (exited(0, "", Health::Unchecked), "complete [finished] "),
        (exited(3, "", Health::Unchecked), "failed [started] task: non-zero exit (3)"),
        (exited(1, "boom", Health::Healthy), "failed [starting] task: non-zero exit (1): boom"),
        (
            running(Health::Unhealthy),
            "failed [starting] task: non-zero exit (137): dockerexec: unhealthy container",
        ),
        (exited(0, "", Health::Unhealthy), "failed [starting] dockerexec: unhealthy container"),
        (Container::Absent, "failed [starting] dockerexec: container destroyed"),
    ];
    for (ran, expect) in cases {
        let lines = history(TaskState::Running, Container::Absent, &ran);
        assert_eq!(lines[lines.len() - 2], expect, "{lines:?}");
        assert_eq!(lines[lines.len() - 1], "Done");
    }
}

#[test]
fn single_steps() {
    use TaskState::{Failed, Preparing, Remove, Running, Shutdown, Starting};
    let failed = |text: &str| Some(text.to_owned());
    let unhealthy = exited(137, "", Health::Unhealthy);
    let cases = [
        (Running, Running, running(Health::Unhealthy), None, "Stop"),
        (
            Running,
            Running,
            unhealthy,
            None,
            "failed [m] task: non-zero exit (137): dockerexec: unhealthy container",
        ),
        (Running, Starting, running(Health::Starting), None, "AwaitHealthy"),
        (Running, Running, Container::Absent, None, "failed [m] dockerexec: container destroyed"),
        (
            Running,
            Preparing,
            Container::Absent,
            failed("No such image: x"),
            "rejected [m] No such image: x",
        ),
        (Running, Starting, Container::Created, failed("no"), "failed [m] no"),
        (Running, Failed, running(Health::Unchecked), None, "Stop"),
        (Shutdown, Running, running(Health::Unchecked), None, "Stop"),
        (Shutdown, Running, exited(0, "", Health::Unchecked), None, "shutdown [shutdown] "),
        (Shutdown, Shutdown, exited(0, "", Health::Unchecked), None, "Done"),
        (Remove, Shutdown, exited(0, "", Health::Unchecked), None, "Remove"),
        (Remove, Shutdown, Container::Absent, None, "Done"),
        (Remove, TaskState::Assigned, Container::Absent, None, "shutdown [shutdown] "),
    ];
    for (desired, state, container, failure, expect) in cases {
        let found = step(&task(desired, state, "m"), &Observed { container, failure });
        assert_eq!(words(&found), expect, "desired {desired:?} state {state:?}");
    }
}

fn any_container() -> impl Strategy<Value = Container> {
    let health = prop::sample::select(vec![
        Health::Unchecked,
        Health::Starting,
        Health::Healthy,
        Health::Unhealthy,
    ]);
    (0..4u8, -1..3i64, health).prop_map(|(kind, code, health)| match kind {
        0 => Container::Absent,
        1 => Container::Created,
        2 => running(health),
        _ => exited(code, "", health),
    })
}

proptest! {
    #[test]
    fn states_only_go_on(
        desired in prop::sample::select(TaskState::ALL.to_vec()),
        state in prop::sample::select(TaskState::ALL.to_vec()),
        container in any_container(),
        failure in prop::option::of("[a-z]{1,5}"),
    ) {
        let task = task(desired, state, "m");
        match step(&task, &Observed { container: container.clone(), failure }) {
            Step::Report(progress) => {
                prop_assert!(progress.state > state);
                prop_assert!(!state.is_terminal());
            }
            Step::Start => {
                prop_assert_eq!(container, Container::Created);
                prop_assert!(desired < TaskState::Shutdown && state == TaskState::Starting);
            }
            Step::Prepare => {
                prop_assert_eq!(container, Container::Absent);
                prop_assert!(state <= TaskState::Ready);
            }
            Step::Stop => {
                let runs = matches!(container, Container::Running { .. });
                prop_assert!(runs);
            }
            Step::Remove => prop_assert!(state.is_terminal() && desired >= TaskState::Remove),
            Step::AwaitHealthy | Step::Wait | Step::Done => {}
        }
    }

    /// Whatever the container does, reports and obedience lead to rest.
    #[test]
    fn it_comes_to_rest(ran in any_container(), first in any_container()) {
        // An engine that says it started a container has done so.
        prop_assume!(ran != Container::Created);
        for desired in [TaskState::Running, TaskState::Shutdown, TaskState::Remove] {
            prop_assert!(history(desired, first.clone(), &ran).len() < 16);
        }
    }
}
