//! Who signed what in a chain: the certificates that a node sends, and the roots it trusts. Verifies no times and no use; the
//! TLS library does.

use x509_parser::certificate::X509Certificate;

use crate::{Error, pem, x509};

/// Tells whether the first certificate of a chain, or one that a cross-signed root in it signed, was
/// signed by one of the roots.
///
/// # Errors
/// When either holds no certificate or one does not parse.
pub fn is_signed_by(chain_pem: &str, roots_pem: &str) -> Result<bool, Error> {
    let (chain, roots) = (pem::certificates(chain_pem)?, pem::certificates(roots_pem)?);
    let roots = roots.iter().map(|der| x509::parse(der)).collect::<Result<Vec<_>, _>>()?;
    let is_below_root =
        |below: &X509Certificate<'_>| roots.iter().any(|root| is_signed(below, root));
    let mut below = x509::parse(chain.first().ok_or(Error::InvalidPem)?)?;
    for der in chain.iter().skip(1) {
        if is_below_root(&below) {
            return Ok(true);
        }
        let above = x509::parse(der)?;
        if !is_signed(&below, &above) {
            return Ok(false);
        }
        below = above;
    }
    Ok(is_below_root(&below))
}

/// Returns subject and public key (`SubjectPublicKeyInfo`), both as DER, of what signed the first certificate of a chain: the
/// next one in it, or one of the roots.
///
/// # Errors
/// When neither signed it, either holds no certificate or one does not parse.
pub fn leaf_issuer(chain_pem: &str, roots_pem: &str) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let (chain, roots) = (pem::certificates(chain_pem)?, pem::certificates(roots_pem)?);
    let leaf = x509::parse(chain.first().ok_or(Error::InvalidPem)?)?;
    for der in chain.iter().skip(1).take(1).chain(&roots) {
        let above = x509::parse(der)?;
        if is_signed(&leaf, &above) {
            return Ok((above.subject().as_raw().to_vec(), above.public_key().raw.to_vec()));
        }
    }
    Err(Error::Untrusted)
}

fn is_signed(below: &X509Certificate<'_>, above: &X509Certificate<'_>) -> bool {
    below.verify_signature(Some(above.public_key())).is_ok()
}
