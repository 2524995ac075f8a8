//! Records of the log and commands in them: what can be read is written as something that reads the same.

use skep_api::fake::Fake;
use skep_core::command::Command;
use skep_raft::Record;

use super::choose;

const KINDS: [Record; 5] =
    [Record::Entry, Record::Vote, Record::LogId, Record::Format, Record::Snapshot];

/// Commands of one input that are carried out.
const COMMANDS_MAX: usize = 16;

/// Reads a record, or carries out commands that stand one a line as JSON.
pub fn run(data: &[u8]) {
    let Some((choice, rest)) = choose(data, 6) else { return };
    match KINDS.get(usize::from(choice)) {
        Some(kind) => {
            let Ok(first) = kind.rewrite(rest) else { return };
            let second = kind.rewrite(&first).expect("what we write can be read");
            assert_eq!(first, second, "a record changes each time it is written");
        }
        None => commands(&String::from_utf8_lossy(rest)),
    }
}

/// Whatever the commands are, the state keeps its rules: the world checks them after each.
fn commands(text: &str) {
    let world = Fake::cluster();
    for line in text.lines().take(COMMANDS_MAX) {
        if let Ok(command) = serde_json::from_str::<Command>(line) {
            let _ = world.apply(command);
        }
    }
}
