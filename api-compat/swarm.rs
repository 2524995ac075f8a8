//! `/swarm`: make, join, leave, show, change and unlock a cluster.

use http::StatusCode;

use skep_core::model::cluster::ClusterSpec;

use crate::backend::{BackendError, InitCluster, JoinCluster, Membership, Rotate};
use crate::call::Call;
use crate::convert::cluster::{
    availability_or_active, check_addresses, spec_for_init, spec_for_update, text, to_wire,
};
use crate::error::ApiError;
use crate::reply::{self, Reply};
use crate::route::ApiVersion;
use crate::wire::swarm::{InitRequest, JoinRequest, Spec, UnlockKey};

/// Pool of overlay subnets when a request names none.
const DEFAULT_POOL: &str = "10.0.0.0/8";

const JOIN_TIMEOUT: &str = "Timeout was reached before node joined. The attempt to join the swarm will continue in the background. Use the \"docker info\" command to see the current swarm status of your node.";

/// Answers `GET /swarm`.
///
/// # Errors
/// Fails where there is no manager.
pub async fn inspect(call: Call) -> Reply {
    let state = call.state().await?;
    let cluster = state.cluster().ok_or_else(|| call.fail(BackendError::NotManager))?;
    Ok(reply::json(StatusCode::OK, &to_wire(cluster)))
}

/// Answers `POST /swarm/init` with the new node's id.
///
/// # Errors
/// Fails in a cluster, on bad addresses and bad specs.
pub async fn init(mut call: Call) -> Reply {
    let request: InitRequest = call.json().await?;
    if call.backend.membership() != Membership::Inactive && !request.force_new_cluster {
        return Err(call.fail(BackendError::AlreadyMember));
    }
    if request.listen_addr.is_empty() {
        return Err(ApiError::bad_request(
            "invalid ListenAddr \"\": listen address must be an IP address or network interface (with optional port number)",
        ));
    }
    let (pools, size) = if call.version < ApiVersion(1, 39) {
        (None, 0)
    } else {
        (request.default_addr_pool, request.subnet_size)
    };
    let port = if call.version < ApiVersion(1, 40) { 0 } else { request.data_path_port };
    let pools = pools.unwrap_or_else(|| vec![DEFAULT_POOL.to_owned()]);
    check_addresses(&pools, size, port)?;
    // Docker makes the cluster first and judges its settings then: it stays, with the defaults.
    let (mut spec, refusal) = match spec_for_init(request.spec) {
        Ok(spec) => (spec, None),
        Err(error) if error.message.starts_with("rpc error") => {
            let text = format!("error updating cluster settings: {}", error.message);
            (ClusterSpec::default(), Some(ApiError::internal(text)))
        }
        Err(error) => return Err(error),
    };
    spec.auto_lock_managers |= request.auto_lock_managers;
    let node = call
        .backend
        .init(InitCluster {
            listen_addr: request.listen_addr,
            advertise_addr: request.advertise_addr,
            data_path_addr: request.data_path_addr,
            data_path_port: port,
            force_new_cluster: request.force_new_cluster,
            spec,
            availability: availability_or_active(&request.availability)?,
            address_pools: pools,
            subnet_size: size,
        })
        .await
        .map_err(|error| call.fail(error))?;
    match refusal {
        Some(error) => Err(error),
        None => Ok(reply::json(StatusCode::OK, node.as_str())),
    }
}

/// Answers `POST /swarm/join`.
///
/// # Errors
/// Fails in a cluster, on bad addresses and tokens, and when it takes too long.
pub async fn join(mut call: Call) -> Reply {
    let request: JoinRequest = call.json().await?;
    if call.backend.membership() != Membership::Inactive {
        return Err(call.fail(BackendError::AlreadyMember));
    }
    match request.remote_addrs.first() {
        None => return Err(ApiError::bad_request("at least 1 RemoteAddr is required to join")),
        Some(first) if first.is_empty() => {
            return Err(ApiError::bad_request("invalid remoteAddr \"\": invalid empty address"));
        }
        Some(_) => {}
    }
    let request = JoinCluster {
        listen_addr: request.listen_addr,
        advertise_addr: request.advertise_addr,
        data_path_addr: request.data_path_addr,
        remote_addrs: request.remote_addrs,
        join_token: request.join_token,
        availability: availability_or_active(&request.availability)?,
    };
    call.backend.join(request).await.map_err(|error| {
        if error == BackendError::Timeout {
            return ApiError::unavailable(JOIN_TIMEOUT);
        }
        call.fail(error)
    })?;
    Ok(reply::empty(StatusCode::OK))
}

/// Answers `POST /swarm/leave`.
///
/// # Errors
/// Fails outside a cluster, and for managers without force.
pub async fn leave(call: Call) -> Reply {
    let force = call.query.truthy("force");
    call.backend.leave(force).await.map_err(|error| call.fail(error))?;
    Ok(reply::empty(StatusCode::OK))
}

/// Answers `POST /swarm/update`.
///
/// # Errors
/// Fails on stale versions and bad specs.
pub async fn update(mut call: Call) -> Reply {
    let spec: Spec = call.json().await?;
    let version = call.query.version("swarm")?;
    let rotate = Rotate {
        worker_token: call.query.rotates("rotateWorkerToken")?,
        manager_token: call.query.rotates("rotateManagerToken")?,
        unlock_key: call.query.rotates("rotateManagerUnlockKey")?,
    };
    call.state().await?;
    let spec = spec_for_update(spec)?;
    let updated = call.backend.update_cluster(version, spec, rotate).await;
    updated.map_err(|error| call.fail(error))?;
    Ok(reply::empty(StatusCode::OK))
}

/// Answers `GET /swarm/unlockkey`; the key is empty while autolock is off.
///
/// # Errors
/// Fails where there is no manager.
pub async fn unlock_key(call: Call) -> Reply {
    let state = call.state().await?;
    let cluster = state.cluster().filter(|cluster| cluster.spec.auto_lock_managers);
    let unlock_key = cluster.map(|cluster| text(&cluster.unlock_key)).unwrap_or_default();
    Ok(reply::json(StatusCode::OK, &UnlockKey { unlock_key }))
}

/// Answers `POST /swarm/unlock`.
///
/// # Errors
/// Fails on wrong keys, and where nothing is locked.
pub async fn unlock(mut call: Call) -> Reply {
    let request: UnlockKey = call.json().await?;
    if call.backend.membership() == Membership::Inactive {
        return Err(call.fail(BackendError::NotManager));
    }
    let unlocked = call.backend.unlock(&request.unlock_key).await;
    unlocked.map_err(|error| call.fail(error))?;
    Ok(reply::empty(StatusCode::OK))
}
