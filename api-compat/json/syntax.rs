//! Parses JSON, and says what is wrong with a text that is none in the words of Go's decoder.

use std::borrow::Cow;

use serde_json::Value;

use super::Wording;
use crate::error::ApiError;

/// Parses one JSON value and nothing after it.
pub(super) fn parse(body: &[u8], wording: Wording) -> Result<Value, ApiError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(ApiError::bad_request("invalid JSON: got EOF while reading request body"));
    }
    match parse_strict(body, wording) {
        Ok(value) => Ok(value),
        // Go puts a replacement character where a text is no valid Unicode; few bodies need the second look.
        Err(error) => match mend(body) {
            Cow::Owned(mended) => parse_strict(&mended, wording),
            Cow::Borrowed(_) => Err(error),
        },
    }
}

fn parse_strict(body: &[u8], wording: Wording) -> Result<Value, ApiError> {
    let mut source = serde_json::Deserializer::from_slice(body);
    let value = serde::Deserialize::deserialize(&mut source)
        .map_err(|error| ApiError::bad_request(format!("invalid JSON: {}", text(&error, body))))?;
    // Older engines read one value and look no further.
    if wording == Wording::Current {
        source.end().map_err(|_| ApiError::bad_request("unexpected content after JSON"))?;
    }
    Ok(value)
}

/// Replaces what is no Unicode: stray bytes, and escapes that are half a pair.
fn mend(body: &[u8]) -> Cow<'_, [u8]> {
    let mut out: Option<Vec<u8>> = match String::from_utf8_lossy(body) {
        Cow::Owned(text) => Some(text.into_bytes()),
        Cow::Borrowed(_) => None,
    };
    let mut at = 0;
    loop {
        let held = out.as_deref().unwrap_or(body);
        let Some(found) = held.get(at..).and_then(|rest| rest.iter().position(|b| *b == b'\\'))
        else {
            break;
        };
        let start = at + found;
        let high = surrogate(held, start);
        let paired = high.is_some_and(|high| high < 0xdc00)
            && surrogate(held, start + ESCAPE_LEN).is_some_and(|low| low >= 0xdc00);
        at = start + if paired { 2 * ESCAPE_LEN } else { 2 };
        if high.is_some() && !paired {
            let owned = out.get_or_insert_with(|| body.to_vec());
            owned.splice(start..start + ESCAPE_LEN, *b"\\ufffd");
        }
    }
    out.map_or(Cow::Borrowed(body), Cow::Owned)
}

/// Length of an escape like `\ud83d`.
const ESCAPE_LEN: usize = 6;

/// Returns the half of a pair that is written at this place, if one is.
fn surrogate(body: &[u8], at: usize) -> Option<u16> {
    let escape = body.get(at..at + ESCAPE_LEN)?.strip_prefix(b"\\u")?;
    let digits = std::str::from_utf8(escape).ok()?;
    let unit = u16::from_str_radix(digits, 16).ok()?;
    (0xd800..0xe000).contains(&unit).then_some(unit)
}

/// Says what keeps a text from being JSON, if anything does.
pub(crate) fn syntax_error(body: &[u8]) -> Option<String> {
    let parsed = serde_json::from_slice::<Value>(body);
    parsed.err().map(|error| text(&error, body))
}

/// Says in Go's words what a parser has found.
fn text(error: &serde_json::Error, body: &[u8]) -> String {
    if error.is_eof() {
        return "unexpected EOF".to_owned();
    }
    let own = error.to_string();
    if own.starts_with("recursion limit exceeded") {
        return "exceeded max depth".to_owned();
    }
    let line = body.split(|byte| *byte == b'\n').nth(error.line().saturating_sub(1));
    let before = line.and_then(|line| line.get(..error.column().saturating_sub(1)));
    let found = line.and_then(|line| line.get(error.column().saturating_sub(1))).copied();
    let place = if own.starts_with("expected value") {
        "looking for beginning of value".to_owned()
    } else if own.starts_with("key must be a string") {
        "looking for beginning of object key string".to_owned()
    } else if own.starts_with("expected `:`") {
        "after object key".to_owned()
    } else if own.starts_with("expected `,` or `}`") {
        "after object key:value pair".to_owned()
    } else if own.starts_with("expected `,` or `]`") {
        "after array element".to_owned()
    } else if own.starts_with("trailing comma") && found == Some(b'}') {
        "looking for beginning of object key string".to_owned()
    } else if own.starts_with("trailing comma") {
        "looking for beginning of value".to_owned()
    } else if own.starts_with("expected ident") {
        let Some(place) = before.and_then(inside_literal) else { return own };
        place
    } else if own.starts_with("invalid escape") {
        "in string escape code".to_owned()
    } else if own.starts_with("control character") {
        "in string literal".to_owned()
    } else {
        return own;
    };
    match found {
        Some(byte) => format!("invalid character '{}' {place}", quoted(byte)),
        None => own,
    }
}

/// Says which of Go's literals was begun, and which letter it goes on with.
fn inside_literal(before: &[u8]) -> Option<String> {
    let letters = before.iter().rev().take_while(|byte| byte.is_ascii_lowercase()).count();
    let begun = std::str::from_utf8(before.get(before.len() - letters..)?).ok()?;
    let literal = ["true", "false", "null"].into_iter().find(|word| word.starts_with(begun))?;
    let next = literal.as_bytes().get(letters).map(|byte| char::from(*byte))?;
    (letters > 0).then(|| format!("in literal {literal} (expecting '{next}')"))
}

fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => "\\'".to_owned(),
        b'\\' => "\\\\".to_owned(),
        b'\n' => "\\n".to_owned(),
        b'\r' => "\\r".to_owned(),
        b'\t' => "\\t".to_owned(),
        0..0x20 | 0x7f => format!("\\x{byte:02x}"),
        _ => char::from(byte).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_texts_are_told_as_go_tells_them() {
        for (body, expected) in [
            (r#"{"a": 1,}"#, "invalid character '}' looking for beginning of object key string"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("{'a': 1}", r"invalid character '\'' looking for beginning of object key string"),
            (r#"{"a" "b"}"#, "invalid character '\"' after object key"),
            ("nope", "invalid character 'o' in literal null (expecting 'u')"),
            ("trap", "invalid character 'a' in literal true (expecting 'u')"),
            (r#"{"a": "\q"}"#, "invalid character 'q' in string escape code"),
            ("tru", "unexpected EOF"),
            (&"[".repeat(1000), "exceeded max depth"),
        ] {
            assert_eq!(syntax_error(body.as_bytes()).as_deref(), Some(expected), "{body}");
        }
    }

    #[test]
    fn what_is_no_unicode_is_replaced() {
        let read = |body: &[u8]| {
            let held = parse(body, Wording::Current).ok();
            held.and_then(|held| held.as_str().map(str::to_owned))
        };
        assert_eq!(read(br#""a\ud800b""#).as_deref(), Some("a\u{fffd}b"));
        assert_eq!(read(br#""\udc00\ud83d\ude00""#).as_deref(), Some("\u{fffd}\u{1f600}"));
        assert_eq!(read(br#""\\ud800""#).as_deref(), Some("\\ud800"));
        assert_eq!(read(b"\"\xff\"").as_deref(), Some("\u{fffd}"));
    }
}
