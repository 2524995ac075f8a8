//! Tables of what happens to a node and what is said of it then.

use super::*;
use crate::model::node::{Node, NodeStatus};

fn node(number: u128) -> NodeId {
    NodeId::from_entropy(number)
}

fn at(millis: i64) -> Timestamp {
    Timestamp(millis * 1_000_000)
}

fn leader() -> Sessions {
    Sessions::take_over([], Duration::from_secs(5), at(0))
}

fn state(sessions: &Sessions) -> NodeState {
    sessions.verdict(&node(1)).expect("the node is known").0
}

/// Looks as often as the table asks for.
fn look_until(sessions: &mut Sessions, now: i64) {
    while let Some(wake) = sessions.wake_at().filter(|wake| *wake <= at(now)) {
        sessions.look(wake);
    }
    sessions.look(at(now));
}

#[test]
fn a_silent_host_is_down_within_five_seconds() {
    let mut sessions = leader();
    sessions.open(node(1), "s".to_owned(), at(0));
    look_until(&mut sessions, 1000);
    assert_eq!(sessions.beat(&node(1), "s", at(1000)), Ok(Duration::from_secs(1)));
    look_until(&mut sessions, 5999);
    assert_eq!(state(&sessions), NodeState::Ready);
    look_until(&mut sessions, 6000);
    assert_eq!(sessions.verdict(&node(1)), Some((NodeState::Down, SILENT)));
    assert_eq!(sessions.beat(&node(1), "s", at(6001)), Err(NoSession));
    assert_eq!(sessions.wake_at(), None);
}

#[test]
fn a_broken_connection_is_told_at_once_and_forgiven_for_a_while() {
    let mut sessions = leader();
    sessions.open(node(1), "s".to_owned(), at(0));
    sessions.close(&node(1), "s", at(100));
    assert_eq!(state(&sessions), NodeState::Disconnected);
    sessions.open(node(1), "t".to_owned(), at(300));
    assert_eq!(state(&sessions), NodeState::Ready);
    // The end of the old connection may be noticed after the new session.
    sessions.close(&node(1), "s", at(400));
    assert_eq!(state(&sessions), NodeState::Ready);
    sessions.close(&node(1), "t", at(500));
    look_until(&mut sessions, 3499);
    assert_eq!(state(&sessions), NodeState::Disconnected);
    look_until(&mut sessions, 3500);
    assert_eq!(state(&sessions), NodeState::Down);
}

#[test]
fn a_new_session_ends_the_old_one() {
    let mut sessions = leader();
    sessions.open(node(1), "s".to_owned(), at(0));
    sessions.open(node(1), "t".to_owned(), at(1));
    assert_eq!(sessions.beat(&node(1), "s", at(2)), Err(NoSession));
    assert!(sessions.beat(&node(1), "t", at(2)).is_ok());
    assert!(sessions.is_current(&node(1), "t") && !sessions.is_current(&node(1), "s"));
}

#[test]
fn a_process_that_did_not_run_blames_nobody() {
    let mut sessions = leader();
    sessions.open(node(1), "s".to_owned(), at(0));
    sessions.look(at(200));
    // Stopped for half a minute: what the node said meanwhile lies unread in the socket.
    sessions.look(at(30_200));
    assert_eq!(state(&sessions), NodeState::Ready);
    assert!(sessions.beat(&node(1), "s", at(30_300)).is_ok());
    // A host that is silent all the same is down when its time has passed.
    look_until(&mut sessions, 35_300);
    assert_eq!(state(&sessions), NodeState::Down);
}

#[test]
fn a_busy_process_is_patient_but_not_for_ever() {
    let mut sessions = leader();
    sessions.open(node(1), "s".to_owned(), at(0));
    // Every look comes as late as is still taken for running.
    for step in 1..=10 {
        sessions.look(at(step * 740));
    }
    assert_eq!(state(&sessions), NodeState::Down);
}

#[test]
fn after_a_change_of_leader_nodes_are_unknown_until_they_come() {
    let heartbeat = Duration::from_secs(5);
    let nodes = [node(1), node(2)];
    let engines = nodes.iter().map(|node| (node, &NodeAgent::Engine));
    let mut sessions = Sessions::take_over(engines, heartbeat, at(0));
    assert_eq!(sessions.verdict(&node(1)), Some((NodeState::Unknown, TAKEN_OVER)));
    look_until(&mut sessions, 9000);
    sessions.open(node(2), "s".to_owned(), at(9000));
    look_until(&mut sessions, 10_000);
    let states: Vec<_> = sessions.verdicts().map(|(_, state, _)| state).collect();
    assert_eq!(states, [NodeState::Unknown, NodeState::Ready]);
    let _due = sessions.beat(&node(2), "s", at(10_000));
    look_until(&mut sessions, 14_900);
    let _due = sessions.beat(&node(2), "s", at(14_900));
    look_until(&mut sessions, 16_000);
    assert_eq!(sessions.verdict(&node(1)), Some((NodeState::Down, NOT_BACK)));
    assert_eq!(sessions.verdict(&node(2)).map(|(state, _)| state), Some(NodeState::Ready));
    sessions.remove(&node(1));
    assert_eq!(sessions.verdict(&node(1)), None);
}

#[test]
fn agents_of_skep_find_a_new_leader_sooner() {
    let (node, agent) = (node(1), NodeAgent::Skep { version: "1".to_owned() });
    let mut sessions = Sessions::take_over([(&node, &agent)], Duration::from_secs(5), at(0));
    look_until(&mut sessions, 3999);
    assert_eq!(state(&sessions), NodeState::Unknown);
    look_until(&mut sessions, 4000);
    assert_eq!(sessions.verdict(&node), Some((NodeState::Down, NOT_BACK)));
}

#[test]
fn the_setting_is_the_silence_that_counts() {
    let mut sessions = leader();
    sessions.set_heartbeat(Duration::from_secs(10));
    sessions.open(node(1), "s".to_owned(), at(0));
    assert_eq!(sessions.beat(&node(1), "s", at(0)), Ok(Duration::from_secs(2)));
    sessions.set_heartbeat(Duration::ZERO);
    assert_eq!(sessions.beat(&node(1), "s", at(0)), Ok(SILENCE_MIN / BEATS));
}

#[test]
fn nodes_are_waited_for_until_they_lead_by_the_state_or_are_down() {
    let agent = NodeAgent::Skep { version: String::new() };
    let mut sessions = Sessions::take_over([(&node(2), &agent)], Duration::from_secs(5), at(0));
    let behind = |sessions: &Sessions, number| sessions.is_behind(&[node(number)].into(), 7);
    sessions.open(node(1), "s".to_owned(), at(0));
    assert!(behind(&sessions, 1) && behind(&sessions, 2));
    assert!(!behind(&sessions, 3), "nobody knows it");
    assert_eq!(sessions.in_force(&node(1), "s", 6), Ok(()));
    assert!(behind(&sessions, 1));
    assert_eq!(sessions.in_force(&node(1), "r", 7), Err(NoSession));
    assert_eq!(sessions.in_force(&node(2), "s", 7), Err(NoSession));
    assert_eq!(sessions.in_force(&node(1), "s", 8), Ok(()));
    assert_eq!(sessions.in_force(&node(1), "s", 5), Ok(()), "an older word may come later");
    assert!(!behind(&sessions, 1));
    assert!(sessions.is_behind(&[node(1), node(2)].into(), 7));
    sessions.close(&node(1), "s", at(10));
    assert!(behind(&sessions, 1), "its kernel goes on");
    look_until(&mut sessions, 3010);
    assert!(!behind(&sessions, 1), "it is down");
    look_until(&mut sessions, 4000);
    assert!(!sessions.is_behind(&[node(1), node(2)].into(), 7));
}

#[test]
fn of_a_node_that_is_being_registered_nothing_old_is_said() {
    let mut sessions = leader();
    sessions.open(node(1), "s".to_owned(), at(0));
    look_until(&mut sessions, 5000);
    let state = |state| {
        let status = NodeStatus { state, ..NodeStatus::default() };
        let agent = Some(NodeAgent::Skep { version: String::new() });
        let mut cluster = State::default();
        let node = Node { id: node(1), status, agent, ..Node::default() };
        cluster.nodes.insert(node.id.clone(), std::sync::Arc::new(node));
        cluster
    };
    let down = vec![(node(1), NodeState::Down, SILENT.to_owned())];
    assert_eq!(news(&mut sessions, &state(NodeState::Ready)), down);
    // Two tries at once, of which the first one is given up.
    sessions.arrive(node(1));
    sessions.arrive(node(1));
    assert_eq!(news(&mut sessions, &state(NodeState::Ready)), []);
    sessions.leave_arrival(&node(1));
    assert_eq!(news(&mut sessions, &state(NodeState::Ready)), []);
    sessions.leave_arrival(&node(1));
    assert_eq!(news(&mut sessions, &state(NodeState::Ready)), down, "nobody came");
    sessions.arrive(node(1));
    sessions.open(node(1), "t".to_owned(), at(5001));
    sessions.leave_arrival(&node(1));
    assert_eq!(news(&mut sessions, &state(NodeState::Ready)), []);
    // A leader that lost its table meanwhile knows of no arrival.
    sessions.leave_arrival(&node(1));
}
