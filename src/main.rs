//! The binary: reads the command line, starts what it names.

mod backup;
mod doctor;
mod net_why;
mod status;
mod why;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser};
use skep::config::{Cli, CliCommand, Config, LogFormat, NetCommand};
use skep::node::Machine;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "skep: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: CliCommand) -> anyhow::Result<ExitCode> {
    match command {
        CliCommand::Daemon(args) => {
            let config = Config::resolve(args)?;
            start_logging(&config)?;
            runtime()?.block_on(daemon(config))?;
        }
        CliCommand::Status { host } => runtime()?.block_on(status::print(&host))?,
        CliCommand::Why { host, reference } => {
            runtime()?.block_on(why::print(&host, &reference))?
        }
        CliCommand::Doctor { json, daemon } => {
            let config = Config::resolve(daemon)?;
            let healthy = runtime()?.block_on(Box::pin(doctor::print(&config, json)))?;
            return Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        CliCommand::Backup { host, key_file, file } => {
            runtime()?.block_on(backup::take(&host, &key_file, &file))?
        }
        CliCommand::Restore { key_file, listen_addr, daemon, file } => {
            backup::restore(&Config::resolve(daemon)?, &listen_addr, &key_file, &file)?
        }
        CliCommand::Check { unlock_key_file, daemon } => {
            let sound = backup::check(&Config::resolve(daemon)?, unlock_key_file.as_deref())?;
            return Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        CliCommand::Net(NetCommand::Why { host, service }) => {
            runtime()?.block_on(net_why::print(&host, &service))?
        }
        CliCommand::Net(NetCommand::Clean) => runtime()?
            .block_on(Box::pin(skep::dataplane::clean()))
            .context("stop the daemon, or let the node leave its cluster, which does the same")?,
        CliCommand::Wg { endpoint, addr } => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let running = Box::pin(skep::dataplane::run_process(endpoint, addr));
            runtime.context("cannot start the runtime")?.block_on(running)?;
        }
        CliCommand::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "skep", &mut std::io::stdout());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

/// A plain level is meant for skep: consensus tells of every step at level info, which helps nobody but its makers.
fn log_filter(level: &str) -> String {
    match level {
        "error" | "warn" | "info" => format!("{level},openraft=warn"),
        _ => level.to_owned(),
    }
}

fn start_logging(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(log_filter(&config.log_level))
        .with_context(|| format!("'{}' is not a log level or filter", config.log_level))?;
    let text = match config.log_format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if text {
        builder.with_ansi(std::io::stderr().is_terminal()).init();
    } else {
        builder.json().flatten_event(true).init();
    }
    Ok(())
}

/// Allows as many open files as the system does: each relayed connection takes two.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(error = %error, "the limit of open files stays as it is");
    }
}

async fn daemon(config: Config) -> anyhow::Result<()> {
    raise_file_limit();
    let shutdown = CancellationToken::new();
    let signals = tokio::spawn(wait_for_signal(shutdown.clone()));
    let machine = Machine::real(&config);
    let result = skep::node::run(config, machine, shutdown.clone(), |_| {
        // Without a supervisor that listens there is nobody to tell.
        let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Ready]);
    })
    .await;
    let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Stopping]);
    shutdown.cancel();
    signals.await.context("the signal task failed")??;
    result
}

/// Cancels `shutdown` on SIGTERM or SIGINT; returns when it is cancelled.
async fn wait_for_signal(shutdown: CancellationToken) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => tracing::info!("stopping on SIGTERM"),
        _ = interrupt.recv() => tracing::info!("stopping on SIGINT"),
        () = shutdown.cancelled() => {}
    }
    shutdown.cancel();
    Ok(())
}
