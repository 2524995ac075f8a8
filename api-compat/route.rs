//! Which of skep's own handlers a request belongs to, if any. Decides by method and path alone; runs nothing.

use std::fmt;

use http::Method;

/// A version of the Docker API, for example 1.51.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion(pub u32, pub u32);

impl ApiVersion {
    /// The newest version served.
    pub const MAX: Self = Self(1, 51);
    /// The oldest version served, where the engine serves it as well.
    pub const MIN: Self = Self(1, 12);

    /// Reads `1.51`. What follows a further dot is let through, and of no account.
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        let (minor, rest) = minor.split_once('.').unwrap_or((minor, ""));
        if !rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return None;
        }
        let number = |part: &str| {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            if digits { part.parse::<u32>().ok() } else { None }
        };
        Some(Self(number(major)?, number(minor)?))
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Splits `/v1.51/info` into the version named and `/info`; a path without a version stays whole.
pub fn split_version(path: &str) -> (Option<ApiVersion>, &str) {
    let Some(rest) = path.strip_prefix("/v") else { return (None, path) };
    let (head, tail) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match ApiVersion::parse(head) {
        Some(version) if !tail.is_empty() => (Some(version), tail),
        Some(_) | None => (None, path),
    }
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `GET` or `HEAD /_ping`.
    Ping,
    /// `GET /info`.
    Info,
    /// `GET /version`.
    Version,
    /// `GET /events`.
    Events,
    /// `GET /containers/json`.
    ContainerList,
    /// `GET /containers/{id}/json`.
    ContainerInspect,
    /// `POST /containers/create`.
    ContainerCreate,
    /// `POST /containers/{id}/start` and `restart`.
    ContainerStart(String),
    /// `POST /containers/{id}/stop` and `kill`, `DELETE /containers/{id}`.
    ContainerEnd(String),
    /// `POST /volumes/create`.
    VolumeCreate,
    /// `PUT /volumes/{name}`.
    VolumeUpdate,
    /// `GET /networks`.
    NetworkList,
    /// `POST /networks/create`.
    NetworkCreate,
    /// `POST /networks/prune`.
    NetworkPrune,
    /// `GET /networks/{id}`.
    NetworkInspect(String),
    /// `DELETE /networks/{id}`.
    NetworkRemove(String),
    /// `POST /networks/{id}/connect`.
    NetworkConnect(String),
    /// `POST /networks/{id}/disconnect`.
    NetworkDisconnect(String),
    /// `GET /swarm`.
    SwarmInspect,
    /// `POST /swarm/init`.
    SwarmInit,
    /// `POST /swarm/join`.
    SwarmJoin,
    /// `POST /swarm/leave`.
    SwarmLeave,
    /// `POST /swarm/update`.
    SwarmUpdate,
    /// `GET /swarm/unlockkey`.
    SwarmUnlockKey,
    /// `POST /swarm/unlock`.
    SwarmUnlock,
    /// `GET /nodes`.
    NodeList,
    /// `GET /nodes/{id}`.
    NodeInspect(String),
    /// `POST /nodes/{id}/update`.
    NodeUpdate(String),
    /// `DELETE /nodes/{id}`.
    NodeRemove(String),
    /// `GET /services`.
    ServiceList,
    /// `POST /services/create`.
    ServiceCreate,
    /// `GET /services/{id}`.
    ServiceInspect(String),
    /// `POST /services/{id}/update`.
    ServiceUpdate(String),
    /// `DELETE /services/{id}`.
    ServiceRemove(String),
    /// `GET /services/{id}/logs`.
    ServiceLogs(String),
    /// `GET /tasks`.
    TaskList,
    /// `GET /tasks/{id}`.
    TaskInspect(String),
    /// `GET /tasks/{id}/logs`.
    TaskLogs(String),
    /// `GET /secrets`.
    SecretList,
    /// `POST /secrets/create`.
    SecretCreate,
    /// `GET /secrets/{id}`.
    SecretInspect(String),
    /// `POST /secrets/{id}/update`.
    SecretUpdate(String),
    /// `DELETE /secrets/{id}`.
    SecretRemove(String),
    /// `GET /configs`.
    ConfigList,
    /// `POST /configs/create`.
    ConfigCreate,
    /// `GET /configs/{id}`.
    ConfigInspect(String),
    /// `POST /configs/{id}/update`.
    ConfigUpdate(String),
    /// `DELETE /configs/{id}`.
    ConfigRemove(String),
    /// `POST /skep/backup`, which only skep has.
    Backup,
    /// `GET /skep/why/{reference}`, which only skep has.
    Why(String),
    /// `GET /skep/net` and `GET /skep/net/{service}`, which only skep has.
    Net(Option<String>),
    /// A path under skep's own roots with a method or shape that does not exist.
    Unknown,
    /// Everything else belongs to the local engine.
    Engine,
}

/// Finds the route of a path without its version prefix. A slash that was escaped is one like any other, as for Docker.
pub fn route(method: &Method, path: &str) -> Route {
    let path = decode(path);
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    // The engine sends clients to the address without what is superfluous.
    if path.starts_with("//") || segments.iter().rev().skip(1).any(|part| part.is_empty()) {
        return Route::Engine;
    }
    // It answers these itself, whatever the path.
    if method == Method::OPTIONS {
        return Route::Engine;
    }
    let get = method == Method::GET;
    let post = method == Method::POST;
    match segments.as_slice() {
        ["_ping"] if get || method == Method::HEAD => Route::Ping,
        ["info"] if get => Route::Info,
        ["version"] if get => Route::Version,
        ["events"] if get => Route::Events,
        ["containers", "json"] if get => Route::ContainerList,
        ["containers", _, "json"] if get => Route::ContainerInspect,
        ["containers", "create"] if post => Route::ContainerCreate,
        ["containers", id, "start" | "restart"] if post => Route::ContainerStart((*id).to_owned()),
        ["containers", id, "stop" | "kill"] if post => Route::ContainerEnd((*id).to_owned()),
        ["containers", id] if method == Method::DELETE => Route::ContainerEnd((*id).to_owned()),
        ["volumes", "create"] if post => Route::VolumeCreate,
        ["volumes", _] if method == Method::PUT => Route::VolumeUpdate,
        ["networks", rest @ ..] => network_route(method, rest),
        ["swarm", rest @ ..] => swarm_route(method, rest),
        ["nodes", rest @ ..] => node_route(method, rest),
        ["services", rest @ ..] => service_route(method, rest),
        ["tasks", rest @ ..] => task_route(method, rest),
        ["secrets", rest @ ..] => secret_route(method, rest),
        ["configs", rest @ ..] => config_route(method, rest),
        ["skep", "net"] if get => Route::Net(None),
        ["skep", "net", service] if get && !service.is_empty() => {
            Route::Net(Some((*service).to_owned()))
        }
        ["skep", "why", reference] if get && !reference.is_empty() => {
            Route::Why((*reference).to_owned())
        }
        ["skep", "backup"] if post => Route::Backup,
        ["skep", ..] => Route::Unknown,
        _ => Route::Engine,
    }
}

fn network_route(method: &Method, rest: &[&str]) -> Route {
    match (method.as_str(), rest) {
        ("GET", []) => Route::NetworkList,
        ("POST", ["create"]) => Route::NetworkCreate,
        ("POST", ["prune"]) => Route::NetworkPrune,
        ("GET", [id]) if !id.is_empty() => Route::NetworkInspect((*id).to_owned()),
        ("DELETE", [id]) if !id.is_empty() => Route::NetworkRemove((*id).to_owned()),
        ("POST", [id, "connect"]) => Route::NetworkConnect((*id).to_owned()),
        ("POST", [id, "disconnect"]) => Route::NetworkDisconnect((*id).to_owned()),
        _ => Route::Engine,
    }
}

fn swarm_route(method: &Method, rest: &[&str]) -> Route {
    match (method.as_str(), rest) {
        ("GET", []) => Route::SwarmInspect,
        ("POST", ["init"]) => Route::SwarmInit,
        ("POST", ["join"]) => Route::SwarmJoin,
        ("POST", ["leave"]) => Route::SwarmLeave,
        ("POST", ["update"]) => Route::SwarmUpdate,
        ("GET", ["unlockkey"]) => Route::SwarmUnlockKey,
        ("POST", ["unlock"]) => Route::SwarmUnlock,
        _ => Route::Unknown,
    }
}

fn node_route(method: &Method, rest: &[&str]) -> Route {
    match (method.as_str(), rest) {
        ("GET", []) => Route::NodeList,
        ("GET", [id]) if !id.is_empty() => Route::NodeInspect((*id).to_owned()),
        ("DELETE", [id]) if !id.is_empty() => Route::NodeRemove((*id).to_owned()),
        ("POST", [id, "update"]) if !id.is_empty() => Route::NodeUpdate((*id).to_owned()),
        _ => Route::Unknown,
    }
}

fn service_route(method: &Method, rest: &[&str]) -> Route {
    match (method.as_str(), rest) {
        ("GET", []) => Route::ServiceList,
        ("POST", ["create"]) => Route::ServiceCreate,
        ("GET", [id]) if !id.is_empty() => Route::ServiceInspect((*id).to_owned()),
        ("DELETE", [id]) if !id.is_empty() => Route::ServiceRemove((*id).to_owned()),
        ("POST", [id, "update"]) if !id.is_empty() => Route::ServiceUpdate((*id).to_owned()),
        ("GET", [id, "logs"]) if !id.is_empty() => Route::ServiceLogs((*id).to_owned()),
        _ => Route::Unknown,
    }
}

fn task_route(method: &Method, rest: &[&str]) -> Route {
    match (method.as_str(), rest) {
        ("GET", []) => Route::TaskList,
        ("GET", [id]) if !id.is_empty() => Route::TaskInspect((*id).to_owned()),
        ("GET", [id, "logs"]) if !id.is_empty() => Route::TaskLogs((*id).to_owned()),
        _ => Route::Unknown,
    }
}

fn secret_route(method: &Method, rest: &[&str]) -> Route {
    match (method.as_str(), rest) {
        ("GET", []) => Route::SecretList,
        ("POST", ["create"]) => Route::SecretCreate,
        ("GET", [id]) if !id.is_empty() => Route::SecretInspect((*id).to_owned()),
        ("DELETE", [id]) if !id.is_empty() => Route::SecretRemove((*id).to_owned()),
        ("POST", [id, "update"]) if !id.is_empty() => Route::SecretUpdate((*id).to_owned()),
        _ => Route::Unknown,
    }
}

fn config_route(method: &Method, rest: &[&str]) -> Route {
    match (method.as_str(), rest) {
        ("GET", []) => Route::ConfigList,
        ("POST", ["create"]) => Route::ConfigCreate,
        ("GET", [id]) if !id.is_empty() => Route::ConfigInspect((*id).to_owned()),
        ("DELETE", [id]) if !id.is_empty() => Route::ConfigRemove((*id).to_owned()),
        ("POST", [id, "update"]) if !id.is_empty() => Route::ConfigUpdate((*id).to_owned()),
        _ => Route::Unknown,
    }
}

/// Undoes percent-encoding; escapes that are none stay as they are.
pub(crate) fn decode(text: &str) -> String {
    let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if let (b'%', [high, low, after @ ..]) = (first, tail)
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            out.push(high * 16 + low);
            rest = after;
            continue;
        }
        out.push(first);
        rest = tail;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Percent-encodes everything but letters, digits and `-_.~`, for paths and queries sent to the engine.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn versions_are_split_off() {
        assert_eq!(split_version("/v1.51/info"), (Some(ApiVersion(1, 51)), "/info"));
        assert_eq!(split_version("/info"), (None, "/info"));
        assert_eq!(split_version("/volumes"), (None, "/volumes"));
        assert_eq!(split_version("/v1.24.1/info"), (Some(ApiVersion(1, 24)), "/info"));
        assert_eq!(split_version("/v1.x/info"), (None, "/v1.x/info"));
        assert_eq!(split_version("/v1.24.x/info"), (None, "/v1.24.x/info"));
        assert_eq!(split_version("/v1.51"), (None, "/v1.51"));
        assert!(ApiVersion(1, 9) < ApiVersion(1, 10));
    }

    #[test]
    fn methods_matter() {
        assert_eq!(route(&Method::GET, "/swarm"), Route::SwarmInspect);
        assert_eq!(route(&Method::PUT, "/swarm"), Route::Unknown);
        assert_eq!(route(&Method::GET, "/services/a%20b"), Route::ServiceInspect("a b".to_owned()));
        assert_eq!(route(&Method::GET, "/services/a%2Fb"), Route::Unknown);
        assert_eq!(route(&Method::GET, "/services%2Fa"), Route::ServiceInspect("a".to_owned()));
        assert_eq!(route(&Method::OPTIONS, "/services"), Route::Engine);
        assert_eq!(route(&Method::GET, "/services/x/logs"), Route::ServiceLogs("x".to_owned()));
        assert_eq!(route(&Method::GET, "/services/"), Route::Unknown);
        assert_eq!(route(&Method::POST, "/containers/x/wait"), Route::Engine);
        assert_eq!(route(&Method::DELETE, "/containers/x"), Route::ContainerEnd("x".to_owned()));
        assert_eq!(route(&Method::HEAD, "/_ping"), Route::Ping);
        assert_eq!(route(&Method::GET, "//services"), Route::Engine);
        assert_eq!(route(&Method::POST, "/services//create"), Route::Engine);
        assert_eq!(route(&Method::GET, "/networks/create"), Route::NetworkInspect("create".into()));
    }

    proptest! {
        #[test]
        fn any_path_has_a_route(path in "/[ -~]{0,40}", utf in ".{0,20}") {
            for text in [path.as_str(), utf.as_str()] {
                let (_, rest) = split_version(text);
                route(&Method::GET, rest);
                route(&Method::POST, rest);
            }
        }

        #[test]
        fn decode_undoes_encode(text in ".{0,40}") {
            prop_assert_eq!(decode(&encode(&text)), text);
        }
    }
}
