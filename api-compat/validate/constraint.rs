//! Checks the form of placement constraints. Evaluates none.

/// Says what is wrong with `key==value` or `key!=value`, if anything is.
pub(super) fn check(expression: &str) -> Result<(), String> {
    let split = expression.split_once("==").or_else(|| expression.split_once("!="));
    let Some((key, value)) = split else {
        return Err("constraint expected one operator from ==, !=".to_owned());
    };
    let (key, value) = (key.trim(), value.trim());
    let first = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    let further = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let bytes = key.as_bytes();
    if bytes.len() < 2 || !bytes.first().is_some_and(first) || !bytes.iter().skip(1).all(further) {
        return Err(format!("key '{key}' is invalid"));
    }
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || b":-_ \t\n\x0c\r.*()?+[]\\^$|/".contains(&byte);
    if value.is_empty() || !value.bytes().all(allowed) {
        return Err(format!("value '{value}' is invalid"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn only_well_formed_constraints_pass() {
        for (expression, problem) in [
            ("node.role==manager", ""),
            ("node.labels.a != b c", ""),
            ("node.role ~ manager", "constraint expected one operator from ==, !="),
            ("", "constraint expected one operator from ==, !="),
            ("1x==y", "key '1x' is invalid"),
            ("x==y", "key 'x' is invalid"),
            ("node.role==", "value '' is invalid"),
            ("node.role==a,b", "value 'a,b' is invalid"),
        ] {
            let found = check(expression).err().unwrap_or_default();
            assert_eq!(found, problem, "{expression}");
        }
    }
}
