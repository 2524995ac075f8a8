//! Lookups and counts.

use super::fixture::*;
use crate::model::service::{ServiceMode, ServiceSpec};
use crate::model::task::TaskState;
use crate::state::query::{LookupError, service_status};

#[test]
fn a_reference_is_an_id_before_a_name_before_a_prefix() {
    let mut world = World::new();
    let first = service_id(0);
    // Named like a prefix of the first service's id, and like the whole id of nothing.
    let prefix = first.as_str()[..6].to_owned();
    world.create_service(0, replicated("web", 1)).expect("free");
    assert_eq!(world.state.find_service(&prefix).map(|found| &found.id), Ok(&first));
    world.create_service(1, replicated(&prefix, 1)).expect("free");
    for (reference, expect) in [
        (first.as_str(), Ok(&first)),
        ("web", Ok(&first)),
        ("WEB", Err(LookupError::NotFound)),
        ("", Err(LookupError::NotFound)),
        (prefix.as_str(), Ok(&service_id(1))),
        (&first.as_str()[..7], Ok(&first)),
        ("nothing", Err(LookupError::NotFound)),
    ] {
        let found = world.state.find_service(reference).map(|found| &found.id);
        assert_eq!(found, expect, "{reference}");
    }
}

#[test]
fn what_matches_twice_is_ambiguous() {
    let mut world = World::new();
    for number in 0..40 {
        world.create_service(number, replicated(&format!("s-{number}"), 1)).expect("free");
    }
    let starts = |letter: char| {
        world.state.services().keys().filter(|id| id.as_str().starts_with(letter)).count()
    };
    let letter = ('0'..='9').chain('a'..='z').max_by_key(|letter| starts(*letter));
    let letter = letter.expect("there are letters");
    let found = world.state.find_service(&letter.to_string());
    assert_eq!(found.err(), Some(LookupError::Ambiguous(starts(letter))));
}

#[test]
fn nodes_are_named_by_host_and_tasks_by_service_and_slot() {
    let mut world = World::new();
    world.create_service(0, replicated("web", 1)).expect("free");
    world.create_task(1, 0);
    assert_eq!(world.state.find_node("host0").map(|node| &node.id), Ok(&node_id(0)));
    let name = format!("web.1.{}", task_id(1));
    assert_eq!(world.state.find_task(&name).map(|task| &task.id), Ok(&task_id(1)));
    assert!(world.state.find_task("web.1").is_err());
    assert!(world.state.find_network("ingress").is_ok());
    assert!(world.state.find_secret("ingress").is_err());
    assert!(world.state.find_config("ingress").is_err());
}

#[test]
fn status_counts_by_mode() {
    for (mode, expect) in [
        (ServiceMode::Replicated { replicas: 5 }, (1, 5, 0)),
        (ServiceMode::Global, (1, 3, 0)),
        (ServiceMode::ReplicatedJob { max_concurrent: 2, total_completions: 9 }, (1, 2, 1)),
        (ServiceMode::GlobalJob, (1, 0, 1)),
    ] {
        let mut world = World::new();
        let spec = ServiceSpec { mode, ..replicated("web", 0) };
        world.create_service(0, spec).expect("free");
        for (number, state) in
            [(1, TaskState::Running), (2, TaskState::Complete), (3, TaskState::Pending)]
        {
            world.create_task(number, 0);
            world.place(number, state);
        }
        let service = &world.state.services()[&service_id(0)];
        assert_eq!(service_status(&world.state, service), expect, "{mode:?}");
    }
}
