//! How many certificates a manager could sign.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use skep_pki::{NodePublicKey, NodeRole, RootCa, generate_request, issue_node};

use crate::table::Table;

const ROUND: Duration = Duration::from_secs(3);

/// Validity of certificates where the cluster says nothing else.
const VALIDITY: Duration = Duration::from_secs(90 * 24 * 3600);

/// One thread of this process reads requests and signs, as the service CA does for each; consensus and TLS are not in it.
pub fn measure(table: &mut Table) -> Result<()> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let now = i64::try_from(now.as_secs())?;
    let root = RootCa::generate(now)?;
    let request = generate_request()?.request_pem;
    let (began, mut signed) = (Instant::now(), 0_u32);
    while began.elapsed() < ROUND {
        let key = NodePublicKey::from_request_pem(&request)?;
        let made = issue_node(&root, &key, "node", NodeRole::Worker, "cluster", now, VALIDITY)?;
        made.starts_with("-----BEGIN").then_some(()).context("no certificate")?;
        signed += 1;
    }
    let rate = f64::from(signed) / began.elapsed().as_secs_f64();
    let cells = ["", "", &format!("{rate:.0}/s"), ""];
    table.row("certificates checked and signed, one core", cells, "");
    Ok(())
}
