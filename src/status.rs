//! `skep status`: asks a daemon over its API and prints how it and its cluster are. Part of the binary only.

use std::io::Write;

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use skep::config::Address;

/// An answer larger than this is not read.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Prints the state of the daemon behind the first of `hosts`.
pub async fn print(hosts: &[Address]) -> anyhow::Result<()> {
    let Some(host) = hosts.first() else { bail!("no host given") };
    let info = get(host, "/info").await.with_context(|| {
        format!("no skep daemon answers at {host}; start one with `skep daemon`, or name its socket with --host")
    })?;
    let version = get(host, "/version").await?;
    let swarm = &info["Swarm"];
    let mut out = std::io::stdout().lock();
    writeln!(out, "daemon    skep {} at {host}", env!("CARGO_PKG_VERSION"))?;
    writeln!(
        out,
        "engine    {} (API {}), {} containers running",
        text(&version["Version"]),
        text(&version["ApiVersion"]),
        info["ContainersRunning"]
    )?;
    let state = text(&swarm["LocalNodeState"]);
    writeln!(out, "swarm     {state}{}", role(swarm))?;
    match state {
        "active" if swarm["ControlAvailable"] == true => {}
        "active" => {
            writeln!(out, "node      {} at {}", text(&swarm["NodeID"]), text(&swarm["NodeAddr"]))?;
            let managers = swarm["RemoteManagers"].as_array().map(Vec::as_slice);
            let addresses = managers.unwrap_or_default().iter().map(|it| text(&it["Addr"]));
            writeln!(out, "managers  {}", addresses.collect::<Vec<_>>().join(", "))?;
            return Ok(());
        }
        "inactive" => {
            writeln!(out, "\nNext: docker -H {host} swarm init")?;
            return Ok(());
        }
        "locked" => {
            writeln!(out, "\nNext: docker -H {host} swarm unlock")?;
            return Ok(());
        }
        _ => {
            writeln!(out, "error     {}", text(&swarm["Error"]))?;
            return Ok(());
        }
    }
    drop(out);
    services(host, swarm).await
}

async fn services(host: &Address, swarm: &Value) -> anyhow::Result<()> {
    let services = get(host, "/services?status=true").await?;
    let list = services.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut out = std::io::stdout().lock();
    writeln!(out, "node      {} at {}", text(&swarm["NodeID"]), text(&swarm["NodeAddr"]))?;
    writeln!(out, "nodes     {} ({} managers)", swarm["Nodes"], swarm["Managers"])?;
    let count =
        |key: &str| list.iter().filter_map(|s| s["ServiceStatus"][key].as_u64()).sum::<u64>();
    writeln!(
        out,
        "services  {} ({} of {} tasks running)",
        list.len(),
        count("RunningTasks"),
        count("DesiredTasks")
    )?;
    for service in list {
        let status = &service["ServiceStatus"];
        if status["RunningTasks"] != status["DesiredTasks"] {
            let name = text(&service["Spec"]["Name"]);
            writeln!(
                out,
                "          {name}: {} of {} running; see docker -H {host} service ps {name}",
                status["RunningTasks"], status["DesiredTasks"]
            )?;
        }
    }
    Ok(())
}

fn role(swarm: &Value) -> &'static str {
    match (&swarm["LocalNodeState"], &swarm["ControlAvailable"]) {
        (Value::String(state), Value::Bool(true)) if state == "active" => ", manager",
        (Value::String(state), _) if state == "active" => ", worker",
        _ => "",
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Asks the daemon at `host` for JSON.
pub async fn get(host: &Address, path: &str) -> anyhow::Result<Value> {
    let request = http::Request::get(path).header("Host", "skep").body(Full::default())?;
    let bytes = ask(host, request, ANSWER_BYTES_MAX).await?;
    serde_json::from_slice(&bytes).with_context(|| format!("{path} answered with no JSON"))
}

/// Sends a request to the daemon at `host` and reads the whole answer; one that is no success is an error with its text.
pub async fn ask(
    host: &Address,
    request: http::Request<Full<Bytes>>,
    bytes_max: usize,
) -> anyhow::Result<Bytes> {
    match host {
        Address::Unix(socket) => {
            converse(tokio::net::UnixStream::connect(socket).await?, request, bytes_max).await
        }
        Address::Tcp(address) => {
            converse(tokio::net::TcpStream::connect(address).await?, request, bytes_max).await
        }
    }
}

async fn converse<S>(
    stream: S,
    request: http::Request<Full<Bytes>>,
    bytes_max: usize,
) -> anyhow::Result<Bytes>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let path = request.uri().path().to_owned();
    let (mut client, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let response = client.send_request(request).await?;
    let status = response.status();
    let bytes = Limited::new(response.into_body(), bytes_max)
        .collect()
        .await
        .map_err(|error| anyhow::anyhow!("the answer to {path} broke off: {error}"))?
        .to_bytes();
    drop(client);
    let _ = driver.await;
    if !status.is_success() {
        let value: Value = serde_json::from_slice(&bytes)
            .with_context(|| format!("{path} answered {status} with no JSON"))?;
        bail!("{}", text(&value["message"]));
    }
    Ok(bytes)
}
