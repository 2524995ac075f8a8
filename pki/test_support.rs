//! Values and conversions that the tests of several files share; nothing of it is built otherwise.

use std::time::Duration;

use zeroize::Zeroizing;

use crate::pem;

pub(crate) const NOW: i64 = 1_760_000_000;
pub(crate) const DAY: Duration = Duration::from_secs(86_400);
pub(crate) const NODE: &str = "4l9xyqx2mzhv3y1wz7w8sb0kc";
pub(crate) const CLUSTER: &str = "zq1pzw0f5kd6vb1n7h2m8xj3r";

/// Turns a P-256 key as the signer writes it into the SEC1 form of `openssl`, optionally without
/// the public half.
pub(crate) fn sec1_of(pkcs8_pem: &str, public_key: bool) -> Zeroizing<String> {
    let pkcs8 = pem::blocks(pkcs8_pem).expect("own output").swap_remove(0).contents;
    // A P-256 key in PKCS#8 has fixed lengths: 26 bytes of algorithm, an octet string of 109 bytes.
    let mut sec1 = pkcs8[29..138].to_vec();
    assert_eq!((pkcs8.len(), sec1[0]), (138, 0x30), "layout of the key");
    if !public_key {
        // Leaves version and scalar, and the length that goes with them.
        sec1.truncate(2 + 3 + 34);
        sec1[1] = 37;
    }
    Zeroizing::new(pem::encode("EC PRIVATE KEY", &sec1))
}
