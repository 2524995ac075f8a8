//! Flags, environment and file become one typed `Config`; nothing below reads the environment.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use serde::Deserialize;
use thiserror::Error;

use crate::manager::addresses::with_port;

/// Where the Docker API is served by default.
pub const DEFAULT_HOST: &str = "unix:///run/skep/docker.sock";
const DEFAULT_ENGINE: &str = "unix:///var/run/docker.sock";
const DEFAULT_DATA_DIR: &str = "/var/lib/skep";
const DEFAULT_LOG_LEVEL: &str = "info";
/// A configuration file larger than this is a mistake.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Docker Swarm-compatible containers as a service: one binary beside each Docker Engine.
#[derive(Debug, Parser)]
#[command(name = "skep", version, about, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: CliCommand,
}

const EXAMPLES: &str = "\
A cluster in three commands:
  skep daemon &
  docker context create skep --docker host=unix:///run/skep/docker.sock
  docker --context skep swarm init

From there every docker command works: docker --context skep stack deploy -c compose.yml web";

/// The commands of the binary.
#[derive(Debug, Subcommand)]
pub enum CliCommand {
    /// Run the daemon beside a Docker Engine
    #[command(after_help = DAEMON_HELP)]
    Daemon(DaemonArgs),
    /// Show how a daemon and its cluster are
    Status {
        /// Socket of the daemon, unix:// or tcp://
        #[arg(short = 'H', long, env = "SKEP_HOST", default_value = DEFAULT_HOST, value_delimiter = ',')]
        host: Vec<Address>,
    },
    /// Explain why a service or a task is as it is: what it waits for, and every check of every node
    #[command(after_help = "For example: skep why web, skep why web.1, skep why TASK-ID")]
    Why {
        /// Socket of the daemon, unix:// or tcp://
        #[arg(short = 'H', long, env = "SKEP_HOST", default_value = DEFAULT_HOST, value_delimiter = ',')]
        host: Vec<Address>,
        /// Name or id of a service or a task
        #[arg(value_name = "SERVICE|TASK")]
        reference: String,
    },
    /// Check what skep stands on: engine, kernel, ports, clock, disk, state, certificates, limits
    #[command(after_help = DOCTOR_HELP)]
    Doctor {
        /// Print JSON: {"findings": [{area, level, what, advice}]}
        #[arg(long)]
        json: bool,
        /// What the daemon is told.
        #[command(flatten)]
        daemon: DaemonArgs,
    },
    /// Write all that the cluster is into one sealed file, while it runs
    #[command(after_help = BACKUP_HELP)]
    Backup {
        /// Socket of a manager's daemon, unix:// or tcp://
        #[arg(short = 'H', long, env = "SKEP_HOST", default_value = DEFAULT_HOST, value_delimiter = ',')]
        host: Vec<Address>,
        /// File with the key that seals backups; made if it is not there
        #[arg(long, value_name = "KEY")]
        key_file: PathBuf,
        /// The backup; it must not be there yet
        file: PathBuf,
    },
    /// Make a manager of a backup, in the folder of a daemon that does not run
    #[command(after_help = RESTORE_HELP)]
    Restore {
        /// File with the key that sealed the backup
        #[arg(long, value_name = "KEY")]
        key_file: PathBuf,
        /// Where the manager is to listen for other nodes
        #[arg(long, default_value = "0.0.0.0:2377")]
        listen_addr: String,
        /// What the daemon will be told.
        #[command(flatten)]
        daemon: DaemonArgs,
        /// The backup
        file: PathBuf,
    },
    /// Read all that a stopped manager has on disk, and say what is wrong with it
    #[command(after_help = CHECK_HELP)]
    Check {
        /// File with the unlock key, where the manager is locked
        #[arg(long, value_name = "KEY")]
        unlock_key_file: Option<PathBuf>,
        /// What the daemon is told.
        #[command(flatten)]
        daemon: DaemonArgs,
    },
    /// Have the encrypted link of the cluster's networks, as the daemon asks on the standard input
    #[command(hide = true)]
    Wg {
        /// Address of this node
        endpoint: Ipv4Addr,
        /// Address on the link
        addr: Ipv4Addr,
    },
    /// See to the host's part of the cluster's networks
    #[command(subcommand)]
    Net(NetCommand),
    /// Print a completion script for a shell
    #[command(after_help = "For example: skep completions bash > /etc/bash_completion.d/skep")]
    Completions {
        /// Which shell
        shell: Shell,
    },
}

/// What is done with the host's part of the cluster's networks.
#[derive(Debug, Subcommand)]
pub enum NetCommand {
    /// Take tunnels, routes, packet rules and virtual addresses away that a stopped daemon left; containers stay
    Clean,
    /// Show the ways that packets take from a node to a service, by name and by port, and where they would stop
    #[command(after_help = "For example: skep net why web")]
    Why {
        /// Socket of the daemon of that node, unix:// or tcp://
        #[arg(short = 'H', long, env = "SKEP_HOST", default_value = DEFAULT_HOST, value_delimiter = ',')]
        host: Vec<Address>,
        /// Name or id of a service
        service: String,
    },
}

const DAEMON_HELP: &str = "\
Each flag can also be set in the environment (SKEP_HOST, SKEP_ENGINE, ...) or in the file given with
--config, a TOML table with the flags' names as keys:
  host = [\"unix:///run/skep/docker.sock\", \"tcp://127.0.0.1:2375\"]
  log-level = \"debug\"
A flag wins over the environment, the environment over the file. The cluster's own port is chosen by
`docker swarm init --listen-addr`, as in Docker. Whoever can open a tcp:// host controls this machine:
keep it on loopback.";

const DOCTOR_HELP: &str = "\
Give it the flags, the environment and the file that the daemon gets, and it looks at the same engine,
sockets and data folder. It works with and without a running daemon or engine, and changes nothing that
stays. Each line is one finding:
  ok       as it should be
  note     good to know, or what this user could not see
  warning  works, but not well or not for long
  PROBLEM  does not work
and below a finding stands what to do about it. The exit status is 1 if there is a problem, else 0.

As root it sees more: who holds a port, the data folder, mount namespaces. For example:
  sudo skep doctor
  skep doctor --engine unix:///run/user/1000/docker.sock --json";

const BACKUP_HELP: &str = "\
The backup holds services, networks, nodes, secrets, configs and the cluster's own keys as they were at one moment,
whichever manager is asked. It does not hold images, volumes and containers. It is read back before it
gets its name. Keep the key apart from the backups: with it every secret can be read, without it nothing.

For example, each night:
  skep backup --key-file /etc/skep/backup.key /backup/skep-$(date +%F)";

const RESTORE_HELP: &str = "\
For when all managers are lost; while one is left, `docker swarm init --force-new-cluster` on it loses less.
The host becomes the manager that took the backup, on the addresses given here, and the only one until others
join. Stop whatever is left of the old managers first. Workers come back by themselves if it has an address
that they know; the others leave and join again. The daemon starts the cluster's tasks anew where they ran.

For example:
  skep restore --key-file backup.key --advertise-addr 192.0.2.7 skep-2026-11-25
  skep daemon";

const CHECK_HELP: &str = "\
Stop the daemon first. Everything is read: the newest snapshot, every entry of the log, and whether the
state that follows from them keeps all rules. Nothing is changed but what every start puts right after a
crash. The exit status is 1 if something is wrong.";

/// Flags of the daemon; what is not given comes from the file or the defaults.
#[derive(Debug, Args)]
pub struct DaemonArgs {
    /// Where to serve the Docker API, unix:// or tcp:// (repeatable) [default: unix:///run/skep/docker.sock]
    #[arg(short = 'H', long, env = "SKEP_HOST", value_delimiter = ',')]
    pub host: Vec<Address>,
    /// Socket of the local Docker Engine [default: unix:///var/run/docker.sock]
    #[arg(long, env = "SKEP_ENGINE")]
    pub engine: Option<Address>,
    /// Folder of the daemon's state [default: /var/lib/skep]
    #[arg(long, env = "SKEP_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address or interface that swarm init and join advertise when they are given none
    #[arg(long, env = "SKEP_ADVERTISE_ADDR")]
    pub advertise_addr: Option<String>,
    /// A manager, HOST[:PORT], for a worker whose managers have all been replaced while it was away (repeatable)
    #[arg(long, env = "SKEP_MANAGER", value_delimiter = ',', value_name = "HOST[:PORT]")]
    pub manager: Vec<ManagerAddress>,
    /// What to log: error, warn, info, debug, trace, or a filter such as info,skep_raft=debug [default: info]
    #[arg(long, env = "SKEP_LOG_LEVEL")]
    pub log_level: Option<String>,
    /// How to log: text on a terminal and JSON otherwise, unless chosen here
    #[arg(long, env = "SKEP_LOG_FORMAT", value_enum)]
    pub log_format: Option<LogFormat>,
    /// TOML file with any of these settings
    #[arg(long, env = "SKEP_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Text,
    /// For machines, one object a line.
    Json,
}

/// A socket address of the API or the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A path.
    Unix(PathBuf),
    /// `host:port`.
    Tcp(String),
}

impl FromStr for Address {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        if let Some(path) = text.strip_prefix("unix://") {
            if path.starts_with('/') {
                return Ok(Self::Unix(PathBuf::from(path)));
            }
        } else if let Some(rest) = text.strip_prefix("tcp://") {
            let port = rest.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            if port.is_some() {
                return Ok(Self::Tcp(rest.to_owned()));
            }
        }
        Err(ConfigError::Address(text.to_owned()))
    }
}

/// Where a manager is, `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ManagerAddress(pub String);

impl FromStr for ManagerAddress {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let address = with_port(text);
        let is_address = address.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && !host.contains(['/', ' ']) && port.parse::<u16>().is_ok()
        });
        if is_address { Ok(Self(address)) } else { Err(ConfigError::Manager(text.to_owned())) }
    }
}

impl TryFrom<String> for ManagerAddress {
    type Error = ConfigError;

    fn try_from(text: String) -> Result<Self, ConfigError> {
        text.parse()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: serde::Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        String::deserialize(source)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// Not an address.
    #[error("'{0}' is not an address: use unix:///path/to.sock or tcp://host:port")]
    Address(String),
    /// Not the address of a manager.
    #[error("'{0}' is not the address of a manager: use HOST or HOST:PORT")]
    Manager(String),
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is too large to be one.
    #[error("the configuration file {0} is larger than 1 MiB")]
    TooLarge(PathBuf),
    /// The file is not what it should be.
    #[error("the configuration file {path} is not valid: {reason}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
}

/// Settings of a file; the keys are the names of the flags.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct FileConfig {
    host: Vec<Address>,
    engine: Option<Address>,
    data_dir: Option<PathBuf>,
    advertise_addr: Option<String>,
    manager: Vec<ManagerAddress>,
    log_level: Option<String>,
    log_format: Option<LogFormat>,
}

/// Everything the daemon is told from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where the Docker API is served.
    pub hosts: Vec<Address>,
    /// Where the engine listens.
    pub engine: Address,
    /// Folder of the state.
    pub data_dir: PathBuf,
    /// Folder of files in memory: payloads of secrets and configs.
    pub run_dir: PathBuf,
    /// What init and join advertise by default.
    pub advertise_addr: Option<String>,
    /// Where a worker looks for managers beside those it knows, `host:port`.
    pub managers: Vec<String>,
    /// Filter of log lines.
    pub log_level: String,
    /// Form of log lines.
    pub log_format: LogFormat,
}

impl Config {
    /// Puts flags over the file over the defaults.
    ///
    /// # Errors
    /// Says what is wrong with the file.
    pub fn resolve(args: DaemonArgs) -> Result<Self, ConfigError> {
        let file = args.config.as_deref().map(read_file).transpose()?.unwrap_or_default();
        let unix = |path: &str| Address::Unix(PathBuf::from(path.trim_start_matches("unix://")));
        let mut hosts = if args.host.is_empty() { file.host } else { args.host };
        if hosts.is_empty() {
            hosts.push(unix(DEFAULT_HOST));
        }
        let managers = if args.manager.is_empty() { file.manager } else { args.manager };
        let data_dir = args.data_dir.or(file.data_dir).unwrap_or_else(|| DEFAULT_DATA_DIR.into());
        Ok(Self {
            hosts,
            engine: args.engine.or(file.engine).unwrap_or_else(|| unix(DEFAULT_ENGINE)),
            run_dir: PathBuf::from(skep_core::agent::FILES_DIR),
            data_dir: std::path::absolute(&data_dir).unwrap_or(data_dir),
            advertise_addr: args.advertise_addr.or(file.advertise_addr),
            managers: managers.into_iter().map(|manager| manager.0).collect(),
            log_level: args
                .log_level
                .or(file.log_level)
                .unwrap_or_else(|| DEFAULT_LOG_LEVEL.to_owned()),
            log_format: args.log_format.or(file.log_format).unwrap_or_default(),
        })
    }
}

fn read_file(path: &Path) -> Result<FileConfig, ConfigError> {
    let fail = |source| ConfigError::Read { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(fail)?.len() > FILE_BYTES_MAX {
        return Err(ConfigError::TooLarge(path.to_owned()));
    }
    let text = std::fs::read_to_string(path).map_err(fail)?;
    toml::from_str(&text)
        .map_err(|error| ConfigError::Parse { path: path.to_owned(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn daemon(arguments: &[&str]) -> DaemonArgs {
        let line = ["skep", "daemon"].iter().chain(arguments);
        match Cli::parse_from(line).command {
            CliCommand::Daemon(args) => args,
            CliCommand::Status { .. }
            | CliCommand::Why { .. }
            | CliCommand::Doctor { .. }
            | CliCommand::Backup { .. }
            | CliCommand::Restore { .. }
            | CliCommand::Check { .. }
            | CliCommand::Net(_)
            | CliCommand::Wg { .. }
            | CliCommand::Completions { .. } => {
                panic!("a daemon line parses as one")
            }
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("skep.toml");
        std::fs::write(&path, "host = [\"tcp://127.0.0.1:1\"]\nlog-level = \"debug\"\n")
            .expect("the file is written");
        let path = path.to_str().expect("the path is text").to_owned();
        let config = Config::resolve(daemon(&["--config", &path, "--log-level", "warn"]))
            .expect("the file is valid");
        assert_eq!(config.hosts, [Address::Tcp("127.0.0.1:1".to_owned())]);
        assert_eq!(config.log_level, "warn");
        assert_eq!(config.data_dir, Path::new("/var/lib/skep"));
    }

    #[test]
    fn managers_are_named_with_or_without_a_port() {
        let named = |text: &str| text.parse::<ManagerAddress>().map(|it| it.0).ok();
        for (text, address) in [
            ("192.0.2.1", "192.0.2.1:2377"),
            ("192.0.2.1:99", "192.0.2.1:99"),
            ("2001:db8::1", "[2001:db8::1]:2377"),
            ("[2001:db8::1]:99", "[2001:db8::1]:99"),
            ("host", "host:2377"),
        ] {
            assert_eq!(named(text).as_deref(), Some(address));
        }
        for text in ["", ":1", "host:", "host:x", "host:99999", "tcp://host:1", "a b"] {
            assert_eq!(named(text), None, "{text}");
        }
    }

    #[test]
    fn unknown_keys_and_bad_addresses_are_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (text, part) in [("hots = []", "hots"), ("engine = \"/var/run/x\"", "/var/run/x")] {
            let path = folder.path().join("skep.toml");
            std::fs::write(&path, text).expect("the file is written");
            let error = read_file(&path).expect_err("the file is not valid").to_string();
            assert!(error.contains(part), "{error}");
        }
        for text in ["", "unix://", "unix://rel", "tcp://x", "http://x:1", "tcp://x:99999"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
