//! What a node is told while its session lasts: how it stands, who the managers are, whom to trust.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use skep_core::id::NodeId;
use skep_core::state::State;
use tokio::sync::watch;
use tonic::Status;

use super::Dispatcher;
use crate::clock;
use crate::rpc::convert::session_message;
use crate::rpc::glue::Messages;
use crate::rpc::proto::SessionMessage;

/// Time that a removed node has to take its last assignment, which is empty, before it is turned away.
const PARTING: Duration = Duration::from_secs(2);

/// One session's stream.
struct Session {
    line: Line,
    sent: Option<SessionMessage>,
}

/// What every stream of a session watches.
pub(super) struct Line {
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) node: NodeId,
    pub(super) session: String,
    pub(super) states: watch::Receiver<Arc<State>>,
    changed: watch::Receiver<u64>,
}

impl Line {
    pub(super) fn new(dispatcher: Arc<Dispatcher>, node: NodeId, session: String) -> Self {
        let states = dispatcher.raft.watch();
        let changed = dispatcher.changed.subscribe();
        Self { dispatcher, node, session, states, changed }
    }

    /// Tells why the stream must end, if it must. A node that was removed is let go by its session's stream.
    pub(super) fn check(&mut self) -> Result<(), Status> {
        self.changed.borrow_and_update();
        if self.states.borrow().is_removed(&self.node) {
            return Ok(());
        }
        self.dispatcher.check(&self.node, &self.session)
    }

    /// Waits until something may be different.
    ///
    /// # Errors
    /// When the member stops.
    pub(super) async fn wait(&mut self) -> Result<(), Status> {
        let stops = || Status::unavailable("the manager stops");
        tokio::select! {
            news = self.states.changed() => news.map_err(|_| stops()),
            news = self.changed.changed() => news.map_err(|_| stops()),
            () = self.dispatcher.stop.cancelled() => Err(stops()),
        }
    }
}

/// Streams to a node, until an error ends the session: a stream that ended well would puzzle old engines.
pub(super) fn messages(
    dispatcher: Arc<Dispatcher>,
    node: NodeId,
    session: String,
) -> Messages<SessionMessage> {
    let session = Session { line: Line::new(dispatcher, node, session), sent: None };
    Box::pin(stream::unfold(Some(session), |session| async move {
        let mut session = session?;
        match session.next().await {
            Ok(message) => Some((Ok(message), Some(session))),
            Err(status) => Some((Err(status), None)),
        }
    }))
}

impl Session {
    async fn next(&mut self) -> Result<SessionMessage, Status> {
        loop {
            let state = self.line.states.borrow_and_update().clone();
            if state.is_removed(&self.line.node) {
                clock::sleep(PARTING).await;
                return Err(Status::permission_denied("the node was removed from the cluster"));
            }
            self.line.check()?;
            let message = session_message(&state, &self.line.node, &self.line.session);
            let message = message.ok_or_else(|| Status::not_found("the node is not known"))?;
            if self.sent.as_ref() != Some(&message) {
                self.sent = Some(message.clone());
                return Ok(message);
            }
            self.line.wait().await?;
        }
    }
}
