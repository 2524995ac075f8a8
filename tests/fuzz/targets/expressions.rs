//! Constraints, templates and subnets: an expression has an outcome for every node and task, and that one is bounded.

use std::borrow::Cow;

use skep_core::agent::NodeContext;
use skep_core::agent::template::{Context, Payloads, TemplateError, expand, expand_payload};
use skep_core::id::NodeId;
use skep_core::model::node::{Node, NodeDescription, NodeStatus};
use skep_core::model::{Annotations, Labels};
use skep_core::net::cidr::Cidr;
use skep_core::plan::constraint;

use super::choose;

/// No expansion is longer than what any payload may be, and a little.
const OUTPUT_MAX: usize = 16 << 20;

/// Reads a constraint, the template of a spec or a payload, or a subnet.
pub fn run(data: &[u8]) {
    let Some((choice, rest)) = choose(data, 4) else { return };
    let text = String::from_utf8_lossy(rest);
    match choice {
        0 => constraints(&text),
        1 => bounded(expand(&text, &context())),
        2 => bounded(expand_payload(&text, &context(), &Everything)),
        _ => subnet(&text),
    }
}

fn constraints(text: &str) {
    let Ok(read) = constraint::parse(text) else { return };
    let node = node();
    let met = read.matches(&node);
    assert_eq!(read.matches(&node), met);
    let written = read.to_string();
    if !written.starts_with("a key that no node has") {
        assert_eq!(constraint::parse(&written), Ok(read), "{written:?}");
    }
}

fn bounded(outcome: Result<String, TemplateError>) {
    match outcome {
        Ok(text) => assert!(text.len() <= OUTPUT_MAX, "{} bytes", text.len()),
        Err(error) => assert!(!error.0.is_empty()),
    }
}

fn subnet(text: &str) {
    let Ok(subnet) = text.parse::<Cidr>() else { return };
    assert_eq!(subnet.to_string().parse(), Ok(subnet));
    let last = subnet.last_index();
    for index in [0, 1, last] {
        if let Some(addr) = subnet.nth(index) {
            assert!(subnet.contains(addr));
            assert_eq!(subnet.index_of(addr), Some(index));
        }
    }
    assert!(subnet.contains(subnet.first_usable()) && subnet.contains(subnet.last_usable()));
    for prefix in [0, 8, 24, 32, 64, 128, 255] {
        if let Some(part) = subnet.subnet(prefix, 0) {
            assert!(subnet.contains_subnet(part) && subnet.overlaps(part));
        }
    }
}

fn labels() -> Labels {
    Labels::from([("a".to_owned(), "b".to_owned()), ("zone".to_owned(), "1".to_owned())])
}

fn node() -> Node {
    let mut node = Node {
        id: NodeId::from_entropy(7),
        description: NodeDescription {
            hostname: "Host1".to_owned(),
            architecture: "x86_64".to_owned(),
            os: "linux".to_owned(),
            engine_labels: labels(),
            ..NodeDescription::default()
        },
        status: NodeStatus { addr: "10.1.2.3".to_owned(), ..NodeStatus::default() },
        ..Node::default()
    };
    node.spec.annotations = Annotations { labels: labels(), ..Annotations::default() };
    node
}

fn context() -> Context {
    Context {
        service_id: "s".repeat(25),
        service_name: "web".to_owned(),
        service_labels: labels(),
        node: NodeContext {
            id: NodeId::from_entropy(7),
            hostname: "host1".to_owned(),
            os: "linux".to_owned(),
            architecture: "x86_64".to_owned(),
        },
        task_id: "t".repeat(25),
        task_name: "web.1".to_owned(),
        slot: "1".to_owned(),
    }
}

/// Payloads under every name.
struct Everything;

impl Payloads for Everything {
    fn secret(&self, target: &str) -> Result<Cow<'_, str>, TemplateError> {
        if target.is_empty() {
            return Err(TemplateError("no such secret".to_owned()));
        }
        Ok(Cow::Borrowed("hidden"))
    }

    fn config(&self, target: &str) -> Result<Cow<'_, str>, TemplateError> {
        Ok(Cow::Owned(target.to_owned()))
    }

    fn env(&self, name: &str) -> Cow<'_, str> {
        Cow::Owned(name.to_owned())
    }
}
