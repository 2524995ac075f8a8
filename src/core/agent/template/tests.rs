//! Tables of templates and a search for panics.

mod verdicts;

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
        (
            "{{if eq .Task.Slot \"1\"}}first{{else if eq .Task.Slot \"2\"}}second{{else}}rest{{end}}",
            "first",
        ),
        ("{{if and .Service.Name (ne .Task.Slot \"1\")}}a{{else}}b{{end}}", "b"),
        (
            "{{with index .Service.Labels \"none\"}}{{.}}{{else with .Node.Hostname}}on {{.}}{{else}}no{{end}}",
            "on host",
        ),
        ("{{range $k, $v := .Service.Labels}}{{$k}}={{$v}};{{else}}none{{end}}", "a.b=c;k=v;"),
        ("{{range .Service.Labels}}{{if eq . \"v\"}}{{continue}}{{end}}{{.}}{{break}}{{end}}", "c"),
        ("{{range $i := 3}}{{$i}}{{end}}", "012"),
        ("{{$x := \"a\"}}{{if true}}{{$x = \"b\"}}{{end}}{{$x}}{{$.Task.Slot}}", "b1"),
        (
            "{{len .Service.Labels}} {{not 0}} {{or \"\" \"x\"}} {{lt 1 2}} {{ge \"b\" \"a\"}}",
            "2 true x true true",
        ),
        ("{{printf \"%s-%03d\" .Service.Name 7}} {{println 1 \"a\"}}", "web-007 1 a\n"),
        ("{{print 1 2 \"a\" \"b\" 3 nil}}", "1 2ab3 <nil>"),
        ("{{(index .Service.Labels \"k\") | printf \"%q\" | html}}", "&#34;v&#34;"),
        (
            "{{define \"T\"}}<{{.}}>{{end}}{{template \"T\" .Task.Slot}}{{block \"B\" 1}}[{{.}}]{{end}}",
            "<1>[1]",
        ),
        (
            "{{.}}",
            "{{sid web map[a.b:c k:v]} {0000000000000000000000000 host {x86_64 linux}} {tid web.1.tid 1}}",
        ),
        (
            "{{slice .Service.Name 1}} {{index .Service.Name 0}} {{'a'}} {{0x10}} {{1.5}}",
            "eb 119 97 16 1.5",
        ),
        ("a{{if true -}}  b  {{- end}}c", "abc"),
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
        ("\n{{if .Task}}", "template: expansion:2: unexpected EOF"),
        ("{{.Service", "template: expansion:1: unclosed action"),
        ("{{ .a\n", "template: expansion:2: unclosed action started at expansion:1"),
        ("{{}}", "template: expansion:1: missing value for command"),
        ("{{end}}", "template: expansion:1: unexpected {{end}}"),
        ("{{else}}", "template: expansion:1: unexpected {{else}}"),
        ("{{if}}a{{end}}", "template: expansion:1: missing value for if"),
        ("{{$x}}", "template: expansion:1: undefined variable \"$x\""),
        ("{{.a)}}", "template: expansion:1: unexpected right paren"),
        ("{{(.a}}", "template: expansion:1: unclosed left paren"),
        ("{{\"a}}", "template: expansion:1: unterminated quoted string"),
        ("{{.a@}}", "template: expansion:1: bad character U+0040 '@'"),
        ("{{break}}", "template: expansion:1: {{break}} outside {{range}}"),
        ("{{/* a }}", "template: expansion:1: unclosed comment"),
        ("{{.Task.ID | 1}}", "template: expansion:1: non executable command in pipeline stage 2"),
        (
            "{{range .Service.Name}}{{end}}",
            "template: expansion:1:16: executing \"expansion\" at <.Service.Name>: range can't iterate over web",
        ),
        (
            "{{join 1 2}}",
            "template: expansion:1:7: executing \"expansion\" at <1>: expected string; found 1",
        ),
        (
            "{{index .Service.Labels 1}}",
            "template: expansion:1:2: executing \"expansion\" at <index .Service.Labels 1>: error calling index: value has type int; should be string",
        ),
        (
            "{{lt 1 \"a\"}}",
            "template: expansion:1:2: executing \"expansion\" at <lt 1 \"a\">: error calling lt: incompatible types for comparison: int and string",
        ),
        (
            "{{.Task.ID 1}}",
            "template: expansion:1:7: executing \"expansion\" at <.Task.ID>: ID has arguments but cannot be invoked as function",
        ),
        (
            "{{.Service.Nope}}",
            "template: expansion:1:10: executing \"expansion\" at <.Service.Nope>: can't evaluate field Nope in type struct { ID string; Name string; Labels map[string]string }",
        ),
        (
            "{{not}}",
            "template: expansion:1:2: executing \"expansion\" at <not>: wrong number of args for not: want 1 got 0",
        ),
    ];
    for (text, expect) in cases {
        assert_eq!(expand(text, &context()), Err(TemplateError(expect.to_owned())), "{text}");
    }
}

/// The values that Docker tries templates on.
#[test]
fn verdicts_are_those_of_docker() {
    let context = Context {
        service_id: "serviceid".into(),
        service_name: "servicename".into(),
        ..Context::default()
    };
    for (text, expect) in verdicts::VERDICTS {
        let found = expand(text, &context).err().map(|error| error.0).unwrap_or_default();
        assert_eq!(found, *expect, "{text}");
    }
}

#[test]
fn expansions_end() {
    let loops = "{{range 1000}}".repeat(50) + &"{{end}}".repeat(50);
    let cases = [
        loops.as_str(),
        "{{define \"T\"}}{{template \"T\"}}{{end}}{{template \"T\"}}",
        "{{range 1000000000}}{{printf \"%1000000d\" .}}{{end}}",
        "{{range $i := 900000}}{{$x := printf \"%1000d\" $i}}{{end}}",
    ];
    for text in cases {
        assert!(expand(text, &context()).is_err(), "{text}");
    }
    let deep = "{{".to_owned() + &"(".repeat(100_000) + "1" + &")".repeat(100_000) + "}}";
    assert!(expand(&deep, &context()).is_err());
}

proptest! {
    #[test]
    fn no_text_panics(pieces in prop::collection::vec(
        prop::sample::select(vec![
            "{{", "}}", "-", " ", ".", "Service", "Labels", "\"", "`", "(", ")", "|", "index", "if ", "else", "end", "range ", "with ", "$x", ":=", "=", ",", "printf ", "%5.2d", "1", "'", "define ", "template ", "break", "join", "é", "\\", "/*", "*/", "\n",
        ]), 0..32,
    )) {
        let _ = expand(&pieces.concat(), &context());
    }
}
