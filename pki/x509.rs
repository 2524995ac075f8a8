//! What the rest of the crate asks of X.509: parsing one certificate, its name in the signer's
//! terms, times, serial numbers. It takes no decisions about trust.

use rcgen::string::{BmpString, UniversalString};
use rcgen::{Certificate, DistinguishedName, DnType, DnValue, Issuer, KeyPair, SerialNumber};
use ring::rand::{SecureRandom as _, SystemRandom};
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::asn1_rs::Tag;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::X509Name;

use crate::Error;

/// Seconds by which a certificate starts before its signing, for nodes whose clocks are behind.
pub(crate) const BACKDATE_SECONDS: i64 = 3600;

/// Parses exactly one certificate. What stands outside the signed part must say the same as what stands within: the
/// algorithm (RFC 5280 section 4.1.1.2), and a signature of whole bytes.
pub(crate) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, Error> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate))
            if certificate.signature_value.unused_bits == 0
                && certificate.signature_algorithm == certificate.tbs_certificate.signature =>
        {
            Ok(certificate)
        }
        Ok(_) | Err(_) => Err(Error::InvalidCertificate),
    }
}

/// Converts a name so that the signer writes it back as it was; a form it would change is refused.
pub(crate) fn distinguished_name(name: &X509Name<'_>) -> Result<DistinguishedName, Error> {
    let mut converted = DistinguishedName::new();
    for relative in name.iter() {
        let mut attributes = relative.iter();
        let (Some(attribute), None) = (attributes.next(), attributes.next()) else {
            return Err(Error::UnsupportedSubject);
        };
        let oid = attribute.attr_type().iter().ok_or(Error::UnsupportedSubject)?;
        let kind = DnType::from_oid(&oid.collect::<Vec<_>>());
        // The signer keeps one value a type.
        if converted.get(&kind).is_some() {
            return Err(Error::UnsupportedSubject);
        }
        let any = attribute.attr_value();
        converted.push(kind, value(any.header.tag(), any.data).ok_or(Error::UnsupportedSubject)?);
    }
    Ok(converted)
}

fn value(tag: Tag, data: &[u8]) -> Option<DnValue> {
    let text = || std::str::from_utf8(data).ok();
    match tag {
        Tag::Utf8String => Some(DnValue::Utf8String(text()?.to_owned())),
        Tag::PrintableString => Some(DnValue::PrintableString(text()?.try_into().ok()?)),
        Tag::Ia5String => Some(DnValue::Ia5String(text()?.try_into().ok()?)),
        Tag::T61String => Some(DnValue::TeletexString(text()?.try_into().ok()?)),
        Tag::BmpString => Some(DnValue::BmpString(BmpString::from_utf16be(data.to_vec()).ok()?)),
        Tag::UniversalString => {
            Some(DnValue::UniversalString(UniversalString::from_utf32be(data.to_vec()).ok()?))
        }
        _ => None,
    }
}

/// Returns the subject key identifier, by which what a certificate signed points back at it.
pub(crate) fn subject_key_id(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.iter_extensions().find_map(|extension| {
        if let ParsedExtension::SubjectKeyIdentifier(id) = extension.parsed_extension() {
            Some(id.0.to_vec())
        } else {
            None
        }
    })
}

/// Says whether the certificate holds at this time.
pub(crate) fn is_valid_at(certificate: &X509Certificate<'_>, now_unix: i64) -> bool {
    let validity = certificate.validity();
    (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&now_unix)
}

/// Converts seconds since the epoch to what the signer takes.
pub(crate) fn time_at(unix: i64) -> Result<OffsetDateTime, Error> {
    if unix < 0 {
        return Err(Error::Time);
    }
    OffsetDateTime::from_unix_timestamp(unix).map_err(|_| Error::Time)
}

/// Makes a random positive serial number of 16 bytes.
pub(crate) fn serial() -> Result<SerialNumber, Error> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::Signing)?;
    // Neither negative nor shortened by a leading zero.
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// Signs, then reads back: a verifier compares the names byte by byte, and they pass through the
/// signer's own model of names.
pub(crate) fn sign(
    params: &rcgen::CertificateParams,
    public_key: &impl rcgen::PublicKeyData,
    issuer: &Issuer<'_, KeyPair>,
    issuer_subject_der: &[u8],
) -> Result<Certificate, Error> {
    let signed = params.signed_by(public_key, issuer).map_err(|_| Error::Signing)?;
    if parse(signed.der())?.issuer().as_raw() == issuer_subject_der {
        Ok(signed)
    } else {
        Err(Error::UnsupportedSubject)
    }
}
