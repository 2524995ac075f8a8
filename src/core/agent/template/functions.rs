//! The functions templates may call. Knows no syntax.

use std::cmp::Ordering;

use super::Payloads;
use super::printf;
use super::value::Value;

/// Functions of every template. `and` and `or` are parts of the language: they evaluate only what they must.
const EVERYWHERE: [&str; 20] = [
    "and", "eq", "ge", "gt", "html", "index", "join", "le", "len", "lt", "ne", "not", "or",
    "print", "printf", "println", "slice", "urlquery", "call", "js",
];

/// Functions of payloads.
const PAYLOADS: [&str; 3] = ["secret", "config", "env"];

pub(super) fn is_defined(name: &str, payload: bool) -> bool {
    EVERYWHERE.contains(&name) || (payload && PAYLOADS.contains(&name))
}

/// Why a function came to nothing.
pub(super) enum Failure {
    /// It was not given what it takes.
    Call(String),
    /// It said so itself.
    Inside(String),
}

/// Least and greatest number of arguments.
fn arity(name: &str) -> (usize, usize) {
    match name {
        "not" | "len" | "secret" | "config" | "env" => (1, 1),
        "ne" | "lt" | "le" | "gt" | "ge" => (2, 2),
        "eq" | "index" | "slice" | "printf" | "call" | "and" | "or" => (1, usize::MAX),
        _ => (0, usize::MAX),
    }
}

/// Says what is wrong with a number of arguments.
pub(super) fn check_count(name: &str, count: usize) -> Result<(), String> {
    let (least, most) = arity(name);
    if count < least && most == usize::MAX {
        let text = format!("wrong number of args for {name}: want at least {least} got {count}");
        return Err(text);
    }
    if !(least..=most).contains(&count) {
        return Err(format!("wrong number of args for {name}: want {least} got {count}"));
    }
    Ok(())
}

/// Tells whether a function takes nothing but texts.
pub(super) fn takes_texts(name: &str, place: usize) -> bool {
    name == "join" || PAYLOADS.contains(&name) || (name == "printf" && place == 0)
}

/// Calls a function with arguments of a number and kind it takes.
pub(super) fn call<'a>(
    name: &str,
    arguments: &[Value<'a>],
    payloads: Option<&'a dyn Payloads>,
) -> Result<Value<'a>, Failure> {
    let inside = |text: String| Err(Failure::Inside(text));
    let value = match name {
        "not" => Value::Bool(!arguments[0].is_true()),
        "len" => return len(&arguments[0]).map_err(Failure::Inside),
        "index" => return index(arguments).map_err(Failure::Inside),
        "slice" => return slice(arguments).map_err(Failure::Inside),
        "eq" | "ne" | "lt" | "le" | "gt" | "ge" => {
            Value::Bool(compare(name, arguments).map_err(Failure::Inside)?)
        }
        "print" => Value::text(print(arguments)),
        "println" => Value::text(println(arguments)),
        "printf" => Value::text(printf::format(&arguments[0].print(), &arguments[1..])),
        "html" => Value::text(html(&print(arguments))),
        "js" => Value::text(script(&print(arguments))),
        "urlquery" => Value::text(url(&print(arguments))),
        "join" => match arguments.split_first() {
            Some((separator, rest)) => {
                let pieces: Vec<String> = rest.iter().map(Value::print).collect();
                Value::text(pieces.join(&separator.print()))
            }
            None => {
                return inside("runtime error: slice bounds out of range [1:0]".to_owned());
            }
        },
        "call" => {
            let kind = arguments[0].kind();
            return inside(format!("non-function {} of type {kind}", arguments[0].print()));
        }
        _ => return payload(name, &arguments[0], payloads),
    };
    Ok(value)
}

fn payload<'a>(
    name: &str,
    argument: &Value<'a>,
    payloads: Option<&'a dyn Payloads>,
) -> Result<Value<'a>, Failure> {
    let Some(payloads) = payloads else {
        return Err(Failure::Call(format!("{name:?} is not a defined function")));
    };
    let key = argument.print();
    let found = match name {
        "secret" => payloads.secret(&key),
        "config" => payloads.config(&key),
        _ => Ok(payloads.env(&key)),
    };
    found.map(Value::Text).map_err(|error| Failure::Inside(error.to_string()))
}

fn len<'a>(value: &Value<'_>) -> Result<Value<'a>, String> {
    let length = match value {
        Value::Text(text) => text.len(),
        Value::Labels(labels) => labels.len(),
        Value::Nil => return Err("reflect: call of reflect.Value.Type on zero Value".to_owned()),
        other => return Err(format!("len of type {}", other.kind())),
    };
    Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
}

fn index<'a>(arguments: &[Value<'a>]) -> Result<Value<'a>, String> {
    let mut value = arguments[0].clone();
    for key in &arguments[1..] {
        value = match (&value, key) {
            // As for any map, a key that is not there reads as the empty text.
            (Value::Labels(labels), Value::Text(key)) => {
                let held: &'a str = labels.get(key.as_ref()).map_or("", String::as_str);
                Value::text(held)
            }
            (Value::Labels(_), Value::Nil) => {
                return Err("value is nil; should be of type string".to_owned());
            }
            (Value::Labels(_), other) => {
                return Err(format!("value has type {}; should be string", other.kind()));
            }
            (Value::Text(text), Value::Int(at)) => {
                let byte = usize::try_from(*at).ok().and_then(|at| text.as_bytes().get(at));
                let byte = byte.ok_or_else(|| format!("index out of range: {at}"))?;
                Value::Int(i64::from(*byte))
            }
            (Value::Text(_), Value::Nil) => {
                return Err("cannot index slice/array with nil".to_owned());
            }
            (Value::Text(_), other) => {
                return Err(format!("cannot index slice/array with type {}", other.kind()));
            }
            (Value::Nil, _) => return Err("index of untyped nil".to_owned()),
            (other, _) => return Err(format!("can't index item of type {}", other.kind())),
        };
    }
    Ok(value)
}

fn slice<'a>(arguments: &[Value<'a>]) -> Result<Value<'a>, String> {
    let Value::Text(text) = &arguments[0] else {
        return Err(format!("can't slice item of type {}", arguments[0].kind()));
    };
    if arguments.len() > 3 {
        return Err("cannot 3-index slice a string".to_owned());
    }
    let mut bounds = [0, text.len()];
    for (bound, argument) in bounds.iter_mut().zip(&arguments[1..]) {
        let Value::Int(asked) = argument else {
            return Err(format!("cannot index slice/array with type {}", argument.kind()));
        };
        let found = usize::try_from(*asked).ok().filter(|found| *found <= text.len());
        *bound = found.ok_or_else(|| format!("index out of range: {asked}"))?;
    }
    let [from, to] = bounds;
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    // Bytes are cut; half a character becomes the sign for one that cannot be read.
    Ok(Value::text(String::from_utf8_lossy(&text.as_bytes()[from..to]).into_owned()))
}

fn compare(name: &str, arguments: &[Value<'_>]) -> Result<bool, String> {
    let first = &arguments[0];
    if name == "eq" {
        if arguments.len() < 2 {
            return Err("missing argument for comparison".to_owned());
        }
        for other in &arguments[1..] {
            if equal(first, other)? {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    let other = &arguments[1];
    if name == "ne" {
        return equal(first, other).map(|equal| !equal);
    }
    let order = order(first, other)?;
    Ok(match name {
        "lt" => order == Some(Ordering::Less),
        "le" => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        "gt" => order == Some(Ordering::Greater),
        _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    })
}

fn incompatible(one: &Value<'_>, other: &Value<'_>) -> String {
    format!("incompatible types for comparison: {} and {}", one.kind(), other.kind())
}

fn equal(one: &Value<'_>, other: &Value<'_>) -> Result<bool, String> {
    match (one, other) {
        (Value::Bool(one), Value::Bool(other)) => Ok(one == other),
        (Value::Int(one), Value::Int(other)) => Ok(one == other),
        (Value::Float(one), Value::Float(other)) => Ok(one == other),
        (Value::Text(one), Value::Text(other)) => Ok(one == other),
        (Value::Nil, Value::Nil) => Ok(true),
        (Value::Nil, _) | (_, Value::Nil) => Ok(false),
        (Value::Node(_), Value::Node(_))
        | (Value::Platform(_), Value::Platform(_))
        | (Value::Task(_), Value::Task(_)) => Ok(true),
        (one, other) if one.kind() != other.kind() => Err(incompatible(one, other)),
        (one, _) => Err(format!("non-comparable type {}: {}", one.print(), one.kind())),
    }
}

fn order(one: &Value<'_>, other: &Value<'_>) -> Result<Option<Ordering>, String> {
    let is_basic = |value: &Value<'_>| {
        matches!(value, Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_))
    };
    match (one, other) {
        (Value::Int(one), Value::Int(other)) => Ok(Some(one.cmp(other))),
        (Value::Float(one), Value::Float(other)) => Ok(one.partial_cmp(other)),
        (Value::Text(one), Value::Text(other)) => Ok(Some(one.cmp(other))),
        (one, other) if is_basic(one) && is_basic(other) && one.kind() != other.kind() => {
            Err(incompatible(one, other))
        }
        _ => Err("invalid type for comparison".to_owned()),
    }
}

/// Puts values one after another, with a space between two that are no texts.
fn print(values: &[Value<'_>]) -> String {
    let mut out = String::new();
    let mut after_text = true;
    for value in values {
        let is_text = matches!(value, Value::Text(_));
        if !after_text && !is_text {
            out.push(' ');
        }
        out.push_str(&plain(value));
        after_text = is_text;
    }
    out
}

fn println(values: &[Value<'_>]) -> String {
    let pieces: Vec<String> = values.iter().map(plain).collect();
    pieces.join(" ") + "\n"
}

/// An absent value among arguments prints as such.
fn plain(value: &Value<'_>) -> String {
    if matches!(value, Value::Nil) { "<nil>".to_owned() } else { value.print() }
}

fn html(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, character| {
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '\0' => out.push('\u{fffd}'),
            other => out.push(other),
        }
        out
    })
}

fn script(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, character| {
        match character {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", u32::from(character))),
            control if control.is_control() => {
                out.push_str(&format!("\\u{:04X}", u32::from(control)));
            }
            other => out.push(other),
        }
        out
    })
}

fn url(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b' ' => out.push('+'),
            byte if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) => {
                out.push(char::from(byte));
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
        out
    })
}
