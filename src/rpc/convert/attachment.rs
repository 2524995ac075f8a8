//! What a container wants of a network, bounded.

use std::net::IpAddr;

use skep_api::backend::Attachment;

use super::super::proto;
use super::WireError;

const TEXT_BYTES_MAX: usize = 256;
const ALIASES_MAX: usize = 256;
const ADDRESSES_MAX: usize = 8;

/// Reads a wish for an address.
///
/// # Errors
/// When a part is missing, larger than any honest one, or no address.
pub fn attachment_wanted(from: proto::AttachNetworkRequest) -> Result<Attachment, WireError> {
    let config = from.config.ok_or(WireError::Missing("the network"))?;
    if config.aliases.len() > ALIASES_MAX || config.addresses.len() > ADDRESSES_MAX {
        return Err(WireError::TooLarge("the attachment"));
    }
    let texts = config.aliases.iter().chain([&config.target, &from.container_id]);
    if texts.into_iter().any(|text| text.len() > TEXT_BYTES_MAX) {
        return Err(WireError::TooLarge("a name"));
    }
    if config.target.is_empty() {
        return Err(WireError::Missing("the network"));
    }
    let address = |text: &String| text.parse().map_err(|_| WireError::Invalid("an address"));
    let addresses = config.addresses.iter().map(address).collect::<Result<Vec<IpAddr>, _>>()?;
    Ok(Attachment {
        target: config.target,
        container: from.container_id,
        aliases: config.aliases,
        addresses,
    })
}

/// Builds a wish for an address.
pub fn wire_attachment(from: &Attachment) -> proto::AttachNetworkRequest {
    proto::AttachNetworkRequest {
        config: Some(proto::NetworkAttachmentConfig {
            target: from.target.clone(),
            aliases: from.aliases.clone(),
            addresses: from.addresses.iter().map(ToString::to_string).collect(),
            driver_attachment_opts: std::collections::BTreeMap::new(),
        }),
        container_id: from.container.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Attachment {
        Attachment {
            target: "front".to_owned(),
            container: "c1".to_owned(),
            aliases: vec!["one".to_owned()],
            addresses: vec![[10, 0, 1, 7].into()],
        }
    }

    #[test]
    fn what_is_wanted_crosses_the_wire() {
        assert_eq!(attachment_wanted(wire_attachment(&wanted())), Ok(wanted()));
    }

    #[test]
    fn no_wish_is_endless_or_without_sense() {
        let read = |change: fn(&mut Attachment)| {
            let mut wish = wanted();
            change(&mut wish);
            attachment_wanted(wire_attachment(&wish))
        };
        assert!(read(|wish| wish.target.clear()).is_err());
        assert!(read(|wish| wish.target = "x".repeat(257)).is_err());
        assert!(read(|wish| wish.container = "x".repeat(257)).is_err());
        assert!(read(|wish| wish.aliases = vec!["x".to_owned(); 257]).is_err());
        assert!(read(|wish| wish.addresses = vec![[10, 0, 1, 7].into(); 9]).is_err());
        let mut wire = wire_attachment(&wanted());
        let config = wire.config.as_mut().expect("it has one");
        config.addresses.push("10.0.1.7/24".to_owned());
        assert_eq!(attachment_wanted(wire), Err(WireError::Invalid("an address")));
        assert!(attachment_wanted(proto::AttachNetworkRequest::default()).is_err());
    }
}
