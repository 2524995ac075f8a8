//! What of a spec only newer engines honour. An engine drops a field it does not know without a word, so no such task may
//! get there.

use crate::model::container::{ContainerSpec, MountKind};
use crate::model::task::Task;

/// A version of the engine's API, major and minor.
pub(super) type Api = (u32, u32);

/// A field and the first API version that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) what: &'static str,
    pub(super) since: Api,
}

/// Lists what a task needs of an engine beyond what all supported ones can do, each once.
pub(super) fn needs(task: &Task) -> Vec<Need> {
    let Some(spec) = task.spec.container() else { return Vec::new() };
    let mut needs = Vec::new();
    let mut need = |what, minor, asked: bool| {
        if asked {
            needs.push(Need { what, since: (1, minor) });
        }
    };
    let check = spec.healthcheck.as_ref();
    need(
        "StartInterval of the health check",
        44,
        check.is_some_and(|it| !it.start_interval.is_zero()),
    );
    let bind = |wanted: fn(&crate::model::container::BindOptions) -> bool| {
        spec.mounts.iter().filter_map(|mount| mount.bind.as_ref()).any(wanted)
    };
    need("CreateMountpoint of a bind mount", 42, bind(|it| it.create_mountpoint));
    need("ReadOnlyNonRecursive of a bind mount", 44, bind(|it| it.read_only_non_recursive));
    need("ReadOnlyForceRecursive of a bind mount", 44, bind(|it| it.read_only_force_recursive));
    need("Subpath of a volume", 45, has_subpath(spec));
    let options = |mount: &crate::model::container::Mount| {
        mount.tmpfs.as_ref().is_some_and(|it| !it.options.is_empty())
    };
    need("Options of a tmpfs mount", 46, spec.mounts.iter().any(options));
    need("an image mount", 48, spec.mounts.iter().any(|mount| mount.kind == MountKind::Image));
    needs
}

fn has_subpath(spec: &ContainerSpec) -> bool {
    let mut volumes = spec.mounts.iter().filter_map(|mount| mount.volume.as_ref());
    volumes.any(|volume| !volume.subpath.is_empty())
}

/// Returns what an engine is too old for. One that does not tell its version is taken for new enough.
pub(super) fn lacking(needs: &[Need], engine: Option<Api>) -> Vec<&Need> {
    needs.iter().filter(|need| engine.is_some_and(|engine| engine < need.since)).collect()
}

/// Names needs with their versions.
pub(super) fn list<'a>(needs: impl IntoIterator<Item = &'a Need>) -> String {
    let one = |need: &Need| format!("{} needs API {}.{}", need.what, need.since.0, need.since.1);
    needs.into_iter().map(one).collect::<Vec<_>>().join(", ")
}
