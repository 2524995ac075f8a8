//! What a node must run, as one complete list and then as changes, from the state of now. Never from an older one: a
//! list without a task ends its container.

use std::sync::Arc;

use futures_util::stream;
use skep_core::assign::{Assigned, assigned};
use skep_core::state::State;
use tonic::{Request, Status};

use super::Dispatcher;
use super::session::Line;
use crate::rpc::convert;
use crate::rpc::glue::Messages;
use crate::rpc::proto::{AssignmentsMessage, AssignmentsRequest, AssignmentsType};
use crate::rpc::server::member_of;

/// One session's stream of assignments.
struct Assignments {
    line: Line,
    /// What the node was sent.
    known: Assigned,
    /// The state it was made from.
    seen: Option<Arc<State>>,
    /// Number of the last message.
    sent: u64,
}

/// Opens the stream of a session.
pub(super) async fn messages(
    dispatcher: Arc<Dispatcher>,
    request: Request<AssignmentsRequest>,
) -> Result<Messages<AssignmentsMessage>, Status> {
    let node = member_of(&request)?.node;
    let session = request.into_inner().session_id;
    dispatcher.check(&node, &session)?;
    let current = dispatcher.raft.read().await;
    current.map_err(|error| Status::unavailable(error.to_string()))?;
    let line = Line::new(dispatcher, node, session);
    let stream = Assignments { line, known: Assigned::default(), seen: None, sent: 0 };
    Ok(Box::pin(stream::unfold(Some(stream), |stream| async move {
        let mut stream = stream?;
        match stream.next().await {
            Ok(message) => Some((Ok(message), Some(stream))),
            Err(status) => Some((Err(status), None)),
        }
    })))
}

impl Assignments {
    async fn next(&mut self) -> Result<AssignmentsMessage, Status> {
        loop {
            let state = self.line.states.borrow_and_update().clone();
            self.line.check()?;
            if let Some(message) = self.news(&state) {
                return Ok(message);
            }
            self.line.wait().await?;
        }
    }

    /// Returns the next message, if the node has to know anything new.
    fn news(&mut self, state: &Arc<State>) -> Option<AssignmentsMessage> {
        if self.seen.as_ref().is_some_and(|seen| !may_differ(seen, state)) {
            return None;
        }
        let kind = if self.seen.is_none() {
            AssignmentsType::Complete
        } else {
            AssignmentsType::Incremental
        };
        self.seen = Some(state.clone());
        let wanted = assigned(state, &self.line.node);
        let difference = wanted.since(&self.known);
        self.known = wanted;
        if kind == AssignmentsType::Incremental && difference.is_empty() {
            return None;
        }
        let applies_to = if self.sent == 0 { String::new() } else { self.sent.to_string() };
        self.sent += 1;
        Some(AssignmentsMessage {
            r#type: kind.into(),
            applies_to,
            results_in: self.sent.to_string(),
            changes: convert::assignments(&difference, kind),
        })
    }
}

/// Tells whether two states may differ in what any node must know.
fn may_differ(seen: &State, state: &State) -> bool {
    !(seen.tasks().ptr_eq(state.tasks())
        && seen.secrets().ptr_eq(state.secrets())
        && seen.configs().ptr_eq(state.configs()))
}
