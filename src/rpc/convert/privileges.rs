//! What a container may do that others may not.

use skep_core::model::container::{CredentialSpec, Privileges, Seccomp};

use super::super::proto::{self, credential_spec::Source};

pub(super) fn privileges(from: &Privileges) -> proto::Privileges {
    proto::Privileges {
        credential_spec: from.credential_spec.as_ref().map(credential_spec),
        selinux_context: from.selinux.as_ref().map(|selinux| proto::SelinuxContext {
            disable: selinux.disable,
            user: selinux.user.clone(),
            role: selinux.role.clone(),
            r#type: selinux.kind.clone(),
            level: selinux.level.clone(),
        }),
        seccomp: from.seccomp.as_ref().map(seccomp),
        apparmor: from.apparmor.as_ref().map(|mode| {
            let disabled = mode == "disabled";
            let mode =
                if disabled { proto::AppArmorMode::Disabled } else { proto::AppArmorMode::Default };
            proto::AppArmorOpts { mode: mode.into() }
        }),
        no_new_privileges: from.no_new_privileges,
    }
}

fn credential_spec(from: &CredentialSpec) -> proto::CredentialSpec {
    let given = |text: &str, source: fn(String) -> Source| {
        (!text.is_empty()).then(|| source(text.to_owned()))
    };
    let source = given(&from.config, Source::Config)
        .or_else(|| given(&from.file, Source::File))
        .or_else(|| given(&from.registry, Source::Registry));
    proto::CredentialSpec { source }
}

fn seccomp(from: &Seccomp) -> proto::SeccompOpts {
    let mode = match from.mode.as_str() {
        "unconfined" => proto::SeccompMode::Unconfined,
        "custom" => proto::SeccompMode::Custom,
        _ => proto::SeccompMode::Default,
    };
    proto::SeccompOpts { mode: mode.into(), profile: from.profile.clone() }
}
