//! The root CA of a cluster: making one, and reading one that a user or the state holds. It does
//! not decide when a root is replaced.

use std::fmt;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose,
};
use x509_parser::certificate::X509Certificate;
use zeroize::Zeroizing;

use crate::key::key_of;
use crate::{Error, pem, x509};

/// A root certificate together with its private key.
#[derive(Clone)]
#[non_exhaustive]
pub struct RootCa {
    /// The one certificate, as PEM.
    pub certificate_pem: String,
    /// Its key, PKCS#8 as PEM.
    pub key_pem: Zeroizing<String>,
}

impl RootCa {
    /// Makes a root as a new cluster gets it: `swarm-ca`, ECDSA P-256, 20 years.
    ///
    /// # Errors
    /// When the time does not fit into a certificate, or no key can be made.
    pub fn generate(now_unix: i64) -> Result<Self, Error> {
        let key = KeyPair::generate().map_err(|_| Error::Signing)?;
        let mut params = ca_params();
        params.distinguished_name.push(DnType::CommonName, "swarm-ca");
        let not_before = now_unix.saturating_sub(x509::BACKDATE_SECONDS).max(0);
        params.not_before = x509::time_at(not_before)?;
        params.not_after = x509::time_at(not_before.saturating_add(ROOT_VALIDITY_SECONDS))?;
        params.serial_number = Some(x509::serial()?);
        let certificate = params.self_signed(&key).map_err(|_| Error::Signing)?;
        Ok(Self {
            certificate_pem: pem::encode(pem::CERTIFICATE, certificate.der()),
            key_pem: pem::encode_key(key.serialized_der()),
        })
    }

    /// Reads a root: one self-signed CA certificate and its key in PKCS#8, SEC1 or PKCS#1. Both are
    /// kept in one normal form; what [`RootCa::generate`] made stays as it is, byte for byte.
    ///
    /// # Errors
    /// When either does not parse, they do not belong together, or nodes would refuse the root.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, Error> {
        let der = root_certificate(certificate_pem)?;
        let certificate = x509::parse(&der)?;
        let key = key_of(key_pem, certificate.public_key().raw)?;
        Ok(Self {
            certificate_pem: pem::encode(pem::CERTIFICATE, &der),
            key_pem: pem::encode_key(key.serialized_der()),
        })
    }

    /// Returns the subject of the certificate, as DER.
    ///
    /// # Errors
    /// When the certificate does not parse.
    pub fn subject_der(&self) -> Result<Vec<u8>, Error> {
        issuer_of(&self.certificate_pem).map(|(subject, _)| subject)
    }

    /// Returns the public key (`SubjectPublicKeyInfo`) of the certificate, as DER.
    ///
    /// # Errors
    /// When the certificate does not parse.
    pub fn public_key_der(&self) -> Result<Vec<u8>, Error> {
        issuer_of(&self.certificate_pem).map(|(_, public_key)| public_key)
    }

    pub(crate) fn certificate_der(&self) -> Result<Vec<u8>, Error> {
        one_certificate(&self.certificate_pem)
    }
}

impl fmt::Debug for RootCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootCa")
            .field("certificate_pem", &self.certificate_pem)
            .field("key_pem", &"[redacted]")
            .finish()
    }
}

/// Returns subject and public key (`SubjectPublicKeyInfo`), both as DER, of the first certificate:
/// what `TLSInfo` tells of an issuer.
///
/// # Errors
/// When there is no certificate or it does not parse.
pub fn issuer_of(certificate_pem: &str) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let mut found = pem::certificates(certificate_pem)?;
    let der = found.swap_remove(0);
    let certificate = x509::parse(&der)?;
    Ok((certificate.subject().as_raw().to_vec(), certificate.public_key().raw.to_vec()))
}

/// Signs for one root: its name and key in the signer's terms, and the name's bytes to compare
/// with.
pub(crate) struct Signer {
    pub(crate) issuer: Issuer<'static, KeyPair>,
    pub(crate) subject_der: Vec<u8>,
}

impl Signer {
    /// Prepares to sign with a root that must be valid at this time.
    pub(crate) fn new(root: &RootCa, now_unix: i64) -> Result<Self, Error> {
        let der = root.certificate_der()?;
        let certificate = x509::parse(&der)?;
        if !x509::is_valid_at(&certificate, now_unix) {
            return Err(Error::NotValidNow);
        }
        let key = key_of(&root.key_pem, certificate.public_key().raw)?;
        Ok(Self {
            issuer: Issuer::new(params_like(&certificate)?, key),
            subject_der: certificate.subject().as_raw().to_vec(),
        })
    }
}

/// Returns CA parameters with the name and key identifier of an existing root.
pub(crate) fn params_like(certificate: &X509Certificate<'_>) -> Result<CertificateParams, Error> {
    let mut params = ca_params();
    params.distinguished_name = x509::distinguished_name(certificate.subject())?;
    if let Some(id) = x509::subject_key_id(certificate) {
        params.key_identifier_method = KeyIdMethod::PreSpecified(id);
    }
    Ok(params)
}

/// Reads the single certificate of a root and checks that it may be one.
pub(crate) fn root_certificate(certificate_pem: &str) -> Result<Vec<u8>, Error> {
    let der = one_certificate(certificate_pem)?;
    let certificate = x509::parse(&der)?;
    let signs = match certificate.key_usage() {
        Ok(Some(usage)) => usage.value.key_cert_sign(),
        Ok(None) => true,
        Err(_) => false,
    };
    if !certificate.is_ca()
        || !signs
        || certificate.subject().as_raw() != certificate.issuer().as_raw()
        || certificate.verify_signature(None).is_err()
    {
        return Err(Error::NotARoot);
    }
    // Found now, not when the first node asks for a certificate.
    x509::distinguished_name(certificate.subject())?;
    Ok(der)
}

fn one_certificate(certificate_pem: &str) -> Result<Vec<u8>, Error> {
    let mut found = pem::certificates(certificate_pem)?;
    if found.len() == 1 { Ok(found.swap_remove(0)) } else { Err(Error::MultipleCertificates) }
}

fn ca_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

const ROOT_VALIDITY_SECONDS: i64 = 630_720_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{DnValue, PKCS_ECDSA_P384_SHA384};

    use super::*;
    use crate::test_support::{NOW, sec1_of};

    #[test]
    fn generated_root_is_what_nodes_expect() -> Result<(), Error> {
        let root = RootCa::generate(NOW)?;
        let der = root.certificate_der()?;
        let certificate = x509::parse(&der)?;
        assert_eq!(certificate.subject().to_string(), "CN=swarm-ca");
        let validity = certificate.validity();
        assert_eq!(validity.not_before.timestamp(), NOW - 3600);
        assert_eq!(validity.not_after.timestamp() - validity.not_before.timestamp(), 630_720_000);
        let usage = certificate.key_usage().ok().flatten().expect("a root has a key usage");
        assert_eq!(usage.value.flags, 0b110_0000, "sign certificates and lists, nothing else");
        assert_eq!(certificate.extended_key_usage().ok().flatten().map(|_| ()), None);
        assert!(x509::subject_key_id(&certificate).is_some());
        assert!(root.key_pem.starts_with("-----BEGIN PRIVATE KEY-----\n"));
        assert!(!format!("{root:?}").contains("PRIVATE"));
        Ok(())
    }

    #[test]
    fn reading_back_changes_nothing() -> Result<(), Error> {
        let root = RootCa::generate(NOW)?;
        let sec1 = sec1_of(&root.key_pem, true);
        let untidy = format!("note\r\n{}\n\n", root.certificate_pem.replace('\n', "\r\n"));
        for (certificate, key) in [(&root.certificate_pem, &root.key_pem), (&untidy, &sec1)] {
            let read = RootCa::from_pem(certificate, key)?;
            assert_eq!(read.certificate_pem, root.certificate_pem);
            assert_eq!(read.public_key_der()?, root.public_key_der()?);
            assert_eq!(read.subject_der()?, root.subject_der()?);
        }
        let read = RootCa::from_pem(&root.certificate_pem, &root.key_pem)?;
        assert_eq!(read.key_pem, root.key_pem);
        Ok(())
    }

    #[test]
    fn refuses_what_is_no_root() -> Result<(), Error> {
        let root = RootCa::generate(NOW)?;
        let other = RootCa::generate(NOW)?;
        let both = format!("{}{}", root.certificate_pem, other.certificate_pem);
        let leaf = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).expect("valid name");
        let leaf_key = leaf.signing_key.serialize_pem();
        let cases: [(&str, &str, Error); 6] = [
            ("", &root.key_pem, Error::InvalidPem),
            (&root.key_pem, &root.key_pem, Error::InvalidPem),
            (&both, &root.key_pem, Error::MultipleCertificates),
            (&root.certificate_pem, &other.key_pem, Error::KeyMismatch),
            (&root.certificate_pem, "", Error::InvalidKey),
            (&leaf.cert.pem(), &leaf_key, Error::NotARoot),
        ];
        for (certificate, key, expect) in cases {
            assert_eq!(RootCa::from_pem(certificate, key).err(), Some(expect));
        }
        Ok(())
    }

    #[test]
    fn takes_a_users_root_with_other_key_and_name() {
        let mut params = ca_params();
        let country = "DE".try_into().expect("printable");
        params.distinguished_name.push(DnType::CountryName, DnValue::PrintableString(country));
        params.distinguished_name.push(DnType::OrganizationName, "Käse & Co");
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("ring makes such keys");
        let certificate = params.self_signed(&key).expect("valid parameters");
        let root = RootCa::from_pem(&certificate.pem(), &key.serialize_pem()).expect("a root");
        assert_eq!(root.certificate_pem, certificate.pem());
        assert!(Signer::new(&root, NOW).is_ok());
    }

    #[test]
    fn refuses_a_root_outside_its_time() -> Result<(), Error> {
        let root = RootCa::generate(NOW)?;
        for now in [NOW - 3601, NOW - 3600 + ROOT_VALIDITY_SECONDS + 1] {
            assert_eq!(Signer::new(&root, now).err(), Some(Error::NotValidNow));
        }
        for now in [-1_000_000, i64::MIN, i64::MAX, 253_402_300_000] {
            let expect = if now < 0 { None } else { Some(Error::Time) };
            assert_eq!(RootCa::generate(now).err(), expect, "{now}");
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn never_panics_on_text(a in "(?s).{0,200}", b in "(?s).{0,200}") {
            prop_assert!(RootCa::from_pem(&a, &b).is_err());
            prop_assert!(issuer_of(&a).is_err());
        }

        #[test]
        fn never_panics_on_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let certificate = pem::encode(pem::CERTIFICATE, &bytes);
            for label in ["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"] {
                prop_assert!(RootCa::from_pem(&certificate, &pem::encode(label, &bytes)).is_err());
            }
        }
    }
}
