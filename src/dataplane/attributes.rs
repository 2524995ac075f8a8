//! Netlink's messages and attributes, for parts of the kernel that no library here knows. Opens no socket.

/// Length of a message's head.
pub(super) const HEAD: usize = 16;

/// Message types that end an answer.
pub(super) const ERROR: u16 = 2;
pub(super) const DONE: u16 = 3;

/// Says of an attribute that it holds others.
pub(super) const NESTED: u16 = 0x8000;

/// What is left of an attribute's type without flags: nested, big-endian.
const TYPE: u16 = 0x3fff;

/// Splits what the kernel sent into messages: type and body.
pub(super) fn messages(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    with_heads(bytes).map(|it| (it.kind, it.body))
}

/// A message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    /// Number of the request that it belongs to.
    pub(super) sequence: u32,
    /// The socket that this came from.
    pub(super) port: u32,
    pub(super) body: &'a [u8],
}

/// Splits what the kernel sent into messages.
pub(super) fn with_heads(bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(rest.get(..4)?.try_into().ok()?);
        let length = usize::try_from(length).ok()?;
        let kind = u16::from_ne_bytes(rest.get(4..6)?.try_into().ok()?);
        let sequence = u32::from_ne_bytes(rest.get(8..12)?.try_into().ok()?);
        let port = u32::from_ne_bytes(rest.get(12..16)?.try_into().ok()?);
        let body = rest.get(HEAD..length)?;
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some(Message { kind, sequence, port, body })
    })
}

/// Splits attributes: type and value.
pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?) & TYPE;
        let value = rest.get(4..length)?;
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// Finds an attribute by the types on the way to it.
pub(super) fn find<'a>(bytes: &'a [u8], way: &[u16]) -> Option<&'a [u8]> {
    let (wanted, deeper) = way.split_first()?;
    let (_, value) = attributes(bytes).find(|(kind, _)| kind == wanted)?;
    if deeper.is_empty() { Some(value) } else { find(value, deeper) }
}

/// Writes an attribute.
pub(super) fn put(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(aligned(bytes.len()), 0);
}

/// Writes an attribute that is a name, which ends with a zero.
pub(super) fn put_name(bytes: &mut Vec<u8>, kind: u16, name: &str) {
    put(bytes, kind, &[name.as_bytes(), &[0]].concat());
}

/// Messages and attributes begin at multiples of four.
const fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(values in prop::collection::vec((0..TYPE, ".{0,20}"), 0..20)) {
            let mut bytes = Vec::new();
            for (kind, value) in &values {
                put(&mut bytes, *kind, value.as_bytes());
            }
            let read: Vec<_> = attributes(&bytes).collect();
            let written: Vec<_> =
                values.iter().map(|(kind, value)| (*kind, value.as_bytes())).collect();
            prop_assert_eq!(read, written);
        }
    }
}
