//! Bodies as clients send them, and bodies that no client should send.

use std::collections::BTreeMap;

use http::HeaderValue;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use super::*;
use crate::wire::service::ServiceSpec;

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Inner {
    name: String,
    #[serde(rename = "UID")]
    uid: String,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Outer {
    name: String,
    labels: BTreeMap<String, String>,
    replicas: Option<u64>,
    items: Vec<Inner>,
    ratio: f64,
    on: bool,
    inner: Option<Inner>,
    #[serde(with = "base64_bytes")]
    data: Vec<u8>,
    any: Option<Value>,
}

fn json_headers() -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))])
}

fn read(text: &str) -> Result<Outer, String> {
    decode(&json_headers(), &Bytes::copy_from_slice(text.as_bytes()), Wording::Current)
        .map_err(|error| error.message)
}

#[test]
fn names_match_without_case_and_nulls_are_zero() {
    let text = r#"{"name":"a","LABELS":{"Key":null},"replicas":3,"Items":[{"uid":"7"},null],
        "RATIO":1,"On":null,"inner":null,"Bogus":{"x":[1]},"DATA":"aGk=","any":{"q":1}}"#;
    let outer = read(text).expect("lenient");
    assert_eq!(outer.name, "a");
    assert_eq!(outer.labels, BTreeMap::from([("Key".to_owned(), String::new())]));
    assert_eq!(outer.replicas, Some(3));
    assert_eq!(outer.items.len(), 2);
    assert_eq!(outer.items.first().map(|item| item.uid.as_str()), Some("7"));
    assert_eq!((outer.ratio, outer.on, outer.inner), (1.0, false, None));
    assert_eq!(outer.data, b"hi");
    assert_eq!(outer.any, Some(serde_json::json!({"q": 1})));
}

#[test]
fn the_last_spelling_wins() {
    assert_eq!(read(r#"{"Name":"a","name":"b"}"#).expect("valid").name, "b");
}

#[test]
fn nothing_is_a_zero_value() {
    assert_eq!(
        decode::<Outer>(&HeaderMap::new(), &Bytes::new(), Wording::Current),
        Ok(Outer::default())
    );
    assert_eq!(read("null"), Ok(Outer::default()));
    assert_eq!(read("{}"), Ok(Outer::default()));
}

#[test]
fn errors_read_as_gos() {
    for (body, text) in [
        (" ", "invalid JSON: got EOF while reading request body"),
        ("{", "invalid JSON: unexpected EOF"),
        ("{} {}", "unexpected content after JSON"),
        ("nope", "invalid JSON: "),
        ("{x}", "invalid JSON: invalid character 'x' looking for beginning of object key string"),
        (
            r#"{"Name":1}"#,
            "invalid JSON: json: cannot unmarshal number into Go struct field Outer.Name of type string",
        ),
        (
            r#"{"Replicas":"x"}"#,
            "invalid JSON: json: cannot unmarshal string into Go struct field Outer.Replicas of type uint64",
        ),
        (
            r#"{"Replicas":-1}"#,
            "invalid JSON: json: cannot unmarshal number -1 into Go struct field Outer.Replicas of type uint64",
        ),
        (
            r#"{"Data":"!!!"}"#,
            "invalid JSON: json: cannot unmarshal string into Go struct field Outer.Data of type []uint8: illegal base64 data at input byte 0",
        ),
    ] {
        let message = read(body).expect_err("must fail");
        assert!(message.starts_with(text), "{body}: {message}");
    }
}

#[test]
fn places_are_named_as_each_generation_does() {
    let message = |body: &str, wording| {
        let error = decode::<ServiceSpec>(&json_headers(), &Bytes::from(body.to_owned()), wording);
        error.expect_err(body).message.replace("invalid JSON: json: cannot unmarshal ", "")
    };
    for (body, current, old) in [
        (
            r#"{"TaskTemplate":{"ContainerSpec":{"Env":["A",1]}}}"#,
            "number into ServiceSpec.TaskTemplate.ContainerSpec.Env.1 of type string",
            "number into Go struct field ContainerSpec.TaskTemplate.ContainerSpec.Env of type string",
        ),
        (
            r#"{"TaskTemplate":{"ContainerSpec":{"Mounts":[{"Type":1}]}}}"#,
            "number into Go struct field ServiceSpec.TaskTemplate.ContainerSpec.Mounts.0.Type of type mount.Type",
            "number into Go struct field Mount.TaskTemplate.ContainerSpec.Mounts.Type of type mount.Type",
        ),
        (
            r#"{"TaskTemplate":{"ContainerSpec":{"Mounts":[1]}}}"#,
            "number into ServiceSpec.TaskTemplate.ContainerSpec.Mounts.0 of type mount.Mount",
            "number into Go struct field ContainerSpec.TaskTemplate.ContainerSpec.Mounts of type mount.Mount",
        ),
        (
            r#"{"Labels":{"a/b":1}}"#,
            "number into Go struct field ServiceSpec.Labels.a~1b of type string",
            "number into Go struct field ServiceSpec.Labels of type string",
        ),
        (
            r#"{"Mode":{"Replicated":{"Replicas":-1}}}"#,
            "number -1 into Go struct field ServiceSpec.Mode.Replicated.Replicas of type uint64",
            "number -1 into Go struct field ReplicatedService.Mode.Replicated.Replicas of type uint64",
        ),
        (
            r#"{"TaskTemplate":{"ContainerSpec":{"Healthcheck":5}}}"#,
            "number into Go struct field ServiceSpec.TaskTemplate.ContainerSpec.Healthcheck of type v1.HealthcheckConfig",
            "number into Go struct field ContainerSpec.TaskTemplate.ContainerSpec.Healthcheck of type container.HealthConfig",
        ),
        (
            r#"{"UpdateConfig":{"Delay":"1s"}}"#,
            "string into Go struct field ServiceSpec.UpdateConfig.Delay of type time.Duration",
            "string into Go struct field UpdateConfig.UpdateConfig.Delay of type time.Duration",
        ),
        (
            "[]",
            "array into Go value of type swarm.ServiceSpec",
            "array into Go value of type swarm.ServiceSpec",
        ),
    ] {
        assert_eq!(message(body, Wording::Current), current);
        assert_eq!(message(body, Wording::Old), old);
    }
}

#[test]
fn what_follows_a_value_is_nothing_to_older_engines() {
    let read = |wording| decode::<Outer>(&json_headers(), &Bytes::from_static(b"{} {}"), wording);
    assert_eq!(read(Wording::Old), Ok(Outer::default()));
    assert!(read(Wording::Current).is_err());
}

#[test]
fn bytes_are_base64_or_numbers() {
    let read = |text: &str, wording| {
        decode::<Outer>(&json_headers(), &Bytes::from(text.to_owned()), wording)
            .map(|outer| outer.data)
            .map_err(|error| error.message)
    };
    assert_eq!(read(r#"{"Data":[104,105]}"#, Wording::Current), Ok(b"hi".to_vec()));
    for (body, text) in [
        (r#"{"Data":"eA"}"#, "illegal base64 data at input byte 0"),
        (r#"{"Data":"eHh4eA="}"#, "illegal base64 data at input byte 7"),
        (r#"{"Data":"e!=="}"#, "illegal base64 data at input byte 1"),
    ] {
        assert_eq!(read(body, Wording::Old), Err(format!("invalid JSON: {text}")));
    }
}

#[test]
fn the_content_type_is_checked() {
    let plain = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("text/plain"))]);
    let error = decode::<Outer>(&plain, &Bytes::from_static(b"{}"), Wording::Current)
        .expect_err("not JSON");
    assert_eq!(
        error.message,
        "unsupported Content-Type header (text/plain): must be 'application/json'"
    );
    let error = decode::<Outer>(&HeaderMap::new(), &Bytes::from_static(b"{}"), Wording::Current)
        .expect_err("none");
    assert_eq!(error.message, "malformed Content-Type header (): mime: no media type");
}

#[test]
fn depth_is_bounded() {
    let deep = format!("{{\"Any\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
    assert!(read(&deep).is_err());
}

proptest! {
    #[test]
    fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..200), text in "[{}\\[\\]\":,a-zA-Z0-9 .-]{0,60}") {
        let _ = decode::<Outer>(&json_headers(), &Bytes::from(body), Wording::Current);
        let _ = decode::<Outer>(&json_headers(), &Bytes::from(text), Wording::Old);
    }
}
