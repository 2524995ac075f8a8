//! Finds what a cluster is to hold of roots when its spec asks for others than are in use or on their way: judges what was
//! given, has signers outside tried, and has the present root vouch for the next. Proposes nothing.

use skep_api::backend::BackendError;
use skep_core::error::chain;
use skep_core::model::Sensitive;
use skep_core::model::cluster::{Cluster, ClusterSpec, RootCa, RootRotation};
use skep_pki::DesiredCa;
use tracing::warn;

use super::cluster::{new_root, now_unix, rotation_to};
use super::external::{self, signers_of};
use super::signer::{Signer, root_of};

/// Returns the roots that the spec asks for; `None` if those of now stay. A signer listed without its root belongs to the
/// present one: where that is to go, the spec is changed to say so.
///
/// # Errors
/// In Docker's words, why there are none.
pub async fn desired_root(
    current: &Cluster,
    spec: &mut ClusterSpec,
    signer: &Signer,
) -> Result<Option<RootCa>, BackendError> {
    let held = &current.root_ca;
    let key = String::from_utf8_lossy(&spec.signing_ca_key.0);
    let desired =
        skep_pki::parse_desired_ca(&spec.signing_ca_cert, &key, now_unix()).map_err(invalid)?;
    let given_back = matches!(
        &desired,
        DesiredCa::Internal(root) if root.certificate_pem == held.certificate_pem
    );
    if held.key_pem.0.is_empty() && !given_back {
        has_signer(spec, held, &held.certificate_pem, signer, "current").await?;
    }
    let next = match desired {
        DesiredCa::Internal(root) => with_key(&root).map_err(invalid)?,
        DesiredCa::External { certificate_pem } => {
            has_signer(spec, held, &certificate_pem, signer, "desired").await?;
            rotation_to(&certificate_pem, Sensitive::default()).map_err(invalid)?
        }
        DesiredCa::Unspecified if spec.force_rotate == held.last_force_rotate => {
            if let Some(next) = held.rotation.iter().find(|next| next.key_pem.0.is_empty()) {
                has_signer(spec, held, &next.certificate_pem, signer, "next").await?;
            }
            return Ok(None);
        }
        DesiredCa::Unspecified => {
            in_time(signer)?;
            with_key(&new_root().map_err(invalid)?.0).map_err(invalid)?
        }
    };
    let mut changed = RootCa { last_force_rotate: spec.force_rotate, ..held.clone() };
    if next.certificate_pem == held.certificate_pem {
        changed.key_pem = next.key_pem;
        changed.rotation = None;
        return Ok(Some(changed));
    }
    match &mut changed.rotation {
        Some(going) if going.certificate_pem == next.certificate_pem => {
            going.key_pem = next.key_pem;
        }
        Some(_) | None => {
            let cross_signed_pem = cross_signed(spec, held, &next, signer).await?;
            changed.rotation = Some(Box::new(RootRotation { cross_signed_pem, ..next }));
            for ca in spec.external_cas.iter_mut().filter(|ca| ca.ca_cert.trim().is_empty()) {
                ca.ca_cert.clone_from(&held.certificate_pem);
            }
        }
    }
    Ok(Some(changed))
}

fn with_key(root: &skep_pki::RootCa) -> Result<RootRotation, skep_pki::Error> {
    rotation_to(&root.certificate_pem, Sensitive(root.key_pem.as_bytes().to_vec()))
}

/// Fails unless one of the signers that the spec lists for a root can be reached.
async fn has_signer(
    spec: &ClusterSpec,
    held: &RootCa,
    root_pem: &str,
    signer: &Signer,
    which: &str,
) -> Result<(), BackendError> {
    let urls = signers_of(&spec.external_cas, &held.certificate_pem, root_pem);
    if signer.external.is_reachable(&urls, root_pem).await {
        return Ok(());
    }
    Err(refused(&format!(
        "there must be at least one valid, reachable external CA corresponding to the {which} CA certificate"
    )))
}

/// Has the present root vouch for the next one: with its key, or by who has that.
async fn cross_signed(
    spec: &ClusterSpec,
    held: &RootCa,
    next: &RootRotation,
    signer: &Signer,
) -> Result<String, BackendError> {
    in_time(signer)?;
    if !held.key_pem.0.is_empty() {
        let root = root_of(&held.certificate_pem, &held.key_pem).map_err(invalid)?;
        return skep_pki::cross_sign(&root, &next.certificate_pem, now_unix()).map_err(invalid);
    }
    // A request to vouch is signed with the next root's key.
    if next.key_pem.0.is_empty() {
        return Err(refused(
            "rotating from one external CA to a different external CA is not supported",
        ));
    }
    if next.public_key == held.public_key {
        return Err(invalid(skep_pki::Error::IdenticalKey));
    }
    let root = root_of(&next.certificate_pem, &next.key_pem).map_err(invalid)?;
    let urls = signers_of(&spec.external_cas, &held.certificate_pem, &held.certificate_pem);
    let asked = external::cross_sign(&signer.external, &urls, &held.certificate_pem, &root).await;
    asked.map_err(|error| {
        warn!(error = %chain(&error), "the external CA does not vouch for the next root");
        BackendError::Internal(format!(
            "rpc error: code = Internal desc = unable to generate a cross-signed certificate for root rotation: {}",
            external::told(&error)
        ))
    })
}

/// What is made by a wrong clock would lock nodes out.
fn in_time(signer: &Signer) -> Result<(), BackendError> {
    signer.judge_clock().map_err(|apart| BackendError::Unavailable(apart.to_string()))
}

fn invalid(error: skep_pki::Error) -> BackendError {
    refused(&error.to_string())
}

fn refused(text: &str) -> BackendError {
    BackendError::Invalid(format!("rpc error: code = InvalidArgument desc = {text}"))
}
