//! Wishes for the output of tasks to a node, and the lines that come back.

use bytes::Bytes;
use skep_api::backend::{LogLine, LogOptions};
use skep_core::id::{NodeId, ServiceId, TaskId};

use super::super::proto;
use super::{time_of, timestamp};

/// Builds the wish for the output of one task.
pub fn subscription(id: &str, task: &TaskId, options: &LogOptions) -> proto::SubscriptionMessage {
    // All is 0 and the last n lines are -1 - n; an engine hangs on any positive number.
    let tail = options
        .tail
        .map_or(0, |lines| (-1_i64).saturating_sub(i64::try_from(lines).unwrap_or(i64::MAX - 1)));
    proto::SubscriptionMessage {
        id: id.to_owned(),
        selector: Some(proto::LogSelector {
            task_ids: vec![task.to_string()],
            ..proto::LogSelector::default()
        }),
        options: Some(proto::LogSubscriptionOptions {
            // Both: what is not wanted is left out here.
            streams: Vec::new(),
            follow: options.follow,
            tail,
            since: options.since.filter(|since| !since.is_zero()).map(timestamp),
        }),
        close: false,
    }
}

/// Builds the end of a wish.
pub fn unsubscription(id: &str) -> proto::SubscriptionMessage {
    proto::SubscriptionMessage {
        id: id.to_owned(),
        selector: Some(proto::LogSelector::default()),
        options: Some(proto::LogSubscriptionOptions::default()),
        close: true,
    }
}

/// Reads a line of a task; `None` of one that is another task's.
pub fn log_line(
    from: proto::LogMessage,
    task: &TaskId,
    service: Option<&ServiceId>,
    node: &NodeId,
) -> Option<LogLine> {
    let context = from.context.unwrap_or_default();
    if context.task_id != task.as_str() {
        return None;
    }
    Some(LogLine {
        stderr: from.stream == i32::from(proto::LogStream::Stderr),
        at: time_of(from.timestamp.as_ref()),
        attributes: from.attrs.into_iter().map(|attr| (attr.key, attr.value)).collect(),
        task: task.clone(),
        service: service.cloned(),
        node: node.clone(),
        data: Bytes::from(from.data),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_written_as_engines_read_it() {
        let tail = |tail| {
            let options =
                LogOptions { follow: true, stdout: true, stderr: true, since: None, tail };
            let asked = subscription("s", &TaskId::from_entropy(1), &options);
            asked.options.expect("they are never left out").tail
        };
        assert_eq!([tail(None), tail(Some(0)), tail(Some(2))], [0, -1, -3]);
        assert_eq!(tail(Some(u64::MAX)), i64::MIN + 1);
    }
}
