//! Kernel settings below /proc/sys.

use skep_core::net::asking;
use skep_core::net::kernel::{Desired, Kernel};

use super::{KernelError, program};

/// Below it the settings of bridges are, once the module is there.
const BRIDGE_SETTINGS: &str = "/proc/sys/net/bridge";

pub(super) fn read(wanted: &Desired, kernel: &mut Kernel) {
    for path in wanted.settings.keys().chain(&asking::settings(wanted, kernel)) {
        if let Ok(value) = std::fs::read_to_string(format!("/proc/sys/{path}")) {
            kernel.settings.insert(path.clone(), value.trim().to_owned());
        }
    }
}

pub(super) async fn write(path: &str, value: &str) -> Result<(), KernelError> {
    let file = format!("/proc/sys/{path}");
    if path.starts_with("net/bridge/") && !std::path::Path::new(BRIDGE_SETTINGS).exists() {
        program("modprobe", vec!["br_netfilter".to_owned()], String::new()).await?;
    }
    std::fs::write(&file, value).map_err(|error| KernelError::Program {
        program: "/proc/sys",
        message: format!("{path} cannot be set to {value}: {error}"),
    })
}
