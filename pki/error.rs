//! The one error type of this crate. It carries no secrets; what a Docker client prints is spelled
//! as Docker spells it, the rest is ours.

/// Says why a certificate, key or token was refused or could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The input is longer than any honest one.
    #[error("input is too large")]
    TooLarge,
    /// The text is not PEM, or the block looked for is missing.
    #[error("invalid pem")]
    InvalidPem,
    /// The certificate does not parse.
    #[error("invalid certificate")]
    InvalidCertificate,
    /// One certificate was expected and several came.
    #[error("expected a single certificate")]
    MultipleCertificates,
    /// The certificate may not sign others, or is not signed by itself.
    #[error("not a self-signed CA certificate")]
    NotARoot,
    /// The certificate's name uses a form that cannot be repeated byte for byte in what it signs.
    #[error("unsupported form of CA subject")]
    UnsupportedSubject,
    /// The certificate is not valid at the time given.
    #[error("certificate is not valid now")]
    NotValidNow,
    /// No root that is trusted signed the certificate.
    #[error("certificate signed by unknown authority")]
    Untrusted,
    /// The private key does not parse.
    #[error("invalid private key")]
    InvalidKey,
    /// The key is of a kind that the nodes of a swarm refuse.
    #[error("unsupported kind of key")]
    UnsupportedKey,
    /// The private key belongs to another certificate.
    #[error("certificate key mismatch")]
    KeyMismatch,
    /// The certificate request does not parse or its signature is wrong.
    #[error("invalid certificate request")]
    InvalidRequest,
    /// A node or cluster id cannot stand in a certificate.
    #[error("invalid id for a certificate")]
    InvalidId,
    /// The certificate names no node, role and cluster.
    #[error("certificate does not identify a node")]
    NoIdentity,
    /// The validity asked for is below what nodes accept.
    #[error("minimum certificate expiry time is: 1h0m0s")]
    ValidityTooShort,
    /// The time given cannot be written into a certificate.
    #[error("time out of range")]
    Time,
    /// Signing or the making of a key failed.
    #[error("cannot sign")]
    Signing,
    /// A signer gave another certificate than it was asked for.
    #[error("not the certificate asked for: {0}")]
    NotAsked(&'static str),
    /// The join token does not parse.
    #[error("invalid join token")]
    InvalidToken,
    /// The root offered by a remote manager is not the one the token names.
    #[error("remote CA does not match fingerprint. Expected: {expected}")]
    FingerprintMismatch {
        /// The digest in the token, in hexadecimal.
        expected: String,
    },
    /// The unlock key has no proper prefix or is not base64.
    #[error("invalid key string")]
    InvalidUnlockKey,
    /// The unlock key parses, but cannot be the key of any cluster.
    #[error("invalid key provided")]
    UnlockKeyLength,
    /// A user gave a key for a new root without its certificate.
    #[error("if a signing CA key is provided, the signing CA cert must also be provided")]
    KeyWithoutCertificate,
    /// A user gave several certificates as the new root.
    #[error("the desired CA certificate cannot contain multiple certificates")]
    DesiredMultiple,
    /// A user's new root does not parse.
    #[error("could not parse the desired CA certificate")]
    DesiredUnparsable,
    /// A user's new root ends within a year.
    #[error("CA certificate expires too soon")]
    ExpiresTooSoon,
    /// The new root has the key of the old one.
    #[error("Cannot update to a cert with an identical key")]
    IdenticalKey,
}
