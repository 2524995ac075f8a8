//! Numbers and quoted texts as templates write them. Calculates nothing.

/// A number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    Int(i64),
    Float(f64),
}

/// Reads a number: decimal, or with the prefixes 0x, 0o, 0b; underscores may part digits.
pub(super) fn parse(text: &str) -> Option<Number> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let bad = digits.is_empty() || digits.ends_with('_') || digits.contains("__");
    if bad || digits.starts_with('_') {
        return None;
    }
    let plain = digits.replace('_', "").to_ascii_lowercase();
    let radix = match plain.get(..2) {
        Some("0x") => Some(16),
        Some("0o") => Some(8),
        Some("0b") => Some(2),
        _ => None,
    };
    if let Some(radix) = radix {
        return integer(&plain[2..], radix, negative).map(Number::Int);
    }
    if plain.bytes().all(|byte| byte.is_ascii_digit()) {
        // A leading zero means octal.
        let octal = plain.len() > 1 && plain.starts_with('0');
        return integer(&plain, if octal { 8 } else { 10 }, negative).map(Number::Int);
    }
    let starts = plain.starts_with(|first: char| first.is_ascii_digit() || first == '.');
    let known = plain.bytes().all(|byte| byte.is_ascii_digit() || b".e+-".contains(&byte));
    let value: f64 = (starts && known).then(|| plain.parse().ok())??;
    // A float without a fraction serves as a whole number, too.
    Some(Number::Float(if negative { -value } else { value }))
}

fn integer(digits: &str, radix: u32, negative: bool) -> Option<i64> {
    if !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let value = i128::from_str_radix(digits, radix).ok()?;
    i64::try_from(if negative { -value } else { value }).ok()
}

/// Reads a text in double quotes, with its escapes.
pub(super) fn unquote(quoted: &str) -> Option<String> {
    unescape(quoted.strip_prefix('"')?.strip_suffix('"')?)
}

/// Reads a character in single quotes.
pub(super) fn character(quoted: &str) -> Option<char> {
    let text = unescape(quoted.strip_prefix('\'')?.strip_suffix('\'')?)?;
    let mut characters = text.chars();
    characters.next().filter(|_| characters.next().is_none())
}

fn unescape(inner: &str) -> Option<String> {
    let mut text = String::new();
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            text.push(character);
            continue;
        }
        let escaped = characters.next()?;
        text.push(match escaped {
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            '\\' | '"' | '\'' => escaped,
            'x' => coded(&mut characters, "", 2, 16)?,
            'u' => coded(&mut characters, "", 4, 16)?,
            'U' => coded(&mut characters, "", 8, 16)?,
            '0'..='7' => coded(&mut characters, escaped.encode_utf8(&mut [0; 4]), 2, 8)?,
            _ => return None,
        });
    }
    Some(text)
}

fn coded(rest: &mut std::str::Chars<'_>, head: &str, count: usize, radix: u32) -> Option<char> {
    let digits: String = head.chars().chain(rest.take(count)).collect();
    let complete = digits.len() == head.len() + count && !digits.starts_with('+');
    char::from_u32(u32::from_str_radix(&digits, radix).ok()?).filter(|_| complete)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let cases = [
            ("12", Some(Number::Int(12))),
            ("-0x1F", Some(Number::Int(-31))),
            ("1_000", Some(Number::Int(1000))),
            ("017", Some(Number::Int(15))),
            ("1.5e-1", Some(Number::Float(0.15))),
            (".5", Some(Number::Float(0.5))),
            ("1x", None),
            ("0x", None),
            ("-", None),
            ("1_", None),
            ("99999999999999999999", None),
        ];
        for (text, expect) in cases {
            assert_eq!(parse(text), expect, "{text}");
        }
    }

    #[test]
    fn escapes() {
        assert_eq!(unquote(r#""a\tb\"\x41é\101""#).as_deref(), Some("a\tb\"AéA"));
        assert_eq!(unquote(r#""\q""#), None);
        assert_eq!(character(r"'\n'"), Some('\n'));
        assert_eq!(character("'ab'"), None);
    }
}
