//! What Docker 28.5.2 says of templates when a service is created, template by template.

/// Templates, and what is wrong with them; empty if nothing is.
pub(super) const VERDICTS: &[(&str, &str)] = &[
    (
        "{{eq 1 \"a\"}}",
        "template: expansion:1:2: executing \"expansion\" at <eq 1 \"a\">: error calling eq: incompatible types for comparison: int and string",
    ),
    (
        "{{eq .Service.Labels 1}}",
        "template: expansion:1:2: executing \"expansion\" at <eq .Service.Labels 1>: error calling eq: incompatible types for comparison: map[string]string and int",
    ),
    (
        "{{eq .Service .Service}}",
        "template: expansion:1:2: executing \"expansion\" at <eq .Service .Service>: error calling eq: non-comparable type {serviceid servicename map[]}: struct { ID string; Name string; Labels map[string]string }",
    ),
    (
        "{{lt .Service 1}}",
        "template: expansion:1:2: executing \"expansion\" at <lt .Service 1>: error calling lt: invalid type for comparison",
    ),
    (
        "{{lt true false}}",
        "template: expansion:1:2: executing \"expansion\" at <lt true false>: error calling lt: invalid type for comparison",
    ),
    ("{{ /* a */ }}", "template: expansion:1: unexpected \"/\" in command"),
    ("{{1x}}", "template: expansion:1: bad number syntax: \"1x\""),
    (
        "{{len 3}}",
        "template: expansion:1:2: executing \"expansion\" at <len 3>: error calling len: len of type int",
    ),
    (
        "{{len nil}}",
        "template: expansion:1:2: executing \"expansion\" at <len nil>: error calling len: reflect: call of reflect.Value.Type on zero Value",
    ),
    (
        "{{.Service.Name.x}}",
        "template: expansion:1:10: executing \"expansion\" at <.Service.Name.x>: can't evaluate field x in type string",
    ),
    ("{{nil}}", "template: expansion:1:2: executing \"expansion\" at <nil>: nil is not a command"),
    ("{{\"a\".b}}", "template: expansion:1: unexpected . after term \"\\\"a\\\"\""),
    (
        "{{$x = 1}}",
        "template: expansion:1:7: executing \"expansion\" at <1>: undefined variable: $x",
    ),
    (
        "{{template \"x\"}}",
        "template: expansion:1:11: executing \"expansion\" at <{{template \"x\"}}>: template \"x\" not defined",
    ),
    (
        "{{call 1}}",
        "template: expansion:1:2: executing \"expansion\" at <call 1>: error calling call: non-function 1 of type int",
    ),
    ("{{if true}}{{else}}{{else}}{{end}}", "template: expansion:1: expected end; found {{else}}"),
    ("{{range $a, $b, $c := .}}{{end}}", "template: expansion:1: too many declarations in range"),
    ("{{with $x, $y := 1}}{{end}}", "template: expansion:1: too many declarations in with"),
    (
        "{{.a | }}",
        "template: expansion:1:2: executing \"expansion\" at <.a>: can't evaluate field a in type *template.Context",
    ),
    ("{{| .a}}", "template: expansion:1: unexpected \"|\" in command"),
    (
        "{{index 1 2}}",
        "template: expansion:1:2: executing \"expansion\" at <index 1 2>: error calling index: can't index item of type int",
    ),
    (
        "{{index nil 2}}",
        "template: expansion:1:2: executing \"expansion\" at <index nil 2>: error calling index: index of untyped nil",
    ),
    (
        "{{index \"abc\" 9}}",
        "template: expansion:1:2: executing \"expansion\" at <index \"abc\" 9>: error calling index: index out of range: 9",
    ),
    (
        "{{printf 1}}",
        "template: expansion:1:9: executing \"expansion\" at <1>: expected string; found 1",
    ),
    (
        "{{printf}}",
        "template: expansion:1:2: executing \"expansion\" at <printf>: wrong number of args for printf: want at least 1 got 0",
    ),
    (
        "{{join nil}}",
        "template: expansion:1:7: executing \"expansion\" at <nil>: cannot assign nil to string",
    ),
    (
        "{{join}}",
        "template: expansion:1:2: executing \"expansion\" at <join>: error calling join: runtime error: slice bounds out of range [1:0]",
    ),
    (
        "{{eq 1}}",
        "template: expansion:1:2: executing \"expansion\" at <eq 1>: error calling eq: missing argument for comparison",
    ),
    (
        "{{ne 1}}",
        "template: expansion:1:2: executing \"expansion\" at <ne>: wrong number of args for ne: want 2 got 1",
    ),
    (
        "{{len}}",
        "template: expansion:1:2: executing \"expansion\" at <len>: wrong number of args for len: want 1 got 0",
    ),
    ("{{\"\\q\"}}", "template: expansion:1: invalid syntax"),
    ("{{'ab'}}", "template: expansion:1: malformed character constant: 'ab'"),
    (
        "{{range 1.5}}{{end}}",
        "template: expansion:1:8: executing \"expansion\" at <1.5>: range can't iterate over 1.5",
    ),
    (
        "{{slice 1 2}}",
        "template: expansion:1:2: executing \"expansion\" at <slice 1 2>: error calling slice: can't slice item of type int",
    ),
    (
        "{{slice \"abc\" 5}}",
        "template: expansion:1:2: executing \"expansion\" at <slice \"abc\" 5>: error calling slice: index out of range: 5",
    ),
    (
        "{{.Task.ID \"aaaaaaaaaaaaaa\"}}",
        "template: expansion:1:7: executing \"expansion\" at <.Task.ID>: ID has arguments but cannot be invoked as function",
    ),
    (
        "{{if .Task.ID .Task.ID}}{{end}}",
        "template: expansion:1:10: executing \"expansion\" at <.Task.ID>: ID has arguments but cannot be invoked as function",
    ),
    ("{{.Task.ID ,}}", "template: expansion:1: unexpected \",\" in operand"),
    (
        "{{aaaaaaaaaaaaaaaaaaaaaaaaaa}}",
        "template: expansion:1: function \"aaaaaaaaaaaaaaaaaaaaaaaaaa\" not defined",
    ),
    ("{{.}", "template: expansion:1: bad character U+007D '}'"),
    (
        "{{if 1 2}}x{{end}}",
        "template: expansion:1:5: executing \"expansion\" at <1>: can't give argument to non-function 1",
    ),
    ("{{/* x */ a}}", "template: expansion:1: comment ends before closing delimiter"),
    (
        "{{.Task.ID | join 1}}",
        "template: expansion:1:18: executing \"expansion\" at <1>: expected string; found 1",
    ),
    (
        "{{1 | join}}",
        "template: expansion:1:6: executing \"expansion\" at <join>: wrong type for value; expected string; got int",
    ),
    (
        "{{(1).x}}",
        "template: expansion:1:3: executing \"expansion\" at <1>: can't evaluate field x in type int",
    ),
    (
        "{{.Service.Labels | len 3}}",
        "template: expansion:1:20: executing \"expansion\" at <len>: wrong number of args for len: want 1 got 2",
    ),
    ("{{define \"a\"}}", "template: expansion:1: unexpected EOF"),
    ("{{define a}}{{end}}", "template: expansion:1: unexpected \"a\" in define clause"),
    ("{{template}}", "template: expansion:1: unexpected \"}}\" in template clause"),
    ("{{block \"a\"}}{{end}}", "template: expansion:1: missing value for block clause"),
    ("{{if end}}", "template: expansion:1: unexpected <end> in if"),
    ("{{else if}}", "template: expansion:1: unexpected {{else}}"),
    ("{{.Task.ID\n  | foo}}", "template: expansion:2: function \"foo\" not defined"),
    (
        "{{and}}",
        "template: expansion:1:2: executing \"expansion\" at <and>: wrong number of args for and: want at least 1 got 0",
    ),
    (
        "{{print (print (nil))}}",
        "template: expansion:1:16: executing \"expansion\" at <nil>: nil is not a command",
    ),
    ("{{not nil}}", ""),
    ("{{html nil}}", ""),
    ("{{eq nil nil}}", ""),
    ("{{eq 1 nil}}", ""),
    ("{{:x}}", "template: expansion:1: expected :="),
    ("{{\"x\" | $y}}", "template: expansion:1: undefined variable \"$y\""),
    (
        "{{$y := 1}}{{$y.foo}}",
        "template: expansion:1:15: executing \"expansion\" at <$y.foo>: can't evaluate field foo in type int",
    ),
    (
        "{{.Task.Slot | eq 1 2}}",
        "template: expansion:1:15: executing \"expansion\" at <eq 1 2>: error calling eq: incompatible types for comparison: int and string",
    ),
    (
        "{{index .Service.Labels nil}}",
        "template: expansion:1:2: executing \"expansion\" at <index .Service.Labels nil>: error calling index: value is nil; should be of type string",
    ),
    (
        "{{index .Service.Labels \"a\" \"b\"}}",
        "template: expansion:1:2: executing \"expansion\" at <index .Service.Labels \"a\" \"b\">: error calling index: cannot index slice/array with type string",
    ),
    (
        "{{with .Service}}{{.Foo}}{{end}}",
        "template: expansion:1:19: executing \"expansion\" at <.Foo>: can't evaluate field Foo in type struct { ID string; Name string; Labels map[string]string }",
    ),
    (
        "{{define \"T\"}}{{.Foo}}{{end}}{{template \"T\" .}}",
        "template: expansion:1:16: executing \"T\" at <.Foo>: can't evaluate field Foo in type *template.Context",
    ),
    (
        "{{template \"T\"}}{{define \"T\"}}{{.Foo}}{{end}}",
        "template: expansion:1:32: executing \"T\" at <.Foo>: nil data; no entry for key \"Foo\"",
    ),
];
