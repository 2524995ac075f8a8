//! A valid body for each route that takes one, with every field: what the hostile ones are made from.

use serde_json::{Value, json};

use crate::convert::tests::full;

/// Returns a valid body for a route; a small object where it takes none, or is not known here.
pub(super) fn of(path: &str) -> Value {
    match path {
        "/services/create" | "/services/{id}/update" => service(),
        "/swarm/init" => json!({
            "ListenAddr": "0.0.0.0:2377", "AdvertiseAddr": "127.0.0.1", "DataPathAddr": "",
            "DataPathPort": 4789, "DefaultAddrPool": ["10.10.0.0/16"], "SubnetSize": 24,
            "ForceNewCluster": true, "AutoLockManagers": true, "Availability": "active", "Spec": swarm()
        }),
        "/swarm/join" => json!({
            "ListenAddr": "0.0.0.0:2377", "AdvertiseAddr": "127.0.0.1", "DataPathAddr": "",
            "RemoteAddrs": ["127.0.0.1:2377"], "JoinToken": "SWMTKN-1-a-b", "Availability": "pause"
        }),
        "/swarm/update" => swarm(),
        "/swarm/unlock" => {
            json!({"UnlockKey": "SWMKEY-1-7c37Cc8654o6p38HnroywCi19pllOnGtbdZEgtKxZu8"})
        }
        "/nodes/{id}/update" => {
            json!({"Name": "n", "Labels": {"a": "b"}, "Role": "manager", "Availability": "drain"})
        }
        "/secrets/create" | "/secrets/{id}/update" => json!({
            "Name": "s", "Labels": {"a": "b"}, "Data": "aGk=", "Driver": {"Name": "", "Options": {"a": "b"}},
            "Templating": {"Name": "golang", "Options": {"a": "b"}}
        }),
        "/configs/create" | "/configs/{id}/update" => json!({
            "Name": "c", "Labels": {"a": "b"}, "Data": "aGk=", "Templating": {"Name": "golang", "Options": {}}
        }),
        "/networks/create" => json!({
            "Name": "n", "CheckDuplicate": true, "Driver": "overlay", "Scope": "swarm", "Internal": true,
            "Attachable": true, "Ingress": false, "EnableIPv4": true, "EnableIPv6": false,
            "ConfigOnly": false, "ConfigFrom": {"Network": ""}, "Options": {"encrypted": ""}, "Labels": {"a": "b"},
            "IPAM": {"Driver": "default", "Options": {"a": "b"}, "Config": [
                {"Subnet": "10.9.0.0/24", "IPRange": "10.9.0.0/25", "Gateway": "10.9.0.1",
                 "AuxiliaryAddresses": {"a": "10.9.0.2"}}]}
        }),
        "/networks/{id}/connect" | "/networks/{id}/disconnect" => json!({
            "Container": "x", "Force": true, "EndpointConfig": {
                "IPAMConfig": {"IPv4Address": "10.9.0.9", "LinkLocalIPs": ["169.254.0.1"]},
                "Links": ["a:b"], "Aliases": ["c"], "DriverOpts": {"a": "b"}, "MacAddress": "02:42:0a:09:00:02"}
        }),
        "/containers/create" => json!({
            "Image": "busybox", "Cmd": ["true"], "Labels": {"a": "b"}, "HostConfig": {"NetworkMode": "net"},
            "NetworkingConfig": {"EndpointsConfig": {"net": {"Aliases": ["a"], "IPAMConfig": {"IPv4Address": "10.9.0.9"}}}}
        }),
        "/volumes/create" => json!({
            "Name": "v", "Driver": "local", "DriverOpts": {"a": "b"}, "Labels": {"c": "d"},
            "ClusterVolumeSpec": {"Group": "g", "AccessMode": {"Scope": "single", "Sharing": "none"}}
        }),
        _ => json!({"Name": "x", "Id": 1, "Nested": {"a": [1, null]}}),
    }
}

/// A service that the cluster of these tests takes.
pub(super) fn small_service() -> Value {
    json!({
        "Name": "web", "TaskTemplate": {"ContainerSpec": {"Image": "busybox"}},
        "EndpointSpec": {"Ports": [{"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8080}]}
    })
}

/// A service with every field that can be set, none of which is refused here.
pub(super) fn service() -> Value {
    let mut spec = full();
    let template = &mut spec["TaskTemplate"];
    template["Networks"] = json!([{"Target": "net", "Aliases": ["a"], "DriverOpts": {"a": "b"}}]);
    template["Resources"]["Reservations"]["GenericResources"] =
        json!([{"DiscreteResourceSpec": {"Kind": "gpu", "Value": 1}}]);
    let container = &mut template["ContainerSpec"];
    container["Secrets"] = json!([]);
    container["Configs"] = json!([]);
    container["Privileges"]["CredentialSpec"] = Value::Null;
    if let Some(mounts) = container["Mounts"].as_array_mut() {
        mounts.truncate(3);
    }
    spec["Mode"] = json!({"Replicated": {"Replicas": 2}});
    spec
}

fn swarm() -> Value {
    json!({
        "Name": "default", "Labels": {"a": "b"},
        "Orchestration": {"TaskHistoryRetentionLimit": 5},
        "Raft": {"SnapshotInterval": 10_000, "KeepOldSnapshots": 1, "LogEntriesForSlowFollowers": 500,
                 "ElectionTick": 10, "HeartbeatTick": 1},
        "Dispatcher": {"HeartbeatPeriod": 5_000_000_000_u64},
        "CAConfig": {"NodeCertExpiry": 7_776_000_000_000_000_u64, "SigningCACert": "", "SigningCAKey": "",
                     "ForceRotate": 0, "ExternalCAs": [
            {"Protocol": "cfssl", "URL": "https://a/b", "Options": {"x": "y"}, "CACert": ""}]},
        "TaskDefaults": {"LogDriver": {"Name": "json-file", "Options": {"a": "b"}}},
        "EncryptionConfig": {"AutoLockManagers": true}
    })
}
