//! Findings about the engine and about skep's own daemon.

use serde_json::Value;

use crate::doctor::facts::{Facts, Reach, Server};
use crate::doctor::finding::{Findings, Level};

/// The oldest API that skep works with, that of Engine 20.10.
const API_MIN: (u32, u32) = (1, 41);

/// Skews, in milliseconds, from which a difference matters.
const SKEW_NOTED: i64 = 1_000;
const SKEW_BAD: i64 = 60_000;

pub fn engine(facts: &Facts, out: &mut Findings<'_>) {
    let server = &facts.engine;
    let at = &server.address;
    match &server.reach {
        Reach::Answers => {}
        Reach::Missing => {
            return out.problem(
                format!("No Docker Engine listens at {at}."),
                "Start it, for example with `systemctl start docker`, or name its socket with --engine.",
            );
        }
        Reach::Deaf => {
            return out.problem(
                format!("The engine's socket {at} is there, but nobody answers on it."),
                "Start the engine, for example with `systemctl start docker`, and look into its log if it does not stay up.",
            );
        }
        Reach::Forbidden => {
            return out.problem(
                format!("This user may not use the engine's socket {at}."),
                "Run skep doctor as root or as a member of the group that owns the socket.",
            );
        }
        Reach::Failed(reason) => {
            return out.problem(
                format!("The engine at {at} cannot be asked: {reason}."),
                "See whether the address is right and what the engine's log says.",
            );
        }
    }
    version(server, out);
    own_swarm(&server.info, out);
    cgroups(&server.info, out);
    live_restore(&server.info, out);
    storage(&server.info, out);
    for warning in server.info["Warnings"].as_array().into_iter().flatten() {
        let text = text(warning).trim_start_matches("WARNING: ").trim_end_matches('.');
        out.note(format!("The engine warns: {text}."), "See the engine's documentation.");
    }
    skew(server, out);
    namespaces(facts, out);
}

fn version(server: &Server, out: &mut Findings<'_>) {
    let (version, api) = (text(&server.version["Version"]), text(&server.version["ApiVersion"]));
    let known = api
        .split_once('.')
        .and_then(|(major, minor)| Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?)));
    if known.is_some_and(|known| known >= API_MIN) {
        out.ok(format!("Engine {version} answers with API {api}."));
    } else {
        out.problem(
            format!("Engine {version} speaks API {api}; skep needs {}.{}.", API_MIN.0, API_MIN.1),
            "Upgrade to Docker Engine 20.10 or newer.",
        );
    }
    if text(&server.info["OSType"]) == "windows" {
        out.problem("The engine runs Windows containers.", "Use skep beside an engine on Linux.");
    }
}

fn own_swarm(info: &Value, out: &mut Findings<'_>) {
    match text(&info["Swarm"]["LocalNodeState"]) {
        "inactive" | "" => out.ok("The engine's own swarm mode is off, as it must be."),
        state => out.problem(
            format!("The engine's own swarm mode is {state}: two would plan for one machine."),
            "Move its services to skep, then run `docker swarm leave --force` against the engine's socket.",
        ),
    }
}

fn cgroups(info: &Value, out: &mut Findings<'_>) {
    let (driver, version) = (text(&info["CgroupDriver"]), text(&info["CgroupVersion"]));
    match (driver, version) {
        ("none", _) => out.problem(
            "The engine has no cgroups, so that limits and reservations have no effect.",
            "Give the engine cgroups: on a rootless engine, delegate them with systemd.",
        ),
        (_, "1") => out.note(
            format!("The engine uses cgroups of version 1 ({driver})."),
            "Nothing must be done; newer systems drop version 1, so plan for version 2.",
        ),
        _ => out.ok(format!("Cgroups of version {version}, driver {driver}.")),
    }
    let security = info["SecurityOptions"].as_array().into_iter().flatten();
    if security.map(text).any(|option| option.contains("rootless")) {
        out.problem(
            "The engine is rootless: skep cannot put names and published ports into its network.",
            "Use an engine that runs as root.",
        );
    }
}

fn live_restore(info: &Value, out: &mut Findings<'_>) {
    if info["LiveRestoreEnabled"] == true {
        out.ok("Containers outlive a restart of the engine (live-restore).");
    } else {
        out.note(
            "A restart of the engine stops every container (live-restore is off).",
            "Set \"live-restore\": true in /etc/docker/daemon.json; with skep it works together with services.",
        );
    }
}

fn storage(info: &Value, out: &mut Findings<'_>) {
    let driver = text(&info["Driver"]);
    let status = |key: &str| {
        let rows = info["DriverStatus"].as_array().into_iter().flatten();
        rows.filter(|row| row[0] == key).map(|row| text(&row[1]).to_owned()).next()
    };
    match driver {
        "vfs" => out.warning(
            "The storage driver vfs copies whole images for each container: slow, and it fills the disk.",
            "Set \"storage-driver\": \"overlay2\" in /etc/docker/daemon.json on a file system that allows it.",
        ),
        "aufs" | "devicemapper" | "overlay" => out.warning(
            format!("The storage driver {driver} is gone from newer engines."),
            "Move to overlay2 before the next upgrade of the engine.",
        ),
        _ if status("Supports d_type").is_some_and(|found| found == "false") => out.problem(
            "The file system below overlay2 lacks d_type, which damages containers.",
            "Make the file system anew with d_type (for xfs: ftype=1).",
        ),
        _ => out.ok(format!(
            "Storage driver {driver}{}.",
            status("Backing Filesystem").map(|on| format!(" on {on}")).unwrap_or_default()
        )),
    }
}

fn skew(server: &Server, out: &mut Findings<'_>) {
    let Some(ahead) = server.ahead_millis else { return };
    let level = match ahead.abs() {
        0..SKEW_NOTED => return out.ok("The engine's clock and ours agree."),
        SKEW_NOTED..SKEW_BAD => Level::Warning,
        _ => Level::Problem,
    };
    let direction = if ahead > 0 { "ahead of" } else { "behind" };
    out.at(
        level,
        format!("The engine's clock is {} s {direction} ours.", ahead.abs() / 1000),
        "Let engine and skep run on one machine and clock.",
    );
}

fn namespaces(facts: &Facts, out: &mut Findings<'_>) {
    match (&facts.mounts.engine, &facts.mounts.ours) {
        (Some(engine), Some(ours)) if engine == ours => {
            out.ok("skep and the engine see the same mounts.");
        }
        (Some(_), Some(_)) => out.problem(
            "skep and the engine are in different mount namespaces: containers would not see secrets and configs.",
            "Start both in one: no PrivateMounts= or PrivateTmp= in either's unit, and no container around one of them.",
        ),
        (None, _) | (_, None) if !facts.root => {
            out.unseen("Whether skep and the engine see the same mounts is hidden from this user.");
        }
        (None, _) | (_, None) => out.note(
            "Whether skep and the engine see the same mounts could not be told.",
            "Start both in the same mount namespace.",
        ),
    }
}

pub fn daemon(facts: &Facts, out: &mut Findings<'_>) {
    let server = &facts.daemon;
    let at = &server.address;
    match &server.reach {
        Reach::Answers => {}
        Reach::Missing => {
            return out.note(
                format!("No skep daemon runs at {at}."),
                "Start one with `skep daemon`, or name its socket with --host.",
            );
        }
        Reach::Deaf => {
            return out.note(
                format!("The socket {at} is left from a daemon that is gone."),
                "Start a daemon with `skep daemon`; it replaces the socket.",
            );
        }
        Reach::Forbidden => {
            return out.unseen(format!("The daemon's socket {at} is closed to this user."));
        }
        Reach::Failed(reason) => {
            return out.problem(
                format!("The daemon at {at} cannot be asked: {reason}."),
                "Look into the daemon's log, and start it again if it hangs.",
            );
        }
    }
    let swarm = &server.info["Swarm"];
    match text(&swarm["LocalNodeState"]) {
        "active" => out.ok(format!("The daemon at {at} serves node {}.", text(&swarm["NodeID"]))),
        "inactive" => out.note(
            format!("The daemon at {at} is in no cluster."),
            format!("Make one with `docker -H {at} swarm init`."),
        ),
        "locked" => out.warning(
            "The cluster's keys are locked.",
            format!("Unlock them with `docker -H {at} swarm unlock`."),
        ),
        state => out.problem(
            format!("The daemon's cluster is in state {state}: {}.", text(&swarm["Error"])),
            "Do what the reason asks for, then start the daemon again.",
        ),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
