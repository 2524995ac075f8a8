//! The service `skep.v1.Agent`: shows a node that runs skep what it needs of the state, whole at first and then what
//! changes. What that is, [`skep_core::view`] decides. Never from an older state: what is not in a whole view is ended.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream;
use skep_core::error::chain;
use skep_core::model::node::Role;
use skep_core::state::State;
use skep_core::view::{Part, View, may_differ};
use skep_raft::CodecError;
use tokio::sync::watch;
use tonic::body::Body;
use tonic::{Request, Status};

use super::Dispatcher;
use super::session::Line;
use crate::rpc::glue::{Messages, RpcService, server_streaming, unary, unimplemented};
use crate::rpc::proto::{FollowRequest, ViewMessage};
use crate::rpc::server::member_of;

/// Bytes of parts in one message, except where a single part is larger.
const MESSAGE_BYTES: usize = 1 << 20;

/// One session's stream.
struct Following {
    line: Line,
    view: View,
    seen: Option<Arc<State>>,
    /// What is left of the last change.
    waiting: VecDeque<ViewMessage>,
    /// Whether the node has a copy of the state itself.
    is_manager: bool,
    /// Index that somebody waits for all nodes to lead packets by.
    asked: watch::Receiver<u64>,
    /// Index that the node was asked for last.
    last_asked: u64,
}

async fn messages(
    dispatcher: Arc<Dispatcher>,
    request: Request<FollowRequest>,
) -> Result<Messages<ViewMessage>, Status> {
    let member = member_of(&request)?;
    let (node, role) = (member.node, member.role);
    let FollowRequest { session_id: session, is_manager } = request.into_inner();
    dispatcher.check(&node, &session)?;
    let is_manager = is_manager && role == Role::Manager;
    let current = dispatcher.raft.read().await;
    current.map_err(|error| Status::unavailable(error.to_string()))?;
    let view = View::new(node.clone());
    let line = Line::new(dispatcher, node, session);
    let asked = line.dispatcher.in_force.asked();
    let waiting = VecDeque::new();
    let following = Following { line, view, seen: None, waiting, is_manager, asked, last_asked: 0 };
    Ok(Box::pin(stream::unfold(Some(following), |following| async move {
        let mut following = following?;
        match following.next().await {
            Ok(message) => Some((Ok(message), Some(following))),
            Err(status) => Some((Err(status), None)),
        }
    })))
}

impl Following {
    async fn next(&mut self) -> Result<ViewMessage, Status> {
        loop {
            if let Some(message) = self.waiting.pop_front() {
                return Ok(message);
            }
            let state = self.line.states.borrow_and_update().clone();
            self.line.check()?;
            if !self.is_manager && self.look(state.clone())? {
                continue;
            }
            if let Some(message) = self.ask(state.index()) {
                return Ok(message);
            }
            tokio::select! {
                waited = self.line.wait() => waited?,
                Ok(()) = self.asked.changed() => {}
            }
        }
    }

    /// Asks the node to tell when it leads packets by this state, if somebody waits for it or for one before it.
    fn ask(&mut self, index: u64) -> Option<ViewMessage> {
        let asked = *self.asked.borrow_and_update();
        let is_news = asked > self.last_asked && asked <= index;
        is_news.then(|| {
            self.last_asked = index;
            ViewMessage { index, complete: true, asked: true, ..ViewMessage::default() }
        })
    }

    /// Goes on to a state; tells whether there is anything to send.
    fn look(&mut self, state: Arc<State>) -> Result<bool, Status> {
        let anew = self.seen.is_none();
        if self.seen.as_ref().is_some_and(|seen| !may_differ(seen, &state)) {
            return Ok(false);
        }
        let parts = self.view.follow(&state);
        let index = state.index();
        self.seen = Some(state);
        if anew || !parts.is_empty() {
            self.waiting =
                pack(&parts, index, anew).map_err(|error| Status::internal(chain(&error)))?;
        }
        Ok(!self.waiting.is_empty())
    }
}

/// Puts parts into messages of bounded size, at least one.
fn pack(parts: &[Part], index: u64, anew: bool) -> Result<VecDeque<ViewMessage>, CodecError> {
    let mut messages = VecDeque::new();
    let mut message = ViewMessage { index, anew, ..ViewMessage::default() };
    let mut bytes = 0;
    for part in parts {
        let part = skep_raft::encode(part)?;
        if bytes > 0 && bytes + part.len() > MESSAGE_BYTES {
            messages.push_back(message);
            message = ViewMessage { index, ..ViewMessage::default() };
            bytes = 0;
        }
        bytes += part.len();
        message.parts.push(part);
    }
    message.complete = true;
    messages.push_back(message);
    Ok(messages)
}

/// `skep.v1.Agent`.
pub struct AgentService(pub Arc<Dispatcher>);

#[async_trait]
impl RpcService for AgentService {
    fn name(&self) -> &'static str {
        "skep.v1.Agent"
    }

    async fn call(&self, method: &str, request: http::Request<Body>) -> http::Response<Body> {
        match method {
            "Follow" => server_streaming(request, |asked| messages(self.0.clone(), asked)).await,
            "InForce" => unary(request, |told| async { self.0.take_in_force(told) }).await,
            "Await" => unary(request, |asked| self.0.answer_await(asked)).await,
            _ => unimplemented(),
        }
    }
}

#[cfg(test)]
mod tests {
    use skep_core::model::Sensitive;
    use skep_core::model::secret::{Secret, SecretSpec};

    use super::*;

    #[test]
    fn a_large_change_comes_in_several_messages() {
        let data = Sensitive(vec![7; 500_000]);
        let spec = SecretSpec { data, ..SecretSpec::default() };
        let part = Part::Secret(Arc::new(Secret { spec, ..Secret::default() }));
        let shape = |count| -> Vec<(bool, usize, bool)> {
            let messages = pack(&vec![part.clone(); count], 9, true).expect("secrets encode");
            messages.iter().map(|it| (it.anew, it.parts.len(), it.complete)).collect()
        };
        assert_eq!(shape(0), [(true, 0, true)]);
        assert_eq!(shape(2), [(true, 2, true)]);
        assert_eq!(shape(5), [(true, 2, false), (false, 2, false), (false, 1, true)]);
    }
}
