//! Remembers the newest cluster events and hands new ones to listeners. Makes no events.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt};
use parking_lot::Mutex;
use skep_core::state::Event;
use skep_core::time::Timestamp;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use skep_raft::AppliedEvents;

/// Events remembered, as many as the engine remembers of its own.
const REMEMBERED_MAX: usize = 256;
/// Events a slow listener may lag behind before it loses some.
const LAG_MAX: usize = 1024;

/// The newest events and those who listen.
pub struct EventLog {
    remembered: Mutex<VecDeque<Event>>,
    listeners: broadcast::Sender<Event>,
}

impl Default for EventLog {
    fn default() -> Self {
        Self { remembered: Mutex::default(), listeners: broadcast::channel(LAG_MAX).0 }
    }
}

impl EventLog {
    /// Remembers events and tells the listeners.
    pub fn publish(&self, events: &[Event]) {
        let mut remembered = self.remembered.lock();
        for event in events {
            if remembered.len() == REMEMBERED_MAX {
                remembered.pop_front();
            }
            remembered.push_back(event.clone());
            // No listener is no fault.
            let _ = self.listeners.send(event.clone());
        }
    }

    /// Streams what is remembered since `since` (nothing without it), then what comes, until `until`.
    pub fn stream(
        self: &Arc<Self>,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> BoxStream<'static, Event> {
        // Subscribing under the lock neither loses an event nor gives one twice.
        let (past, receiver) = {
            let remembered = self.remembered.lock();
            let wanted = |event: &&Event| since.is_some_and(|since| event.at >= since);
            let past: Vec<_> = remembered.iter().filter(wanted).cloned().collect();
            (past, self.listeners.subscribe())
        };
        let past = stream::iter(past)
            .filter(move |event| std::future::ready(until.is_none_or(|until| event.at <= until)));
        let Some(until) = until else {
            return past.chain(follow(receiver)).boxed();
        };
        if until <= now {
            return past.boxed();
        }
        past.chain(follow(receiver).take_until(Box::pin(crate::clock::sleep_until(until)))).boxed()
    }
}

/// Remembers what consensus applies, until `stop`.
pub async fn record(
    log: Arc<EventLog>,
    mut applied: broadcast::Receiver<Arc<AppliedEvents>>,
    stop: CancellationToken,
) {
    loop {
        let batch = tokio::select! {
            received = applied.recv() => received,
            () = stop.cancelled() => return,
        };
        match batch {
            Ok(batch) => log.publish(&batch.events),
            Err(broadcast::error::RecvError::Lagged(lost)) => {
                tracing::warn!(batches.lost = lost, "cluster events were lost");
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

fn follow(receiver: broadcast::Receiver<Event>) -> impl stream::Stream<Item = Event> {
    stream::unfold(receiver, |mut receiver| async move {
        loop {
            match receiver.recv().await {
                Ok(event) => return Some((event, receiver)),
                Err(broadcast::error::RecvError::Lagged(lost)) => {
                    tracing::warn!(events.lost = lost, "an events client is too slow");
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_core::model::Kind;
    use skep_core::state::Action;

    fn event(at: i64) -> Event {
        Event {
            at: Timestamp(at),
            kind: Kind::Secret,
            action: Action::Create,
            id: at.to_string(),
            attributes: std::collections::BTreeMap::new(),
        }
    }

    #[tokio::test]
    async fn replays_between_since_and_until() {
        let log = Arc::new(EventLog::default());
        log.publish(&(1..=5).map(event).collect::<Vec<_>>());
        let stream = log.stream(Some(Timestamp(2)), Some(Timestamp(4)), Timestamp(10));
        let ids: Vec<_> = stream.map(|event| event.id).collect().await;
        assert_eq!(ids, ["2", "3", "4"]);
    }

    #[tokio::test]
    async fn forgets_the_oldest_and_follows() {
        let log = Arc::new(EventLog::default());
        log.publish(&(1..=300).map(event).collect::<Vec<_>>());
        let mut stream = log.stream(Some(Timestamp(0)), None, Timestamp(10));
        log.publish(&[event(301)]);
        let first = stream.next().await.map(|event| event.id);
        assert_eq!(first.as_deref(), Some("45"));
        let rest: Vec<_> = stream.take(256).collect().await;
        assert_eq!(rest.last().map(|event| event.at), Some(Timestamp(301)));
    }
}
