//! The targets, one a file. Each says what it reads and what must hold.

pub mod certificates;
pub mod dns;
pub mod expressions;
pub mod filters;
pub mod logs;
pub mod records;
pub mod specs;
pub mod store;

/// Splits off the byte that chooses among the things one target reads.
fn choose(data: &[u8], choices: u8) -> Option<(u8, &[u8])> {
    let (first, rest) = data.split_first()?;
    Some((first % choices, rest))
}

/// Splits an input at the first zero byte; the second part is empty without one.
fn two_parts(data: &[u8]) -> (&[u8], &[u8]) {
    let end = data.iter().position(|byte| *byte == 0);
    end.map_or((data, &[]), |end| (&data[..end], &data[end + 1..]))
}
