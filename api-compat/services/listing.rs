//! All services as they were written last, so that the next list writes only those that have changed. What is kept
//! never shows: a list is the same as if each service were written anew.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use imbl::OrdMap;
use skep_core::id::ServiceId;
use skep_core::model::service::Service;

use crate::convert::service as convert;
use crate::wire::service as wire;

/// Longest list that is kept.
const KEPT_BYTES_MAX: usize = 16 << 20;

/// Beginning of the last, optional part of a service, before which counts of tasks have their place.
const JOB_STATUS: &[u8] = b",\"JobStatus\":{";

/// The list of all services as it was written last.
#[derive(Debug, Default)]
pub struct Listing(Mutex<Option<Arc<Written>>>);

/// A list in JSON, and where each service is in it.
#[derive(Debug, Default)]
struct Written {
    services: OrdMap<ServiceId, Arc<Service>>,
    pieces: Vec<Piece>,
    text: Bytes,
}

/// A service in the text of a list. An object never changes while it is held, so that the same object is the same text.
#[derive(Debug, Clone)]
struct Piece {
    service: Arc<Service>,
    text: Range<usize>,
}

impl Listing {
    /// Writes all services.
    pub(super) fn plain(
        &self,
        services: &OrdMap<ServiceId, Arc<Service>>,
    ) -> Result<Bytes, serde_json::Error> {
        Ok(self.renew(services)?.text.clone())
    }

    /// Writes all services with counts of their tasks.
    pub(super) fn counted(
        &self,
        services: &OrdMap<ServiceId, Arc<Service>>,
        count: impl Fn(&Service) -> wire::ServiceStatus,
    ) -> Result<Bytes, serde_json::Error> {
        let written = self.renew(services)?;
        let mut text = Vec::with_capacity(written.text.len() + written.pieces.len() * 96);
        text.push(b'[');
        for piece in &written.pieces {
            if text.len() > 1 {
                text.push(b',');
            }
            let whole = written.text.get(piece.text.clone()).unwrap_or_default();
            let (before, after) = whole.split_at(counts_place(&piece.service, whole));
            text.extend_from_slice(before);
            text.extend_from_slice(b",\"ServiceStatus\":");
            serde_json::to_writer(&mut text, &count(&piece.service))?;
            text.extend_from_slice(after);
        }
        text.extend_from_slice(b"]\n");
        Ok(text.into())
    }

    /// Forgets what was written.
    pub fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn renew(
        &self,
        services: &OrdMap<ServiceId, Arc<Service>>,
    ) -> Result<Arc<Written>, serde_json::Error> {
        let held =
            self.0.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default();
        if held.services.ptr_eq(services) && !held.text.is_empty() {
            return Ok(held);
        }
        let written = Arc::new(held.with(services)?);
        let kept = (written.text.len() <= KEPT_BYTES_MAX).then(|| written.clone());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = kept;
        Ok(written)
    }
}

impl Written {
    /// Writes a list with what this one has of it.
    fn with(&self, services: &OrdMap<ServiceId, Arc<Service>>) -> Result<Self, serde_json::Error> {
        let mut text = Vec::with_capacity(self.text.len() + 4096);
        let mut pieces = Vec::with_capacity(services.len());
        // Both are in the order of ids.
        let mut old = self.pieces.iter().peekable();
        text.push(b'[');
        for service in services.values() {
            if text.len() > 1 {
                text.push(b',');
            }
            while old.next_if(|piece| piece.service.id < service.id).is_some() {}
            let start = text.len();
            match old.next_if(|piece| Arc::ptr_eq(&piece.service, service)) {
                Some(piece) => {
                    let same = self.text.get(piece.text.clone()).unwrap_or_default();
                    text.extend_from_slice(same);
                }
                None => serde_json::to_writer(&mut text, &convert::service(service, false))?,
            }
            pieces.push(Piece { service: service.clone(), text: start..text.len() });
        }
        text.extend_from_slice(b"]\n");
        Ok(Self { services: services.clone(), pieces, text: text.into() })
    }
}

/// Finds where counts of tasks belong in a service's text: before how its job goes, or at its end.
fn counts_place(service: &Service, text: &[u8]) -> usize {
    let at_end = text.len().saturating_sub(1);
    if service.job.is_none() {
        return at_end;
    }
    let found = text.windows(JOB_STATUS.len()).rposition(|held| held == JOB_STATUS);
    found.unwrap_or(at_end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use skep_core::model::service::JobStatus;

    use super::*;

    fn service(number: u128, text: &str, job: bool) -> Arc<Service> {
        let mut made = Service { id: ServiceId::from_entropy(number), ..Service::default() };
        text.clone_into(&mut Arc::make_mut(&mut made.spec).annotations.name);
        made.job = job.then(JobStatus::default);
        Arc::new(made)
    }

    fn count(service: &Service) -> wire::ServiceStatus {
        wire::ServiceStatus { running_tasks: service.meta.version, ..Default::default() }
    }

    fn anew(services: &OrdMap<ServiceId, Arc<Service>>, counted: bool) -> Vec<u8> {
        let all: Vec<wire::Service> = services
            .values()
            .map(|service| wire::Service {
                service_status: counted.then(|| count(service)),
                ..convert::service(service, false)
            })
            .collect();
        let mut text = serde_json::to_vec(&all).expect("it can be written");
        text.push(b'\n');
        text
    }

    proptest! {
        #[test]
        fn what_is_kept_never_shows(
            changes in prop::collection::vec(
                (0_u128..6, prop::option::of(("[a\",{:}]{0,3}|,\"JobStatus\":\\{", any::<bool>())), 0_u8..4),
                1..40,
            ),
        ) {
            let listing = Listing::default();
            let mut services = OrdMap::new();
            for (number, change, look) in changes {
                let id = ServiceId::from_entropy(number);
                match change {
                    Some((text, job)) => services.insert(id, service(number, &text, job)),
                    None => services.remove(&id),
                };
                if look & 1 == 1 {
                    let found = listing.plain(&services).expect("it can be written");
                    prop_assert_eq!(&found[..], &anew(&services, false)[..]);
                }
                if look & 2 == 2 {
                    let found = listing.counted(&services, count).expect("it can be written");
                    prop_assert_eq!(&found[..], &anew(&services, true)[..]);
                }
            }
        }
    }
}
