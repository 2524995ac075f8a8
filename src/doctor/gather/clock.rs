//! Whether something keeps the clock right.

use std::path::Path;
use std::process::Command;

use super::process;
use crate::doctor::facts::Clock;

const SERVICES: [&str; 6] = ["chronyd", "systemd-timesyn", "ntpd", "ntpd-rs", "openntpd", "ptp4l"];

pub fn look() -> Clock {
    let service = process::running(&SERVICES).map(|name| match name.as_str() {
        // The kernel cuts names to 15 characters.
        "systemd-timesyn" => "systemd-timesyncd".to_owned(),
        _ => name,
    });
    Clock { synchronised: synchronised(), service }
}

fn synchronised() -> Option<bool> {
    if Path::new("/run/systemd/timesync/synchronized").exists() {
        return Some(true);
    }
    // Without systemd there is nobody to ask, and the program would wait for it.
    if !Path::new("/run/systemd/system").exists() {
        return None;
    }
    let output = Command::new("timedatectl")
        .args(["show", "--property=NTPSynchronized", "--value"])
        .output()
        .ok()?;
    match String::from_utf8_lossy(&output.stdout).trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}
