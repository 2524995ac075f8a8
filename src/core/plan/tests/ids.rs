//! The ids that planners mint: the same on every manager, others in every cluster.

use super::world::{World, node};
use crate::command::{Change, Command, Proposal};
use crate::id::{ClusterId, ServiceId, TaskId};
use crate::model::cluster::Cluster;
use crate::model::service::ServiceSpec;
use crate::plan::plan;
use crate::state::State;

#[test]
fn clusters_make_tasks_of_their_own() {
    let first_task = |cluster: u128| -> TaskId {
        let mut state = State::default();
        let now = World::new(1).now;
        let mut run = |index, command| {
            state.apply(index, &Proposal { at: now, command }).expect("a valid command");
        };
        run(
            1,
            Command::CreateCluster {
                cluster: Box::new(Cluster {
                    id: ClusterId::from_entropy(cluster),
                    ..Cluster::default()
                }),
                node: Box::new(node(1)),
                networks: Vec::new(),
            },
        );
        let mut spec = ServiceSpec::default();
        "web".clone_into(&mut spec.annotations.name);
        run(2, Command::CreateService { id: ServiceId::from_entropy(1), spec: Box::new(spec) });
        let changes = plan(&state, now).changes;
        let new = changes.iter().find_map(|change| {
            if let Change::CreateTask(new) = change { Some(new.id.clone()) } else { None }
        });
        new.expect("a task is made")
    };
    assert_eq!(first_task(1), first_task(1), "every manager makes the same");
    assert_ne!(first_task(1), first_task(2));
}
