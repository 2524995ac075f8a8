//! The few rules in the engine's own chains for users, without which engines drop what skep leads to containers.

use std::collections::BTreeSet;

use skep_core::net::family::Family;
use skep_core::net::kernel::Accepts;

use super::{KernelError, program, program_retried};

const fn iptables(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    }
}

/// Returns skep's rules in the chains that the engine keeps.
pub(super) async fn list() -> Accepts {
    let [v4, v6] = Family::ALL;
    let both = tokio::join!(list_in(v4), list_in(v6));
    [(v4, both.0), (v6, both.1)].into_iter().filter_map(|it| Some((it.0, it.1?))).collect()
}

async fn list_in(family: Family) -> Option<BTreeSet<String>> {
    let args = ["-w", "-S", "DOCKER-USER"].map(str::to_owned).to_vec();
    let listed = program(iptables(family), args, String::new()).await.ok()?;
    let ours = |line: &&str| {
        line.starts_with("-A ") && [" -i sk", " -o sk"].iter().any(|link| line.contains(link))
    };
    Some(listed.lines().filter(ours).map(str::to_owned).collect())
}

pub(super) async fn add(family: Family, rule: &str) -> Result<(), KernelError> {
    change(family, "-I", rule).await
}

pub(super) async fn remove(family: Family, rule: &str) -> Result<(), KernelError> {
    change(family, "-D", rule).await
}

async fn change(family: Family, verb: &str, rule: &str) -> Result<(), KernelError> {
    let words = rule.split_whitespace().skip(1);
    let args: Vec<&str> = ["-w", verb].into_iter().chain(words).collect();
    program_retried(iptables(family), &args, "").await.map(drop)
}
