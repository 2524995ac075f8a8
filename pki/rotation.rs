//! Replacing the root of a cluster: judging the one a user wants, and having the old root vouch for
//! the new. The course of a rotation is the state's.

use rcgen::SubjectPublicKeyInfo;

use crate::root::{RootCa, Signer, params_like, root_certificate};
use crate::{Error, pem, x509};

/// The root that a user asks for.
#[derive(Debug, Clone)]
pub enum DesiredCa {
    /// None in particular: keep the present one, or make a new one if rotation is forced.
    Unspecified,
    /// A certificate whose key is kept elsewhere, so that an external CA signs.
    External {
        /// The one certificate, as PEM.
        certificate_pem: String,
    },
    /// A certificate with its key, so that the managers sign.
    Internal(RootCa),
}

/// Judges the certificate and key that stand in a cluster's spec; an empty text stands for none.
///
/// # Errors
/// In Docker's words where it has any: a key alone, several certificates, one that does not parse,
/// one that ends within a year; and whatever [`RootCa::from_pem`] refuses.
pub fn parse_desired_ca(
    certificate_pem: &str,
    key_pem: &str,
    now_unix: i64,
) -> Result<DesiredCa, Error> {
    if certificate_pem.is_empty() {
        let alone = !key_pem.is_empty();
        return if alone { Err(Error::KeyWithoutCertificate) } else { Ok(DesiredCa::Unspecified) };
    }
    let der = root_certificate(certificate_pem).map_err(desired)?;
    let certificate = x509::parse(&der).map_err(desired)?;
    let internal = if key_pem.is_empty() {
        None
    } else {
        Some(RootCa::from_pem(certificate_pem, key_pem).map_err(desired)?)
    };
    if certificate.validity().not_after.timestamp() < now_unix.saturating_add(REMAINING_SECONDS_MIN)
    {
        return Err(Error::ExpiresTooSoon);
    }
    if !x509::is_valid_at(&certificate, now_unix) {
        return Err(Error::NotValidNow);
    }
    Ok(match internal {
        Some(root) => DesiredCa::Internal(root),
        None => DesiredCa::External { certificate_pem: pem::encode(pem::CERTIFICATE, &der) },
    })
}

/// Signs the name and key of the new root (a certificate as PEM) with the old one, and returns the
/// intermediate as PEM. Sent after a leaf of the new root, it lets peers that know only the old one
/// accept the leaf.
///
/// # Errors
/// When either root is not valid at this time, both have one key, or the new one's name has a form
/// that cannot be repeated.
pub fn cross_sign(old: &RootCa, new_pem: &str, now_unix: i64) -> Result<String, Error> {
    let new_der = root_certificate(new_pem)?;
    let certificate = x509::parse(&new_der)?;
    if old.public_key_der()? == certificate.public_key().raw {
        return Err(Error::IdenticalKey);
    }
    if !x509::is_valid_at(&certificate, now_unix) {
        return Err(Error::NotValidNow);
    }
    let signer = Signer::new(old, now_unix)?;
    let mut params = params_like(&certificate)?;
    params.use_authority_key_identifier_extension = true;
    params.not_before = x509::time_at(certificate.validity().not_before.timestamp())?;
    params.not_after = x509::time_at(certificate.validity().not_after.timestamp())?;
    params.serial_number = Some(x509::serial()?);
    let key = SubjectPublicKeyInfo::from_der(certificate.public_key().raw)
        .map_err(|_| Error::UnsupportedKey)?;
    let signed = x509::sign(&params, &key, &signer.issuer, &signer.subject_der)?;
    let intermediate = x509::parse(signed.der())?;
    // Leaves name their issuer by these bytes.
    if intermediate.subject().as_raw() != certificate.subject().as_raw() {
        return Err(Error::UnsupportedSubject);
    }
    Ok(pem::encode(pem::CERTIFICATE, signed.der()))
}

/// Speaks of the user's certificate where the reading of a root speaks of any.
fn desired(error: Error) -> Error {
    if error == Error::MultipleCertificates {
        Error::DesiredMultiple
    } else if matches!(error, Error::InvalidPem | Error::InvalidCertificate) {
        Error::DesiredUnparsable
    } else {
        error
    }
}

const REMAINING_SECONDS_MIN: i64 = 365 * 86_400;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::test_support::{NOW, sec1_of};

    const TWENTY_YEARS: i64 = 630_720_000;

    #[test]
    fn refusals_are_in_dockers_words() -> Result<(), Error> {
        let root = RootCa::generate(NOW)?;
        let other = RootCa::generate(NOW)?;
        let both = format!("{}{}", root.certificate_pem, other.certificate_pem);
        let broken = pem::encode(pem::CERTIFICATE, b"no certificate");
        let end = NOW - 3600 + TWENTY_YEARS;
        let year = 365 * 86_400;
        let (certificate, key) = (root.certificate_pem.as_str(), root.key_pem.as_str());
        let cases: [(&str, &str, i64, &str); 8] = [
            (
                "",
                key,
                NOW,
                "if a signing CA key is provided, the signing CA cert must also be provided",
            ),
            (&both, key, NOW, "the desired CA certificate cannot contain multiple certificates"),
            (&both, "", NOW, "the desired CA certificate cannot contain multiple certificates"),
            ("junk", "", NOW, "could not parse the desired CA certificate"),
            (&broken, key, NOW, "could not parse the desired CA certificate"),
            (certificate, &other.key_pem, NOW, "certificate key mismatch"),
            (certificate, key, end - year + 1, "CA certificate expires too soon"),
            (certificate, key, NOW - 7200, "certificate is not valid now"),
        ];
        for (certificate, key, now, expect) in cases {
            let error = parse_desired_ca(certificate, key, now).expect_err(expect);
            assert_eq!(error.to_string(), expect);
        }
        assert!(parse_desired_ca(certificate, key, end - year).is_ok());
        Ok(())
    }

    #[test]
    fn takes_all_three_kinds() -> Result<(), Error> {
        let root = RootCa::generate(NOW)?;
        assert!(matches!(parse_desired_ca("", "", NOW)?, DesiredCa::Unspecified));
        let external = parse_desired_ca(&root.certificate_pem, "", NOW)?;
        let DesiredCa::External { certificate_pem } = external else { panic!("came alone") };
        assert_eq!(certificate_pem, root.certificate_pem);
        let sec1 = sec1_of(&root.key_pem, true);
        for key in [&root.key_pem, &sec1] {
            let internal = parse_desired_ca(&root.certificate_pem, key, NOW)?;
            let DesiredCa::Internal(read) = internal else { panic!("came with a key") };
            assert_eq!(read.certificate_pem, root.certificate_pem);
        }
        Ok(())
    }

    #[test]
    fn an_old_root_does_not_vouch_for_its_own_key() -> Result<(), Error> {
        let root = RootCa::generate(NOW)?;
        let error = cross_sign(&root, &root.certificate_pem, NOW).expect_err("one key");
        assert_eq!(error.to_string(), "Cannot update to a cert with an identical key");
        let later = RootCa::generate(NOW + 86_400)?;
        assert_eq!(cross_sign(&root, &later.certificate_pem, NOW).err(), Some(Error::NotValidNow));
        assert_eq!(cross_sign(&later, &root.certificate_pem, NOW).err(), Some(Error::NotValidNow));
        Ok(())
    }

    proptest! {
        #[test]
        fn never_panics(a in "(?s).{0,100}", b in "(?s).{0,100}", now in any::<i64>()) {
            let _ = parse_desired_ca(&a, &b, now);
        }
    }
}
