//! Rules of style that no lint knows, checked over the whole tree. Reads files, changes none.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A file longer than this is split.
const FILE_LINES_MAX: usize = 800;

/// A function longer than this is split.
const FUNCTION_LINES_MAX: usize = 70;

/// A test may hold a table of cases, which is data rather than code.
const TEST_LINES_MAX: usize = 150;

/// All that the pure core may depend on.
const CORE_DEPENDENCIES: &[&str] =
    &["imbl", "serde", "serde_bytes", "thiserror", "tracing", "zeroize"];

/// Crates that must not be built: there is one TLS provider, and it needs no C library of the system.
const BANNED_CRATES: &[&str] = &["aws-lc-rs", "aws-lc-sys", "openssl", "openssl-sys", "native-tls"];

/// Crates whose types cross our borders, or that take long to build: one version of each.
const SINGLE_CRATES: &[&str] = &[
    "bollard",
    "bytes",
    "http",
    "http-body",
    "hyper",
    "hyper-util",
    "imbl",
    "openraft",
    "redb",
    "ring",
    "rmp-serde",
    "rustls",
    "serde",
    "serde_json",
    "tokio",
    "tokio-util",
    "tracing",
    "zeroize",
];

/// Finds the root of the workspace: the nearest folder above this crate with a lock file.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = here.ancestors().find(|folder| folder.join("Cargo.lock").is_file());
    found.expect("a workspace has a lock file").to_owned()
}

/// Lists files with the given ending under a folder, hidden and built ones left out, in a fixed order.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).expect("the tree can be read");
    let paths = entries.map(|entry| entry.expect("the tree can be read").path());
    for path in paths.collect::<BTreeSet<_>>() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') || name == "target" || path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
    found
}

fn read(path: &Path) -> String {
    let text = fs::read_to_string(path);
    text.unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()))
}

/// Runs a check on every Rust file and fails with everything it finds.
fn check_sources(check: impl Fn(&Path, &str) -> Vec<String>) {
    let root = root();
    let sources = files(&root, ".rs");
    assert!(sources.len() > 10, "the tree is not where it should be: {}", root.display());
    let found: Vec<String> = sources
        .iter()
        .flat_map(|path| {
            let short = path.strip_prefix(&root).unwrap_or(path).display().to_string();
            let breaches = check(path, &read(path));
            breaches.into_iter().map(move |breach| format!("{short}: {breach}"))
        })
        .collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    check_sources(|_, text| {
        let mut found = Vec::new();
        if !text.starts_with("//! ") {
            found.push("the first line does not say what the file is for (`//! `)".to_owned());
        }
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            found.push(format!("{lines} lines, {FILE_LINES_MAX} allowed"));
        }
        found
    });
}

/// Tells whether a line opens a function whose body follows.
fn opens_function(line: &str) -> bool {
    let mut words = line.split_whitespace().skip_while(|word| {
        word.starts_with("pub") || ["const", "async", "unsafe", "in"].contains(word)
    });
    words.next() == Some("fn") && !line.ends_with([';', '}'])
}

/// Tells functions that are too long. The formatter closes a function with a brace under its first letter.
fn long_functions(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate().filter(|(_, line)| opens_function(line)) {
        let indent = &line[..line.len() - line.trim_start().len()];
        let ends = |line: &&str| {
            line.strip_prefix(indent).is_some_and(|rest| rest == "}" || rest.starts_with(") -> "))
                && line.ends_with(['}', ';'])
        };
        let length = lines[start..].iter().position(ends).map_or(0, |end| end + 1);
        let test = start > 0 && lines[start - 1].trim().ends_with("test]");
        if length > if test { TEST_LINES_MAX } else { FUNCTION_LINES_MAX } {
            let name = line.trim();
            found.push(format!("line {}: `{name}` has {length} lines", start + 1));
        }
    }
    found
}

#[test]
fn functions_are_short() {
    check_sources(|_, text| long_functions(text));
}

#[test]
fn long_functions_are_seen() {
    let body = "    step();\n".repeat(FUNCTION_LINES_MAX);
    let long = format!("pub(crate) async fn long(\n    a: u8,\n) -> u8 {{\n{body}}}\n");
    assert_eq!(long_functions(&long).len(), 1);
    let short = format!("fn one() {{\n}}\nfn two() {{\n{}}}\n", "    step();\n".repeat(68));
    assert_eq!(long_functions(&short), Vec::<String>::new());
    let declared = format!("fn declared(\n    a: u8,\n) -> u8;\n{body}}}\n");
    assert_eq!(long_functions(&declared), Vec::<String>::new());
}

#[test]
fn work_left_names_its_issue() {
    let mark = concat!("TO", "DO");
    check_sources(|_, text| {
        let left = text
            .lines()
            .enumerate()
            .filter(|(_, line)| line.split(mark).skip(1).any(|rest| !rest.starts_with("(#")));
        left.map(|(place, _)| format!("line {}: write {mark}(#issue)", place + 1)).collect()
    });
}

#[test]
fn no_source_is_forgotten() {
    let root = root();
    let manifests = files(&root, "Cargo.toml");
    let is_root = |path: &Path| {
        manifests.iter().any(|manifest| {
            let folder = manifest.parent().unwrap_or(&root);
            let Ok(short) = path.strip_prefix(folder) else { return false };
            let named = format!("path = \"{}\"", short.display());
            let own =
                ["src/lib.rs", "src/main.rs", "build.rs"].iter().any(|own| short == Path::new(own));
            own || short.parent() == Some(Path::new("tests")) || read(manifest).contains(&named)
        })
    };
    check_sources(|path, _| {
        let declared = parents(path).iter().any(|(parent, module)| {
            let declaration = format!("mod {module};");
            parent.is_file() && read(parent).lines().any(|line| line.trim().ends_with(&declaration))
        });
        if declared || is_root(path) || is_named_by_path(path) {
            Vec::new()
        } else {
            vec!["no `mod` names it".to_owned()]
        }
    });
}

/// Returns the files that may declare a file's module, with the name they would declare it by.
fn parents(path: &Path) -> Vec<(PathBuf, String)> {
    let name = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut folder = path.parent().unwrap_or(path).to_owned();
    let mut module = name(path);
    if module == "mod" {
        module = name(&folder);
        folder.pop();
    }
    let inside = ["mod.rs", "lib.rs", "main.rs"].iter().map(|file| folder.join(file));
    let beside = folder.with_extension("rs");
    inside.chain([beside]).map(|parent| (parent, module.clone())).collect()
}

/// Tells whether a neighbour declares a file by its path.
fn is_named_by_path(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let attribute = format!("#[path = \"{name}\"]");
    let folder = path.parent().unwrap_or(path);
    files(folder, ".rs").iter().any(|neighbour| read(neighbour).contains(&attribute))
}

/// Returns the versions that the lock file holds of a crate.
fn locked_versions(lock: &str, name: &str) -> Vec<String> {
    let start = format!("name = \"{name}\"\nversion = \"");
    let found = lock.split(&start).skip(1);
    found.map(|rest| rest.split('"').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn the_lock_file_holds_no_banned_and_no_doubled_crates() {
    let lock = read(&root().join("Cargo.lock"));
    let banned = BANNED_CRATES.iter().filter(|name| !locked_versions(&lock, name).is_empty());
    let mut found: Vec<String> = banned.map(|name| format!("{name} is banned")).collect();
    for name in SINGLE_CRATES {
        let versions = locked_versions(&lock, name);
        if versions.len() > 1 {
            found.push(format!("{name} is built more than once: {versions:?}"));
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn the_core_depends_on_nothing_else() {
    let manifest = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
    let section = manifest.split("\n[dependencies]\n").nth(1).unwrap_or_default();
    let section = section.split("\n[").next().unwrap_or_default();
    let names: BTreeSet<&str> = section
        .lines()
        .filter_map(|line| line.split(['.', '=', ' ']).next())
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .collect();
    assert_eq!(names, CORE_DEPENDENCIES.iter().copied().collect());
    assert!(!manifest.contains("\n[target."), "the core is the same on every platform");
}

#[test]
fn every_path_of_the_code_map_exists() {
    let root = root();
    let Ok(readme) = fs::read_to_string(root.join("README.md")) else { return };
    let Some(map) = readme.split("\n## Code map\n").nth(1) else { return };
    let map = map.split("\n## ").next().unwrap_or_default();
    let cells = map.lines().filter_map(|line| line.strip_prefix("| `"));
    let paths: Vec<&str> = cells.filter_map(|cell| cell.split('`').next()).collect();
    assert!(!paths.is_empty(), "the code map is a table whose first column names paths");
    let missing: Vec<_> = paths.iter().filter(|path| !root.join(path).exists()).collect();
    assert!(missing.is_empty(), "the code map names what is not there: {missing:?}");
}
