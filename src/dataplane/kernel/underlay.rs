//! What this host's end of the tunnels can carry. Changes nothing.

use std::net::IpAddr;

use futures_util::TryStreamExt;
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::link::LinkAttribute;

/// Returns the largest packet, in bytes, of the link that has an address; nothing where none has it or the kernel does not answer.
pub async fn mtu_of(addr: IpAddr) -> Option<u32> {
    let (connection, handle, _) = rtnetlink::new_connection().ok()?;
    tokio::spawn(connection);
    let held = handle.address().get().set_address_filter(addr).execute();
    let held: Vec<_> = held.try_collect().await.ok()?;
    let has_it = |attribute: &AddressAttribute| matches!(attribute, AddressAttribute::Local(it) | AddressAttribute::Address(it) if *it == addr);
    let link = held.iter().find(|it| it.attributes.iter().any(has_it))?.header.index;
    let links: Vec<_> = handle.link().get().match_index(link).execute().try_collect().await.ok()?;
    links.iter().flat_map(|link| &link.attributes).find_map(|attribute| {
        if let LinkAttribute::Mtu(mtu) = attribute { Some(*mtu) } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn links_are_found_by_address() {
        assert!(mtu_of([127, 0, 0, 1].into()).await.is_some_and(|mtu| mtu >= 1280));
        assert_eq!(mtu_of([192, 0, 2, 222].into()).await, None);
    }
}
