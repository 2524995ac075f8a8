//! Checks a task's mounts and expands their templates. Looks at no host path.

use super::InvalidTask;
use super::expansion::expand_mounts;
use super::template::Context;
use crate::model::container::{Mount, MountKind};

/// Expands and checks the mounts of a task.
pub(super) fn plan_mounts(mounts: &[Mount], context: &Context) -> Result<Vec<Mount>, InvalidTask> {
    let mounts = expand_mounts(mounts, context).map_err(InvalidTask)?;
    mounts.iter().try_for_each(check)?;
    Ok(mounts)
}

fn check(mount: &Mount) -> Result<(), InvalidTask> {
    let absolute = |path: &str| path.starts_with('/');
    let (source, target) = (mount.source.as_str(), mount.target.as_str());
    if mount.kind != MountKind::NamedPipe && !absolute(target) {
        let text = format!("invalid mount target, must be an absolute path: {target}");
        return Err(InvalidTask(text));
    }
    let problem = match mount.kind {
        MountKind::Bind if !absolute(source) => {
            format!("invalid bind mount source, must be an absolute path: {source}")
        }
        MountKind::Volume if absolute(source) => {
            format!("invalid volume mount source, must not be an absolute path: {source}")
        }
        MountKind::Tmpfs if !source.is_empty() => {
            "invalid tmpfs source, source must be empty".to_owned()
        }
        MountKind::NamedPipe if source.is_empty() => {
            "invalid npipe source, source must not be empty".to_owned()
        }
        MountKind::Image if source.is_empty() => {
            "invalid image mount source, source must not be empty".to_owned()
        }
        MountKind::Cluster => "cluster volumes are not supported".to_owned(),
        MountKind::Bind
        | MountKind::Volume
        | MountKind::Tmpfs
        | MountKind::NamedPipe
        | MountKind::Image => return Ok(()),
    };
    Err(InvalidTask(problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_refusals() {
        let cases = [
            (MountKind::Bind, "a", "/t", "invalid bind mount source, must be an absolute path: a"),
            (MountKind::Bind, "/a", "t", "invalid mount target, must be an absolute path: t"),
            (
                MountKind::Volume,
                "/a",
                "/t",
                "invalid volume mount source, must not be an absolute path: /a",
            ),
            (MountKind::Tmpfs, "a", "/t", "invalid tmpfs source, source must be empty"),
        ];
        for (kind, source, target, expect) in cases {
            let mount =
                Mount { kind, source: source.into(), target: target.into(), ..Mount::default() };
            let found = plan_mounts(&[mount], &Context::default());
            assert_eq!(found, Err(InvalidTask(expect.to_owned())));
        }
    }

    #[test]
    fn templates_in_mounts() {
        let context = Context { slot: "3".into(), ..Context::default() };
        let mount = Mount {
            kind: MountKind::Volume,
            source: "data-{{.Task.Slot}}".into(),
            target: "/d/{{.Task.Slot}}".into(),
            ..Mount::default()
        };
        let found = plan_mounts(&[mount], &context).expect("a volume with a name");
        assert_eq!((found[0].source.as_str(), found[0].target.as_str()), ("data-3", "/d/3"));
    }
}
