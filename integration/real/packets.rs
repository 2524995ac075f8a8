//! What tests of networks with real packets have in common: a server that says whom it saw, and asking from inside.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use skep_integration::http::Endpoint;
use skep_integration::{Host, sh, wait_for};

const SOON: Duration = Duration::from_secs(90);

/// Fewer requests than that prove nothing.
const REQUESTS_MIN: u32 = 10;

/// Says which task answers, and whom it takes the client for.
pub const SERVER: &str = r#"mkdir -p /www/cgi-bin
printf '#!/bin/sh\necho\necho $(hostname) $REMOTE_ADDR\n' >/www/cgi-bin/who
chmod +x /www/cgi-bin/who
exec httpd -f -p 80 -h /www"#;

pub fn container(host: &Host, service: &str) -> Result<String> {
    let found = host.engine.docker().service_containers(service)?;
    found.into_iter().next().with_context(|| format!("{} has no {service}", host.address))
}

pub fn inside(host: &Host, container: &str, command: &[&str]) -> Result<String> {
    host.engine.docker().ok(&[&["exec", container][..], command].concat())
}

/// Fetches a page from inside a container; answers that do not come are errors.
pub fn get(host: &Host, container: &str, url: &str) -> Result<String> {
    inside(host, container, &["busybox", "timeout", "3", "busybox", "wget", "-q", "-O", "-", url])
}

pub fn address(host: &Host, container: &str, network: &str) -> Result<String> {
    let format = format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}");
    host.engine.docker().ok(&["inspect", "-f", &format, container])
}

/// Each host finds everything as the state says, no more and no less, and so many ways that lead to a service.
pub fn nothing_is_amiss(hosts: &[Host], service: &str, ways: usize) -> Result<()> {
    for host in hosts {
        wait_for("a network as it should be", SOON, || {
            let mut client = Endpoint::new(host.docker().host()).connect()?;
            let report = client.json("GET", &format!("/skep/net/{service}"), None);
            // A worker knows the service by its ports.
            let report = report.with_context(|| format!("ask {}", host.address))?;
            ensure!(report["Amiss"] == serde_json::json!([]), "{}: {report:#}", host.address);
            let found = report["Ways"].as_array().context("ways")?.len();
            ensure!(found == ways, "{found} ways, not {ways}: {report:#}");
            Ok(())
        })?;
    }
    Ok(())
}

pub fn on(host: &Host, program: &str, args: &[&str]) -> Result<String> {
    let target = format!("--net={}", host.engine.space().path());
    sh("nsenter", &[&[target.as_str(), program][..], args].concat())
}

/// The network that a container is in, as `nsenter` is told of it.
pub fn network_of(host: &Host, container: &str) -> Result<String> {
    let pid = host.engine.docker().ok(&["inspect", "-f", "{{.State.Pid}}", container])?;
    ensure!(pid != "0", "{container} does not run");
    Ok(format!("--net=/proc/{pid}/ns/net"))
}

/// A process of the host's own programs that ends with this value.
pub struct Lent(Child);

impl Lent {
    /// Starts a Python program in a network, for which the image has nothing.
    pub fn start(network: &str, program: &str) -> Result<Self> {
        let mut server = Command::new("nsenter");
        server.args([network, "python3", "-c", program]).stdin(Stdio::null());
        Ok(Self(server.spawn().context("start a server")?))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _collected = self.0.wait();
    }
}

/// Has every one of these clients ask, one request after the other, until `act` is done; fails if one request was not answered.
pub fn under_load<Client: Sync, Answer, Done>(
    clients: &[Client],
    ask: impl Fn(&Client) -> Result<Answer> + Sync,
    act: impl FnOnce() -> Result<Done>,
) -> Result<Done> {
    let (over, begun) = (AtomicBool::new(false), Instant::now());
    let ask_on = |client: &Client| {
        let mut lost = Vec::new();
        let mut count = 0;
        while !over.load(Ordering::Relaxed) {
            count += 1;
            let asked = begun.elapsed();
            lost.extend(ask(client).err().map(|error| format!("after {asked:.1?}: {error:#}")));
        }
        (count, lost)
    };
    let (acted, answers) = thread::scope(|scope| {
        let asking: Vec<_> = clients.iter().map(|it| scope.spawn(|| ask_on(it))).collect();
        let acted = act();
        over.store(true, Ordering::Relaxed);
        let answers: Vec<_> = asking.into_iter().map(thread::ScopedJoinHandle::join).collect();
        (acted, answers)
    });
    let done = acted?;
    for answer in answers {
        let Ok((count, lost)) = answer else { bail!("a client broke down") };
        eprintln!("{count} requests, {} lost", lost.len());
        ensure!(count > REQUESTS_MIN && lost.is_empty(), "of {count} requests were lost: {lost:?}");
    }
    Ok(done)
}
