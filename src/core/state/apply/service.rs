//! Commands and changes on services.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::network::publishes;
use super::{Write, not_found};
use crate::command::{AuthFrom, ServicePatch};
use crate::id::ServiceId;
use crate::model::Kind;
use crate::model::service::{
    Endpoint, JobStatus, PortConfig, PortProtocol, PublishMode, Service, ServiceSpec, UpdateState,
    UpdateStatus,
};
use crate::model::task::TaskState;
use crate::state::store::endpoint_addresses;
use crate::state::{Action, Event, Rejected, State};

/// What a rollback shows that a user asked for (contract behaviour.md section 5).
const ROLLBACK_REQUESTED: &str = "manually requested rollback";

fn spec_ports(spec: &ServiceSpec) -> &[PortConfig] {
    spec.endpoint.as_ref().map_or(&[], |endpoint| &endpoint.ports)
}

/// Returns the published numbers of one mode; 0 stands for "any" and is no number.
fn published(
    ports: &[PortConfig],
    mode: PublishMode,
) -> impl Iterator<Item = (PortProtocol, u16)> + '_ {
    let fixed = ports.iter().filter(move |port| port.mode == mode && port.published != 0);
    fixed.map(|port| (port.protocol, port.published))
}

/// Checks that the spec to be replaced is the one that was read. What planners noted since does not count: a client that
/// updates twice in a row would fail over it now and then.
fn check_spec_read(found: &Service, named: u64) -> Result<(), Rejected> {
    let known = found.spec_version..=found.meta.version;
    if known.contains(&named) { Ok(()) } else { Err(Rejected::OutOfSequence) }
}

/// Returns the endpoint of a service that needs no port and no address, so that no plan has to follow for it.
fn plain_endpoint(spec: &ServiceSpec) -> Option<Endpoint> {
    let wanted = spec.endpoint.clone().unwrap_or_default();
    let is_plain = wanted.ports.is_empty() && spec.task.networks.is_empty();
    is_plain.then(|| Endpoint { spec: wanted, ..Endpoint::default() })
}

impl State {
    fn service(&self, id: &ServiceId) -> Result<&Arc<Service>, Rejected> {
        self.services.get(id).ok_or_else(|| not_found(Kind::Service, id))
    }

    /// Checks that no other service has a port of `spec`. Two services may want the same host-mode port: the
    /// scheduler keeps them apart.
    fn check_ports(&self, id: &ServiceId, spec: &ServiceSpec) -> Result<(), Rejected> {
        let ingress: BTreeSet<_> = published(spec_ports(spec), PublishMode::Ingress).collect();
        let host: BTreeSet<_> = published(spec_ports(spec), PublishMode::Host).collect();
        if ingress.is_empty() && host.is_empty() {
            return Ok(());
        }
        let taken = |other: &Service, port: u16, host_mode: bool| Rejected::PortTaken {
            port,
            name: other.spec.annotations.name.clone(),
            id: other.id.to_string(),
            host_mode,
        };
        for other in self.services.values().filter(|other| other.id != *id) {
            let allocated = other.endpoint.as_ref().map_or(&[][..], |endpoint| &endpoint.ports);
            for ports in [spec_ports(&other.spec), allocated] {
                let mut theirs = published(ports, PublishMode::Ingress);
                if let Some((_, port)) =
                    theirs.find(|port| ingress.contains(port) || host.contains(port))
                {
                    return Err(taken(other, port, false));
                }
                let mut theirs = published(ports, PublishMode::Host);
                if let Some((_, port)) = theirs.find(|port| ingress.contains(port)) {
                    return Err(taken(other, port, true));
                }
            }
        }
        Ok(())
    }

    fn check_ingress(&self, spec: &ServiceSpec) -> Result<(), Rejected> {
        if publishes(spec) && !self.networks.values().any(|network| network.spec.ingress) {
            return Err(Rejected::NoIngress);
        }
        Ok(())
    }

    /// Checks that what a spec names is there, under the name it names it by.
    fn check_references(&self, spec: &ServiceSpec) -> Result<(), Rejected> {
        for network in &spec.task.networks {
            if !self.networks.contains_key(&network.target) {
                return Err(not_found(Kind::Network, &network.target));
            }
        }
        let Some(container) = spec.task.container() else { return Ok(()) };
        let secrets = container.secrets.iter().filter(|reference| {
            let found = self.secrets.get(&reference.id);
            found.is_none_or(|secret| secret.spec.annotations.name != reference.name)
        });
        let names: Vec<String> = secrets.map(|reference| reference.name.clone()).collect();
        if !names.is_empty() {
            return Err(Rejected::ReferencesMissing { kind: Kind::Secret, names });
        }
        let configs = container.configs.iter().filter(|reference| {
            let found = self.configs.get(&reference.id);
            found.is_none_or(|config| config.spec.annotations.name != reference.name)
        });
        let names: Vec<String> = configs.map(|reference| reference.name.clone()).collect();
        if !names.is_empty() {
            return Err(Rejected::ReferencesMissing { kind: Kind::Config, names });
        }
        Ok(())
    }

    pub(super) fn create_service(
        &mut self,
        write: &mut Write,
        id: &ServiceId,
        spec: &ServiceSpec,
    ) -> Result<(), Rejected> {
        if self.services.contains_key(id) {
            return Err(Rejected::Malformed("the id is taken"));
        }
        self.check_ports(id, spec)?;
        self.check_ingress(spec)?;
        self.check_references(spec)?;
        self.check_name(Kind::Service, &spec.annotations.name)?;
        let job = JobStatus { iteration: 0, last_execution: write.at };
        let service = Service {
            id: id.clone(),
            meta: write.made(),
            spec: Arc::new(spec.clone()),
            spec_version: write.index,
            job: spec.mode.is_job().then_some(job),
            endpoint: plain_endpoint(spec),
            ..Service::default()
        };
        write.tell(Kind::Service, Action::Create, id, &spec.annotations.name);
        self.put_service(Arc::new(service));
        Ok(())
    }

    /// Puts another spec in place of the current one and, in the same write, clears what the old one's update left.
    fn replace_spec(
        &mut self,
        write: &mut Write,
        old: &Service,
        spec: Arc<ServiceSpec>,
        update_status: Option<UpdateStatus>,
    ) {
        let mut service = Service {
            spec,
            spec_version: write.index,
            previous_spec: Some(old.spec.clone()),
            update_status,
            progress: None,
            ..old.clone()
        };
        if let Some(job) = &mut service.job {
            *job =
                JobStatus { iteration: job.iteration.saturating_add(1), last_execution: write.at };
        }
        write.touch(&mut service.meta);
        write.events.push(Event::service_update(write.at, old, &service));
        self.put_service(Arc::new(service));
    }

    pub(super) fn update_service(
        &mut self,
        write: &mut Write,
        id: &ServiceId,
        version: u64,
        spec: &ServiceSpec,
        auth_from: AuthFrom,
    ) -> Result<(), Rejected> {
        let old = self.service(id)?.clone();
        if spec.endpoint != old.spec.endpoint {
            self.check_ports(id, spec)?;
        }
        self.check_references(spec)?;
        if std::mem::discriminant(&spec.mode) != std::mem::discriminant(&old.spec.mode) {
            return Err(Rejected::ModeChange);
        }
        if spec.annotations.name != old.spec.annotations.name {
            return Err(Rejected::Rename);
        }
        self.check_ingress(spec)?;
        let auth_source = match auth_from {
            AuthFrom::Spec => &old.spec,
            AuthFrom::PreviousSpec => old
                .previous_spec
                .as_ref()
                .ok_or_else(|| Rejected::NoPreviousSpec { id: id.to_string() })?,
        };
        check_spec_read(&old, version)?;
        let mut spec = spec.clone();
        let kept = &auth_source.task.registry_auth;
        if spec.task.registry_auth.0.is_empty() && !kept.0.is_empty() {
            Arc::make_mut(&mut spec.task).registry_auth = kept.clone();
        }
        // Tasks of an unchanged template go on sharing it.
        if spec.task == old.spec.task {
            spec.task = old.spec.task.clone();
        }
        self.replace_spec(write, &old, Arc::new(spec), None);
        Ok(())
    }

    pub(super) fn roll_back_service(
        &mut self,
        write: &mut Write,
        id: &ServiceId,
        version: u64,
    ) -> Result<(), Rejected> {
        let old = self.service(id)?.clone();
        let Some(spec) = &old.previous_spec else {
            return Err(Rejected::NoPreviousSpec { id: id.to_string() });
        };
        if spec.endpoint != old.spec.endpoint {
            self.check_ports(id, spec)?;
        }
        // What it names may be gone: as in Docker that is for its tasks to find out.
        self.check_ingress(spec)?;
        check_spec_read(&old, version)?;
        let status = UpdateStatus {
            state: UpdateState::RollbackStarted,
            message: ROLLBACK_REQUESTED.to_owned(),
            ..UpdateStatus::default()
        };
        self.replace_spec(write, &old, spec.clone(), Some(status));
        Ok(())
    }

    pub(super) fn remove_service(
        &mut self,
        write: &mut Write,
        id: &ServiceId,
    ) -> Result<(), Rejected> {
        let service = self.service(id)?.clone();
        let tasks: Vec<_> = self.service_tasks(id).cloned().collect();
        for mut task in tasks {
            let going = Arc::make_mut(&mut task);
            going.desired = going.desired.max(TaskState::Remove);
            going.hold = None;
            write.touch(&mut going.meta);
            self.put_task(task);
        }
        write.tell(Kind::Service, Action::Remove, id, &service.spec.annotations.name);
        self.drop_service(id);
        Ok(())
    }

    pub(super) fn patch_service(
        &mut self,
        write: &mut Write,
        patch: &ServicePatch,
    ) -> Result<(), Rejected> {
        let old = self.service(&patch.id)?.clone();
        let mut service = Service::clone(&old);
        if patch.roll_back {
            let Some(previous) = service.previous_spec.take() else {
                return Err(Rejected::Malformed("there is no spec to roll back to"));
            };
            service.spec = previous;
            service.spec_version = write.index;
        }
        if let Some(endpoint) = &patch.endpoint {
            let held: BTreeSet<_> = endpoint_addresses(old.endpoint.as_ref()).collect();
            self.check_addresses(&held, endpoint_addresses(Some(endpoint)))?;
            self.check_allocated_ports(&patch.id, endpoint)?;
            service.endpoint = Some(endpoint.clone());
        }
        if patch.update_status.is_some() {
            service.update_status.clone_from(&patch.update_status);
        }
        if let Some(progress) = &patch.progress {
            service.progress.clone_from(progress);
        }
        for (slot, history) in &patch.restarts {
            match history {
                Some(history) => service.restarts.insert(slot.clone(), history.clone()),
                None => service.restarts.remove(slot),
            };
        }
        if service == *old {
            return Ok(());
        }
        // What planners remember is no change that a user could see: a version read before it is still good.
        let shown = Service {
            progress: old.progress.clone(),
            restarts: old.restarts.clone(),
            ..service.clone()
        };
        if shown != *old {
            write.touch(&mut service.meta);
        }
        let state = |service: &Service| service.update_status.as_ref().map(|status| status.state);
        // Endpoints and what planners remember change without a user seeing it.
        if patch.roll_back || state(&service) != state(&old) {
            write.events.push(Event::service_update(write.at, &old, &service));
        }
        self.put_service(Arc::new(service));
        Ok(())
    }

    /// Checks that ports given out on the routing mesh are given to one service only.
    fn check_allocated_ports(&self, id: &ServiceId, endpoint: &Endpoint) -> Result<(), Rejected> {
        let mut wanted = BTreeSet::new();
        for port in published(&endpoint.ports, PublishMode::Ingress) {
            if !wanted.insert(port) {
                return Err(Rejected::Malformed("a port is given twice"));
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let others = self.services.values().filter(|other| other.id != *id);
        let mut endpoints = others.filter_map(|other| other.endpoint.as_ref());
        let wants = |port| wanted.contains(&port);
        if endpoints.any(|end| published(&end.ports, PublishMode::Ingress).any(wants)) {
            return Err(Rejected::StalePlan);
        }
        Ok(())
    }
}
