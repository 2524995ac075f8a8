//! Turns facts into findings. Pure: looks at nothing but the facts.

mod data;
mod engine;
mod kernel;
mod machine;
#[cfg(test)]
mod tests;

use super::facts::Facts;
use super::finding::{Finding, Findings};

/// Adds the findings of one area.
type Check = fn(&Facts, &mut Findings<'_>);

/// Judges everything that was seen, in the order of a reader's interest.
pub fn judge(facts: &Facts) -> Vec<Finding> {
    let mut list = Vec::new();
    let areas: [(&'static str, Check); 9] = [
        ("engine", engine::engine),
        ("daemon", engine::daemon),
        ("kernel", kernel::kernel),
        ("network", kernel::network),
        ("ports", machine::ports),
        ("clock", machine::clock),
        ("disk", machine::disks),
        ("data", data::data),
        ("limits", machine::limits),
    ];
    for (area, check) in areas {
        check(facts, &mut Findings { area, list: &mut list });
    }
    list
}

/// Writes bytes for people.
fn bytes(count: u64) -> String {
    let mut whole = count;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if whole < 10_240 {
            return format!("{whole} {unit}");
        }
        whole /= 1024;
    }
    format!("{whole} TiB")
}
