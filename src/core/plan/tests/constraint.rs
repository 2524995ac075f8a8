//! Constraints: what can be written, what it matches.

use super::world::node;
use crate::plan::constraint::parse;

#[test]
fn errors_are_those_of_the_api() {
    for (text, expect) in [
        ("node.role = worker", "constraint expected one operator from ==, !="),
        ("node.role", "constraint expected one operator from ==, !="),
        ("", "constraint expected one operator from ==, !="),
        ("==1", "key '' is invalid"),
        ("a==1", "key 'a' is invalid"),
        ("1a==1", "key '1a' is invalid"),
        ("nöde==1", "key 'nöde' is invalid"),
        ("node.id==", "value '' is invalid"),
        ("node.id==a,b", "value 'a,b' is invalid"),
        ("node.id===x", "value '=x' is invalid"),
    ] {
        assert_eq!(parse(text).map_err(|why| why.to_string()), Err(expect.to_owned()), "{text}");
    }
}

#[test]
fn nodes_are_matched_without_regard_to_case() {
    let mut node = node(1);
    node.status.addr = "10.1.2.3".to_owned();
    node.spec.annotations.labels.insert("Zone".to_owned(), "East".to_owned());
    node.description.engine_labels.insert("disk".to_owned(), "ssd".to_owned());
    for (text, expect) in [
        ("node.role==manager", true),
        ("NODE.ROLE == Manager", true),
        ("node.role!=manager", false),
        ("node.hostname==N1", true),
        ("node.hostname==n*", false),
        ("node.ip==10.1.2.3", true),
        ("node.ip==10.1.0.0/16", true),
        ("node.ip!=10.1.0.0/16", false),
        ("node.ip==10.2.0.0/16", false),
        ("node.ip!=nonsense", false),
        ("node.platform.os==linux", true),
        ("node.platform.arch==x86_64", true),
        ("node.platform.arch==amd64", false),
        ("node.labels.Zone==east", true),
        ("node.labels.zone==east", false),
        ("node.labels.none!=x", true),
        ("engine.labels.disk==SSD", true),
        ("node.bogus==1", false),
        ("node.bogus!=1", false),
    ] {
        let constraint = parse(text).expect("a valid constraint");
        assert_eq!(constraint.matches(&node), expect, "{text}");
    }
}
