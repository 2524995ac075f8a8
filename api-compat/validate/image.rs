//! The grammar of image references. Asks no registry.

const PATH_LEN_MAX: usize = 255;
const TAG_LEN_MAX: usize = 128;

/// Tells whether a text names an image: `[domain[:port]/]path[:tag][@digest]`.
pub(super) fn is_reference(text: &str) -> bool {
    if text.len() == 64 && text.bytes().all(is_hex) {
        return false;
    }
    let (named, digest) = match text.split_once('@') {
        Some((named, digest)) => (named, Some(digest)),
        None => (text, None),
    };
    if digest.is_some_and(|digest| !is_digest(digest)) {
        return false;
    }
    let (domain, rest) = split_domain(named);
    if domain.is_some_and(|domain| !is_domain(domain)) {
        return false;
    }
    let (path, tag) = match rest.rsplit_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (rest, None),
    };
    tag.is_none_or(is_tag) && path.len() <= PATH_LEN_MAX && path.split('/').all(is_path_component)
}

/// Takes off what stands before the first slash if only a host can look like that.
fn split_domain(named: &str) -> (Option<&str>, &str) {
    match named.split_once('/') {
        Some((domain, rest))
            if domain.contains(['.', ':'])
                || domain == "localhost"
                || domain.bytes().any(|byte| byte.is_ascii_uppercase()) =>
        {
            (Some(domain), rest)
        }
        Some(_) | None => (None, named),
    }
}

fn is_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

fn is_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(algorithm, hex)| {
        let len = match algorithm {
            "sha256" => 64,
            "sha384" => 96,
            "sha512" => 128,
            _ => return false,
        };
        hex.len() == len && hex.bytes().all(is_hex)
    })
}

fn is_domain(domain: &str) -> bool {
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(rest) = domain.strip_prefix('[') {
        return rest.split_once(']').is_some_and(|(address, port)| {
            !address.is_empty()
                && address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':')
                && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
        });
    }
    let (host, port) = match domain.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (domain, None),
    };
    port.is_none_or(is_port)
        && host.split('.').all(|label| {
            label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= TAG_LEN_MAX
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

/// Tells whether a component is lower-case words joined by `.`, `_`, `__` or any number of `-`.
fn is_path_component(component: &str) -> bool {
    let is_word = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    let ends = bytes.first().is_some_and(is_word) && bytes.last().is_some_and(is_word);
    ends && bytes.split(is_word).all(|joint| {
        matches!(joint, b"" | b"." | b"_" | b"__") || joint.iter().all(|byte| *byte == b'-')
    })
}

#[cfg(test)]
mod tests {
    use super::is_reference;

    #[test]
    fn only_references_pass() {
        let digest = format!("a@sha256:{}", "0".repeat(64));
        for good in [
            "busybox",
            "busybox:latest",
            "library/nginx:1.2-alpine",
            "localhost:5000/a/b:c",
            "Registry.Example/a",
            "[::1]:5000/a",
            "a__b/c--d/e.f_g",
            digest.as_str(),
        ] {
            assert!(is_reference(good), "{good}");
        }
        let id = "a".repeat(64);
        let long_tag = format!("a:{}", "b".repeat(129));
        for bad in [
            "",
            "BAD:IMAGE",
            "busybox:",
            ":tag",
            "a//b",
            "a/",
            "/a",
            "a..b",
            "a___b",
            "-a",
            "a b",
            "a@sha256:00",
            "a@",
            "host:port/a",
            "a:b:c",
            "ü",
            id.as_str(),
            long_tag.as_str(),
        ] {
            assert!(!is_reference(bad), "{bad}");
        }
    }
}
