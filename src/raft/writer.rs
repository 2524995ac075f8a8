//! The one thread that writes the log. Whatever waits while a commit is under way goes into the
//! next one together.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use openraft::storage::IOFlushed;
use tokio::sync::{mpsc, oneshot};

use super::disk::{Change, Disk, Place, record_size};
use super::error::StoreError;
use super::log_store::Shared;
use super::room::{Pauses, Writing};
use super::types::{Entry, LogId, TypeConfig, Vote};
use skep_core::error::chain;

/// Requests that may wait for the thread; past it, the asker waits.
pub(super) const QUEUE_MAX: usize = 1024;

/// Requests that may go into one commit.
const BATCH_MAX: usize = 1024;

/// A request to the thread. Requests are carried out in the order they were sent.
pub(super) enum Write {
    Append { entries: Vec<Entry>, done: IOFlushed<TypeConfig> },
    Truncate { from: u64 },
    Purge { upto: LogId },
    Vote { vote: Vote, done: oneshot::Sender<io::Result<()>> },
    Committed { id: Option<LogId> },
    Stop { done: oneshot::Sender<()> },
}

/// Whom to tell when a batch is durable.
enum Waiting {
    Append(IOFlushed<TypeConfig>),
    Vote(oneshot::Sender<io::Result<()>>),
}

/// One transaction in the making.
#[derive(Default)]
struct Batch {
    changes: Vec<Change>,
    stored: Vec<(LogId, u32)>,
    waiting: Vec<Waiting>,
    /// Whether anything in it needs the disk now.
    durable: bool,
    stop: Option<oneshot::Sender<()>>,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    place: Place,
    /// Last log id known to be committed that no transaction carried yet.
    committed: Option<Option<LogId>>,
    /// Why no further write can be trusted.
    failed: Option<String>,
}

impl Writer {
    /// Starts the thread, which ends on `Write::Stop` or when nobody can send to it any more.
    pub fn spawn(
        shared: Arc<Shared>,
        place: Place,
        queue: mpsc::Receiver<Write>,
    ) -> Result<JoinHandle<()>, io::Error> {
        let writer = Self { shared, place, committed: None, failed: None };
        std::thread::Builder::new().name("raft-log".to_owned()).spawn(move || writer.run(queue))
    }

    fn run(mut self, mut queue: mpsc::Receiver<Write>) {
        let mut requests = Vec::with_capacity(BATCH_MAX);
        while queue.blocking_recv_many(&mut requests, BATCH_MAX) > 0 {
            #[cfg(test)]
            drop(self.shared.gate.lock());
            if let Some(done) = self.write(requests.drain(..)) {
                queue.close();
                self.close();
                // Nobody waits for the stop any more: then it need not be announced.
                let _ = done.send(());
                return;
            }
        }
        self.close();
    }

    /// Carries out requests in one transaction, then tells all who wait. Returns whom to tell of a
    /// stop.
    fn write(&mut self, requests: impl Iterator<Item = Write>) -> Option<oneshot::Sender<()>> {
        let mut batch = Batch::default();
        let mut result = Ok(());
        for request in requests {
            if let Err(error) = self.add(&mut batch, request) {
                result = Err(error);
            }
        }
        if let Some(reason) = &self.failed {
            result = Err(StoreError::Closed(reason.clone()));
        }
        let result = result.and_then(|()| self.commit(&mut batch));
        if let Err(error) = &result {
            let reason = chain(error);
            tracing::error!(error = %reason, "writing the raft log failed");
            self.failed.get_or_insert(reason);
            self.shared.room.set(Writing::Ended);
        }
        for waiting in batch.waiting {
            let outcome = match &self.failed {
                Some(reason) => Err(io::Error::other(reason.clone())),
                None => Ok(()),
            };
            match waiting {
                Waiting::Append(done) => done.io_completed(outcome),
                Waiting::Vote(done) => drop(done.send(outcome)),
            }
        }
        batch.stop
    }

    /// Adds a request to a batch. Whoever waits for it is noted even on an error, so that nobody
    /// waits for ever.
    fn add(&mut self, batch: &mut Batch, request: Write) -> Result<(), StoreError> {
        match request {
            Write::Append { entries, done } => {
                batch.waiting.push(Waiting::Append(done));
                batch.durable = true;
                for entry in entries {
                    let sealed = self.place.seal(&entry)?;
                    let index = entry.log_id.index;
                    batch.stored.push((entry.log_id, record_size(&sealed)));
                    batch.changes.push(Change::Put(index, sealed));
                }
            }
            Write::Truncate { from } => {
                batch.durable = true;
                batch.changes.push(Change::Truncate(from));
            }
            // A purge that a crash undoes is asked for again, so that it need not wait for the
            // disk.
            Write::Purge { upto } => batch.changes.push(Change::Purge(upto)),
            Write::Vote { vote, done } => {
                batch.durable = true;
                batch.changes.push(Change::Vote(vote));
                batch.waiting.push(Waiting::Vote(done));
            }
            // Knowing less of what is committed is safe: it rides on the next commit.
            Write::Committed { id } => self.committed = Some(id),
            Write::Stop { done } => {
                batch.durable = true;
                batch.stop = Some(done);
            }
        }
        Ok(())
    }

    fn commit(&mut self, batch: &mut Batch) -> Result<(), StoreError> {
        if batch.durable
            && let Some(id) = self.committed.take()
        {
            batch.changes.push(Change::Committed(id));
        }
        if batch.changes.is_empty() {
            return Ok(());
        }
        self.commit_or_hold(batch)?;
        self.shared.commits.fetch_add(1, Ordering::Relaxed);
        let mut tail = self.shared.tail.lock();
        for (id, size) in &batch.stored {
            tail.stored(id, *size);
        }
        Ok(())
    }

    /// Commits a batch, however long it takes until there is room for it: whoever waits for the
    /// batch must not be told of an error that passes, for consensus stops on any. Only the node's
    /// stop ends the wait.
    fn commit_or_hold(&self, batch: &Batch) -> Result<(), StoreError> {
        let room = &self.shared.room;
        let mut pauses = Pauses::default();
        loop {
            match self.try_commit(batch) {
                Ok(()) => {
                    if room.is_held() {
                        tracing::info!("there is room on the disk again, the raft log goes on");
                        room.set(Writing::Works);
                    }
                    return Ok(());
                }
                Err(error) if error.lacks_room() => {
                    if !room.is_held() {
                        tracing::error!(
                            error = %chain(&error),
                            "the raft log waits for room on the disk: {}", room.shortage()
                        );
                        room.set(Writing::Held);
                    }
                    // The database refuses everything after a failed write.
                    drop(self.shared.disk.write().take());
                    if !room.pause(&mut pauses) {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn try_commit(&self, batch: &Batch) -> Result<(), StoreError> {
        if self.shared.disk.read().is_none() {
            let disk = Disk::reopen(&self.place)?;
            *self.shared.disk.write() = Some(disk);
        }
        match self.shared.disk.read().as_ref() {
            Some(disk) => disk.commit(&batch.changes, batch.durable),
            None => Err(StoreError::Closed("stopped".to_owned())),
        }
    }

    /// Closes the database, so that it can be opened again at once.
    fn close(&mut self) {
        self.shared.room.set(Writing::Ended);
        drop(self.shared.disk.write().take());
    }
}
