//! Reads and writes PEM blocks. It knows nothing of what the blocks hold, and looks at no more
//! input than a bundle of a few certificates can need.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::Error;

/// The label of the block of a private key in PKCS#8.
pub(crate) const PRIVATE_KEY: &str = "PRIVATE KEY";

/// The label of a certificate's block.
pub(crate) const CERTIFICATE: &str = "CERTIFICATE";

/// One block: its label and its decoded contents, which may be a private key.
pub(crate) struct Block {
    pub(crate) label: String,
    pub(crate) contents: Zeroizing<Vec<u8>>,
}

/// Decodes every block of `text`; what stands between blocks is ignored.
pub(crate) fn blocks(text: &str) -> Result<Vec<Block>, Error> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Error::TooLarge);
    }
    let mut found = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(label) = marker(line, "-----BEGIN ") else { continue };
        if found.len() == BLOCKS_MAX {
            return Err(Error::TooLarge);
        }
        // Room for everything at once: growth would leave unwiped copies of a key behind.
        let mut body = Zeroizing::new(String::with_capacity(text.len()));
        loop {
            let line = lines.next().ok_or(Error::InvalidPem)?;
            if let Some(end) = marker(line, "-----END ") {
                if end != label {
                    return Err(Error::InvalidPem);
                }
                break;
            }
            // Headers, as the ones in the key files of an engine, hold a colon; base64 never does.
            if !line.contains(':') {
                body.push_str(line);
            }
        }
        let contents = STANDARD.decode(body.as_bytes()).map_err(|_| Error::InvalidPem)?;
        found.push(Block { label: label.to_owned(), contents: Zeroizing::new(contents) });
    }
    Ok(found)
}

/// Decodes the certificates of a bundle, in order; at least one.
pub(crate) fn certificates(text: &str) -> Result<Vec<Vec<u8>>, Error> {
    let mut found = Vec::new();
    for block in blocks(text)? {
        if block.label == CERTIFICATE {
            found.push(block.contents.to_vec());
        }
    }
    if found.is_empty() { Err(Error::InvalidPem) } else { Ok(found) }
}

/// Encodes a private key in PKCS#8.
pub(crate) fn encode_key(pkcs8: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(encode(PRIVATE_KEY, pkcs8))
}

/// Encodes one block in lines of 64 columns, as `openssl` and Go do.
pub(crate) fn encode(label: &str, contents: &[u8]) -> String {
    let body = Zeroizing::new(STANDARD.encode(contents));
    let mut text = String::with_capacity(body.len() + body.len() / 64 + 2 * label.len() + 40);
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII, so any cut is on a character boundary.
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

fn marker<'a>(line: &'a str, prefix: &str) -> Option<&'a str> {
    line.strip_prefix(prefix)?.strip_suffix("-----")
}

const TEXT_BYTES_MAX: usize = 64 * 1024;
const BLOCKS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn refuses_broken_text() {
        let cases = [
            ("", 0, "no block at all is an empty list"),
            ("-----BEGIN X-----\nAAAA\n-----END X-----", 1, "no newline at the end"),
            ("noise\n-----BEGIN X-----\r\nAAAA\r\n-----END X-----\r\n", 1, "carriage returns"),
            ("-----BEGIN X-----\nrole: a\n\nAAAA\n-----END X-----", 1, "headers"),
        ];
        for (text, expect, what) in cases {
            assert_eq!(blocks(text).map(|b| b.len()), Ok(expect), "{what}");
        }
        for text in [
            "-----BEGIN X-----\nAAAA\n",
            "-----BEGIN X-----\nAAAA\n-----END Y-----",
            "-----BEGIN X-----\nA*AA\n-----END X-----",
        ] {
            assert_eq!(blocks(text).err(), Some(Error::InvalidPem), "{text}");
        }
        let many = "-----BEGIN X-----\n-----END X-----\n".repeat(BLOCKS_MAX + 1);
        assert_eq!(blocks(&many).err(), Some(Error::TooLarge));
        assert_eq!(blocks(&" ".repeat(TEXT_BYTES_MAX + 1)).err(), Some(Error::TooLarge));
    }

    proptest! {
        #[test]
        fn decodes_what_it_encodes(contents in proptest::collection::vec(any::<u8>(), 0..400)) {
            let found = blocks(&encode("SOME THING", &contents)).expect("own output parses");
            prop_assert_eq!(found.len(), 1);
            prop_assert_eq!(&found[0].label, "SOME THING");
            prop_assert_eq!(&*found[0].contents, &contents);
        }

        #[test]
        fn never_panics(text in "(?s)(-----(BEGIN|END) [A-Z]{0,3}-----|\\n|.){0,40}") {
            let _ = blocks(&text);
        }
    }
}
