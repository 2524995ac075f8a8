//! Findings about the data folder and the certificate in it.

use crate::doctor::facts::{Certificate, Content, Data, Facts, Folder};
use crate::doctor::finding::Findings;

/// Seconds before its end from which a certificate should have been renewed.
const SOON: i64 = 86_400;

pub fn data(facts: &Facts, out: &mut Findings<'_>) {
    let data = &facts.data;
    let path = data.path.display();
    match &data.folder {
        Folder::Missing => {
            return out
                .ok(format!("The data folder {path} is not there yet; the daemon makes it."));
        }
        Folder::Forbidden => {
            return out.unseen(format!("The data folder {path} is closed to this user."));
        }
        Folder::Failed(reason) => {
            return out.problem(
                format!("The data folder {path} cannot be used: {reason}."),
                "Repair it, or name another one with --data-dir.",
            );
        }
        Folder::Found { mode, owner } => permissions(data, *mode, *owner, out),
    }
    contents(data, out);
    if let Some(certificate) = &facts.certificate {
        match &certificate.content {
            Err(reason) => out.problem(
                format!("The certificate {} cannot be read: {reason}.", certificate.path.display()),
                "Remove it; the daemon makes a new one within a minute.",
            ),
            Ok(content) => judge(facts, certificate, content, out),
        }
    }
}

fn permissions(data: &Data, mode: u32, owner: u32, out: &mut Findings<'_>) {
    let path = data.path.display();
    if mode & 0o077 != 0 {
        out.warning(
            format!(
                "Others may look into the data folder {path} (mode {:o}); keys are in it.",
                mode & 0o777
            ),
            format!("Run `chmod 700 {path}`."),
        );
    }
    if owner != 0 {
        out.note(
            format!("The data folder {path} belongs to user {owner}, not to root."),
            "Make sure that only who may control this machine is that user.",
        );
    }
}

fn contents(data: &Data, out: &mut Findings<'_>) {
    for damage in &data.damage {
        out.problem(
            format!("The state cannot be used: {damage}."),
            "Stop the daemon and restore the data folder from a backup.",
        );
    }
    if data.damage.is_empty() {
        out.ok(match &data.identity {
            Some((node, cluster)) => {
                format!("The state of node {node} in cluster {cluster} is readable.")
            }
            None => "The data folder is readable and holds no cluster.".to_owned(),
        });
    }
    if data.locked {
        out.note(
            "The data key is locked (autolock).",
            "Keep the unlock key; each start asks for it.",
        );
    }
    if let Some(holder) = &data.holder {
        out.ok(format!("The state is open in {holder}."));
    }
}

fn judge(facts: &Facts, certificate: &Certificate, content: &Content, out: &mut Findings<'_>) {
    let path = certificate.path.display();
    let renewal = "Start the daemon: it makes a new one at once. If it runs, see its log for why it could not.";
    let (left, until) = (content.not_after - facts.now_unix, content.not_before - facts.now_unix);
    if left <= 0 {
        out.problem(format!("The certificate {path} expired {} ago.", span(-left)), renewal);
    } else if until > 0 {
        out.problem(
            format!("The certificate {path} begins to count in {}.", span(until)),
            "Set the clock right: it is behind the one the certificate was made with.",
        );
    } else if left < SOON {
        out.warning(format!("The certificate {path} expires in {}.", span(left)), renewal);
    } else {
        out.ok(format!("The {}'s certificate counts for another {}.", content.role, span(left)));
    }
    if !content.descends {
        out.problem(
            format!("The certificate {path} was not signed by the root beside it."),
            "Remove both; the daemon makes them anew within a minute.",
        );
    }
    if let Some((node, cluster)) = &facts.data.identity
        && (*node != content.node || *cluster != content.cluster)
    {
        out.problem(
            format!(
                "The certificate {path} is that of node {} in cluster {}.",
                content.node, content.cluster
            ),
            "Restore the data folder as a whole: its parts are of different nodes.",
        );
    }
}

/// Writes a span of time for people.
fn span(seconds: i64) -> String {
    match seconds {
        0..120 => format!("{seconds} seconds"),
        120..7_200 => format!("{} minutes", seconds / 60),
        7_200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
