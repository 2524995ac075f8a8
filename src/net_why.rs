//! `skep net why`: asks a daemon for the ways that packets take to a service and prints them. Part of the binary only; looks at no
//! network itself.

use std::io::Write as _;

use anyhow::{Context, bail};
use skep::config::Address;
use skep_api::net::Report;

use crate::status;
use crate::why::{encode, line};

/// Prints the ways to `service` from the node of the daemon behind the first of `hosts`.
pub async fn print(hosts: &[Address], service: &str) -> anyhow::Result<()> {
    let Some(host) = hosts.first() else { bail!("no host given") };
    let answer = status::get(host, &format!("/skep/net/{}", encode(service))).await?;
    let report: Report =
        serde_json::from_value(answer).context("the daemon's answer is not readable")?;
    std::io::stdout().write_all(render(service, &report).as_bytes())?;
    Ok(())
}

/// Writes a report for people.
fn render(service: &str, report: &Report) -> String {
    let mut out = String::new();
    if report.ways.is_empty() {
        let text = "no way: it is on no overlay network and publishes no port";
        line(&mut out, 0, &format!("service {service} from node {}: {text}", report.node));
    } else {
        line(&mut out, 0, &format!("service {service} from node {}", report.node));
    }
    for way in &report.ways {
        line(&mut out, 0, &way.name);
        for stop in &way.stops {
            let mark = if stop.passes { "ok" } else { "NO" };
            line(&mut out, 1, &format!("{mark}  {}", stop.text));
        }
    }
    line(&mut out, 0, "network of this host");
    if report.amiss.is_empty() {
        line(&mut out, 1, "ok  tunnels, routes and packet rules are as they should be");
    }
    for text in &report.amiss {
        line(&mut out, 1, &format!("NO  {text}"));
    }
    if !report.amiss.is_empty() {
        line(
            &mut out,
            1,
            "the daemon puts this right within seconds, or its log says why it cannot",
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_as_text() -> anyhow::Result<()> {
        let report: Report = serde_json::from_value(serde_json::json!({
            "Node": "one",
            "Ways": [{"Name": "port 8080/tcp", "Stops": [
                {"Text": "leads to port 80 of the tasks", "Passes": true},
                {"Text": "web.1 at 10.0.0.6\u{1b}[2J", "Passes": false}]}],
            "Amiss": ["table ip skep of packet rules is not there"],
        }))?;
        let expected = "\
service web from node one
port 8080/tcp
  ok  leads to port 80 of the tasks
  NO  web.1 at 10.0.0.6 [2J
network of this host
  NO  table ip skep of packet rules is not there
  the daemon puts this right within seconds, or its log says why it cannot
";
        assert_eq!(render("web", &report), expected);
        let none = Report { node: "one".to_owned(), ..Report::default() };
        assert_eq!(
            render("web", &none),
            "service web from node one: no way: it is on no overlay network and publishes no port\n\
             network of this host\n  ok  tunnels, routes and packet rules are as they should be\n"
        );
        Ok(())
    }
}
