//! Every text, as clients know it.

use super::*;

fn text(rejected: Rejected) -> (u16, String) {
    let error = ApiError::from(rejected);
    (error.status.as_u16(), error.message)
}

#[test]
fn rejections_read_as_docker_writes_them() {
    let secret = || ("s".to_owned(), vec!["one".to_owned()]);
    for (rejected, status, message) in [
        (
            Rejected::NotFound { kind: Kind::Service, reference: "x".into() },
            404,
            "rpc error: code = NotFound desc = service x not found",
        ),
        (
            Rejected::NameTaken { kind: Kind::Secret, name: "s".into() },
            409,
            "rpc error: code = AlreadyExists desc = secret s already exists",
        ),
        (
            Rejected::NameTaken { kind: Kind::Service, name: "web".into() },
            409,
            "rpc error: code = AlreadyExists desc = name conflicts with an existing object: service web already exists",
        ),
        (
            Rejected::NameTaken { kind: Kind::Network, name: "n".into() },
            500,
            "rpc error: code = Unknown desc = name conflicts with an existing object",
        ),
        (Rejected::OutOfSequence, 500, "rpc error: code = Unknown desc = update out of sequence"),
        (
            Rejected::InUse { kind: Kind::Secret, name: secret().0, users: secret().1 },
            400,
            "rpc error: code = InvalidArgument desc = secret 's' is in use by the following service: one",
        ),
        (
            Rejected::InUse {
                kind: Kind::Config,
                name: "c".into(),
                users: vec!["one".into(), "two".into()],
            },
            400,
            "rpc error: code = InvalidArgument desc = config 'c' is in use by the following services: one, two",
        ),
        (
            Rejected::InUse { kind: Kind::Network, name: "N".into(), users: vec!["S".into()] },
            400,
            "rpc error: code = FailedPrecondition desc = network N is in use by service S",
        ),
        (
            Rejected::InUseByTask { network: "N".into(), task: "T".into() },
            400,
            "rpc error: code = FailedPrecondition desc = network N is in use by task T",
        ),
        (
            Rejected::ReferencesMissing { kind: Kind::Secret, names: vec!["a".into()] },
            400,
            "rpc error: code = InvalidArgument desc = secret not found: a",
        ),
        (
            Rejected::ReferencesMissing { kind: Kind::Config, names: vec!["a".into(), "b".into()] },
            400,
            "rpc error: code = InvalidArgument desc = configs not found: a, b",
        ),
        (
            Rejected::PortTaken { port: 80, name: "w".into(), id: "ID".into(), host_mode: false },
            400,
            "rpc error: code = InvalidArgument desc = port '80' is already in use by service 'w' (ID) as an ingress port",
        ),
        (
            Rejected::PortTaken { port: 80, name: "w".into(), id: "ID".into(), host_mode: true },
            400,
            "rpc error: code = InvalidArgument desc = port '80' is already in use by service 'w' (ID) as a host-published port",
        ),
        (
            Rejected::OnlyLabels,
            400,
            "rpc error: code = InvalidArgument desc = only updates to Labels are allowed",
        ),
        (
            Rejected::ModeChange,
            501,
            "rpc error: code = Unimplemented desc = service mode change is not allowed",
        ),
        (
            Rejected::Rename,
            501,
            "rpc error: code = Unimplemented desc = renaming services is not supported",
        ),
        (
            Rejected::NoPreviousSpec { id: "S".into() },
            400,
            "rpc error: code = FailedPrecondition desc = service S does not have a previous spec",
        ),
        (
            Rejected::NoIngress,
            400,
            "rpc error: code = FailedPrecondition desc = service needs ingress network, but no ingress network is present",
        ),
        (
            Rejected::IngressPresent { id: "N".into() },
            409,
            "rpc error: code = AlreadyExists desc = ingress network (N) is already present",
        ),
        (
            Rejected::IngressNeeded { service: "S".into() },
            400,
            "rpc error: code = FailedPrecondition desc = ingress network cannot be removed because service S depends on it",
        ),
        (
            Rejected::LastManager,
            400,
            "rpc error: code = FailedPrecondition desc = attempting to demote the last manager of the swarm",
        ),
        (
            Rejected::QuorumLost,
            400,
            "rpc error: code = FailedPrecondition desc = can't remove member from the raft: this would result in a loss of quorum",
        ),
        (
            Rejected::EngineStaysWorker { id: "N".into() },
            400,
            "rpc error: code = FailedPrecondition desc = node N runs a Docker Engine without skep and can be a worker only",
        ),
        (
            Rejected::NodeIsManager { id: "N".into() },
            400,
            "rpc error: code = FailedPrecondition desc = node N is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal",
        ),
        (
            Rejected::NodeNotDown { id: "N".into() },
            400,
            "rpc error: code = FailedPrecondition desc = node N is not down and can't be removed",
        ),
    ] {
        assert_eq!(text(rejected), (status, message.to_owned()));
    }
}

#[test]
fn backend_errors_read_as_docker_writes_them() {
    for (error, status, message) in [
        (BackendError::NotManager, 503, NOT_IN_SWARM),
        (
            BackendError::AlreadyMember,
            503,
            "This node is already part of a swarm. Use \"docker swarm leave\" to leave this swarm and join another one.",
        ),
        (BackendError::NotMember, 503, "This node is not part of a swarm"),
        (BackendError::LeaveRefused("no".into()), 503, "no"),
        (BackendError::NotLocked, 409, "swarm is not locked"),
        (BackendError::InvalidKey, 400, "invalid key string"),
        (BackendError::WrongKey, 401, "swarm could not be unlocked: invalid key provided"),
        (BackendError::Invalid("bad".into()), 400, "bad"),
        (BackendError::Internal("oops".into()), 500, "oops"),
    ] {
        let error = ApiError::from_backend(error, &Membership::Inactive);
        assert_eq!((error.status.as_u16(), error.message.as_str()), (status, message));
    }
    let error = ApiError::from_backend(BackendError::NoLeader, &Membership::Inactive);
    assert_eq!(error.status.as_u16(), 500);
    assert!(error.message.ends_with("Make sure more than half of the managers are online."));
    let error = ApiError::from_backend(BackendError::Timeout, &Membership::Inactive);
    assert!(error.status.as_u16() == 500 && error.message.contains("context deadline exceeded"));
}

#[test]
fn every_standing_has_its_text() {
    for (membership, start) in [
        (Membership::Inactive, "This node is not a swarm manager. Use \"docker swarm init\""),
        (Membership::Pending { node: None }, "This node is not a swarm manager. Manager is being"),
        (Membership::Locked, "Swarm is encrypted and needs to be unlocked"),
        (
            Membership::Failed { node: None, error: String::new(), expired: true },
            "Swarm certificates have expired.",
        ),
    ] {
        let error = not_manager(&membership);
        assert_eq!(error.status.as_u16(), 503);
        assert!(error.message.starts_with(start), "{}", error.message);
    }
}
