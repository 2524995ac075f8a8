//! `/events`: the engine's events and the cluster's in one stream, each object sent at once.

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde_json::Value;
use skep_core::state::{Event, State};

use crate::backend::{Body, BodyError, Membership};
use crate::call::Call;
use crate::filters::Filters;
use crate::reply::{self, Reply};
use crate::wire;
use crate::wire::time::parse_moment;

/// Longest event that is passed on.
const EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Filters that ask for an object by the beginning of its id or name, whatever its kind.
const OBJECT_KEYS: [&str; 10] = [
    "config",
    "container",
    "daemon",
    "image",
    "network",
    "node",
    "plugin",
    "secret",
    "service",
    "volume",
];

/// Answers `GET /events`.
///
/// # Errors
/// Fails on bad filters and when the engine cannot be reached.
pub async fn stream(call: Call) -> Reply {
    let filters = Filters::parse(call.query.get("filters"))?;
    let since = parse_moment(call.query.get("since"));
    let until = parse_moment(call.query.get("until"));
    let manager = matches!(call.backend.membership(), Membership::Manager { .. });
    let backend = call.backend.clone();
    let response = call.pass().await?;
    if response.status() != StatusCode::OK || !manager {
        return Ok(response);
    }
    // The engine's half must not fail with the cluster's.
    let Ok(cluster) = backend.events(since, until).await else { return Ok(response) };
    let cluster = cluster
        .filter(move |event| std::future::ready(shown(&filters, event)))
        .map(|event| Ok(line(event)));
    let local = lines(response.into_body()).map(move |piece| {
        let known = backend.known();
        piece.map(|piece| known.map_or(piece.clone(), |(_, state)| retold(&state, piece)))
    });
    let merged = stream::select(local, cluster.boxed());
    let mut reply = reply::with_body(StatusCode::OK, reply::streamed(merged.boxed()));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(reply)
}

fn line(event: Event) -> Bytes {
    let mut text = serde_json::to_vec(&wire::event::Event::from(event)).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

fn shown(filters: &Filters, event: &Event) -> bool {
    let name = event.attributes.get("name").map_or("", String::as_str);
    filters.exact("scope", "swarm")
        && filters.exact("type", event.kind.as_str())
        && filters.exact("event", event.action.as_str())
        && filters.labels("label", &event.attributes)
        && OBJECT_KEYS.iter().all(|key| filters.prefix(key, &event.id) || filters.prefix(key, name))
}

/// Tells what the engine says of a cluster network's stand-in as of the network itself.
fn retold(state: &State, lines: Bytes) -> Bytes {
    const NETWORK: &[u8] = br#""Type":"network""#;
    if !lines.windows(NETWORK.len()).any(|part| part == NETWORK) {
        return lines;
    }
    let mut told = BytesMut::with_capacity(lines.len());
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        match serde_json::from_slice::<Value>(line).ok().and_then(|event| renamed(state, event)) {
            Some(event) => {
                told.extend_from_slice(event.to_string().as_bytes());
                told.extend_from_slice(b"\n");
            }
            None => told.extend_from_slice(line),
        }
    }
    told.freeze()
}

/// Returns an event of a stand-in under the network's id and driver; nothing for all others.
fn renamed(state: &State, mut event: Value) -> Option<Value> {
    let actor = event.get_mut("Actor").filter(|actor| actor.is_object())?;
    let attributes = actor.get_mut("Attributes").and_then(Value::as_object_mut)?;
    if attributes.get("type").and_then(Value::as_str) != Some("bridge") {
        return None;
    }
    let name = attributes.get("name").and_then(Value::as_str)?;
    let mut networks = state.networks().values();
    let id = networks
        .find(|network| !network.spec.predefined && network.spec.annotations.name == name)
        .map(|network| network.id.to_string())?;
    attributes.insert("type".to_owned(), Value::from("overlay"));
    actor.as_object_mut()?.insert("ID".to_owned(), Value::from(id));
    Some(event)
}

/// Cuts a body into whole lines, so that two streams of objects can be mixed.
fn lines(body: Body) -> BoxStream<'static, Result<Bytes, BodyError>> {
    let source = reply::data_stream(body).boxed();
    stream::unfold((source, BytesMut::new()), |(mut source, mut held)| async move {
        loop {
            if let Some(end) = held.iter().rposition(|byte| *byte == b'\n') {
                let whole = held.split_to(end + 1).freeze();
                return Some((Ok(whole), (source, held)));
            }
            if held.len() > EVENT_BYTES_MAX {
                let error: BodyError = "an event of the engine is too long".into();
                return Some((Err(error), (stream::empty().boxed(), BytesMut::new())));
            }
            match source.next().await {
                Some(Ok(piece)) => held.extend_from_slice(&piece),
                Some(Err(error)) => return Some((Err(error), (source, held))),
                None if held.is_empty() => return None,
                None => return Some((Ok(held.split().freeze()), (source, held))),
            }
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_core::model::Kind;
    use skep_core::state::Action;
    use skep_core::time::Timestamp;

    fn event() -> Event {
        Event {
            at: Timestamp(1_767_322_245_125_000_000),
            kind: Kind::Service,
            action: Action::Update,
            id: "9mnp".to_owned(),
            attributes: [("name".to_owned(), "web".to_owned())].into(),
        }
    }

    #[test]
    fn events_are_written_as_docker_writes_them() {
        let text = r#"{"Type":"service","Action":"update","Actor":{"ID":"9mnp","Attributes":{"name":"web"}},"scope":"swarm","time":1767322245,"timeNano":1767322245125000000}"#;
        assert_eq!(line(event()), Bytes::from(format!("{text}\n")));
    }

    #[test]
    fn a_stand_in_is_told_as_the_network() {
        let fake = crate::fake::Fake::cluster();
        let state = fake.state();
        let id = state.find_network("front").expect("there is one").id.as_str();
        let local = |id: &str, name: &str, driver: &str| {
            format!(
                "{{\"Type\":\"network\",\"Action\":\"connect\",\"Actor\":{{\"ID\":\"{id}\",\"Attributes\":{{\"name\":\"{name}\",\"type\":\"{driver}\"}}}},\"scope\":\"local\"}}\n"
            )
        };
        let others =
            [local("5f", "bridge", "bridge"), "{\"Type\":\"image\"}\n".to_owned()].concat();
        let told = retold(&state, (local("5e", "front", "bridge") + &others).into());
        assert_eq!(told, Bytes::from(local(id, "front", "overlay") + &others));
    }

    #[test]
    fn filters_apply() {
        let check = |text: &str| shown(&Filters::parse(text).expect("valid"), &event());
        assert!(check("") && check(r#"{"scope":["swarm"],"type":["service","node"]}"#));
        assert!(check(r#"{"service":["we"]}"#) && check(r#"{"service":["9m"]}"#));
        assert!(!check(r#"{"service":["x"]}"#) && !check(r#"{"container":["x"]}"#));
        assert!(!check(r#"{"scope":["local"]}"#) && !check(r#"{"event":["create"]}"#));
    }

    #[test]
    fn pieces_become_lines() {
        let pieces = ["{\"a\"", ":1}\n{", "}\n{\"b\":2}\n{\"", "c\":3}"];
        let body = reply::streamed(stream::iter(pieces.map(|p| Ok(Bytes::from(p)))).boxed());
        let got: Vec<Bytes> = futures_util::FutureExt::now_or_never(
            lines(body).map(|line| line.expect("no error")).collect::<Vec<_>>(),
        )
        .expect("ready");
        let expected = ["{\"a\":1}\n", "{}\n{\"b\":2}\n", "{\"c\":3}"].map(Bytes::from);
        assert_eq!(got, expected);
    }
}
