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

/// Reads which lines are wanted.
pub fn log_options(from: proto::LogSubscriptionOptions) -> LogOptions {
    let wants =
        |stream: proto::LogStream| from.streams.is_empty() || from.streams.contains(&stream.into());
    LogOptions {
        follow: from.follow,
        stdout: wants(proto::LogStream::Stdout),
        stderr: wants(proto::LogStream::Stderr),
        since: from.since.as_ref().map(|since| time_of(Some(since))),
        // See `subscription`: no positive number means anything.
        tail: (from.tail < 0).then(|| (-1 - from.tail).unsigned_abs()),
    }
}

/// Builds a line of a task.
pub fn wire_line(from: LogLine) -> proto::LogMessage {
    let stream = if from.stderr { proto::LogStream::Stderr } else { proto::LogStream::Stdout };
    let attr = |(key, value)| proto::LogAttr { key, value };
    proto::LogMessage {
        context: Some(proto::LogContext {
            service_id: from.service.map(|id| id.to_string()).unwrap_or_default(),
            node_id: from.node.to_string(),
            task_id: from.task.to_string(),
        }),
        timestamp: Some(timestamp(from.at)),
        stream: stream.into(),
        data: from.data.to_vec(),
        attrs: from.attributes.into_iter().map(attr).collect(),
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
    use skep_core::time::Timestamp;

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

    #[test]
    fn wishes_and_lines_arrive_as_they_were_sent() {
        let (task, service) = (TaskId::from_entropy(1), ServiceId::from_entropy(2));
        for tail in [None, Some(0), Some(7)] {
            let since = Some(Timestamp(5));
            let options = LogOptions { follow: true, stdout: true, stderr: true, since, tail };
            let asked =
                subscription("s", &task, &options).options.expect("they are never left out");
            assert_eq!(log_options(asked), options);
        }
        let line = LogLine {
            stderr: true,
            at: Timestamp(7),
            attributes: vec![("a".to_owned(), "b".to_owned())],
            task: task.clone(),
            service: Some(service.clone()),
            node: NodeId::from_entropy(3),
            data: Bytes::from_static(b"hello\n"),
        };
        let sent = wire_line(line.clone());
        assert_eq!(log_line(sent, &task, Some(&service), &line.node), Some(line));
    }
}
