//! Each command, what it does and what it refuses.

use std::sync::Arc;

use super::fixture::*;
use crate::command::{AuthFrom, Change, Command, NewTask, ServicePatch, TaskPatch};
use crate::model::container::ConfigReference;
use crate::model::node::{ManagerStatus, NodeSpec, NodeState, NodeStatus, Role};
use crate::model::secret::{ConfigSpec, SecretSpec};
use crate::model::service::{
    Endpoint, JobStatus, PublishMode, ServiceMode, ServiceSpec, Slot, UpdateProgress, UpdateState,
    UpdateStatus,
};
use crate::model::task::{TaskNetwork, TaskState, TaskStatus};
use crate::model::{Kind, Sensitive};
use crate::state::{Action, Rejected, State};
use crate::time::Timestamp;

fn secret(name: &str, data: &[u8]) -> Box<SecretSpec> {
    Box::new(SecretSpec {
        annotations: named(name),
        data: Sensitive(data.to_vec()),
        ..SecretSpec::default()
    })
}

fn config(name: &str, data: &[u8]) -> Box<ConfigSpec> {
    Box::new(ConfigSpec {
        annotations: named(name),
        data: Sensitive(data.to_vec()),
        ..ConfigSpec::default()
    })
}

pub(super) fn update(world: &World, number: u64, spec: ServiceSpec) -> Command {
    Command::UpdateService {
        id: service_id(number),
        version: world.state.services()[&service_id(number)].meta.version,
        spec: Box::new(spec),
        rollback: false,
        auth_from: AuthFrom::Spec,
    }
}

fn roll_back(world: &World, number: u64) -> Command {
    Command::UpdateService {
        id: service_id(number),
        version: world.state.services()[&service_id(number)].meta.version,
        spec: Box::default(),
        rollback: true,
        auth_from: AuthFrom::Spec,
    }
}

pub(super) fn patch(task: TaskPatch) -> Change {
    Change::PatchTask(Box::new(task))
}

fn status(state: TaskState) -> TaskStatus {
    TaskStatus { state, ..TaskStatus::default() }
}

#[test]
fn nothing_but_a_cluster_can_be_made_first_and_only_once() {
    let mut world = World { state: State::default() };
    assert_eq!(world.create_service(0, replicated("web", 1)), Err(Rejected::WrongPhase));
    let mut world = World::new();
    let again = Command::CreateCluster {
        cluster: Box::default(),
        node: Box::default(),
        networks: Vec::new(),
    };
    assert_eq!(world.apply(again), Err(Rejected::WrongPhase));
    assert_eq!(world.cluster().meta.version, 1);
}

#[test]
fn the_log_never_goes_back() {
    let mut world = World::new();
    let before = world.state.clone();
    let proposal = crate::Proposal {
        at: Timestamp::default(),
        command: Command::CreateService { id: service_id(0), spec: Box::default() },
    };
    assert!(matches!(world.state.apply(1, &proposal), Err(Rejected::Malformed(_))));
    assert_eq!(world.state, before);
}

#[test]
fn names_are_unique_without_regard_to_case() {
    let mut world = World::new();
    world.create_service(0, replicated("web", 1)).expect("free");
    let taken = |kind, name: &str| Err(Rejected::NameTaken { kind, name: name.to_owned() });
    assert_eq!(world.create_service(1, replicated("WEB", 1)), taken(Kind::Service, "WEB"));
    world.must(Command::CreateSecret { id: secret_id(0), spec: secret("web", b"x") });
    let second = Command::CreateSecret { id: secret_id(1), spec: secret("Web", b"x") };
    assert_eq!(world.apply(second), taken(Kind::Secret, "Web"));
    world.must(Command::RemoveService { id: service_id(0) });
    world.create_service(1, replicated("WEB", 1)).expect("free again");
}

#[test]
fn an_update_clears_the_status_and_keeps_the_old_spec_and_credentials() {
    let mut world = World::new();
    let mut spec = replicated("web", 1);
    Arc::make_mut(&mut spec.task).registry_auth = Sensitive(b"auth".to_vec());
    world.create_service(0, spec.clone()).expect("free");
    let change = ServicePatch {
        id: service_id(0),
        update_status: Some(UpdateStatus::default()),
        progress: Some(Some(UpdateProgress::default())),
        ..ServicePatch::default()
    };
    let told = world.plan(vec![Change::PatchService(Box::new(change))]).expect("fresh");
    assert_eq!(told.events[0].attributes["updatestate.new"], "updating");
    let applied = world.must(update(&world, 0, replicated("web", 3)));
    let service = &world.state.services()[&service_id(0)];
    assert_eq!(service.previous_spec.as_deref(), Some(&spec));
    assert_eq!(service.spec.task.registry_auth, Sensitive(b"auth".to_vec()));
    assert!(Arc::ptr_eq(
        &service.spec.task,
        &service.previous_spec.as_ref().expect("updated").task
    ));
    assert_eq!((&service.update_status, &service.progress), (&None, &None));
    assert_eq!((service.meta.version, service.spec_version), (4, 4));
    assert_eq!(service.meta.created_at, Timestamp::from_secs(2));
    assert_eq!(service.meta.updated_at, Timestamp::from_secs(4));
    let attributes = &applied.events[0].attributes;
    assert_eq!(attributes["replicas.old"], "1");
    assert_eq!(attributes["replicas.new"], "3");
    assert_eq!(attributes.len(), 3, "{attributes:?}");
}

#[test]
fn updates_that_a_service_refuses() {
    let mut world = World::new();
    world.create_service(0, replicated("web", 1)).expect("free");
    let stale = update(&world, 0, replicated("web", 2));
    assert_eq!(world.apply(update(&world, 0, replicated("other", 1))), Err(Rejected::Rename));
    let global = ServiceSpec { mode: ServiceMode::Global, ..replicated("web", 1) };
    assert_eq!(world.apply(update(&world, 0, global)), Err(Rejected::ModeChange));
    let id = service_id(0).to_string();
    let none = Err(Rejected::NoPreviousSpec { id });
    assert_eq!(world.apply(roll_back(&world, 0)), none);
    world.must(stale.clone());
    assert_eq!(world.apply(stale), Err(Rejected::OutOfSequence));
    let gone =
        Err(Rejected::NotFound { kind: Kind::Service, reference: service_id(9).to_string() });
    assert_eq!(world.apply(Command::RemoveService { id: service_id(9) }), gone);
}

#[test]
fn a_rollback_swaps_the_specs_and_an_automatic_one_forgets() {
    let mut world = World::new();
    world.create_service(0, replicated("web", 1)).expect("free");
    world.must(update(&world, 0, replicated("web", 2)));
    world.must(roll_back(&world, 0));
    let service = world.state.services()[&service_id(0)].clone();
    assert_eq!(*service.spec, replicated("web", 1));
    assert_eq!(service.previous_spec.as_deref(), Some(&replicated("web", 2)));
    let shown = service.update_status.clone().expect("a rollback shows");
    assert_eq!(shown.state, UpdateState::RollbackStarted);
    assert_eq!(shown.message, "manually requested rollback");
    assert_eq!(shown.started_at, None);
    let back = ServicePatch { id: service_id(0), roll_back: true, ..ServicePatch::default() };
    world.plan(vec![Change::PatchService(Box::new(back.clone()))]).expect("fresh");
    let service = &world.state.services()[&service_id(0)];
    assert_eq!(*service.spec, replicated("web", 2));
    assert_eq!((&service.previous_spec, service.spec_version), (&None, world.state.index()));
    let again = world.plan(vec![Change::PatchService(Box::new(back))]);
    assert!(matches!(again, Err(Rejected::Malformed(_))));
}

#[test]
fn a_job_counts_its_runs() {
    let mut world = World::new();
    let job = ServiceSpec { mode: ServiceMode::GlobalJob, ..replicated("job", 1) };
    world.create_service(0, job.clone()).expect("free");
    let run = |world: &World| world.state.services()[&service_id(0)].job;
    let began = |iteration, seconds| {
        Some(JobStatus { iteration, last_execution: Timestamp::from_secs(seconds) })
    };
    assert_eq!(run(&world), began(0, 2));
    world.must(update(&world, 0, job));
    assert_eq!(run(&world), began(1, 3));
    let new = NewTask {
        id: task_id(0),
        service: service_id(0),
        slot: Slot::Node(node_id(0)),
        desired: TaskState::Complete,
        hold: None,
    };
    world.plan(vec![Change::CreateTask(new)]).expect("fresh");
    let task = &world.state.tasks()[&task_id(0)];
    assert_eq!((task.job_iteration, &task.node), (Some(1), &Some(node_id(0))));
    assert_eq!((task.status.state, task.status.message.as_str()), (TaskState::New, "created"));
}

#[test]
fn published_ports_conflict_by_mode() {
    use PublishMode::{Host, Ingress};
    for (first, second, refused) in [
        (Ingress, Ingress, Some(false)),
        (Ingress, Host, Some(false)),
        (Host, Ingress, Some(true)),
        (Host, Host, None),
    ] {
        let mut world = World::new();
        world.create_service(0, publishing("a", 80, first)).expect("free");
        let got = world.create_service(1, publishing("b", 80, second));
        let want = refused.map(|host_mode| Rejected::PortTaken {
            port: 80,
            name: "a".to_owned(),
            id: service_id(0).to_string(),
            host_mode,
        });
        assert_eq!(got.err(), want, "{first:?} {second:?}");
        // "Any" conflicts with nothing.
        world.create_service(2, publishing("c", 0, second)).expect("free");
    }
}

#[test]
fn references_must_exist_under_their_name_and_block_removal() {
    let mut world = World::new();
    world.must(Command::CreateSecret { id: secret_id(0), spec: secret("key", b"x") });
    world.must(Command::CreateConfig { id: config_id(0), spec: config("conf", b"x") });
    let missing = world.create_service(0, mounting("web", secret_id(0), "other"));
    let names = vec!["other".to_owned()];
    assert_eq!(missing, Err(Rejected::ReferencesMissing { kind: Kind::Secret, names }));
    world.create_service(0, mounting("web", secret_id(0), "key")).expect("the secret exists");
    let remove = Command::RemoveSecret { id: secret_id(0) };
    let in_use = Rejected::InUse {
        kind: Kind::Secret,
        name: "key".to_owned(),
        users: vec!["web".to_owned()],
    };
    assert_eq!(world.apply(remove.clone()), Err(in_use));
    let with_config = with_container(replicated("web", 1), |container| {
        let name = "conf".to_owned();
        container.configs = vec![ConfigReference { id: config_id(0), name, file: None }];
    });
    world.must(update(&world, 0, with_config));
    let config_in_use = world.apply(Command::RemoveConfig { id: config_id(0) });
    assert!(matches!(config_in_use, Err(Rejected::InUse { kind: Kind::Config, .. })));
    // The previous spec does not keep a secret, and its absence does not keep a user from going back to it.
    world.must(remove);
    world.must(roll_back(&world, 0));
}

#[test]
fn what_planners_note_does_not_make_a_read_spec_stale() {
    let mut world = World::new();
    world.create_service(0, replicated("web", 1)).expect("free");
    let read = update(&world, 0, replicated("web", 2));
    let noted = ServicePatch {
        id: service_id(0),
        endpoint: Some(Endpoint::default()),
        ..ServicePatch::default()
    };
    let based_on = world.state.index();
    world.must(Command::Plan { based_on, changes: vec![Change::PatchService(Box::new(noted))] });
    world.must(read.clone());
    assert_eq!(world.apply(read), Err(Rejected::OutOfSequence));
}

#[test]
fn only_labels_of_secrets_change() {
    let mut world = World::new();
    world.must(Command::CreateSecret { id: secret_id(0), spec: secret("key", b"x") });
    let mut version = 2;
    for (name, data, expect) in [
        ("key", &b""[..], Ok(())),
        ("key", b"x", Ok(())),
        ("key", b"y", Err(Rejected::OnlyLabels)),
        ("other", b"", Err(Rejected::OnlyLabels)),
    ] {
        let spec = secret(name, data);
        let got = world.apply(Command::UpdateSecret { id: secret_id(0), version, spec });
        assert_eq!(got.map(|_| ()), expect, "{name}");
        version = world.state.secrets()[&secret_id(0)].meta.version;
    }
    assert_eq!(world.state.secrets()[&secret_id(0)].spec.data, Sensitive(b"x".to_vec()));
    let stale = Command::UpdateSecret { id: secret_id(0), version: 1, spec: secret("key", b"") };
    assert_eq!(world.apply(stale), Err(Rejected::OutOfSequence));
}

#[test]
fn the_last_manager_stays() {
    let mut world = World::new();
    let demote = |world: &World, number| Command::UpdateNode {
        id: node_id(number),
        version: world.state.nodes()[&node_id(number)].meta.version,
        spec: NodeSpec::default(),
    };
    assert_eq!(world.apply(demote(&world, 0)), Err(Rejected::LastManager));
    world.add_node(1, Role::Manager);
    world.must(demote(&world, 1));
    assert_eq!(world.apply(demote(&world, 0)), Err(Rejected::LastManager));
    let manager = Err(Rejected::NodeIsManager { id: node_id(1).to_string() });
    let remove = |force| Command::RemoveNode { id: node_id(1), force };
    world.must(Command::ReportNode {
        id: node_id(1),
        description: None,
        status: None,
        manager: Some(ManagerStatus { raft_id: 2, ..ManagerStatus::default() }),
    });
    assert_eq!(world.apply(remove(true)), manager);
    world.plan(vec![Change::SetRole { id: node_id(1), role: Role::Worker }]).expect("fresh");
    world.must(remove(false));
}

#[test]
fn a_removed_node_loses_its_tasks_and_a_ready_one_stays() {
    let mut world = World::new();
    world.create_service(0, replicated("web", 1)).expect("free");
    world.create_task(1, 0);
    world.add_node(1, Role::Worker);
    let ready = NodeStatus { state: NodeState::Ready, ..NodeStatus::default() };
    let report = Command::ReportNode {
        id: node_id(1),
        description: None,
        status: Some(ready),
        manager: None,
    };
    let applied = world.must(report.clone());
    assert_eq!(applied.events[0].attributes["state.new"], "ready");
    let version = world.state.nodes()[&node_id(1)].meta.version;
    assert_eq!(world.must(report).events, Vec::new(), "nothing new");
    assert_eq!(world.state.nodes()[&node_id(1)].meta.version, version);
    let bind = TaskPatch {
        id: task_id(1),
        node: Some(node_id(1)),
        status: Some(status(TaskState::Running)),
        ..TaskPatch::default()
    };
    world.plan(vec![patch(bind)]).expect("fresh");
    let refused = Err(Rejected::NodeNotDown { id: node_id(1).to_string() });
    assert_eq!(world.apply(Command::RemoveNode { id: node_id(1), force: false }), refused);
    world.must(Command::RemoveNode { id: node_id(1), force: true });
    let lost = &world.state.tasks()[&task_id(1)].status;
    assert_eq!(lost.state, TaskState::Orphaned);
    assert_eq!(lost.message, "Task belonged to a node that has been deleted");
}

#[test]
fn reports_never_take_a_task_back_and_free_its_addresses() {
    let mut world = World::new();
    world.create_service(0, replicated("web", 1)).expect("free");
    world.create_task(1, 0);
    world.place(1, TaskState::Assigned);
    let addr = "10.0.0.5".parse().expect("an address");
    let attached = TaskNetwork {
        network: world.state.networks()[&network_id(0)].clone(),
        addresses: vec![(addr, 24)],
        aliases: Vec::new(),
    };
    let networks =
        TaskPatch { id: task_id(1), networks: Some(vec![attached]), ..TaskPatch::default() };
    world.plan(vec![patch(networks.clone())]).expect("fresh");
    assert!(world.state.address_in_use(&network_id(0), addr));
    world.create_task(2, 0);
    let twice = world.plan(vec![patch(TaskPatch { id: task_id(2), ..networks })]);
    assert!(matches!(twice, Err(Rejected::Malformed(_))));
    for (node, said, expect) in [
        (0, TaskState::Running, TaskState::Running),
        (0, TaskState::Ready, TaskState::Running),
        (1, TaskState::Failed, TaskState::Running),
        (0, TaskState::Remove, TaskState::Running),
        (0, TaskState::Failed, TaskState::Failed),
        (0, TaskState::Rejected, TaskState::Failed),
    ] {
        let statuses = vec![(task_id(1), status(said)), (task_id(9), status(said))];
        let applied = world.must(Command::ReportTasks { node: node_id(node), statuses });
        assert_eq!(applied.events, Vec::new(), "no events tell of tasks");
        assert_eq!(world.state.tasks()[&task_id(1)].status.state, expect, "{said:?}");
    }
    assert!(!world.state.address_in_use(&network_id(0), addr));
}

#[test]
fn a_removed_service_leaves_tasks_that_are_to_go() {
    let mut world = World::new();
    world.create_service(0, replicated("web", 1)).expect("free");
    world.create_task(1, 0);
    let applied = world.must(Command::RemoveService { id: service_id(0) });
    assert_eq!(applied.events[0].action, Action::Remove);
    assert_eq!(world.state.tasks()[&task_id(1)].desired, TaskState::Remove);
    assert_eq!(world.state.service_tasks(&service_id(0)).count(), 1);
    world.plan(vec![Change::RemoveTask(task_id(1))]).expect("fresh");
    assert_eq!(world.state.tasks().len(), 0);
}

#[test]
fn a_plan_is_carried_out_as_a_whole_or_not_at_all() {
    let mut world = World::new();
    world.create_service(0, replicated("web", 1)).expect("free");
    let new = |number| {
        Change::CreateTask(NewTask {
            id: task_id(number),
            service: service_id(0),
            slot: Slot::Number(number),
            desired: TaskState::Running,
            hold: None,
        })
    };
    let based_on = world.state.index();
    world.must(update(&world, 0, replicated("web", 2)));
    let stale = Command::Plan { based_on, changes: vec![new(1)] };
    assert_eq!(world.apply(stale), Err(Rejected::StalePlan));
    let missing = patch(TaskPatch { id: task_id(8), ..TaskPatch::default() });
    assert_eq!(world.plan(vec![new(1), missing]), Err(Rejected::StalePlan));
    assert_eq!(world.state.tasks().len(), 0);
    let future = Command::Plan { based_on: world.state.index() + 1, changes: vec![] };
    assert!(matches!(world.apply(future), Err(Rejected::Malformed(_))));
    // What the plan made itself is fresh, and a run on a copy gives the same state.
    let bind = TaskPatch {
        id: task_id(1),
        node: Some(node_id(0)),
        status: Some(status(TaskState::Assigned)),
        ..TaskPatch::default()
    };
    let changes = vec![new(1), patch(bind)];
    let mut scratch = world.state.clone();
    let index = scratch.index() + 1;
    let at = Timestamp::from_secs(i64::try_from(index).expect("small"));
    for change in &changes {
        scratch.apply_change(at, index, change).expect("the objects exist");
    }
    (scratch.index, scratch.planned) = (index, index);
    world.plan(changes).expect("fresh");
    assert_eq!(world.state, scratch);
    // Who planned before knows nothing of the place that is taken now, although the service is as it was.
    let blind = Command::Plan { based_on: index - 1, changes: vec![new(2)] };
    assert_eq!(world.apply(blind), Err(Rejected::StalePlan));
}
