//! Checks the container part of a spec: references, templates, image, mounts, health check.

use std::collections::{BTreeMap, BTreeSet};

use skep_core::model::container::ContainerSpec;

use super::{image, template};
use crate::error::ApiError;
use crate::wire::container as wire;

const HEALTH_DURATION_MIN: i64 = 1_000_000;

/// Checks a container: `asked` is what came, `spec` what it became.
pub(super) fn check(asked: &wire::ContainerSpec, spec: &ContainerSpec) -> Result<(), ApiError> {
    secrets(&asked.secrets)?;
    configs(asked)?;
    template::check(spec).map_err(ApiError::invalid_argument)?;
    if spec.image.is_empty() {
        return Err(ApiError::invalid_argument("ContainerSpec: image reference must be provided"));
    }
    if !image::is_reference(&spec.image) {
        let text = format!("ContainerSpec: {:?} is not a valid repository/tag", spec.image);
        return Err(ApiError::invalid_argument(text));
    }
    let mut targets = BTreeSet::new();
    for mount in &spec.mounts {
        if !targets.insert(&mount.target) {
            let text = format!("ContainerSpec: duplicate mount point: {}", mount.target);
            return Err(ApiError::invalid_argument(text));
        }
    }
    asked.healthcheck.as_ref().map_or(Ok(()), healthcheck)
}

/// One secret or config as a spec names it.
struct Reference<'a> {
    id: &'a str,
    name: &'a str,
    file: Option<&'a wire::FileTarget>,
    needs_file: bool,
}

fn references<'a>(
    kind: &str,
    references: impl Iterator<Item = Reference<'a>>,
) -> Result<(), ApiError> {
    let mut targets: BTreeMap<&str, &str> = BTreeMap::new();
    for reference in references {
        if reference.id.is_empty() || reference.name.is_empty() {
            return Err(ApiError::invalid_argument(format!("malformed {kind} reference")));
        }
        let Some(file) = reference.file else {
            if reference.needs_file {
                let text = format!("malformed {kind} reference, no target provided");
                return Err(ApiError::invalid_argument(text));
            }
            continue;
        };
        if file.name.is_empty() {
            return Err(ApiError::invalid_argument(format!(
                "malformed file {kind} reference, invalid target file name provided"
            )));
        }
        if let Some(other) = targets.insert(&file.name, reference.name) {
            return Err(ApiError::invalid_argument(format!(
                "{kind} references '{other}' and '{}' have a conflicting target: '{}'",
                reference.name, file.name
            )));
        }
    }
    Ok(())
}

fn secrets(secrets: &[wire::SecretReference]) -> Result<(), ApiError> {
    references(
        "secret",
        secrets.iter().map(|secret| Reference {
            id: &secret.secret_id,
            name: &secret.secret_name,
            file: secret.file.as_ref(),
            needs_file: true,
        }),
    )
}

fn configs(spec: &wire::ContainerSpec) -> Result<(), ApiError> {
    references(
        "config",
        spec.configs.iter().map(|config| Reference {
            id: &config.config_id,
            name: &config.config_name,
            file: config.file.as_ref(),
            needs_file: config.runtime.is_none(),
        }),
    )?;
    let credential_config = spec
        .privileges
        .as_ref()
        .and_then(|privileges| privileges.credential_spec.as_ref())
        .map_or("", |credentials| credentials.config.as_str());
    let named = |config: &wire::ConfigReference| {
        config.runtime.is_some() && config.config_id == credential_config
    };
    if !credential_config.is_empty() && !spec.configs.iter().any(named) {
        return Err(ApiError::invalid_argument(format!(
            "CredentialSpec references config '{credential_config}', \
             but that config isn't in config references with RuntimeTarget"
        )));
    }
    Ok(())
}

fn healthcheck(check: &wire::Healthcheck) -> Result<(), ApiError> {
    for (field, nanos) in [
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ] {
        if nanos != 0 && nanos < HEALTH_DURATION_MIN {
            let text = format!("ContainerSpec: {field} in HealthConfig cannot be less than 1ms");
            return Err(ApiError::invalid_argument(text));
        }
    }
    if check.retries < 0 {
        return Err(ApiError::invalid_argument(
            "ContainerSpec: Retries in HealthConfig cannot be negative",
        ));
    }
    Ok(())
}
