//! Findings as text for people.

use std::fmt::Write as _;

use super::finding::{Finding, Level};

/// Columns of a line.
const WIDTH: usize = 100;
/// Columns before the text of a finding.
const INDENT: usize = 19;

/// Writes findings area by area, then how many of each level there are.
pub fn render(findings: &[Finding], colour: bool) -> String {
    let mut out = String::new();
    let mut area = "";
    for finding in findings {
        let shown = if finding.area == area { "" } else { finding.area };
        area = finding.area;
        let (word, code) = level(finding.level);
        let word = format!("{word:<8}");
        let word = if colour { format!("\u{1b}[{code}m{word}\u{1b}[0m") } else { word };
        paragraph(&mut out, &format!("{shown:<9} {word} "), &finding.what);
        if let Some(advice) = &finding.advice {
            paragraph(&mut out, &format!("{:INDENT$}-> ", ""), advice);
        }
    }
    let count = |wanted| findings.iter().filter(|finding| finding.level == wanted).count();
    let (problems, warnings) = (count(Level::Problem), count(Level::Warning));
    let summary = format!(
        "\n{}, {}, {}.\n",
        plural(problems, "problem"),
        plural(warnings, "warning"),
        plural(count(Level::Note), "note")
    );
    out.push_str(&summary);
    out
}

fn level(level: Level) -> (&'static str, &'static str) {
    match level {
        Level::Ok => ("ok", "32"),
        Level::Note => ("note", "36"),
        Level::Warning => ("warning", "33"),
        Level::Problem => ("PROBLEM", "1;31"),
    }
}

fn plural(count: usize, word: &str) -> String {
    match count {
        0 => format!("no {word}s"),
        1 => format!("1 {word}"),
        _ => format!("{count} {word}s"),
    }
}

/// Writes a text after its head, broken into lines that begin below its first word.
fn paragraph(out: &mut String, head: &str, text: &str) {
    let first = if head.ends_with("-> ") { INDENT + 3 } else { INDENT };
    // Texts of the engine and the system are in it: no control character of theirs may reach the terminal.
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    out.push_str(head);
    let mut column = first;
    for (number, word) in plain.split_whitespace().enumerate() {
        let length = word.chars().count();
        if number > 0 && column + 1 + length > WIDTH {
            // Writing to a text does not fail.
            let _ = write!(out, "\n{:first$}", "");
            column = first;
        } else if number > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_read_as_text() {
        let finding = |level, what: &str, advice: Option<&str>| Finding {
            area: "engine",
            level,
            what: what.to_owned(),
            advice: advice.map(str::to_owned),
        };
        let text = render(
            &[
                finding(Level::Ok, "Engine 28 answers\u{1b}[2J.", None),
                finding(Level::Problem, &"long ".repeat(20), Some("Do it.")),
            ],
            false,
        );
        let expected = "\
engine    ok       Engine 28 answers [2J.
          PROBLEM  long long long long long long long long long long long long long long long long
                   long long long long
                   -> Do it.

1 problem, no warnings, no notes.
";
        assert_eq!(text, expected);
    }
}
