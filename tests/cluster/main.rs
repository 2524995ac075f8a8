//! Whole nodes in one process: real consensus, storage, API and agent beside a simulated engine. Needs neither root nor Docker.

mod attach;
mod backup;
mod client;
mod engine;
mod external;
mod lock;
mod managers;
mod membership;
mod relay;
mod restart;
mod rollout;
mod rotation;
mod service;
#[path = "../../integration/signer/cfssl.rs"]
mod signer;
mod spec;
mod streams;
mod trust;
mod workers;
mod world;

use std::path::Path;

#[test]
fn no_file_of_this_folder_is_forgotten() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster");
    let read = |path: &Path| std::fs::read_to_string(path).expect("the folder can be read");
    let main = read(&folder.join("main.rs"));
    let entries = std::fs::read_dir(&folder).expect("the folder can be read");
    let paths = entries.map(|entry| entry.expect("the folder can be read").path());
    let forgotten: Vec<_> = paths
        .filter(|path| {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            name != "main" && !main.lines().any(|line| line == format!("mod {name};"))
        })
        .collect();
    assert!(forgotten.is_empty(), "no `mod` names {forgotten:?}");
}
