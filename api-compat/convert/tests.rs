//! Conversions: what clients send comes back as they know it, whatever it was.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use skep_core::id::{NetworkId, ServiceId, TaskId};
use skep_core::model::network::{IpamConfig, IpamOptions, Network, NetworkAllocation, NetworkSpec};
use skep_core::model::service::{
    Endpoint, JobStatus, PortConfig, PublishMode, Service, ServiceMode, Slot, VirtualIp,
};
use skep_core::model::task::{ContainerStatus, Task, TaskNetwork, TaskState, TaskStatus};
use skep_core::model::{Annotations, Driver, Meta};
use skep_core::state::State;
use skep_core::time::Timestamp;

use super::{service, task};
use crate::json::{Wording, decode};
use crate::route::ApiVersion;
use crate::wire::service::ServiceSpec;

const NEWEST: ApiVersion = ApiVersion(1, 53);

fn read(text: &Value) -> ServiceSpec {
    let mut headers = http::HeaderMap::new();
    headers.insert("content-type", http::HeaderValue::from_static("application/json"));
    decode(&headers, &bytes::Bytes::from(text.to_string()), Wording::Current).expect("valid JSON")
}

fn there_and_back(text: &Value, version: ApiVersion) -> Value {
    let spec = service::service_spec(&read(text), &State::default(), version).expect("valid");
    serde_json::to_value(service::written(&spec)).expect("JSON")
}

fn problem(text: &Value) -> (u16, String) {
    let error = service::service_spec(&read(text), &State::default(), NEWEST).expect_err("refused");
    (error.status.as_u16(), error.message)
}

/// Every field a client can set, spelt as the API spells it.
pub(crate) fn full() -> Value {
    json!({
        "Name": "all",
        "Labels": {"a": "1"},
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": "busybox:latest", "Labels": {"b": "2"}, "Command": ["ent"],
                "Args": ["sleep", "1000"], "Hostname": "hh", "Env": ["E=1"], "Dir": "/w",
                "User": "1:2", "Groups": ["3"],
                "Privileges": {
                    "CredentialSpec": {"Config": "", "File": "cred.json", "Registry": ""},
                    "SELinuxContext": {"Disable": true, "User": "u", "Role": "r", "Type": "t", "Level": "l"},
                    "Seccomp": {"Mode": "custom", "Profile": "e30="},
                    "AppArmor": {"Mode": "disabled"},
                    "NoNewPrivileges": true
                },
                "Init": true, "StopSignal": "TERM", "TTY": true, "OpenStdin": true, "ReadOnly": true,
                "Mounts": [
                    {"Type": "volume", "Source": "v", "Target": "/v", "ReadOnly": true,
                     "VolumeOptions": {"NoCopy": true, "Labels": {"l": "m"}, "Subpath": "s",
                                       "DriverConfig": {"Name": "local", "Options": {"o": "p"}}}},
                    {"Type": "tmpfs", "Target": "/t",
                     "TmpfsOptions": {"SizeBytes": 4096, "Mode": 1023, "Options": [["noexec"]]}},
                    {"Type": "bind", "Source": "/tmp", "Target": "/b",
                     "BindOptions": {"Propagation": "rprivate", "NonRecursive": true, "CreateMountpoint": true,
                                     "ReadOnlyNonRecursive": true, "ReadOnlyForceRecursive": true}},
                    {"Type": "npipe", "Source": "a", "Target": "b"},
                    {"Type": "cluster", "Source": "c", "Target": "d"}
                ],
                "StopGracePeriod": 12_000_000_000_i64,
                "Healthcheck": {"Test": ["CMD-SHELL", "true x"], "Interval": 3_000_000_000_i64,
                                "Timeout": 2_000_000_000_i64, "StartPeriod": 5_000_000_000_i64,
                                "StartInterval": 1_000_000, "Retries": 4},
                "Hosts": ["10.9.8.7 h"],
                "DNSConfig": {"Nameservers": ["9.9.9.9"], "Search": ["d.example"], "Options": ["ndots:1"]},
                "Secrets": [{"File": {"Name": "t", "UID": "1", "GID": "2", "Mode": 256},
                             "SecretID": "0000000000000000000000001", "SecretName": "s1"}],
                "Configs": [{"File": {"Name": "/c", "UID": "0", "GID": "0", "Mode": 292},
                             "ConfigID": "0000000000000000000000002", "ConfigName": "c1"},
                            {"Runtime": {}, "ConfigID": "0000000000000000000000003", "ConfigName": "c2"}],
                "Isolation": "default", "Sysctls": {"a.b": "c"}, "CapabilityAdd": ["CAP_NET_ADMIN"],
                "CapabilityDrop": ["CAP_CHOWN"],
                "Ulimits": [{"Name": "nofile", "Hard": 2, "Soft": 1}, {"Name": "core", "Hard": 0, "Soft": 0}],
                "OomScoreAdj": 321
            },
            "Resources": {
                "Limits": {"NanoCPUs": 1_500_000_000, "MemoryBytes": 67_108_864, "Pids": 9},
                "Reservations": {"NanoCPUs": 100_000_000, "MemoryBytes": 33_554_432, "GenericResources": [
                    {"DiscreteResourceSpec": {"Kind": "gpu", "Value": 1}},
                    {"NamedResourceSpec": {"Kind": "fpga", "Value": "x"}}]},
                "SwapBytes": 0, "MemorySwappiness": 7
            },
            "RestartPolicy": {"Condition": "on-failure", "Delay": 0, "MaxAttempts": 4, "Window": 60_000_000_000_i64},
            "Placement": {"Constraints": ["node.role==manager"],
                          "Preferences": [{"Spread": {"SpreadDescriptor": "node.labels.r"}}],
                          "MaxReplicas": 2, "Platforms": [{"Architecture": "amd64", "OS": "linux"}]},
            "LogDriver": {"Name": "json-file", "Options": {"max-size": "1m"}},
            "ForceUpdate": 1, "Runtime": "container"
        },
        "Mode": {"Replicated": {"Replicas": 0}},
        "UpdateConfig": {"Parallelism": 3, "Delay": 90_000_000_000_i64, "FailureAction": "continue",
                         "Monitor": 4_000_000_000_i64, "MaxFailureRatio": 0.1, "Order": "start-first"},
        "RollbackConfig": {"Parallelism": 5, "FailureAction": "pause", "MaxFailureRatio": 0, "Order": "stop-first"},
        "EndpointSpec": {"Mode": "vip", "Ports": [
            {"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 18651, "PublishMode": "ingress"},
            {"Name": "n", "Protocol": "udp", "TargetPort": 81, "PublishedPort": 18652, "PublishMode": "host"},
            {"Protocol": "sctp", "TargetPort": 82, "PublishMode": "ingress"}]}
    })
}

#[test]
fn nothing_that_a_client_sets_is_lost() {
    assert_eq!(there_and_back(&full(), NEWEST), full());
}

#[test]
fn little_stays_little() {
    let sent =
        json!({"Name": "api", "TaskTemplate": {"ContainerSpec": {"Image": "busybox:latest"}}});
    let expect = json!({
        "Name": "api", "Labels": {},
        "TaskTemplate": {
            "ContainerSpec": {"Image": "busybox:latest", "Isolation": "default"},
            "ForceUpdate": 0, "Runtime": "container"
        },
        "Mode": {"Replicated": {"Replicas": 1}}
    });
    assert_eq!(there_and_back(&sent, NEWEST), expect);
}

#[test]
fn what_is_there_but_empty_stays_there() {
    let sent = json!({
        "Name": "e",
        "TaskTemplate": {
            "ContainerSpec": {"Image": "i", "DNSConfig": {}, "Init": false, "Healthcheck": {}, "Privileges": {},
                              "StopGracePeriod": 0,
                              "Mounts": [{"BindOptions": {}}, {"Type": "volume", "VolumeOptions": {"DriverConfig": {}}}]},
            "Resources": {"Limits": {}, "Reservations": {}}, "RestartPolicy": {}, "Placement": {}
        },
        "Mode": {"ReplicatedJob": {}}, "UpdateConfig": {}, "EndpointSpec": {}
    });
    let expect = json!({
        "Name": "e", "Labels": {},
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": "i", "DNSConfig": {}, "Init": false, "Healthcheck": {}, "StopGracePeriod": 0,
                "Privileges": {"CredentialSpec": null, "SELinuxContext": null, "NoNewPrivileges": false},
                "Mounts": [{"Type": "bind"}, {"Type": "volume", "VolumeOptions": {"DriverConfig": {}}}],
                "Isolation": "default"
            },
            "Resources": {"Limits": {}, "Reservations": {}},
            "RestartPolicy": {"Condition": "any", "MaxAttempts": 0}, "Placement": {},
            "ForceUpdate": 0, "Runtime": "container"
        },
        "Mode": {"ReplicatedJob": {"MaxConcurrent": 1, "TotalCompletions": 1}},
        "UpdateConfig": {"Parallelism": 0, "FailureAction": "pause", "MaxFailureRatio": 0, "Order": "stop-first"},
        "EndpointSpec": {"Mode": "vip"}
    });
    assert_eq!(there_and_back(&sent, NEWEST), expect);
}

#[test]
fn old_clients_set_only_what_their_version_had() {
    let at = |minor| there_and_back(&full(), ApiVersion(1, minor));
    let container = |value: &Value, key: &str| value["TaskTemplate"]["ContainerSpec"][key].clone();
    // What came after the oldest supported engine is judged by the node's engine, not by the client's version.
    assert!(at(43)["TaskTemplate"]["Resources"].get("SwapBytes").is_some());
    assert_eq!(container(&at(43), "OomScoreAdj"), 321);
    assert!(container(&at(43), "Privileges").get("Seccomp").is_some());
    assert!(container(&at(43), "Healthcheck").get("StartInterval").is_some());
    assert_eq!(container(&at(40), "CapabilityAdd"), Value::Null);
    assert_eq!(at(40)["TaskTemplate"]["Resources"]["Limits"].get("Pids"), None);
    // A config for the runtime loses its target, and then it has none.
    let error = service::service_spec(&read(&full()), &State::default(), ApiVersion(1, 39));
    let text = error.expect_err("no target").message;
    assert_eq!(text, "invalid Config: either File or Runtime should be set");
}

#[test]
fn words_that_are_not_known_are_refused() {
    let with = |pointer: &[&str], value: Value| {
        let mut spec = json!({"Name": "x", "TaskTemplate": {"ContainerSpec": {"Image": "i"}}});
        let mut place = &mut spec;
        for key in pointer {
            place = &mut place[*key];
        }
        *place = value;
        problem(&spec)
    };
    let container = ["TaskTemplate", "ContainerSpec"];
    let bad = |text: &str| (400, text.to_owned());
    for (pointer, value, expect) in [
        (
            vec!["TaskTemplate", "RestartPolicy", "Condition"],
            json!("x"),
            "invalid RestartCondition: \"x\"",
        ),
        (vec!["UpdateConfig", "FailureAction"], json!("x"), "unrecognized update failure action x"),
        (vec!["RollbackConfig", "Order"], json!("x"), "unrecognized update order x"),
        (vec!["EndpointSpec", "Mode"], json!("odd"), "invalid resolution mode: \"odd\""),
        (
            vec!["Mode"],
            json!({"Replicated": {}, "Global": {}}),
            "must specify only one service mode",
        ),
        (vec!["TaskTemplate", "Runtime"], json!("teapot"), "unsupported runtime"),
        (vec!["TaskTemplate", "Runtime"], json!("plugin"), "mismatched Runtime and *Spec fields"),
        (vec!["TaskTemplate"], json!({}), "mismatched Runtime and *Spec fields"),
    ] {
        assert_eq!(with(&pointer, value), bad(expect));
    }
    for (key, value, expect) in [
        ("Mounts", json!([{"Type": "odd"}]), "invalid MountType: \"odd\""),
        (
            "Mounts",
            json!([{"BindOptions": {"Propagation": "x"}}]),
            "invalid MountPropagation: \"x\"",
        ),
        (
            "Configs",
            json!([{"ConfigID": "a"}]),
            "invalid Config: either File or Runtime should be set",
        ),
        (
            "Configs",
            json!([{"File": {}, "Runtime": {}}]),
            "invalid Config: cannot specify both File and Runtime",
        ),
        (
            "Privileges",
            json!({"CredentialSpec": {}}),
            "invalid CredentialSpec: must either provide \"file\", \"registry\", or \"config\" for credential spec",
        ),
        (
            "Privileges",
            json!({"CredentialSpec": {"Config": "a", "File": "b"}}),
            "invalid CredentialSpec: cannot specify both \"config\" and \"file\" credential specs",
        ),
    ] {
        assert_eq!(with(&[container[0], container[1], key], value), bad(expect));
    }
    let attachment =
        json!({"Runtime": "attachment", "NetworkAttachmentSpec": {"ContainerID": "c"}});
    let text = "unsupported runtime";
    assert_eq!(with(&["TaskTemplate"], attachment), (400, text.to_owned()));
    let networks = json!([{"Target": "nope"}]);
    assert_eq!(with(&["Networks"], networks), (500, "network nope not found".to_owned()));
}

fn web() -> Service {
    let sent = json!({
        "Name": "web",
        "TaskTemplate": {"ContainerSpec": {"Image": "nginx:alpine", "Init": false, "DNSConfig": {}},
                         "Resources": {"Limits": {}, "Reservations": {}}, "Placement": {}},
        "Mode": {"Replicated": {"Replicas": 2}},
        "EndpointSpec": {"Mode": "vip", "Ports": [{"TargetPort": 80}]}
    });
    let spec = service::service_spec(&read(&sent), &State::default(), NEWEST).expect("valid");
    let port = PortConfig { target: 80, published: 30000, ..PortConfig::default() };
    Service {
        id: ServiceId::from_entropy(1),
        meta: Meta {
            version: 19,
            created_version: 19,
            created_at: Timestamp(1_767_323_045_123_456_789),
            updated_at: Timestamp(1_767_323_045_125_000_000),
        },
        endpoint: Some(Endpoint {
            spec: spec.endpoint.clone().unwrap_or_default(),
            ports: vec![port],
            virtual_ips: vec![VirtualIp {
                network: NetworkId::from_entropy(2),
                addr: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 5)),
                prefix: 24,
            }],
        }),
        spec: Arc::new(spec),
        ..Service::default()
    }
}

#[test]
fn a_service_is_spelt_as_clients_know_it() {
    let port = json!({"Protocol": "tcp", "TargetPort": 80, "PublishMode": "ingress"});
    let mut published = port.clone();
    published["PublishedPort"] = json!(30000);
    let template = json!({
        "ContainerSpec": {"Image": "nginx:alpine", "Init": false, "DNSConfig": {}, "Isolation": "default"},
        "Resources": {"Limits": {}, "Reservations": {}}, "Placement": {}, "ForceUpdate": 0, "Runtime": "container"
    });
    let mut expect = json!({
        "ID": "0000000000000000000000001", "Version": {"Index": 19},
        "CreatedAt": "2026-01-02T03:04:05.123456789Z", "UpdatedAt": "2026-01-02T03:04:05.125Z",
        "Spec": {"Name": "web", "Labels": {}, "TaskTemplate": template,
                 "Mode": {"Replicated": {"Replicas": 2}},
                 "EndpointSpec": {"Mode": "vip", "Ports": [port]}},
        "Endpoint": {"Spec": {"Mode": "vip", "Ports": [port]}, "Ports": [published],
                     "VirtualIPs": [{"NetworkID": "0000000000000000000000002", "Addr": "10.0.0.5/24"}]}
    });
    let written = serde_json::to_value(service::service(&web(), false)).expect("JSON");
    assert_eq!(written, expect);

    let update = json!({"Parallelism": 1, "FailureAction": "pause", "Monitor": 5_000_000_000_i64,
                        "MaxFailureRatio": 0, "Order": "stop-first"});
    expect["Spec"]["UpdateConfig"] = update.clone();
    expect["Spec"]["RollbackConfig"] = update;
    expect["Spec"]["TaskTemplate"]["ContainerSpec"]["StopGracePeriod"] = json!(10_000_000_000_i64);
    expect["Spec"]["TaskTemplate"]["RestartPolicy"] =
        json!({"Condition": "any", "Delay": 5_000_000_000_i64, "MaxAttempts": 0});
    let written = serde_json::to_value(service::service(&web(), true)).expect("JSON");
    assert_eq!(written, expect);
}

#[test]
fn a_job_has_a_status_from_the_start_and_an_unused_endpoint_shows_nothing() {
    let mut job = web();
    Arc::make_mut(&mut job.spec).mode = ServiceMode::GlobalJob;
    job.job = Some(JobStatus::default());
    job.endpoint = Some(Endpoint::default());
    let written = serde_json::to_value(service::service(&job, false)).expect("JSON");
    let never = "0001-01-01T00:00:00Z";
    assert_eq!(written["JobStatus"], json!({"JobIteration": {}, "LastExecution": never}));
    assert_eq!(written["Endpoint"], json!({"Spec": {}}));
    assert_eq!(written["Spec"]["Mode"], json!({"GlobalJob": {}}));
}

fn ingress() -> Network {
    Network {
        id: NetworkId::from_entropy(2),
        meta: Meta { version: 6, ..Meta::default() },
        spec: NetworkSpec {
            annotations: Annotations { name: "ingress".into(), ..Annotations::default() },
            ingress: true,
            ..NetworkSpec::default()
        },
        allocation: Some(NetworkAllocation {
            driver: Driver {
                name: "overlay".into(),
                options: [("k".into(), "4096".into())].into(),
            },
            vni: 4096,
            ipam: IpamOptions {
                driver: Driver { name: "default".into(), ..Driver::default() },
                configs: vec![IpamConfig {
                    subnet: "10.0.0.0/24".into(),
                    gateway: "10.0.0.1".into(),
                    ..IpamConfig::default()
                }],
            },
            ..NetworkAllocation::default()
        }),
        ..Network::default()
    }
}

#[test]
fn a_task_is_spelt_as_clients_know_it() {
    let held = Task {
        id: TaskId::from_entropy(3),
        meta: Meta { version: 31, ..Meta::default() },
        service: Some(ServiceId::from_entropy(1)),
        spec: Arc::clone(&web().spec.task),
        slot: Slot::Number(1),
        desired: TaskState::Running,
        status: TaskStatus {
            state: TaskState::Running,
            message: "started".into(),
            container: Some(ContainerStatus { id: "ab".into(), pid: 0, exit_code: 0 }),
            ports: vec![PortConfig { mode: PublishMode::Host, ..PortConfig::default() }],
            ..TaskStatus::default()
        },
        networks: vec![TaskNetwork {
            network: Arc::new(ingress()),
            addresses: vec![(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 6)), 24)],
            ..TaskNetwork::default()
        }],
        job_iteration: Some(0),
        ..Task::default()
    };
    let never = "0001-01-01T00:00:00Z";
    let expect = json!({
        "ID": "0000000000000000000000003", "Version": {"Index": 31}, "CreatedAt": never, "UpdatedAt": never,
        "Labels": {},
        "Spec": {"ContainerSpec": {"Image": "nginx:alpine", "Init": false, "DNSConfig": {}, "Isolation": "default"},
                 "Resources": {"Limits": {}, "Reservations": {}}, "Placement": {}, "ForceUpdate": 0},
        "ServiceID": "0000000000000000000000001", "Slot": 1,
        "Status": {"Timestamp": never, "State": "running", "Message": "started",
                   "ContainerStatus": {"ContainerID": "ab", "PID": 0, "ExitCode": 0},
                   "PortStatus": {"Ports": [{"Protocol": "tcp", "PublishMode": "host"}]}},
        "DesiredState": "running",
        "NetworksAttachments": [{
            "Network": {
                "ID": "0000000000000000000000002", "Version": {"Index": 6}, "CreatedAt": never, "UpdatedAt": never,
                "Spec": {"Name": "ingress", "Labels": {}, "DriverConfiguration": {}, "Ingress": true,
                         "IPAMOptions": {"Driver": {}}, "Scope": "swarm"},
                "DriverState": {"Name": "overlay", "Options": {"k": "4096"}},
                "IPAMOptions": {"Driver": {"Name": "default"},
                                "Configs": [{"Subnet": "10.0.0.0/24", "Gateway": "10.0.0.1"}]}
            },
            "Addresses": ["10.0.0.6/24"]
        }],
        "JobIteration": {}, "Volumes": null
    });
    assert_eq!(serde_json::to_value(task::task(&held)).expect("JSON"), expect);

    let global =
        Task { slot: Slot::Node("n".repeat(25).parse().expect("an id")), ..Task::default() };
    let written = serde_json::to_value(task::task(&global)).expect("JSON");
    assert_eq!(written.get("Slot"), None);
    assert_eq!(written["Status"]["PortStatus"], json!({}));
}

/// Makes variants of a value: fields left out, set to nothing, or changed.
fn mutate(value: &Value, choices: &mut impl Iterator<Item = u8>) -> Value {
    match (choices.next().unwrap_or(0), value) {
        (200..=215, _) => Value::Null,
        (216..=220, _) => json!("x"),
        (221..=225, _) => json!(-1),
        (226..=230, _) => json!(u64::MAX),
        (231..=233, _) => json!([{}]),
        (_, Value::Object(fields)) => {
            let mut left = serde_json::Map::new();
            for (key, held) in fields {
                if choices.next().unwrap_or(0) < 160 {
                    left.insert(key.clone(), mutate(held, choices));
                }
            }
            Value::Object(left)
        }
        (_, Value::Array(items)) => {
            Value::Array(items.iter().map(|item| mutate(item, choices)).collect())
        }
        (_, other) => other.clone(),
    }
}

proptest! {
    #[test]
    fn whatever_is_accepted_is_stable(choices in prop::collection::vec(any::<u8>(), 0..200), minor in 24_u32..54) {
        let mut choices = choices.into_iter();
        let mutated = mutate(&full(), &mut choices);
        let mut headers = http::HeaderMap::new();
        headers.insert("content-type", http::HeaderValue::from_static("application/json"));
        let body = bytes::Bytes::from(mutated.to_string());
        if let Ok(sent) = decode::<ServiceSpec>(&headers, &body, Wording::Current)
            && let Ok(spec) = service::service_spec(&sent, &State::default(), ApiVersion(1, minor))
        {
            let written = service::written(&spec);
            let again = service::service_spec(&written, &State::default(), NEWEST);
            prop_assert_eq!(again.as_ref(), Ok(&spec));
            let text = serde_json::to_string(&written).expect("JSON");
            let reread: ServiceSpec = serde_json::from_str(&text).expect("what was written is read");
            prop_assert_eq!(reread, written);
            let _ = crate::validate::service_spec(&sent, &spec, &State::default());
        }
    }
}
