//! Runs every target over its kept inputs, as any other test: no input that was ever a finding comes back.

use std::fs;
use std::path::PathBuf;

use skep_fuzz::TARGETS;

fn corpus(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

#[test]
fn kept_inputs_hold() {
    for (name, run) in TARGETS {
        let folder = corpus(name);
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut paths: Vec<PathBuf> =
            entries.map(|entry| entry.expect("the corpus can be read").path()).collect();
        paths.sort();
        assert!(!paths.is_empty(), "{name} has no inputs");
        for path in paths {
            let data = fs::read(&path).expect("the corpus can be read");
            let outcome = std::panic::catch_unwind(|| run(&data));
            assert!(outcome.is_ok(), "{} fails", path.display());
        }
    }
}

#[test]
fn nothing_and_noise_hold() {
    for (_, run) in TARGETS {
        run(&[]);
        for choice in 0..=u8::MAX {
            run(&[choice]);
            run(&[choice, 0, 255, choice, 128, 10, 123, 34]);
        }
    }
}

#[test]
fn every_target_is_built_for_the_fuzzer() {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("libfuzzer/Cargo.toml");
    let manifest = fs::read_to_string(manifest).expect("the manifest can be read");
    for (name, _) in TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} has no program");
    }
}
