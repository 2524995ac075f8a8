//! The files that secrets and configs become for one task, templates expanded. Writes none of them.

use std::borrow::Cow;
use std::sync::Arc;

use super::InvalidTask;
use super::container::NodeContext;
use super::template::{Context, Payloads, TemplateError, expand_payload};
use crate::assign::Assigned;
use crate::model::container::{ContainerSpec, FileTarget};
use crate::model::secret::{Config, Secret};
use crate::model::task::Task;
use crate::model::{Driver, Sensitive};

/// Where the files lie on a host, a folder a node; what mounts them is recognised by it.
pub const FILES_DIR: &str = "/run/skep/files";

/// A file to mount into a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadFile {
    /// Absolute path in the container.
    pub target: String,
    /// The content.
    pub data: Sensitive,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
}

/// Collects the files of a task's secrets and configs.
pub fn payload_files(
    task: &Task,
    node: &NodeContext,
    assigned: &Assigned,
) -> Result<Vec<PayloadFile>, InvalidTask> {
    let Some(spec) = task.spec.container() else { return Ok(Vec::new()) };
    let payloads = TaskPayloads { spec, assigned };
    let context = Context::new(task, node);
    let expand = |kind: &str, id: &str, data: &Sensitive, templating: &Option<Driver>| {
        if templating.as_ref().is_none_or(|driver| driver.name != "golang") {
            return Ok(data.clone());
        }
        let text = String::from_utf8_lossy(&data.0);
        expand_payload(&text, &context, &payloads).map(|text| Sensitive(text.into_bytes())).map_err(
            |error| InvalidTask(format!("failed to expand templated {kind} {id}: {error}")),
        )
    };
    let mut files = Vec::new();
    for reference in &spec.secrets {
        let secret = assigned
            .secrets
            .get(&reference.id)
            .ok_or_else(|| InvalidTask(format!("secret not found: {}", reference.name)))?;
        let data =
            expand("secret", secret.id.as_str(), &secret.spec.data, &secret.spec.templating)?;
        if let Some(file) = &reference.file {
            files.push(payload_file(file, "/run/secrets/", data)?);
        }
    }
    for reference in &spec.configs {
        let config = assigned
            .configs
            .get(&reference.id)
            .ok_or_else(|| InvalidTask(format!("config not found: {}", reference.name)))?;
        let Some(file) = &reference.file else { continue };
        let data =
            expand("config", config.id.as_str(), &config.spec.data, &config.spec.templating)?;
        files.push(payload_file(file, "/", data)?);
    }
    Ok(files)
}

fn payload_file(
    file: &FileTarget,
    folder: &str,
    data: Sensitive,
) -> Result<PayloadFile, InvalidTask> {
    let owner = |text: &str| {
        if text.is_empty() {
            return Ok(0);
        }
        text.parse().map_err(|_| InvalidTask(format!("invalid owner of {}: {text}", file.name)))
    };
    let absolute = file.name.starts_with('/');
    let target = if absolute { file.name.clone() } else { format!("{folder}{}", file.name) };
    Ok(PayloadFile {
        target,
        data,
        uid: owner(&file.uid)?,
        gid: owner(&file.gid)?,
        mode: file.mode & 0o7777,
    })
}

/// What templates of a task's payloads can read: what the task itself mounts, as stored.
struct TaskPayloads<'a> {
    spec: &'a ContainerSpec,
    assigned: &'a Assigned,
}

fn matches_target(file: Option<&FileTarget>, target: &str) -> bool {
    file.is_some_and(|file| file.name == target)
}

impl Payloads for TaskPayloads<'_> {
    fn secret(&self, target: &str) -> Result<Cow<'_, str>, TemplateError> {
        let mut references = self.spec.secrets.iter();
        let found: Option<&Arc<Secret>> = references
            .find(|reference| matches_target(reference.file.as_ref(), target))
            .and_then(|reference| self.assigned.secrets.get(&reference.id));
        found
            .map(|secret| String::from_utf8_lossy(&secret.spec.data.0))
            .ok_or_else(|| TemplateError(format!("secret target {target} not found")))
    }

    fn config(&self, target: &str) -> Result<Cow<'_, str>, TemplateError> {
        let mut references = self.spec.configs.iter();
        let found: Option<&Arc<Config>> = references
            .find(|reference| matches_target(reference.file.as_ref(), target))
            .and_then(|reference| self.assigned.configs.get(&reference.id));
        found
            .map(|config| String::from_utf8_lossy(&config.spec.data.0))
            .ok_or_else(|| TemplateError(format!("config target {target} not found")))
    }

    fn env(&self, name: &str) -> Cow<'_, str> {
        let mut pairs = self.spec.env.iter().filter_map(|entry| entry.split_once('='));
        Cow::Borrowed(pairs.find(|(key, _)| *key == name).map_or("", |(_, value)| value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ConfigId, SecretId};
    use crate::model::container::{ConfigReference, SecretReference};
    use crate::model::service::{Runtime, TaskSpec};

    fn target(name: &str) -> Option<FileTarget> {
        Some(FileTarget { name: name.into(), uid: "7".into(), gid: String::new(), mode: 0o444 })
    }

    fn fixture(config_text: &str) -> (Task, Assigned) {
        let mut secret = Secret { id: SecretId::from_entropy(1), ..Secret::default() };
        secret.spec.data = Sensitive(b"hush".to_vec());
        let mut config = Config { id: ConfigId::from_entropy(2), ..Config::default() };
        config.spec.data = Sensitive(config_text.as_bytes().to_vec());
        config.spec.templating = Some(Driver { name: "golang".into(), ..Driver::default() });
        let spec = ContainerSpec {
            env: vec!["A=b".into()],
            secrets: vec![SecretReference {
                id: secret.id.clone(),
                name: "s".into(),
                file: target("s"),
            }],
            configs: vec![ConfigReference {
                id: config.id.clone(),
                name: "c".into(),
                file: target("/etc/c"),
            }],
            ..ContainerSpec::default()
        };
        let runtime = Runtime::Container(Box::new(spec));
        let task =
            Task { spec: Arc::new(TaskSpec { runtime, ..TaskSpec::default() }), ..Task::default() };
        let mut assigned = Assigned::default();
        assigned.secrets.insert(secret.id.clone(), Arc::new(secret));
        assigned.configs.insert(config.id.clone(), Arc::new(config));
        (task, assigned)
    }

    #[test]
    fn files_and_templates() {
        let (task, assigned) = fixture("{{secret \"s\"}}/{{env \"A\"}}");
        let files = payload_files(&task, &NodeContext::default(), &assigned).expect("all there");
        assert_eq!(files[0].target, "/run/secrets/s");
        assert_eq!((files[0].uid, files[0].gid, files[0].mode), (7, 0, 0o444));
        assert_eq!(files[1].target, "/etc/c");
        assert_eq!(files[1].data.0, b"hush/b");
    }

    #[test]
    fn what_is_not_mounted_is_not_found() {
        let (task, assigned) = fixture("{{secret \"other\"}}");
        let error = payload_files(&task, &NodeContext::default(), &assigned);
        let error = error.expect_err("no such target").to_string();
        assert!(error.starts_with("failed to expand templated config "), "{error}");
        assert!(error.ends_with("secret target other not found"), "{error}");
    }
}
