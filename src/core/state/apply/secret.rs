//! Commands on secrets and configs.

use std::sync::Arc;

use super::{Write, check_version, not_found};
use crate::id::{ConfigId, SecretId};
use crate::model::container::ContainerSpec;
use crate::model::secret::{Config, ConfigSpec, Secret, SecretSpec};
use crate::model::{Kind, Sensitive};
use crate::state::{Action, Rejected, State};

/// Tells whether an update leaves a payload as it is: it may be left out or repeated.
fn same_data(old: &Sensitive, new: &Sensitive) -> bool {
    new.0.is_empty() || old == new
}

impl State {
    /// Returns the names of services whose current spec satisfies `uses`. Previous specs and tasks do not count.
    fn users(&self, uses: impl Fn(&ContainerSpec) -> bool) -> Vec<String> {
        let using = |container: Option<&ContainerSpec>| container.is_some_and(&uses);
        let services = self.services.values();
        let services = services.filter(|service| using(service.spec.task.container()));
        services.map(|service| service.spec.annotations.name.clone()).collect()
    }

    pub(super) fn create_secret(
        &mut self,
        write: &mut Write,
        id: &SecretId,
        spec: &SecretSpec,
    ) -> Result<(), Rejected> {
        self.check_name(Kind::Secret, &spec.annotations.name)?;
        if self.secrets.contains_key(id) {
            return Err(Rejected::Malformed("the id is taken"));
        }
        write.tell(Kind::Secret, Action::Create, id, &spec.annotations.name);
        let secret = Secret { id: id.clone(), meta: write.made(), spec: spec.clone() };
        self.put_secret(Arc::new(secret));
        Ok(())
    }

    pub(super) fn update_secret(
        &mut self,
        write: &mut Write,
        id: &SecretId,
        version: u64,
        spec: &SecretSpec,
    ) -> Result<(), Rejected> {
        let old = self.secrets.get(id).ok_or_else(|| not_found(Kind::Secret, id))?;
        let same_name = old.spec.annotations.name == spec.annotations.name;
        if !same_name || !same_data(&old.spec.data, &spec.data) {
            return Err(Rejected::OnlyLabels);
        }
        check_version(old.meta, version)?;
        let mut secret = Secret::clone(old);
        secret.spec.annotations.labels.clone_from(&spec.annotations.labels);
        write.touch(&mut secret.meta);
        write.tell(Kind::Secret, Action::Update, id, &spec.annotations.name);
        self.put_secret(Arc::new(secret));
        Ok(())
    }

    pub(super) fn remove_secret(
        &mut self,
        write: &mut Write,
        id: &SecretId,
    ) -> Result<(), Rejected> {
        let secret = self.secrets.get(id).ok_or_else(|| not_found(Kind::Secret, id))?;
        let name = secret.spec.annotations.name.clone();
        let users = self.users(|spec| spec.secrets.iter().any(|reference| reference.id == *id));
        if !users.is_empty() {
            return Err(Rejected::InUse { kind: Kind::Secret, name, users });
        }
        write.tell(Kind::Secret, Action::Remove, id, &name);
        self.drop_secret(id);
        Ok(())
    }

    pub(super) fn create_config(
        &mut self,
        write: &mut Write,
        id: &ConfigId,
        spec: &ConfigSpec,
    ) -> Result<(), Rejected> {
        self.check_name(Kind::Config, &spec.annotations.name)?;
        if self.configs.contains_key(id) {
            return Err(Rejected::Malformed("the id is taken"));
        }
        write.tell(Kind::Config, Action::Create, id, &spec.annotations.name);
        let config = Config { id: id.clone(), meta: write.made(), spec: spec.clone() };
        self.put_config(Arc::new(config));
        Ok(())
    }

    pub(super) fn update_config(
        &mut self,
        write: &mut Write,
        id: &ConfigId,
        version: u64,
        spec: &ConfigSpec,
    ) -> Result<(), Rejected> {
        let old = self.configs.get(id).ok_or_else(|| not_found(Kind::Config, id))?;
        let same_name = old.spec.annotations.name == spec.annotations.name;
        if !same_name || !same_data(&old.spec.data, &spec.data) {
            return Err(Rejected::OnlyLabels);
        }
        check_version(old.meta, version)?;
        let mut config = Config::clone(old);
        config.spec.annotations.labels.clone_from(&spec.annotations.labels);
        write.touch(&mut config.meta);
        write.tell(Kind::Config, Action::Update, id, &spec.annotations.name);
        self.put_config(Arc::new(config));
        Ok(())
    }

    pub(super) fn remove_config(
        &mut self,
        write: &mut Write,
        id: &ConfigId,
    ) -> Result<(), Rejected> {
        let config = self.configs.get(id).ok_or_else(|| not_found(Kind::Config, id))?;
        let name = config.spec.annotations.name.clone();
        let users = self.users(|spec| spec.configs.iter().any(|reference| reference.id == *id));
        if !users.is_empty() {
            return Err(Rejected::InUse { kind: Kind::Config, name, users });
        }
        write.tell(Kind::Config, Action::Remove, id, &name);
        self.drop_config(id);
        Ok(())
    }
}
