//! The output of this node's tasks. Follows one container; who follows a service asks for each of its tasks.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use skep_api::backend::{LogItem, LogLine, LogOptions};
use skep_core::id::NodeId;
use skep_core::model::task::Task;

use crate::engine::{Engine, EngineError};

/// Streams the output of a task's container. A task without a container has no output.
pub async fn task_logs(
    engine: &Arc<dyn Engine>,
    node: &NodeId,
    task: &Task,
    options: &LogOptions,
) -> Result<BoxStream<'static, LogItem>, EngineError> {
    let known = task.status.container.as_ref().map(|held| held.id.clone());
    let name = known.filter(|id| !id.is_empty()).unwrap_or_else(|| task.name());
    let lines = match engine.logs(&name, options).await {
        Ok(lines) => lines,
        Err(error) if error.is_not_found() => return Ok(stream::empty().boxed()),
        Err(error) => return Err(error),
    };
    let (node, task, service) = (node.clone(), task.id.clone(), task.service.clone());
    let items = lines.map(move |line| match line {
        Ok(line) => LogItem::Line(LogLine {
            stderr: line.stderr,
            at: line.at,
            attributes: line.attributes,
            task: task.clone(),
            service: service.clone(),
            node: node.clone(),
            data: line.data,
        }),
        Err(error) => LogItem::Problem(error.to_string()),
    });
    Ok(items.boxed())
}
