//! Where in a body a value stands and what Go calls its type, for the texts of errors.

use std::rc::Rc;

use super::Wording;

/// One step on the way from the whole body to a value.
#[derive(Debug)]
pub(super) enum Step {
    /// Into a field of a struct.
    Field {
        /// The struct, by our name for it.
        owner: &'static str,
        /// The field, as the API spells it.
        name: &'static str,
    },
    /// To an item of a list.
    Item(usize),
    /// To a value of a map.
    Key(String),
}

/// A value's place; none is the whole body.
#[derive(Debug)]
pub(super) struct Place {
    parent: Option<Rc<Place>>,
    step: Step,
}

impl Place {
    pub(super) fn below(parent: Option<&Rc<Self>>, step: Step) -> Rc<Self> {
        Rc::new(Self { parent: parent.cloned(), step })
    }

    /// Returns the steps from the body down to here.
    fn steps(&self) -> Vec<&Step> {
        let mut steps = vec![&self.step];
        let mut at = self.parent.as_deref();
        while let Some(place) = at {
            steps.push(&place.step);
            at = place.parent.as_deref();
        }
        steps.reverse();
        steps
    }

    /// Says where this is.
    fn text(&self, wording: Wording) -> String {
        let steps = self.steps();
        match wording {
            Wording::Current => current(&steps),
            Wording::Old => old(&steps),
        }
    }

    /// Returns Go's type of this place where it is not the plain one.
    fn go_type(&self) -> Option<&'static str> {
        match &self.step {
            Step::Field { owner, name } => field_type(owner, name),
            Step::Item(_) => {
                let list = self.parent.as_ref()?.go_type()?;
                list.strip_prefix("[]").map(|item| item.trim_start_matches('*'))
            }
            Step::Key(_) => None,
        }
    }
}

/// Says that a value of this kind does not go where it stands; `plain` is Go's type unless the place knows better.
pub(super) fn mismatch(place: Option<&Place>, kind: &str, plain: &str, wording: Wording) -> String {
    let Some(place) = place else {
        return format!("json: cannot unmarshal {kind} into Go value of type {plain}");
    };
    let go_type = place.go_type().unwrap_or(plain);
    format!("json: cannot unmarshal {kind} into {} of type {go_type}", place.text(wording))
}

/// Newer Go names the outermost struct and every step, and says "field" of what does not look like an item.
fn current(steps: &[&Step]) -> String {
    let mut path = String::new();
    let mut last = String::new();
    for step in steps {
        last = match step {
            Step::Field { owner, name } => {
                if path.is_empty() {
                    path.push_str(go_name(owner, Wording::Current));
                }
                (*name).to_owned()
            }
            Step::Item(index) => index.to_string(),
            Step::Key(key) => key.replace('~', "~0").replace('/', "~1"),
        };
        path.push('.');
        path.push_str(&last);
    }
    let item = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    if item { path } else { format!("Go struct field {path}") }
}

/// Older Go names the innermost struct and then the fields from the outermost one on.
fn old(steps: &[&Step]) -> String {
    let mut owners = "";
    let mut names = Vec::new();
    for step in steps {
        if let Step::Field { owner, name } = step {
            owners = match (*owner, names.last()) {
                ("FileTarget", _) if names.contains(&"Configs") => "ConfigReferenceFileTarget",
                _ => go_name(owner, Wording::Old),
            };
            names.push(*name);
        }
    }
    format!("Go struct field {owners}.{}", names.join("."))
}

/// Returns Go's name of one of our structs.
fn go_name(ours: &'static str, wording: Wording) -> &'static str {
    match (ours, wording) {
        ("Replicated", _) => "ReplicatedService",
        ("Global", _) => "GlobalService",
        ("Healthcheck", Wording::Old) => "HealthConfig",
        ("Healthcheck", Wording::Current) => "HealthcheckConfig",
        ("DnsConfig", _) => "DNSConfig",
        ("SelinuxContext", _) => "SELinuxContext",
        ("AppArmor", _) => "AppArmorOpts",
        ("Seccomp", _) => "SeccompOpts",
        ("FileTarget", _) => "SecretReferenceFileTarget",
        ("RuntimeTarget", _) => "ConfigReferenceRuntimeTarget",
        ("Orchestration", _) => "OrchestrationConfig",
        ("Raft", _) => "RaftConfig",
        ("Dispatcher", _) => "DispatcherConfig",
        ("CaConfig", _) => "CAConfig",
        ("ExternalCa", _) => "ExternalCA",
        ("UnlockKey", _) => "UnlockRequest",
        ("NamedResource", _) => "NamedGenericResource",
        ("DiscreteResource", _) => "DiscreteGenericResource",
        ("NetworkCreateRequest", Wording::Current) => "CreateRequest",
        ("Ipam", _) => "IPAM",
        ("IpamConfig", _) => "IPAMConfig",
        ("ConfigFrom", _) => "ConfigReference",
        (same, _) => same,
    }
}

/// Returns Go's type of one of our structs.
pub(super) fn struct_type(ours: &'static str, wording: Wording) -> String {
    let package = match (ours, wording) {
        ("Mount" | "BindOptions" | "VolumeOptions" | "TmpfsOptions", _) => "mount",
        ("Healthcheck", Wording::Current) => "v1",
        ("Healthcheck", Wording::Old) => "container",
        ("NetworkCreateRequest", Wording::Old) => "types",
        ("Ipam" | "IpamConfig" | "ConfigFrom" | "NetworkCreateRequest", _) => "network",
        ("Ulimit", _) => "units",
        _ => "swarm",
    };
    format!("{package}.{}", go_name(ours, wording))
}

/// Returns Go's type of a field where the field's own decoder cannot know it.
fn field_type(owner: &str, name: &str) -> Option<&'static str> {
    Some(match (owner, name) {
        (
            _,
            "StopGracePeriod" | "Interval" | "Timeout" | "StartPeriod" | "StartInterval" | "Delay"
            | "Monitor" | "Window" | "HeartbeatPeriod" | "NodeCertExpiry",
        ) => "time.Duration",
        ("Mount", "Type") => "mount.Type",
        ("Mount", "Consistency") => "mount.Consistency",
        ("BindOptions", "Propagation") => "mount.Propagation",
        ("EndpointSpec", "Mode") => "swarm.ResolutionMode",
        ("Seccomp", "Mode") => "swarm.SeccompMode",
        ("AppArmor", "Mode") => "swarm.AppArmorMode",
        ("FileTarget" | "TmpfsOptions", "Mode") => "fs.FileMode",
        ("RestartPolicy", "Condition") => "swarm.RestartPolicyCondition",
        ("TaskSpec", "Runtime") => "swarm.RuntimeType",
        ("PortConfig", "Protocol") => "swarm.PortConfigProtocol",
        ("PortConfig", "PublishMode") => "swarm.PortConfigPublishMode",
        ("ExternalCa", "Protocol") => "swarm.ExternalCAProtocol",
        ("ContainerSpec", "Isolation") => "container.Isolation",
        ("NodeSpec", "Role") => "swarm.NodeRole",
        ("NodeSpec" | "InitRequest" | "JoinRequest", "Availability") => "swarm.NodeAvailability",
        ("ContainerSpec", "Mounts") => "[]mount.Mount",
        ("ContainerSpec", "Secrets") => "[]*swarm.SecretReference",
        ("ContainerSpec", "Configs") => "[]*swarm.ConfigReference",
        ("ContainerSpec", "Ulimits") => "[]*units.Ulimit",
        ("EndpointSpec", "Ports") => "[]swarm.PortConfig",
        (_, "Networks") => "[]swarm.NetworkAttachmentConfig",
        ("Placement", "Preferences") => "[]swarm.PlacementPreference",
        ("Placement", "Platforms") => "[]swarm.Platform",
        ("Resources", "GenericResources") => "[]swarm.GenericResource",
        ("CaConfig", "ExternalCAs") => "[]*swarm.ExternalCA",
        ("Ipam", "Config") => "[]network.IPAMConfig",
        ("TmpfsOptions", "Options") => "[][]string",
        _ => return None,
    })
}
