//! The few rules in the engine's own chain for users, without which engines drop what skep leads to containers.

use std::collections::BTreeSet;

use super::{KernelError, program, program_retried};

const IPTABLES: &str = "iptables";

/// Returns skep's rules in the chain; nothing where the engine keeps no such chain.
pub(super) async fn list() -> Option<BTreeSet<String>> {
    let args = ["-w", "-S", "DOCKER-USER"].map(str::to_owned).to_vec();
    let listed = program(IPTABLES, args, String::new()).await.ok()?;
    let ours = |line: &&str| {
        line.starts_with("-A ") && [" -i sk", " -o sk"].iter().any(|link| line.contains(link))
    };
    Some(listed.lines().filter(ours).map(str::to_owned).collect())
}

pub(super) async fn add(rule: &str) -> Result<(), KernelError> {
    change("-I", rule).await
}

pub(super) async fn remove(rule: &str) -> Result<(), KernelError> {
    change("-D", rule).await
}

async fn change(verb: &str, rule: &str) -> Result<(), KernelError> {
    let words = rule.split_whitespace().skip(1);
    let args: Vec<&str> = ["-w", verb].into_iter().chain(words).collect();
    program_retried(IPTABLES, &args, "").await.map(drop)
}
