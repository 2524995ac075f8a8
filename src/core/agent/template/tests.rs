//! Tables of templates and a search for panics.

use proptest::prelude::*;

use super::*;
use crate::id::NodeId;

fn context() -> Context {
    Context {
        service_id: "sid".into(),
        service_name: "web".into(),
        service_labels: [("a.b".to_owned(), "c".to_owned()), ("k".to_owned(), "v".to_owned())]
            .into(),
        node: NodeContext {
            id: NodeId::from_entropy(0),
            hostname: "host".into(),
            os: "linux".into(),
            architecture: "x86_64".into(),
        },
        task_id: "tid".into(),
        task_name: "web.1.tid".into(),
        slot: "1".into(),
    }
}

#[test]
fn expansions() {
    let cases = [
        ("plain", "plain"),
        ("{{.Service.Name}}-{{.Task.Slot}}", "web-1"),
        ("a {{- .Service.ID -}} b", "asidb"),
        (
            "{{ .Node.Hostname }}/{{.Node.Platform.OS}}/{{.Node.Platform.Architecture}}",
            "host/linux/x86_64",
        ),
        ("{{index .Service.Labels \"a.b\"}}{{index .Service.Labels \"none\"}}", "c"),
        ("{{.Service.Labels.k}} {{.Service.Labels}}", "v map[a.b:c k:v]"),
        ("{{join \"-\" .Service.Name (index .Service.Labels \"k\") `x}}`}}", "web-v-x}}"),
        ("{{.Task.Name | join \",\" \"a\"}}", "a,web.1.tid"),
        ("x{{/* note */}}y", "xy"),
        ("{{\"a\\\"b\"}}", "a\"b"),
    ];
    for (text, expect) in cases {
        assert_eq!(expand(text, &context()), Ok(expect.to_owned()), "{text}");
    }
}

#[test]
fn refusals() {
    let cases = [
        (
            "{{.Nope}}",
            "template: expansion:1:2: executing \"expansion\" at <.Nope>: can't evaluate field Nope in type *template.Context",
        ),
        (
            "{{.Service.Labels.none}}",
            "template: expansion:1:10: executing \"expansion\" at <.Service.Labels.none>: map has no entry for key \"none\"",
        ),
        ("{{nope}}", "template: expansion:1: function \"nope\" not defined"),
        ("{{secret \"x\"}}", "template: expansion:1: function \"secret\" not defined"),
        ("\n{{if .Task}}", "template: expansion:2: \"if\" is not supported"),
        ("{{.Service", "template: expansion:1: unclosed action"),
        ("{{}}", "template: expansion:1: missing value for command"),
    ];
    for (text, expect) in cases {
        assert_eq!(expand(text, &context()), Err(TemplateError(expect.to_owned())), "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(pieces in prop::collection::vec(
        prop::sample::select(vec![
            "{{", "}}", "-", " ", ".", "Service", "Labels", "\"", "`", "(", ")", "|", "index", "join", "é", "\\", "/*", "*/", "\n",
        ]), 0..24,
    )) {
        let _ = expand(&pieces.concat(), &context());
    }
}
