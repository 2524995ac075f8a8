//! Tables for the making of containers.

use std::time::Duration;

use super::*;
use crate::agent::network::NetworkJoin;
use crate::id::{ServiceId, TaskId};
use crate::model::Annotations;
use crate::model::container::{CredentialSpec, SelinuxContext};
use crate::model::node::Resources;
use crate::model::service::{Endpoint, ResourceRequirements, Runtime, Slot, TaskSpec};
use crate::model::task::TaskNetwork;

fn node() -> NodeContext {
    NodeContext { id: NodeId::from_entropy(9), hostname: "h".into(), ..NodeContext::default() }
}

fn task(spec: ContainerSpec) -> Task {
    let annotations = Annotations { name: "web".into(), labels: Labels::new() };
    Task {
        id: TaskId::from_entropy(1),
        service: Some(ServiceId::from_entropy(2)),
        service_annotations: Arc::new(annotations),
        slot: Slot::Number(3),
        spec: Arc::new(TaskSpec {
            runtime: Runtime::Container(Box::new(spec)),
            ..TaskSpec::default()
        }),
        ..Task::default()
    }
}

fn plan(task: &Task) -> Result<ContainerPlan, InvalidTask> {
    container_plan(task, &node(), &BTreeMap::new(), Vec::new())
}

#[test]
fn names_labels_and_settings() {
    let spec = ContainerSpec {
        image: "i".into(),
        labels: [
            ("own".to_owned(), "x".to_owned()),
            (TASK_ID_LABEL.to_owned(), "forged".to_owned()),
        ]
        .into(),
        command: vec!["sh".into()],
        args: vec!["-c".into()],
        env: vec!["A={{.Task.Slot}}".into(), "{{B}}".into()],
        hostname: "{{.Node.Hostname}}-{{.Service.Name}}".into(),
        stop_grace_period: Some(Duration::from_millis(2900)),
        hosts: vec!["1.2.3.4 db alias".into(), "bad".into()],
        ..ContainerSpec::default()
    };
    let task = task(spec);
    let plan = plan(&task).expect("a valid task");
    assert_eq!(plan.name, format!("web.3.{}", task.id));
    assert_eq!(plan.labels["own"], "x");
    assert_eq!(plan.labels[TASK_ID_LABEL], task.id.to_string());
    assert_eq!(plan.labels[TASK_LABEL], "");
    assert_eq!(plan.env, ["A=3", "{{B}}"]);
    assert_eq!(plan.hostname, "h-web");
    assert_eq!(plan.stop_timeout_seconds, Some(2));
    assert_eq!(plan.extra_hosts, ["db:1.2.3.4"]);
    assert_eq!(plan.networking, Networking::Default);
}

#[test]
fn claims_of_generic_resources_are_variables() {
    let mut task = task(ContainerSpec { env: vec!["A=b".into()], ..ContainerSpec::default() });
    let named = |value: &str| GenericResource::Named { kind: "gpu".into(), value: value.into() };
    let discrete = GenericResource::Discrete { kind: "ssd".into(), value: 3 };
    task.generic_resources = vec![named("u1"), discrete, named("u2")];
    let plan = plan(&task).expect("a valid task");
    assert_eq!(plan.env, ["A=b", "DOCKER_RESOURCE_GPU=u1,u2", "DOCKER_RESOURCE_SSD=3"]);
}

#[test]
fn limits_and_swap() {
    let mut task = task(ContainerSpec::default());
    let limits = Resources { nano_cpus: 5, memory_bytes: 100, pids: 7, ..Resources::default() };
    Arc::make_mut(&mut task.spec).resources = Some(ResourceRequirements {
        limits: Some(limits),
        swap_bytes: Some(50),
        ..ResourceRequirements::default()
    });
    let plan = plan(&task).expect("a valid task");
    let found = (plan.nano_cpus, plan.memory_bytes, plan.memory_swap_bytes, plan.pids);
    assert_eq!(found, (5, 100, Some(150), 7));
}

#[test]
fn security() {
    let privileges = Privileges {
        credential_spec: Some(CredentialSpec { file: "f".into(), ..CredentialSpec::default() }),
        selinux: Some(SelinuxContext { kind: "t".into(), ..SelinuxContext::default() }),
        seccomp: Some(Seccomp { mode: "unconfined".into(), profile: Vec::new() }),
        apparmor: Some("disabled".into()),
        no_new_privileges: true,
    };
    let expect = [
        "credentialspec=file://f",
        "label=type:t",
        "seccomp=unconfined",
        "apparmor=unconfined",
        "no-new-privileges=true",
    ];
    assert_eq!(security_options(&privileges), expect);
}

#[test]
fn networks_mesh_last_addresses_fixed_and_own_servers_first() {
    let mut front = Network { id: NetworkId::from_entropy(4), ..Network::default() };
    front.spec.annotations.name = "front".into();
    front.gateways.insert(node().id, [10, 0, 1, 2].into());
    let mut mesh = Network { id: NetworkId::from_entropy(5), ..Network::default() };
    mesh.spec.annotations.name = "ingress".into();
    mesh.spec.ingress = true;
    let join = |network: &Network, last: u8| TaskNetwork {
        network: Arc::new(network.clone()),
        addresses: vec![([10, 0, 1, last].into(), 24)],
        aliases: vec!["web".into()],
    };
    let dns = DnsConfig { nameservers: vec!["9.9.9.9".into()], ..DnsConfig::default() };
    let mut task = task(ContainerSpec { dns: Some(dns), ..ContainerSpec::default() });
    task.networks = vec![join(&mesh, 8), join(&front, 7)];
    let plan = plan(&task).expect("a valid task");
    assert_eq!(plan.dns.nameservers, ["10.0.1.2", "9.9.9.9"]);
    let Networking::Joined(joins) = plan.networking else { panic!("{:?}", plan.networking) };
    let expect = NetworkJoin {
        network: "front".into(),
        id: Some(front.id),
        ipv4: Some([10, 0, 1, 7].into()),
        mac: Some("02:42:0a:00:01:07".into()),
        ..NetworkJoin::default()
    };
    assert_eq!(joins[0], expect);
    assert_eq!(joins[1].network, "ingress");
}

#[test]
fn only_host_ports_are_bound() {
    let mut task = task(ContainerSpec::default());
    let host = PortConfig { target: 80, mode: PublishMode::Host, ..PortConfig::default() };
    let mesh = PortConfig { target: 81, ..PortConfig::default() };
    task.endpoint =
        Some(Arc::new(Endpoint { ports: vec![host.clone(), mesh], ..Endpoint::default() }));
    assert_eq!(plan(&task).expect("a valid task").ports, [host]);
}

#[test]
fn bad_templates_refuse_the_task() {
    let task = task(ContainerSpec { env: vec!["A={{.X}}".into()], ..ContainerSpec::default() });
    let error = plan(&task).expect_err("no such field").to_string();
    assert!(error.contains("can't evaluate field X in type *template.Context"), "{error}");
}
