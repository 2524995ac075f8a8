//! `printf` as Go has it: verbs, flags, width and precision, and its words for what does not fit. Prints nothing else.

use super::value::Value;

/// Widest field, as in Go.
const WIDTH_MAX: usize = 1_000_000;

/// What stands between the percent sign and the verb.
#[derive(Default, Clone, Copy)]
struct Flags {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Formats values.
pub(super) fn format(pattern: &str, values: &[Value<'_>]) -> String {
    let mut out = String::new();
    let mut rest = pattern;
    let mut next = 0;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (flags, after) = flags(rest, values, &mut next, &mut out);
        rest = after;
        let Some(verb) = rest.chars().next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        rest = &rest[verb.len_utf8()..];
        if verb == '%' {
            out.push('%');
            continue;
        }
        match values.get(next) {
            Some(value) => out.push_str(&one(verb, flags, value)),
            None => out.push_str(&format!("%!{verb}(MISSING)")),
        }
        next += 1;
    }
    out.push_str(rest.get(..rest.find('%').unwrap_or(rest.len())).unwrap_or_default());
    if let Some(left) = values.get(next..).filter(|left| !left.is_empty()) {
        let left: Vec<String> = left.iter().map(described).collect();
        out.push_str(&format!("%!(EXTRA {})", left.join(", ")));
    }
    out
}

fn flags<'p>(
    pattern: &'p str,
    values: &[Value<'_>],
    next: &mut usize,
    out: &mut String,
) -> (Flags, &'p str) {
    let mut flags = Flags::default();
    let mut rest = pattern;
    while let Some(flag) = rest.chars().next().filter(|flag| "-+# 0".contains(*flag)) {
        match flag {
            '-' => flags.minus = true,
            '+' => flags.plus = true,
            '#' => flags.sharp = true,
            ' ' => flags.space = true,
            _ => flags.zero = true,
        }
        rest = &rest[1..];
    }
    let (width, after) = count(rest, values, next, out, "%!(BADWIDTH)");
    flags.width = width.map(|width| {
        // A negative width pads on the right.
        flags.minus |= width < 0;
        usize::try_from(width.unsigned_abs()).unwrap_or(0)
    });
    rest = after;
    if let Some(after) = rest.strip_prefix('.') {
        let (precision, after) = count(after, values, next, out, "%!(BADPREC)");
        flags.precision = Some(usize::try_from(precision.unwrap_or(0)).unwrap_or(0));
        rest = after;
    }
    flags.zero &= !flags.minus;
    (flags, rest)
}

/// Reads a number, or a star that takes it from the arguments.
fn count<'p>(
    rest: &'p str,
    values: &[Value<'_>],
    next: &mut usize,
    out: &mut String,
    bad: &str,
) -> (Option<i64>, &'p str) {
    let fits = |count: &i64| count.unsigned_abs() <= WIDTH_MAX as u64;
    if let Some(after) = rest.strip_prefix('*') {
        let value = values.get(*next);
        *next += 1;
        return match value {
            Some(Value::Int(count)) if fits(count) => (Some(*count), after),
            _ => {
                out.push_str(bad);
                (None, after)
            }
        };
    }
    let digits = rest.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(rest.len());
    (rest[..digits].parse().ok().filter(fits), &rest[digits..])
}

/// Formats one value.
fn one(verb: char, flags: Flags, value: &Value<'_>) -> String {
    match (verb, value) {
        ('T', _) => pad(value.kind(), flags),
        ('v', Value::Nil) => pad("<nil>", flags),
        ('v' | 't', Value::Bool(held)) => pad(&held.to_string(), flags),
        ('v', Value::Text(text)) if flags.sharp => pad(&quote(text), flags),
        ('v' | 's', Value::Text(text)) => pad(&cut(text, flags), flags),
        ('q', Value::Text(text)) => pad(&quote(&cut(text, flags)), flags),
        ('x' | 'X', Value::Text(text)) => {
            let digits: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
            pad(&if verb == 'X' { digits.to_uppercase() } else { digits }, flags)
        }
        ('v' | 'd' | 'x' | 'X' | 'o' | 'O' | 'b' | 'c' | 'q' | 'U', Value::Int(held)) => {
            integer(verb, flags, *held)
        }
        ('v' | 'e' | 'E' | 'f' | 'F' | 'g' | 'G', Value::Float(held)) => float(verb, flags, *held),
        // Structures and maps format what they hold.
        (_, Value::Labels(labels)) => {
            let member = |text: &str| one(verb, flags, &Value::text(text.to_owned()));
            let pairs: Vec<String> = labels
                .iter()
                .map(|(key, value)| format!("{}:{}", member(key), member(value)))
                .collect();
            format!("map[{}]", pairs.join(" "))
        }
        (
            'v' | 's',
            Value::Context(..)
            | Value::Service(_)
            | Value::Node(_)
            | Value::Platform(_)
            | Value::Task(_),
        ) => value.print(),
        _ => format!("%!{verb}({})", described(value)),
    }
}

/// A value with its type, as in Go's words for a verb that does not fit.
fn described(value: &Value<'_>) -> String {
    match value {
        Value::Nil => "<nil>".to_owned(),
        other => format!("{}={}", other.kind(), other.print()),
    }
}

fn cut(text: &str, flags: Flags) -> String {
    match flags.precision {
        Some(length) => text.chars().take(length).collect(),
        None => text.to_owned(),
    }
}

fn pad(text: &str, flags: Flags) -> String {
    let missing = flags.width.unwrap_or(0).saturating_sub(text.chars().count());
    let fill = if flags.zero { "0" } else { " " }.repeat(missing);
    if flags.minus { format!("{text}{fill}") } else { format!("{fill}{text}") }
}

fn integer(verb: char, flags: Flags, value: i64) -> String {
    let size = value.unsigned_abs();
    let (digits, prefix) = match verb {
        'x' => (format!("{size:x}"), "0x"),
        'X' => (format!("{size:X}"), "0X"),
        'o' => (format!("{size:o}"), "0"),
        'O' => (format!("{size:o}"), "0o"),
        'b' => (format!("{size:b}"), "0b"),
        'c' | 'q' | 'U' => return character(verb, flags, value),
        _ => (size.to_string(), ""),
    };
    let digits = match flags.precision {
        Some(least) => "0".repeat(least.saturating_sub(digits.len())) + &digits,
        None => digits,
    };
    let prefix = if flags.sharp || verb == 'O' { prefix } else { "" };
    signed(
        value < 0,
        prefix,
        &digits,
        Flags { zero: flags.zero && flags.precision.is_none(), ..flags },
    )
}

fn character(verb: char, flags: Flags, value: i64) -> String {
    if verb == 'U' {
        return pad(&format!("U+{value:04X}"), flags);
    }
    let found = u32::try_from(value).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
    pad(&if verb == 'c' { found.to_string() } else { format!("{found:?}") }, flags)
}

/// Puts the sign before the zeros that fill a field, and behind the spaces.
fn signed(negative: bool, prefix: &str, digits: &str, flags: Flags) -> String {
    let sign = match (negative, flags.plus, flags.space) {
        (true, ..) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        (false, false, false) => "",
    };
    if !flags.zero {
        return pad(&format!("{sign}{prefix}{digits}"), flags);
    }
    let width = flags.width.unwrap_or(0).saturating_sub(sign.len() + prefix.len());
    let zeros = "0".repeat(width.saturating_sub(digits.len()));
    format!("{sign}{prefix}{zeros}{digits}")
}

fn float(verb: char, flags: Flags, value: f64) -> String {
    let size = value.abs();
    // More digits than a float has say nothing, but are asked for within the widest field.
    let digits = match verb {
        'f' | 'F' => format!("{size:.*}", flags.precision.unwrap_or(6).min(1_000)),
        'e' | 'E' => exponent(&format!("{size:.*e}", flags.precision.unwrap_or(6).min(1_000))),
        _ => match flags.precision {
            Some(digits) => general(size, digits.clamp(1, 1_000)),
            None => shortest(size),
        },
    };
    let digits = if verb.is_ascii_uppercase() { digits.to_uppercase() } else { digits };
    signed(value.is_sign_negative() && !value.is_nan(), "", &digits, flags)
}

/// Writes a float with so many digits that count.
fn general(size: f64, digits: usize) -> String {
    let written = format!("{size:.*e}", digits - 1);
    let (mantissa, power) = written.split_once('e').unwrap_or((&written, "0"));
    let power: i32 = power.parse().unwrap_or(0);
    let strip = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if power < -4 || usize::try_from(power).is_ok_and(|power| power >= digits) {
        return exponent(&format!("{}e{power}", strip(mantissa)));
    }
    let decimals = i32::try_from(digits).unwrap_or(i32::MAX) - 1 - power;
    strip(&format!("{size:.*}", usize::try_from(decimals).unwrap_or(0)))
}

/// Writes a float with as few digits as tell it, as Go's `%v`.
pub(super) fn shortest(value: f64) -> String {
    let size = value.abs();
    let text = if size != 0.0 && !(1e-4..1e21).contains(&size) && size.is_finite() {
        exponent(&format!("{size:e}"))
    } else {
        format!("{size}")
    };
    let text = if value.is_infinite() { "+Inf".to_owned() } else { text };
    if value < 0.0 { format!("-{}", text.trim_start_matches('+')) } else { text }
}

/// Writes an exponent with a sign and two digits.
fn exponent(text: &str) -> String {
    let Some((mantissa, power)) = text.split_once('e') else { return text.to_owned() };
    let (sign, digits) = match power.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', power),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// Quotes a text as Go does.
pub(in crate::agent) fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\x0b' => out.push_str("\\v"),
            control if control.is_ascii_control() => {
                out.push_str(&format!("\\x{:02x}", u32::from(control)));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        let cases: Vec<(&str, Vec<Value<'_>>, &str)> = vec![
            ("%s-%03d", vec![Value::text("a"), Value::Int(7)], "a-007"),
            (
                "%5s|%-5s|%.2s",
                vec![Value::text("ab"), Value::text("ab"), Value::text("abc")],
                "   ab|ab   |ab",
            ),
            (
                "%q %x %X",
                vec![Value::text("a\"b"), Value::text("az"), Value::Int(255)],
                "\"a\\\"b\" 617a FF",
            ),
            ("%+d %#x % d", vec![Value::Int(5), Value::Int(255), Value::Int(5)], "+5 0xff  5"),
            ("%*d", vec![Value::Int(4), Value::Int(-5)], "  -5"),
            ("%d", vec![Value::text("a")], "%!d(string=a)"),
            ("%d", vec![], "%!d(MISSING)"),
            ("a", vec![Value::Int(1), Value::text("x")], "a%!(EXTRA int=1, string=x)"),
            ("100%", vec![], "100%!(NOVERB)"),
            (
                "%% %t %c %U",
                vec![Value::Bool(true), Value::Int(65), Value::Int(65)],
                "% true A U+0041",
            ),
            (
                "%.2f %e %g %v",
                vec![
                    Value::Float(1.5),
                    Value::Float(1500.0),
                    Value::Float(1e21),
                    Value::Float(2.0),
                ],
                "1.50 1.500000e+03 1e+21 2",
            ),
            (
                "%06.2f|%-8v|%v",
                vec![Value::Float(-1.5), Value::Float(0.5), Value::Nil],
                "-01.50|0.5     |<nil>",
            ),
        ];
        for (pattern, values, expect) in cases {
            assert_eq!(format(pattern, &values), expect, "{pattern}");
        }
    }
}
