//! Reads the private key of a root in the forms users have them (PKCS#8, SEC1, PKCS#1) and gives it
//! back as PKCS#8, the only form the signer takes. It does not read encrypted keys.

use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, PublicKeyData as _,
};
use zeroize::Zeroizing;

use crate::{Error, pem};

/// Parses the key that belongs to the certificate with the public key `spki_der`.
pub(crate) fn key_of(key_pem: &str, spki_der: &[u8]) -> Result<KeyPair, Error> {
    // `openssl ecparam -genkey` writes a block of parameters before the key.
    let mut keys: Vec<_> = pem::blocks(key_pem)?
        .into_iter()
        .filter(|block| block.label.ends_with("PRIVATE KEY"))
        .collect();
    let (Some(block), true) = (keys.pop(), keys.is_empty()) else {
        return Err(Error::InvalidKey);
    };
    let pkcs8 = match block.label.as_str() {
        pem::PRIVATE_KEY => block.contents,
        "EC PRIVATE KEY" => pkcs8_from_sec1(&block.contents, spki_der)?,
        "RSA PRIVATE KEY" => pkcs8_from_inner(&block.contents, spki_der)?,
        _ => return Err(Error::InvalidKey),
    };
    let key = match KeyPair::try_from(pkcs8.as_slice()) {
        Ok(key) => key,
        // A converted key carries the certificate's public half, which the signer compares.
        Err(_) if block.label != pem::PRIVATE_KEY => return Err(Error::KeyMismatch),
        Err(_) => return Err(Error::InvalidKey),
    };
    let algorithm = key.algorithm();
    if algorithm != &PKCS_ECDSA_P256_SHA256
        && algorithm != &PKCS_ECDSA_P384_SHA384
        && algorithm != &PKCS_RSA_SHA256
    {
        return Err(Error::UnsupportedKey);
    }
    if key.subject_public_key_info() == spki_der { Ok(key) } else { Err(Error::KeyMismatch) }
}

/// Rebuilds an `ECPrivateKey` with the public key of the certificate: the field is optional in
/// SEC1, but the signer insists on it, and so finds a key that does not belong.
fn pkcs8_from_sec1(sec1: &[u8], spki_der: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let (fields, _) = element(SEQUENCE, sec1).ok_or(Error::InvalidKey)?;
    let (version, fields) = element(INTEGER, fields).ok_or(Error::InvalidKey)?;
    let (scalar, _) = element(OCTET_STRING, fields).ok_or(Error::InvalidKey)?;
    if version != [1] {
        return Err(Error::InvalidKey);
    }
    let (spki, _) = element(SEQUENCE, spki_der).ok_or(Error::InvalidCertificate)?;
    let (_, bits) = element(SEQUENCE, spki).ok_or(Error::InvalidCertificate)?;
    let mut content = Zeroizing::new(Vec::with_capacity(scalar.len() + bits.len() + 16));
    push(&mut content, INTEGER, &[1])?;
    push(&mut content, OCTET_STRING, scalar)?;
    push(&mut content, CONTEXT_1, bits)?;
    let mut key = Zeroizing::new(Vec::with_capacity(content.len() + 8));
    push(&mut key, SEQUENCE, &content)?;
    pkcs8_from_inner(&key, spki_der)
}

/// Wraps a bare key into PKCS#8, under the algorithm that the certificate names.
fn pkcs8_from_inner(inner: &[u8], spki_der: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let (spki, _) = element(SEQUENCE, spki_der).ok_or(Error::InvalidCertificate)?;
    let (algorithm, _) = element(SEQUENCE, spki).ok_or(Error::InvalidCertificate)?;
    let mut content = Zeroizing::new(Vec::with_capacity(inner.len() + algorithm.len() + 32));
    push(&mut content, INTEGER, &[0])?;
    push(&mut content, SEQUENCE, algorithm)?;
    push(&mut content, OCTET_STRING, inner)?;
    let mut pkcs8 = Zeroizing::new(Vec::with_capacity(content.len() + 8));
    push(&mut pkcs8, SEQUENCE, &content)?;
    Ok(pkcs8)
}

/// Splits one DER element with this tag off the input: its content and what follows.
fn element(tag: u8, input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = input.split_first_chunk::<2>()?;
    if found != tag {
        return None;
    }
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => rest.split_first().map(|(&byte, rest)| (usize::from(byte), rest))?,
        0x82 => {
            let (&bytes, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(bytes)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

fn push(out: &mut Vec<u8>, tag: u8, content: &[u8]) -> Result<(), Error> {
    let length = u16::try_from(content.len()).map_err(|_| Error::TooLarge)?;
    let [high, low] = length.to_be_bytes();
    out.push(tag);
    match length {
        0..=0x7f => out.push(low),
        0x80..=0xff => out.extend([0x81, low]),
        0x100.. => out.extend([0x82, high, low]),
    }
    out.extend_from_slice(content);
    Ok(())
}

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
const CONTEXT_1: u8 = 0xa1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{NOW, sec1_of};
    use crate::{RootCa, issuer_of};

    #[test]
    fn sec1_key_becomes_pkcs8() -> Result<(), Error> {
        let root = RootCa::generate(NOW)?;
        let other = RootCa::generate(NOW)?;
        let (_, spki) = issuer_of(&root.certificate_pem)?;
        for public_key in [true, false] {
            let sec1 = sec1_of(&root.key_pem, public_key);
            let with_parameters = format!(
                "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{}",
                *sec1
            );
            assert_eq!(key_of(&with_parameters, &spki)?.subject_public_key_info(), spki);
            let foreign = sec1_of(&other.key_pem, public_key);
            assert_eq!(key_of(&foreign, &spki).err(), Some(Error::KeyMismatch));
        }
        assert_eq!(key_of(&other.key_pem, &spki).err(), Some(Error::KeyMismatch));
        Ok(())
    }

    #[test]
    fn refuses_what_is_no_single_key() -> Result<(), Error> {
        let root = RootCa::generate(NOW)?;
        let (_, spki) = issuer_of(&root.certificate_pem)?;
        let twice = format!("{}{}", *root.key_pem, *root.key_pem);
        let encrypted = root.key_pem.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        for text in ["", "junk", &root.certificate_pem, &twice, &encrypted] {
            assert_eq!(key_of(text, &spki).err(), Some(Error::InvalidKey), "{text}");
        }
        Ok(())
    }

    #[test]
    fn refuses_ed25519() {
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("ring makes such keys");
        let found = key_of(&key.serialize_pem(), &key.subject_public_key_info());
        assert_eq!(found.err(), Some(Error::UnsupportedKey));
    }
}
