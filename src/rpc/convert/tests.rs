//! Nothing that goes to a node lacks a part whose absence ends an engine, whatever the objects look like.

use std::sync::Arc;

use proptest::prelude::*;
use prost::Message;
use skep_core::assign::{Assigned, Difference};
use skep_core::id::{NetworkId, NodeId, SecretId, ServiceId, TaskId};
use skep_core::model::container::{
    ConfigReference, ContainerSpec, Healthcheck, Mount, Privileges, SecretReference,
};
use skep_core::model::network::{IpamConfig, IpamOptions, Network, NetworkAllocation, NetworkSpec};
use skep_core::model::secret::Secret;
use skep_core::model::service::{
    Endpoint, ResourceRequirements, RestartPolicy, Runtime, Slot, TaskSpec,
};
use skep_core::model::task::{Task, TaskNetwork, TaskState, TaskStatus};
use skep_core::time::Timestamp;

use super::super::proto::{self, assignment::Item, task_spec};
use super::*;

fn network(bits: u32) -> Network {
    let ipam = IpamOptions { configs: vec![IpamConfig::default()], ..IpamOptions::default() };
    Network {
        id: NetworkId::from_entropy(u128::from(bits)),
        spec: NetworkSpec {
            driver: (bits & 1 != 0).then(Default::default),
            ipam: (bits & 2 != 0).then(Default::default),
            config_from: (bits & 4 != 0).then(|| "local".to_owned()),
            predefined: bits & 8 != 0,
            ..NetworkSpec::default()
        },
        allocation: (bits & 16 != 0).then(|| NetworkAllocation { ipam, ..Default::default() }),
        ..Network::default()
    }
}

fn container(bits: u32) -> ContainerSpec {
    ContainerSpec {
        image: "busybox".to_owned(),
        privileges: (bits & 1 != 0).then(|| Privileges {
            credential_spec: Some(Default::default()),
            selinux: Some(Default::default()),
            seccomp: Some(Default::default()),
            apparmor: Some(String::new()),
            ..Privileges::default()
        }),
        mounts: vec![Mount {
            bind: (bits & 2 != 0).then(Default::default),
            volume: (bits & 4 != 0).then(Default::default),
            tmpfs: (bits & 8 != 0).then(Default::default),
            ..Mount::default()
        }],
        healthcheck: (bits & 16 != 0).then(Healthcheck::default),
        secrets: vec![SecretReference {
            file: (bits & 32 != 0).then(Default::default),
            ..SecretReference::default()
        }],
        configs: vec![ConfigReference {
            file: (bits & 64 != 0).then(Default::default),
            ..ConfigReference::default()
        }],
        ..ContainerSpec::default()
    }
}

fn a_task(bits: u32) -> Task {
    let runtime = if bits & 1 == 0 {
        Runtime::Container(Box::new(container(bits >> 8)))
    } else {
        Runtime::Attachment { container_id: "c".to_owned() }
    };
    let spec = TaskSpec {
        runtime,
        resources: (bits & 2 != 0).then(|| ResourceRequirements {
            limits: (bits & 4 != 0).then(Default::default),
            ..ResourceRequirements::default()
        }),
        restart: (bits & 8 != 0).then(RestartPolicy::default),
        ..TaskSpec::default()
    };
    let joined = TaskNetwork { network: Arc::new(network(bits >> 4)), ..TaskNetwork::default() };
    let state = TaskState::ALL[bits as usize % TaskState::ALL.len()];
    Task {
        id: TaskId::from_entropy(u128::from(bits)),
        service: (bits & 16 != 0).then(|| ServiceId::from_entropy(1)),
        spec: Arc::new(spec),
        slot: if bits & 32 == 0 { Slot::Number(1) } else { Slot::Node(NodeId::from_entropy(1)) },
        networks: vec![joined; (bits & 3) as usize],
        endpoint: (bits & 64 != 0).then(|| Arc::new(Endpoint::default())),
        status: TaskStatus { state, at: Timestamp(i64::from(bits) - 9), ..TaskStatus::default() },
        ..Task::default()
    }
}

fn check_attachment(attachment: &proto::NetworkAttachment) {
    let network = attachment.network.as_ref().expect("the network");
    let spec = network.spec.as_ref().expect("its spec");
    assert!(spec.annotations.is_some() && spec.driver_config.is_some());
    assert!(
        !network.driver_state.as_ref().expect("its driver's state").name.is_empty()
            || spec.driver_config.as_ref().is_some_and(|driver| driver.name.is_empty())
    );
    let ipam = spec.ipam.iter().chain(&network.ipam);
    assert!(
        ipam.into_iter().all(|ipam| ipam.driver.as_ref().is_some_and(|it| !it.name.is_empty()))
    );
}

fn check_task(task: &proto::Task) {
    let spec = task.spec.as_ref().expect("the spec");
    match spec.runtime.as_ref().expect("what runs") {
        task_spec::Runtime::Container(container) => {
            assert!(container.pull_options.is_some());
            assert!(container.configs.iter().all(|config| config.target.is_some()));
        }
        task_spec::Runtime::Attachment(_) => {}
    }
    assert!(spec.resources.is_some());
    assert!(task.status.as_ref().is_some_and(|status| status.timestamp.is_some()));
    assert!(task.annotations.is_some() && task.service_annotations.is_some());
    assert!(task.meta.is_some() && task.spec_version.is_some());
    assert!(task.endpoint.as_ref().is_some_and(|endpoint| endpoint.spec.is_some()));
    task.networks.iter().for_each(check_attachment);
}

fn check_change(change: &proto::AssignmentChange) {
    match change.assignment.as_ref().and_then(|held| held.item.as_ref()).expect("the item") {
        Item::Task(task) => check_task(task),
        Item::Secret(secret) => assert!(secret.spec.is_some()),
        Item::Config(config) => assert!(config.spec.is_some()),
    }
}

proptest! {
    #[test]
    fn no_part_is_missing(bits in proptest::collection::vec(any::<u32>(), 0..6), known in any::<bool>()) {
        let mut set = Assigned::default();
        for bits in bits {
            let task = a_task(bits);
            set.tasks.insert(task.id.clone(), Arc::new(task));
            let id = SecretId::from_entropy(u128::from(bits));
            set.secrets.insert(id.clone(), Arc::new(Secret { id, ..Secret::default() }));
        }
        let none = Assigned::default();
        let difference: Difference = if known { none.since(&set) } else { set.since(&none) };
        let sent = assignments(&difference, proto::AssignmentsType::Incremental);
        prop_assert_eq!(sent.len(), set.tasks.len() + set.secrets.len());
        for change in sent {
            // As an engine reads it: what an encoding leaves out is missing.
            let bytes = change.encode_to_vec();
            check_change(&proto::AssignmentChange::decode(bytes.as_slice()).expect("what we wrote"));
        }
    }

    #[test]
    fn whatever_a_node_says_is_bounded(state in any::<i32>(), text in "\\PC{0,6000}", seconds in any::<i64>(), nanos in any::<i32>()) {
        let status = proto::TaskStatus {
            timestamp: Some(prost_types::Timestamp { seconds, nanos }),
            state,
            message: text.clone(),
            err: text.clone(),
            ..proto::TaskStatus::default()
        };
        let id = TaskId::from_entropy(1).to_string();
        let update = |task_id: &str| proto::TaskStatusUpdate { task_id: task_id.to_owned(), status: Some(status.clone()) };
        let now = Timestamp::from_secs(1000);
        for (_, read) in statuses(vec![update(&id), update(&text)], now) {
            prop_assert!(read.message.len() <= 4096 && read.error.len() <= 4096 && read.at <= now);
        }
        let told = proto::NodeDescription { hostname: text.clone(), ..proto::NodeDescription::default() };
        prop_assert_eq!(description(&told).is_ok(), text.len() <= 4096);
    }
}

#[test]
fn a_report_of_an_engine_is_read() {
    let port = proto::PortConfig {
        target_port: 80,
        published_port: 8080,
        publish_mode: proto::PublishMode::Host.into(),
        ..proto::PortConfig::default()
    };
    let container = proto::ContainerStatus { container_id: "c".to_owned(), pid: 5, exit_code: -1 };
    let status = proto::TaskStatus {
        state: proto::TaskState::Running.into(),
        runtime_status: Some(proto::task_status::RuntimeStatus::Container(container)),
        // Once for IPv4 and once for IPv6.
        port_status: Some(proto::PortStatus { ports: vec![port.clone(), port] }),
        ..proto::TaskStatus::default()
    };
    let update = proto::TaskStatusUpdate {
        task_id: TaskId::from_entropy(1).to_string(),
        status: Some(status),
    };
    let read = statuses(vec![update], Timestamp::from_secs(9));
    let (_, status) = read.first().expect("it makes sense");
    assert_eq!((status.state, status.at), (TaskState::Running, Timestamp::from_secs(9)));
    assert_eq!(status.ports.len(), 1);
    assert_eq!(status.container.as_ref().map(|it| it.exit_code), Some(0));
}

#[test]
fn a_built_in_network_has_the_label_that_engines_ask_for() {
    let mut host = network(9);
    host.spec.driver =
        Some(skep_core::model::Driver { name: "host".to_owned(), ..Default::default() });
    let joined = TaskNetwork { network: Arc::new(host), ..TaskNetwork::default() };
    let sent = super::network::attachment(&joined).network.expect("the network");
    let labels = sent.spec.and_then(|spec| spec.annotations).expect("its annotations").labels;
    assert_eq!(labels.get("com.docker.swarm.predefined").map(String::as_str), Some("true"));
    assert_eq!(sent.driver_state.map(|driver| driver.name).as_deref(), Some("host"));
    assert_eq!(sent.ipam, None);
}
