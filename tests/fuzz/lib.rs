//! Fuzz targets: each takes bytes that nobody vouches for and asserts what skep promises about them. Mutates nothing.
//!
//! `libfuzzer/` makes one program of each target; `corpus.rs` runs each over the inputs that are kept of it.

pub mod targets;

/// A target: its name, which is that of its corpus, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("certificates", targets::certificates::run),
    ("dns", targets::dns::run),
    ("expressions", targets::expressions::run),
    ("filters", targets::filters::run),
    ("logs", targets::logs::run),
    ("records", targets::records::run),
    ("specs", targets::specs::run),
    ("store", targets::store::run),
];
