//! A finding: one sentence what, one sentence what to do.

use serde::Serialize;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Good to know.
    Note,
    /// Works, but not well or not for long.
    Warning,
    /// Does not work.
    Problem,
}

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub area: &'static str,
    pub level: Level,
    pub what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// The findings of one area, in the making.
pub struct Findings<'a> {
    pub area: &'static str,
    pub list: &'a mut Vec<Finding>,
}

impl Findings<'_> {
    pub fn ok(&mut self, what: impl Into<String>) {
        self.add(Level::Ok, what.into(), None);
    }

    pub fn note(&mut self, what: impl Into<String>, advice: impl Into<String>) {
        self.add(Level::Note, what.into(), Some(advice.into()));
    }

    pub fn warning(&mut self, what: impl Into<String>, advice: impl Into<String>) {
        self.add(Level::Warning, what.into(), Some(advice.into()));
    }

    pub fn problem(&mut self, what: impl Into<String>, advice: impl Into<String>) {
        self.add(Level::Problem, what.into(), Some(advice.into()));
    }

    pub fn at(&mut self, level: Level, what: impl Into<String>, advice: impl Into<String>) {
        self.add(level, what.into(), Some(advice.into()));
    }

    /// Says that something could not be seen.
    pub fn unseen(&mut self, what: impl Into<String>) {
        let advice = "Run skep doctor as root to see it.";
        self.add(Level::Note, what.into(), Some(advice.to_owned()));
    }

    fn add(&mut self, level: Level, what: String, advice: Option<String>) {
        let advice = advice.filter(|advice| !advice.is_empty());
        self.list.push(Finding { area: self.area, level, what, advice });
    }
}
