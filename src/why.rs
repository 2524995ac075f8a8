//! `skep why`: asks a daemon for the reasoning behind a service or a task and prints it. Part of the binary only; reasons
//! nothing itself.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::{Context, bail};
use skep::config::Address;
use skep_api::why::{Object, Report};

use crate::status;

/// Prints why `reference` is as it is, as the daemon behind the first of `hosts` sees it.
pub async fn print(hosts: &[Address], reference: &str) -> anyhow::Result<()> {
    let Some(host) = hosts.first() else { bail!("no host given") };
    let answer = status::get(host, &format!("/skep/why/{}", encode(reference))).await?;
    let report: Report =
        serde_json::from_value(answer).context("the daemon's answer is not readable")?;
    std::io::stdout().write_all(render(&report).as_bytes())?;
    Ok(())
}

/// Percent-encodes all but what names and ids are made of.
pub fn encode(reference: &str) -> String {
    reference.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

/// Writes a report for people.
fn render(report: &Report) -> String {
    let mut out = String::new();
    if let Some(service) = &report.service {
        line(&mut out, 0, &format!("service {} ({})", service.name, service.id));
        facts(&mut out, service);
    }
    for task in &report.tasks {
        let node = if task.node.is_empty() { String::new() } else { format!(" on {}", task.node) };
        line(&mut out, 0, &format!("task {}{node}: {}", task.name, task.state));
        facts(&mut out, task);
    }
    if !report.nodes.is_empty() {
        line(
            &mut out,
            0,
            &match &report.waiting_task {
                Some(task) => format!("where task {task} could go"),
                None => "where one more task could go".to_owned(),
            },
        );
    }
    for node in &report.nodes {
        let fits = node.checks.iter().all(|check| check.passes);
        let verdict = if fits { "fits" } else { "does not fit" };
        line(&mut out, 1, &format!("node {} ({}) {verdict}", node.name, node.id));
        for check in &node.checks {
            let mark = if check.passes { "ok" } else { "NO" };
            line(&mut out, 2, &format!("{mark}  {:<13}{}", check.name, check.figures));
        }
    }
    out
}

fn facts(out: &mut String, object: &Object) {
    for fact in &object.facts {
        let until = match &fact.until {
            Some(until) => format!(" (until {})", skep_api::wire::time::format(until.0)),
            None => String::new(),
        };
        line(out, 1, &format!("{}{until}", fact.text));
    }
}

/// Adds a line, indented by so many steps.
pub fn line(out: &mut String, depth: usize, text: &str) {
    // Texts come from names, labels and errors: no control character of theirs may reach the terminal.
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    // Writing to a text does not fail.
    let _ = writeln!(out, "{:width$}{plain}", "", width = depth * 2);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_as_text() -> anyhow::Result<()> {
        let report: Report = serde_json::from_value(serde_json::json!({
            "Service": {"ID": "s1", "Name": "web", "Facts": [{"Text": "replicated: 1 wanted, 0 running"}]},
            "Tasks": [{"ID": "t1", "Name": "web.1.t1", "State": "pending, running wanted", "Facts": [
                {"Text": "starts in 5.0s\u{1b}[2J", "Until": "2026-01-02T03:04:05Z"}]}],
            "WaitingTask": "t1",
            "Nodes": [{"ID": "n1", "Name": "one", "Checks": [
                {"Name": "available", "Passes": true, "Figures": "state ready, availability active"},
                {"Name": "resources", "Passes": false, "Figures": "CPUs: 9 wanted, 4 of 4 free"}]}],
        }))?;
        let expected = "\
service web (s1)
  replicated: 1 wanted, 0 running
task web.1.t1: pending, running wanted
  starts in 5.0s [2J (until 2026-01-02T03:04:05Z)
where task t1 could go
  node one (n1) does not fit
    ok  available    state ready, availability active
    NO  resources    CPUs: 9 wanted, 4 of 4 free
";
        assert_eq!(render(&report), expected);
        Ok(())
    }

    #[test]
    fn references_are_encoded() {
        assert_eq!(encode("web.1/a b"), "web.1%2Fa%20b");
    }
}
