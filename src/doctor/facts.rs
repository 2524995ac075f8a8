//! What `skep doctor` saw of a machine. Judges nothing; what could not be seen says so.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::Value;
use skep_core::net::wire_link::Carrier;

/// Everything that was looked at.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Seconds since the epoch.
    pub now_unix: i64,
    /// Whether the doctor is root.
    pub root: bool,
    pub engine: Server,
    pub daemon: Server,
    pub kernel: Kernel,
    /// What the daemon finds amiss with the host's part of the cluster's networks, if it is in a cluster and tells.
    pub network: Option<Vec<String>>,
    pub ports: Vec<Port>,
    pub clock: Clock,
    pub disks: Vec<Disk>,
    pub data: Data,
    pub certificate: Option<Certificate>,
    /// Most files that the daemon may open, its own limit if it runs.
    pub files_max: Option<u64>,
    pub tmpfs: Tmpfs,
    pub mounts: Mounts,
}

/// Something that answers Docker's API.
#[derive(Debug, Clone, Default)]
pub struct Server {
    /// As it was named.
    pub address: String,
    pub reach: Reach,
    /// The process behind the socket, if it told.
    pub pid: Option<i32>,
    /// Answer to `/info`.
    pub info: Value,
    /// Answer to `/version`.
    pub version: Value,
    /// By how many milliseconds its clock is ahead of ours.
    pub ahead_millis: Option<i64>,
}

/// How far one came with a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Reach {
    /// It answers.
    Answers,
    /// There is no socket.
    #[default]
    Missing,
    /// There is a socket, but nobody behind it.
    Deaf,
    /// This user may not open it.
    Forbidden,
    /// Anything else.
    Failed(String),
}

/// What of the kernel is there.
#[derive(Debug, Clone, Default)]
pub struct Kernel {
    /// Modules by name.
    pub modules: BTreeMap<&'static str, Module>,
    pub ip_forward: Option<bool>,
    pub tun: bool,
    /// Who has the link of encrypted networks, if that could be seen.
    pub carrier: Option<Carrier>,
    /// Connections tracked, and how many may be.
    pub connections: Option<(u64, u64)>,
    pub nft: Nft,
}

/// Whether a module can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Module {
    /// It is loaded or part of the kernel.
    Here,
    /// It is on disk and is loaded when it is needed.
    Loadable,
    /// It is not there.
    Absent,
    /// No list of the kernel's modules is here.
    Unknown,
}

/// The program `nft` and what it says of the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Nft {
    #[default]
    NoProgram,
    /// Its version; whether the kernel understood it is known to root only.
    Untried(String),
    Works(String),
    Fails(String),
}

/// A port that the cluster needs.
#[derive(Debug, Clone)]
pub struct Port {
    pub what: &'static str,
    pub protocol: &'static str,
    pub address: SocketAddr,
    pub needed: Need,
    pub state: PortState,
}

/// How much a port matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The daemon does not start a cluster without it.
    Now,
    /// Several nodes need it.
    SeveralNodes,
    /// Only stock engines among the nodes need it.
    StockNodes,
}

/// Whether a port can be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortState {
    Free,
    /// The daemon has it.
    Ours,
    /// A socket of the kernel's own has it; whether there are tunnels of skep's, whose it is then.
    Kernel {
        tunnels: bool,
    },
    /// Taken, by whom if that could be seen.
    Taken(Option<String>),
    /// The address is not this machine's.
    NoSuchAddress,
    Failed(String),
}

/// What is known of the clock.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    pub synchronised: Option<bool>,
    /// Program that keeps the clock.
    pub service: Option<String>,
}

/// The disk below a folder.
#[derive(Debug, Clone)]
pub struct Disk {
    pub what: &'static str,
    pub path: PathBuf,
    /// Whether skep writes there.
    pub ours: bool,
    pub room: Result<Room, String>,
    pub in_memory: bool,
    /// Median and worst time, in microseconds, to make 4 KiB durable.
    pub sync_micros: Option<(u64, u64)>,
}

/// Room of a disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct Room {
    pub bytes: u64,
    pub bytes_free: u64,
    /// None on file systems that do not count.
    pub inodes: u64,
    pub inodes_free: u64,
}

/// The data folder.
#[derive(Debug, Clone, Default)]
pub struct Data {
    pub path: PathBuf,
    pub folder: Folder,
    /// Node and cluster, if it is in one.
    pub identity: Option<(String, String)>,
    /// What is wrong with a file.
    pub damage: Vec<String>,
    pub locked: bool,
    /// The process that has the log open.
    pub holder: Option<String>,
}

/// A folder's outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Folder {
    #[default]
    Missing,
    /// Its permissions and owner.
    Found {
        mode: u32,
        owner: u32,
    },
    /// This user may not look into it.
    Forbidden,
    Failed(String),
}

/// The node's certificate.
#[derive(Debug, Clone)]
pub struct Certificate {
    pub path: PathBuf,
    pub content: Result<Content, String>,
}

/// What a certificate says.
#[derive(Debug, Clone)]
pub struct Content {
    pub node: String,
    pub cluster: String,
    pub role: &'static str,
    pub not_before: i64,
    pub not_after: i64,
    /// Whether the root on disk signed it.
    pub descends: bool,
}

/// Whether a file system in memory can be mounted for secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tmpfs {
    Works,
    /// The daemon has one already.
    Mounted,
    Fails(String),
    /// Only root can try.
    Untried,
}

/// Mount namespaces, where they could be seen.
#[derive(Debug, Clone, Default)]
pub struct Mounts {
    pub engine: Option<String>,
    /// Of the daemon if it runs, else of the doctor.
    pub ours: Option<String>,
}
