//! Whether a change of the state may show in what nodes serve: names, published ports, the kernel's network. Costs as much as there are
//! changes, while making the tables anew costs as much as there are services and tasks.

use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use crate::model::service::Service;
use crate::model::task::Task;
use crate::state::State;

/// Tells whether names or published ports may differ between two states.
pub fn may_differ(last: &State, next: &State) -> bool {
    !last.networks().ptr_eq(next.networks())
        || differs(last.nodes(), next.nodes(), |_| true)
        || differs(last.services(), next.services(), service_is_served)
        || differs(last.tasks(), next.tasks(), task_is_served)
}

/// A service without networks has no name that is known, and one without ports no relay.
fn service_is_served(service: &Service) -> bool {
    !service.spec.task.networks.is_empty()
        || service.endpoint.as_ref().is_some_and(|endpoint| !endpoint.ports.is_empty())
}

/// A task without networks has no address to be reached at, nor one to ask from.
fn task_is_served(task: &Task) -> bool {
    !task.networks.is_empty()
}

fn differs<K: Ord + Clone, T: PartialEq>(
    last: &OrdMap<K, Arc<T>>,
    next: &OrdMap<K, Arc<T>>,
    is_served: fn(&T) -> bool,
) -> bool {
    last.diff(next).any(|difference| match difference {
        DiffItem::Add(_, made) => is_served(made),
        DiffItem::Remove(_, gone) => is_served(gone),
        DiffItem::Update { old: (_, old), new: (_, new) } => is_served(old) || is_served(new),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::service::{Endpoint, PortConfig};
    use crate::model::task::TaskState;
    use crate::net::fixture::World;
    use crate::net::names::NameTable;
    use crate::net::plan::{Host, desired};
    use crate::net::ports::published;

    /// Makes a state of a few services, each with a task, from which of them there are, have a network, publish a port
    /// and run.
    fn state(shape: &[(bool, bool, bool, bool)]) -> State {
        let mut world = World::default();
        world.network("front", "10.0.1.0/24");
        for (number, (exists, joined, publishes, runs)) in (0_u16..).zip(shape) {
            if !exists {
                continue;
            }
            let name = format!("s{number}");
            let networks: &[&str] = if *joined { &["front"] } else { &[] };
            let service = world.service(&name, networks);
            let port = PortConfig { published: 80 + number, target: 80, ..PortConfig::default() };
            service.endpoint =
                publishes.then(|| Endpoint { ports: vec![port], ..Endpoint::default() });
            let address = format!("10.0.1.{}", 5 + number);
            let attached = [("front", address.as_str())];
            let task = world.task(&name, if *joined { &attached } else { &[] });
            if !runs {
                task.status.state = TaskState::Failed;
            }
        }
        world.state()
    }

    fn shape() -> impl Strategy<Value = Vec<(bool, bool, bool, bool)>> {
        prop::collection::vec(any::<(bool, bool, bool, bool)>(), 3)
    }

    proptest! {
        #[test]
        fn what_is_left_out_shows_nowhere(one in shape(), other in shape()) {
            let (mut last, next) = (state(&one), state(&other));
            // Both states have the same networks; made apart, only a copy shows it.
            last.networks = next.networks.clone();
            if !may_differ(&last, &next) {
                let node = World::node(1);
                for virtual_ips in [false, true] {
                    let table = |state| NameTable::new(state, &node, virtual_ips);
                    prop_assert_eq!(table(&last), table(&next));
                }
                prop_assert_eq!(published(&last, &node), published(&next, &node));
                let host = Host { node, addr: [192, 0, 2, 1].into() };
                prop_assert_eq!(desired(&last, &host), desired(&next, &host));
            }
        }
    }
}
