//! `skep doctor`: looks at what skep stands on and says what to do about each finding. Part of the binary only; changes
//! nothing that stays.

mod facts;
mod finding;
mod gather;
mod judge;
mod render;

use std::io::{IsTerminal, Write};

use anyhow::Context;
use skep::config::Config;

use finding::Level;

/// Looks, judges and prints; tells whether there was no problem.
pub async fn print(config: &Config, json: bool) -> anyhow::Result<bool> {
    let facts = gather::gather(config).await;
    let findings = judge::judge(&facts);
    let out = std::io::stdout();
    let text = if json {
        serde_json::to_string_pretty(&serde_json::json!({ "findings": findings }))
            .context("the findings cannot be written as JSON")?
            + "\n"
    } else {
        render::render(&findings, out.is_terminal())
    };
    out.lock().write_all(text.as_bytes())?;
    Ok(findings.iter().all(|finding| finding.level != Level::Problem))
}
