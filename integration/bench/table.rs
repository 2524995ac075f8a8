//! Medians, tails and the markdown table they go into. Measures nothing.

use std::time::Duration;

/// Times of one kind of call, in milliseconds; or rates of one kind.
#[derive(Default, Clone)]
pub struct Times(Vec<f64>);

impl Times {
    pub fn add(&mut self, took: Duration) {
        self.0.push(took.as_secs_f64() * 1e3);
    }

    pub fn put(&mut self, rate: f64) {
        self.0.push(rate);
    }

    /// What each one here is of its partner there: both were measured moments apart, so that what else the machine does
    /// bears on both.
    pub fn shares(&self, of: &Self) -> Self {
        Self(self.0.iter().zip(&of.0).map(|(one, other)| one / other).collect())
    }

    pub fn median(&self) -> f64 {
        self.rank(0.5)
    }

    /// The mean: what a rate is made of.
    pub fn mean(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
        let count = self.0.len() as f64;
        self.0.iter().sum::<f64>() / count
    }

    fn rank(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a place in a short list"
        )]
        let place = ((sorted.len() as f64 * share).ceil() as usize).saturating_sub(1);
        sorted.get(place).copied().unwrap_or(f64::NAN)
    }

    /// `median / p99`.
    pub fn show(&self) -> String {
        format!("{} / {}", millis(self.median()), millis(self.rank(0.99)))
    }
}

/// A time with as many digits as mean something.
pub fn millis(time: f64) -> String {
    match time {
        time if time.abs() < 1.0 => format!("{:.0} µs", time * 1e3),
        time if time.abs() < 10.0 => format!("{time:.2} ms"),
        time if time < 10_000.0 => format!("{time:.0} ms"),
        time => format!("{:.1} s", time / 1e3),
    }
}

pub fn ratio(over: f64, under: f64) -> String {
    format!("{:.2}", over / under)
}

/// The table as it grows.
pub struct Table(Vec<[String; 6]>);

impl Table {
    pub fn new(head: [&str; 6]) -> Self {
        Self(vec![head.map(str::to_owned), ["---"; 6].map(str::to_owned)])
    }

    pub fn row(&mut self, measure: &str, cells: [&str; 4], aim: &str) {
        let [raw, genuine, skep, ratio] = cells;
        let row = [measure, raw, genuine, skep, ratio, aim].map(str::to_owned);
        eprintln!("{}", line(&row));
        self.0.push(row);
    }

    /// The table as markdown; nothing if nothing was measured.
    pub fn text(&self) -> String {
        if self.0.len() <= 2 {
            return String::new();
        }
        self.0.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

fn line(cells: &[String; 6]) -> String {
    format!("| {} |", cells.join(" | "))
}
