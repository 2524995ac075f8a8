//! Compares the host's network with what it should be, beside whoever keeps it. Changes nothing.

use std::collections::BTreeMap;

use skep_core::net::TABLES;
use skep_core::net::amiss::{ENGINE_TABLE, amiss};
use skep_core::net::kernel::Desired;
use skep_core::net::wire_link::Carrier;

use super::observe::Netlink;
use super::{KernelError, accepts, rules, settings};

/// Lists what is not as it should be, in words; `carrier` has the encrypted link.
///
/// # Errors
/// Fails where the kernel does not answer.
pub async fn look(wanted: &Desired, carrier: &Carrier) -> Result<Vec<String>, KernelError> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(KernelError::Socket)?;
    tokio::spawn(connection);
    let mut netlink = Netlink::new(handle);
    let mut kernel = netlink.observe().await?;
    settings::read(wanted, &mut kernel);
    kernel.accepts = accepts::list().await;
    let mut listed = BTreeMap::new();
    for table in TABLES.into_iter().chain([ENGINE_TABLE]) {
        if let Ok(text) = rules::list(table).await {
            listed.insert(table, text);
        }
    }
    Ok(amiss(wanted, &kernel, &listed, carrier))
}
