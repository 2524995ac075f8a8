//! Every refusal with its exact text and status.

use serde_json::{Value, json};
use skep_core::state::State;

use crate::convert::service;
use crate::route::ApiVersion;
use crate::wire::service::ServiceSpec;

fn verdict(spec: &Value) -> Result<(), (u16, String)> {
    let asked: ServiceSpec = serde_json::from_value(spec.clone()).expect("valid JSON");
    let state = State::default();
    let spec = service::service_spec(&asked, &state, ApiVersion(1, 53)).expect("converts");
    super::service_spec(&asked, &spec, &state)
        .map_err(|error| (error.status.as_u16(), error.message))
}

fn with(pointer: &str, value: Value) -> Value {
    let mut spec = json!({"Name": "x", "TaskTemplate": {"ContainerSpec": {"Image": "busybox"}}});
    let mut place = &mut spec;
    for key in pointer.split('/') {
        place = &mut place[key];
    }
    *place = value;
    spec
}

fn check(pointer: &str, value: Value, expect: &str) {
    let found = verdict(&with(pointer, value)).err();
    let expect = (!expect.is_empty())
        .then(|| (400, format!("rpc error: code = InvalidArgument desc = {expect}")));
    assert_eq!(found, expect, "{pointer}");
}

#[test]
fn names() {
    check("Name", json!("web-1_a"), "");
    for name in ["bad name", "-x", "a.b", "x-", "ü"] {
        check("Name", json!(name), "name must be valid as a DNS name component");
    }
    check("Name", json!("a".repeat(64)), "name must be 63 characters or fewer");
    check("Name", json!(""), "meta: name must be provided");
}

#[test]
fn containers() {
    let at = |key: &str, value: Value, expect: &str| {
        check(&format!("TaskTemplate/ContainerSpec/{key}"), value, expect);
    };
    at("Image", json!(""), "ContainerSpec: image reference must be provided");
    at("Image", json!("BAD:IMAGE"), "ContainerSpec: \"BAD:IMAGE\" is not a valid repository/tag");
    at("Image", json!("busybox:"), "ContainerSpec: \"busybox:\" is not a valid repository/tag");
    let mounts = json!([{"Type": "volume", "Target": "/x"}, {"Type": "tmpfs", "Target": "/x"}]);
    at("Mounts", mounts, "ContainerSpec: duplicate mount point: /x");
    at("Mounts", json!([{"Type": "volume", "Target": ""}]), "");
    for field in ["Interval", "Timeout", "StartPeriod", "StartInterval"] {
        let text = format!("ContainerSpec: {field} in HealthConfig cannot be less than 1ms");
        at("Healthcheck", json!({field: 999_999}), &text);
        at("Healthcheck", json!({field: -1}), &text);
        at("Healthcheck", json!({field: 1_000_000}), "");
    }
    let text = "ContainerSpec: Retries in HealthConfig cannot be negative";
    at("Healthcheck", json!({"Retries": -1}), text);
}

#[test]
fn templates() {
    let bogus = "template: expansion:1:2: executing \"expansion\" at <.Bogus>: \
                 can't evaluate field Bogus in type *template.Context";
    let at = |key: &str, value: Value, expect: &str| {
        check(&format!("TaskTemplate/ContainerSpec/{key}"), value, expect);
    };
    at("Hostname", json!("{{.Bogus}}"), &format!("expanding hostname failed: {bogus}"));
    let text = format!("expanding env failed: expanding env \"X={{{{.Bogus}}}}\": {bogus}");
    at("Env", json!(["X={{.Bogus}}"]), &text);
    let text =
        format!("expanding mounts failed: expanding mount source \"{{{{.Bogus}}}}\": {bogus}");
    at("Mounts", json!([{"Source": "{{.Bogus}}"}]), &text);
    at("Env", json!(["{{", "A={{.Task.Slot}}.{{.Node.Hostname}}"]), "");
    at("Hostname", json!("{{.Service.Name}}-{{.Task.Slot}}"), "");
}

#[test]
fn references() {
    let at = |key: &str, value: Value, expect: &str| {
        check(&format!("TaskTemplate/ContainerSpec/{key}"), value, expect);
    };
    let secret =
        |name: &str, file: Value| json!({"SecretID": "i", "SecretName": name, "File": file});
    at("Secrets", json!([{"SecretID": "i"}]), "malformed secret reference");
    at("Secrets", json!([{"SecretName": "a"}]), "malformed secret reference");
    at(
        "Secrets",
        json!([secret("a", Value::Null)]),
        "malformed secret reference, no target provided",
    );
    let text = "malformed file secret reference, invalid target file name provided";
    at("Secrets", json!([secret("a", json!({}))]), text);
    let file = json!({"Name": "f"});
    let text = "secret references 'a' and 'b' have a conflicting target: 'f'";
    at("Secrets", json!([secret("a", file.clone()), secret("b", file.clone())]), text);
    at("Secrets", json!([secret("a", file.clone())]), "");

    let config =
        |name: &str, file: Value| json!({"ConfigID": "i", "ConfigName": name, "File": file});
    at("Configs", json!([config("", file.clone())]), "malformed config reference");
    let text = "malformed file config reference, invalid target file name provided";
    at("Configs", json!([config("a", json!({}))]), text);
    let text = "config references 'a' and 'b' have a conflicting target: 'f'";
    at("Configs", json!([config("a", file.clone()), config("b", file)]), text);
    let text = "CredentialSpec references config 'i', but that config isn't in config references with RuntimeTarget";
    at("Privileges", json!({"CredentialSpec": {"Config": "i"}}), text);
}

#[test]
fn resources_restarts_and_updates() {
    let task = |key: &str, value: Value, expect: &str| {
        check(&format!("TaskTemplate/{key}"), value, expect)
    };
    let text = "invalid cpu value 5e-09: Must be at least 0.001";
    task("Resources", json!({"Limits": {"NanoCPUs": 5}}), text);
    let text = "invalid memory value 4194303: Must be at least 4MiB";
    task("Resources", json!({"Reservations": {"MemoryBytes": 4_194_303}}), text);
    task("Resources", json!({"Limits": {"NanoCPUs": 1_000_000, "MemoryBytes": 4_194_304}}), "");
    let text = "memory swap provided, but no memory-limit was set";
    task("Resources", json!({"SwapBytes": 5}), text);
    task("RestartPolicy", json!({"Delay": -1}), "TaskSpec: restart-delay cannot be negative");
    task("RestartPolicy", json!({"Window": -1}), "TaskSpec: restart-window cannot be negative");
    check("UpdateConfig", json!({"Delay": -1}), "TaskSpec: update-delay cannot be negative");
    check("UpdateConfig", json!({"Monitor": -1}), "TaskSpec: update-monitor cannot be negative");
    let text = "TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1";
    check("UpdateConfig", json!({"MaxFailureRatio": 1.5}), text);
    check("UpdateConfig", json!({"MaxFailureRatio": -0.5}), text);
}

#[test]
fn constraints_are_errors_of_no_class() {
    for (expression, problem) in [
        ("node.labels.a != b c", ""),
        ("node.role ~ manager", "constraint expected one operator from ==, !="),
        ("x==y", "key 'x' is invalid"),
        ("node.role==", "value '' is invalid"),
        ("node.role==a,b", "value 'a,b' is invalid"),
    ] {
        let spec = with("TaskTemplate/Placement", json!({"Constraints": [expression]}));
        let text = format!("rpc error: code = Unknown desc = {problem}");
        let expect = if problem.is_empty() { Ok(()) } else { Err((500, text)) };
        assert_eq!(verdict(&spec), expect);
    }
}

#[test]
fn modes_and_ports() {
    let huge = u64::MAX;
    let text = "Number of replicas must be non-negative";
    check("Mode", json!({"Replicated": {"Replicas": huge}}), text);
    let text = "Maximum concurrent jobs must not be negative";
    check("Mode", json!({"ReplicatedJob": {"MaxConcurrent": huge}}), text);
    let text = "Total completed jobs must not be negative";
    check("Mode", json!({"ReplicatedJob": {"TotalCompletions": huge}}), text);
    let mut job = with("Mode", json!({"GlobalJob": {}}));
    job["UpdateConfig"] = json!({});
    let text = "rpc error: code = InvalidArgument desc = Jobs may not have an update config";
    assert_eq!(verdict(&job), Err((400, text.to_owned())));

    let port =
        |target: u16, published: u16| json!({"TargetPort": target, "PublishedPort": published});
    let text = "EndpointSpec: duplicate published ports provided";
    check("EndpointSpec", json!({"Ports": [port(80, 90), port(81, 90)]}), text);
    check("EndpointSpec", json!({"Ports": [port(80, 0), port(81, 0)]}), "");
    let text = "EndpointSpec: port published with ingress mode can't be used with dnsrr mode";
    check("EndpointSpec", json!({"Mode": "dnsrr", "Ports": [port(80, 0)]}), text);
}
