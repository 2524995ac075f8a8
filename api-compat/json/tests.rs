//! Bodies as clients send them, and bodies that no client should send.

use std::collections::BTreeMap;

use http::HeaderValue;
use proptest::prelude::*;
use serde::Deserialize;

use super::*;

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
    decode(&json_headers(), &Bytes::copy_from_slice(text.as_bytes())).map_err(|error| error.message)
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
    assert_eq!(decode::<Outer>(&HeaderMap::new(), &Bytes::new()), Ok(Outer::default()));
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
fn the_content_type_is_checked() {
    let plain = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("text/plain"))]);
    let error = decode::<Outer>(&plain, &Bytes::from_static(b"{}")).expect_err("not JSON");
    assert_eq!(
        error.message,
        "unsupported Content-Type header (text/plain): must be 'application/json'"
    );
    let error = decode::<Outer>(&HeaderMap::new(), &Bytes::from_static(b"{}")).expect_err("none");
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
        let _ = decode::<Outer>(&json_headers(), &Bytes::from(body));
        let _ = decode::<Outer>(&json_headers(), &Bytes::from(text));
    }
}
