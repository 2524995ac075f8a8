//! The output of this node's tasks. Follows one container; who follows a service asks for each of its tasks.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use skep_api::backend::{LogItem, LogLine, LogOptions};
use skep_core::id::NodeId;
use skep_core::model::task::Task;
use tracing::debug;

use crate::engine::Engine;

/// Streams the output of a task's container. A task without a container has none, and neither has one whose log driver
/// gives none back: clients see what there is, as of Docker's own agents, and the node's log says what was not.
pub async fn task_logs(
    engine: &Arc<dyn Engine>,
    node: &NodeId,
    task: &Task,
    options: &LogOptions,
) -> BoxStream<'static, LogItem> {
    let known = task.status.container.as_ref().map(|held| held.id.clone());
    let name = known.filter(|id| !id.is_empty()).unwrap_or_else(|| task.name());
    let lines = match engine.logs(&name, options).await {
        Ok(lines) => lines,
        Err(error) => {
            debug!(task.id = %task.id, reason = %error, "output of a task cannot be read");
            return stream::empty().boxed();
        }
    };
    let (node, task, service) = (node.clone(), task.id.clone(), task.service.clone());
    let items = lines.filter_map(move |line| {
        let item = match line {
            Ok(line) => Some(LogItem::Line(LogLine {
                stderr: line.stderr,
                at: line.at,
                attributes: line.attributes,
                task: task.clone(),
                service: service.clone(),
                node: node.clone(),
                data: line.data,
            })),
            Err(error) => {
                debug!(task.id = %task, reason = %error, "output of a task broke off");
                None
            }
        };
        std::future::ready(item)
    });
    items.boxed()
}
