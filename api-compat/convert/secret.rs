//! Secrets and configs between wire and model, and what their specs may hold.

use skep_core::model::secret::{Config, ConfigSpec, Secret, SecretSpec};
use skep_core::model::{Annotations, Sensitive};

use crate::error::ApiError;
use crate::wire;

/// First size that a secret may not have.
const SECRET_BYTES_LIMIT: usize = 500 * 1024;

/// First size that a config may not have.
const CONFIG_BYTES_LIMIT: usize = 1000 * 1024;

/// Longest name of a secret or config.
const NAME_CHARS_MAX: usize = 64;

/// Shows a secret, without its payload.
pub fn secret_to_wire(secret: &Secret) -> wire::secret::Secret {
    wire::secret::Secret {
        id: secret.id.to_string(),
        meta: secret.meta.into(),
        spec: wire::secret::SecretSpec {
            name: secret.spec.annotations.name.clone(),
            labels: secret.spec.annotations.labels.clone(),
            data: Vec::new(),
            driver: secret.spec.driver.clone().map(Into::into),
            templating: secret.spec.templating.clone().map(Into::into),
        },
    }
}

/// Shows a config.
pub fn config_to_wire(config: &Config) -> wire::config::Config {
    wire::config::Config {
        id: config.id.to_string(),
        meta: config.meta.into(),
        spec: wire::config::ConfigSpec {
            name: config.spec.annotations.name.clone(),
            labels: config.spec.annotations.labels.clone(),
            data: config.spec.data.0.clone(),
            templating: config.spec.templating.clone().map(Into::into),
        },
    }
}

/// Reads a secret's spec.
pub fn secret_from_wire(spec: wire::secret::SecretSpec) -> SecretSpec {
    SecretSpec {
        annotations: Annotations { name: spec.name, labels: spec.labels },
        data: Sensitive(spec.data),
        driver: spec.driver.map(Into::into),
        templating: spec.templating.map(Into::into),
    }
}

/// Reads a config's spec.
pub fn config_from_wire(spec: wire::config::ConfigSpec) -> ConfigSpec {
    ConfigSpec {
        annotations: Annotations { name: spec.name, labels: spec.labels },
        data: Sensitive(spec.data),
        templating: spec.templating.map(Into::into),
    }
}

/// Checks the spec of a new secret.
///
/// # Errors
/// Says what it may not hold.
pub fn check_secret(spec: &SecretSpec) -> Result<(), ApiError> {
    check_name(&spec.annotations.name)?;
    match &spec.driver {
        Some(driver) if driver.name.is_empty() => {
            Err(ApiError::invalid_argument("secret driver must have a name"))
        }
        Some(_) => Ok(()),
        None if (1..SECRET_BYTES_LIMIT).contains(&spec.data.0.len()) => Ok(()),
        None => Err(ApiError::invalid_argument(format!(
            "secret data must be larger than 0 and less than {SECRET_BYTES_LIMIT} bytes"
        ))),
    }
}

/// Checks the spec of a new config.
///
/// # Errors
/// Says what it may not hold.
pub fn check_config(spec: &ConfigSpec) -> Result<(), ApiError> {
    check_name(&spec.annotations.name)?;
    if (1..CONFIG_BYTES_LIMIT).contains(&spec.data.0.len()) {
        return Ok(());
    }
    Err(ApiError::invalid_argument(format!(
        "config data must be larger than 0 and less than {CONFIG_BYTES_LIMIT} bytes"
    )))
}

fn check_name(name: &str) -> Result<(), ApiError> {
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() {
        return Err(ApiError::invalid_argument("name must be provided"));
    }
    let fits = name.len() <= NAME_CHARS_MAX && name.bytes().all(inner);
    if fits && ends(name.bytes().next()) && ends(name.bytes().last()) {
        return Ok(());
    }
    Err(ApiError::invalid_argument(
        "invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]",
    ))
}
