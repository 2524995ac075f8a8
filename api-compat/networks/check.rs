//! What an engine checks of a new network before it asks the cluster for it.

use serde_json::{Value, json};

use super::{ENABLE_IPV4_SINCE, field};
use crate::backend::Membership;
use crate::call::Call;
use crate::dialect;
use crate::error::ApiError;
use crate::query::Query;
use crate::route::ApiVersion;
use crate::wire::network::{Ipam, NetworkCreateRequest};

/// Names that the engine keeps for itself.
const BUILT_IN: [&str; 4] = ["bridge", "default", "host", "none"];

/// Name of the network that each node of Docker's swarm has for itself.
const GATEWAY_BRIDGE: &str = "docker_gwbridge";

pub(super) fn taken(name: &str) -> ApiError {
    ApiError::conflict(format!("network with name {name} already exists"))
}

/// Checks what an engine checks before it asks the cluster for a network, in its order; drops what older ones do not know.
pub(super) async fn check_new(
    call: &Call,
    request: &mut NetworkCreateRequest,
) -> Result<(), ApiError> {
    let engine = call.engine_version();
    let old = dialect::is_old(&engine);
    let in_cluster = matches!(call.backend.membership(), Membership::Manager { .. });
    if request.name.trim().is_empty() {
        let sought = in_cluster && request.check_duplicate && request.name.is_empty();
        return Err(match (old, sought) {
            // The beginning of every id.
            (true, true) => taken(&request.name),
            (true, false) => ApiError::internal(format!("invalid name: {}", request.name)),
            (false, _) => ApiError::bad_request("invalid name: name is empty"),
        });
    }
    if BUILT_IN.contains(&request.name.as_str()) {
        let text = format!("operation is not permitted on predefined {} network ", request.name);
        return Err(ApiError::forbidden(text));
    }
    let local = call.engine_json(&["networks", &request.name], &Query::default()).await?;
    let local = local.is_some_and(|network| field(&network, "Name") == request.name);
    if local || in_cluster && request.name == GATEWAY_BRIDGE {
        return Err(taken(&request.name));
    }
    if request.driver == "overlay" && request.scope == "local" {
        let text = "cannot downgrade network scope for overlay networks";
        return Err(ApiError::forbidden(text));
    }
    if ApiVersion(engine.api_max.0, engine.api_max.1) < ENABLE_IPV4_SINCE {
        request.enable_ipv4 = None;
    }
    check_template(call, request, old).await
}

/// Checks that a network which takes its settings from a template has none of its own, and that there is the template.
async fn check_template(
    call: &Call,
    request: &NetworkCreateRequest,
    old: bool,
) -> Result<(), ApiError> {
    let template = request.config_from.as_ref().map_or("", |from| from.network.as_str());
    if template.is_empty() {
        return Ok(());
    }
    let has_own = |ipam: &Ipam| {
        !matches!(ipam.driver.as_str(), "" | "default")
            || ipam.options.as_ref().is_some_and(|options| !options.is_empty())
            || ipam.config.as_ref().is_some_and(|subnets| !subnets.is_empty())
    };
    if request.enable_ipv6 == Some(true)
        || !request.labels.is_empty()
        || request.ipam.as_ref().is_some_and(has_own)
    {
        let text = "user specified configurations are not supported if the network depends on a configuration network";
        return Err(ApiError::forbidden(text));
    }
    if !request.options.is_empty() {
        let text = "network driver options are not supported if the network depends on a configuration network";
        return Err(ApiError::forbidden(text));
    }
    // Older engines leave it at that.
    if old {
        return Ok(());
    }
    let found = call.engine_json(&["networks", template], &Query::default()).await?;
    let is_it = |network: &Value| {
        field(network, "Name") == template && network.get("ConfigOnly") == Some(&json!(true))
    };
    if found.as_ref().is_some_and(is_it) {
        return Ok(());
    }
    Err(ApiError::not_found(format!("configuration network {template:?} does not exist")))
}
