//! Secrets, configs and the lists of what a node must have or forget.

use skep_core::assign::{Difference, Item};
use skep_core::model::secret::{Config, Secret};

use super::super::proto::{self, assignment};
use super::{annotations, driver, meta, task};

/// Builds the messages of an assignment: complete, or the changes since the last one. Empty changes make no message.
pub fn assignments(
    difference: &Difference,
    kind: proto::AssignmentsType,
) -> Vec<proto::AssignmentChange> {
    let update = |item| change(item, proto::AssignmentAction::Update);
    let remove = |item| change(item, proto::AssignmentAction::Remove);
    let updated = difference.updated.iter().map(|item| update(whole(item)));
    // What is not in a complete list is gone already.
    let keeps = kind == proto::AssignmentsType::Complete;
    let removed = difference.removed.iter().filter(|_| !keeps).map(|item| remove(whole(item)));
    updated.chain(removed).collect()
}

fn change(item: assignment::Item, action: proto::AssignmentAction) -> proto::AssignmentChange {
    let assignment = Some(proto::Assignment { item: Some(item) });
    proto::AssignmentChange { assignment, action: action.into() }
}

fn whole(item: &Item) -> assignment::Item {
    match item {
        Item::Task(from) => assignment::Item::Task(Box::new(task::task(from))),
        Item::Secret(from) => assignment::Item::Secret(secret(from)),
        Item::Config(from) => assignment::Item::Config(config(from)),
    }
}

fn secret(from: &Secret) -> proto::Secret {
    proto::Secret {
        id: from.id.to_string(),
        meta: Some(meta(from.meta)),
        spec: Some(proto::SecretSpec {
            annotations: Some(annotations(&from.spec.annotations)),
            data: from.spec.data.0.clone(),
            templating: from.spec.templating.as_ref().map(driver),
            driver: from.spec.driver.as_ref().map(driver),
        }),
        internal: false,
    }
}

fn config(from: &Config) -> proto::Config {
    proto::Config {
        id: from.id.to_string(),
        meta: Some(meta(from.meta)),
        spec: Some(proto::ConfigSpec {
            annotations: Some(annotations(&from.spec.annotations)),
            data: from.spec.data.0.clone(),
            templating: from.spec.templating.as_ref().map(driver),
        }),
    }
}
