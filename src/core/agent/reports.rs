//! The report queue: the newest status of each task, until someone has taken it. Sends nothing.

use std::collections::BTreeMap;

use crate::id::TaskId;
use crate::model::task::TaskStatus;

/// Most statuses handed over at once.
const BATCH_MAX: usize = 200;

/// Statuses that are not reported yet.
#[derive(Debug, Default)]
pub struct ReportQueue {
    waiting: BTreeMap<TaskId, TaskStatus>,
}

impl ReportQueue {
    /// Adds a status in place of any earlier one of the task.
    pub fn put(&mut self, task: TaskId, status: TaskStatus) {
        self.waiting.insert(task, status);
    }

    /// Takes a batch to hand over; empty if nothing waits.
    pub fn take(&mut self) -> Vec<(TaskId, TaskStatus)> {
        let mut batch = Vec::new();
        while batch.len() < BATCH_MAX {
            let Some(first) = self.waiting.pop_first() else { break };
            batch.push(first);
        }
        batch
    }

    /// Puts back a batch that did not get through, except where something newer came.
    pub fn put_back(&mut self, batch: Vec<(TaskId, TaskStatus)>) {
        for (task, status) in batch {
            self.waiting.entry(task).or_insert(status);
        }
    }

    /// Tells whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
