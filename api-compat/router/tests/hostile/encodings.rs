//! Bodies that are not what they claim, addresses that are hardly any, and versions that never were.

use proptest::prelude::*;

use super::{Described, Sent, bodies, inhabited, routes, send, still_works};
use crate::json::BODY_BYTES_MAX;

fn utf16(text: &str) -> Vec<u8> {
    [0xff, 0xfe].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect()
}

/// Returns bodies of any kind, none of which is JSON that a route knows.
fn junk(described: &Described) -> Vec<Vec<u8>> {
    let valid = bodies::of(&described.path).to_string();
    let nested =
        |open: &str, close: &str, depth| [open.repeat(depth), close.repeat(depth)].concat();
    let mut list: Vec<Vec<u8>> = vec![
        Vec::new(),
        b" ".to_vec(),
        b"null".to_vec(),
        b"\"\xff\xfe\"".to_vec(),
        b"{\"Name\":\"\xc3\x28\"}".to_vec(),
        b"{\"Name\":\"\\ud800\"}".to_vec(),
        [b"\xef\xbb\xbf", valid.as_bytes()].concat(),
        utf16(&valid),
        [valid.as_bytes(), b" x"].concat(),
        [valid.as_bytes(), valid.as_bytes()].concat(),
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00".to_vec(),
        b"<xml/>".to_vec(),
        vec![0; 1000],
        nested("[", "]", 100_000).into_bytes(),
        nested("{\"Labels\":", "}", 50_000).into_bytes(),
        format!("{{\"Name\":{}}}", nested("[", "]", 120)).into_bytes(),
        format!("{{\"Name\":\"{}\"}}", "n".repeat(300_000)).into_bytes(),
    ];
    // Cut at every place of a valid one, the first two hundred at least.
    list.extend((0..valid.len().min(200)).map(|end| valid.as_bytes()[..end].to_vec()));
    list
}

#[tokio::test]
async fn no_encoding_breaks_a_route() {
    let kinds: [&[u8]; 7] = [
        b"application/json",
        b"application/json; charset=utf-16",
        b"text/plain",
        b"application/x-tar",
        b"",
        b";;;",
        b"\xff\xfe",
    ];
    for described in routes() {
        let fake = inhabited().await;
        for body in junk(&described) {
            send(&fake, Sent::json(&described, described.found_path(), body)).await;
        }
        for kind in kinds {
            for coding in [&b"identity"[..], b"gzip", b"chunked", b"nonsense"] {
                let headers = vec![
                    ("content-type", kind),
                    ("content-encoding", coding),
                    ("x-registry-auth", &b"\x80\xff{{"[..]),
                    ("content-length", b"18446744073709551616"),
                ];
                let body = bodies::of(&described.path).to_string().into_bytes();
                let (method, path) = (described.method.clone(), described.found_path());
                send(&fake, Sent { method, path, headers, body }).await;
            }
        }
        still_works(&fake).await;
    }
}

#[tokio::test]
async fn bodies_have_a_limit() {
    for described in routes().into_iter().filter(|described| described.method == "POST") {
        let fake = inhabited().await;
        let body = format!("{{\"Name\":\"{}\"}}", "n".repeat(BODY_BYTES_MAX + 1));
        send(&fake, Sent::json(&described, described.found_path(), body)).await;
        still_works(&fake).await;
    }
}

#[tokio::test]
async fn no_version_breaks_a_route() {
    let versions = [
        "v1.24",
        "v1.41",
        "v1.51",
        "v1.52",
        "v1.23",
        "v0.0",
        "v1.0",
        "v2.0",
        "v1",
        "v",
        "v1.",
        "v.1",
        "v1.51.1",
        "v-1.51",
        "v1.-51",
        "v4294967296.1",
        "v1.99999999999999999999",
        "V1.51",
        "v1.5\u{661}",
        "v1.51/v1.51",
        "v1.051",
        "%761.51",
    ];
    for described in routes() {
        let fake = inhabited().await;
        for version in versions {
            let path = format!("/{version}{}", described.found_path());
            let body = bodies::of(&described.path).to_string();
            send(&fake, Sent::json(&described, path, body)).await;
        }
        still_works(&fake).await;
    }
}

#[tokio::test]
async fn no_query_breaks_a_route() {
    let queries = [
        "filters=%7B",
        "filters=%5B%5D",
        "filters=null",
        "filters=%7B%22name%22%3A1%7D",
        "filters=%7B%22name%22%3A%7B%22a%22%3A%22b%22%7D%7D",
        "filters=%7B%22desired-state%22%3A%5B%22%22%5D%7D",
        "filters=%7B%22until%22%3A%5B%22%22%2C%22-1%22%5D%7D",
        "filters=%7B%22label%22%3A%5B%22%3D%22%2C%22%3D%3D%22%5D%7D",
        "filters=%ff%fe&filters=%00",
        "version=-1",
        "version=18446744073709551616",
        "version=1e3&rollback=nonsense&registryAuthFrom=nonsense",
        "rotateWorkerToken=yes&version=1",
        "stdout=1&since=nonsense&tail=-1",
        "stdout=1&since=99999999999999999999.999999999999",
        "stdout=1&tail=99999999999999999999",
        "since=-9223372036854775808&until=0",
        "since=9223372036854775807.999999999&until=1",
        "%&%%&%zz&=&&==",
        "a[]=1&a[x]=2;b=3",
        "force=&status=maybe&insertDefaults=2&verbose=x&scope=%00",
    ];
    let long = format!("filters={}", "%7B".repeat(10_000));
    for described in routes() {
        let fake = inhabited().await;
        let path = described.path_for("web");
        for query in queries.iter().copied().chain([long.as_str()]) {
            let body = bodies::of(&described.path).to_string();
            let mark = if query.starts_with("filters=%7B%22until") || !query.contains("until") {
                "&until=1"
            } else {
                ""
            };
            send(&fake, Sent::json(&described, format!("{path}?{query}{mark}"), body)).await;
        }
        still_works(&fake).await;
    }
}

#[tokio::test]
async fn no_name_breaks_a_route() {
    let long = "n".repeat(20_000);
    let names = [
        "%00",
        "%ff%fe",
        "%2e%2e%2f",
        "a%2Fb",
        "..",
        "%",
        "%zz",
        "a b",
        "\u{e9}",
        "'",
        "{id}",
        &long,
    ];
    for described in routes() {
        let fake = inhabited().await;
        for name in names {
            let path = format!("{}?version=1&stdout=1&until=1", described.path_for(name));
            let body = bodies::of(&described.path).to_string();
            send(&fake, Sent::json(&described, path, body)).await;
        }
        still_works(&fake).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_noise_breaks_a_route(
        place in any::<prop::sample::Index>(),
        noise in prop::collection::vec(any::<u8>(), 0..300),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let list = routes();
            let described = place.get(&list);
            let fake = inhabited().await;
            send(&fake, Sent::json(described, described.found_path(), noise.clone())).await;
            let mut flipped = bodies::of(&described.path).to_string().into_bytes();
            for (at, byte) in flips {
                let at = at.index(flipped.len());
                flipped[at] = byte;
            }
            send(&fake, Sent::json(described, described.found_path(), flipped)).await;
            still_works(&fake).await;
        });
    }
}
