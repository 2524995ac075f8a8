//! Messages of the service `LogBroker`.

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum LogStream {
    Unknown = 0,
    Stdout = 1,
    Stderr = 2,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct LogSelector {
    #[prost(string, repeated, tag = "1")]
    pub service_ids: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub node_ids: Vec<String>,
    #[prost(string, repeated, tag = "3")]
    pub task_ids: Vec<String>,
}

/// Which lines are wanted. `streams` is not packed on the wire: old engines know no other form.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LogSubscriptionOptions {
    #[prost(enumeration = "LogStream", repeated, packed = "false", tag = "1")]
    pub streams: Vec<i32>,
    #[prost(bool, tag = "2")]
    pub follow: bool,
    #[prost(int64, tag = "3")]
    pub tail: i64,
    #[prost(message, optional, tag = "4")]
    pub since: Option<prost_types::Timestamp>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ListenSubscriptionsRequest {}

/// A subscription, or its end. Without `selector` and `options` an engine dies of the first.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SubscriptionMessage {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(message, optional, tag = "2")]
    pub selector: Option<LogSelector>,
    #[prost(message, optional, tag = "3")]
    pub options: Option<LogSubscriptionOptions>,
    #[prost(bool, tag = "4")]
    pub close: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct LogContext {
    #[prost(string, tag = "1")]
    pub service_id: String,
    #[prost(string, tag = "2")]
    pub node_id: String,
    #[prost(string, tag = "3")]
    pub task_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct LogAttr {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct LogMessage {
    #[prost(message, optional, tag = "1")]
    pub context: Option<LogContext>,
    #[prost(message, optional, tag = "2")]
    pub timestamp: Option<prost_types::Timestamp>,
    #[prost(enumeration = "LogStream", tag = "3")]
    pub stream: i32,
    #[prost(bytes = "vec", tag = "4")]
    pub data: Vec<u8>,
    #[prost(message, repeated, tag = "5")]
    pub attrs: Vec<LogAttr>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PublishLogsMessage {
    #[prost(string, tag = "1")]
    pub subscription_id: String,
    #[prost(message, repeated, tag = "2")]
    pub messages: Vec<LogMessage>,
    #[prost(bool, tag = "3")]
    pub close: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PublishLogsResponse {}
