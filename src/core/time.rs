//! Points in time as values. Reads no clock.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Nanoseconds since 1970-01-01T00:00:00Z. Zero stands for "never".
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Makes a timestamp of whole seconds.
    pub const fn from_secs(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }

    /// Returns the time that lies `duration` later, saturating.
    pub fn after(self, duration: Duration) -> Self {
        let nanos = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    /// Returns how long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        u64::try_from(self.0.saturating_sub(earlier.0)).map_or(Duration::ZERO, Duration::from_nanos)
    }

    /// Tells whether this is the "never" value.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

/// Serialises a duration as nanoseconds, the unit of the API.
pub mod nanos {
    use super::Duration;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes nanoseconds, saturating at 584 years.
    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(value.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Reads nanoseconds.
    pub fn deserialize<'de, D: Deserializer<'de>>(source: D) -> Result<Duration, D::Error> {
        u64::deserialize(source).map(Duration::from_nanos)
    }
}

/// Serialises an optional duration as nanoseconds.
pub mod option_nanos {
    use super::Duration;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// Writes nanoseconds or nothing.
    pub fn serialize<S: Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(|held| u64::try_from(held.as_nanos()).unwrap_or(u64::MAX)).serialize(serializer)
    }

    /// Reads nanoseconds or nothing.
    pub fn deserialize<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Duration>, D::Error> {
        Option::<u64>::deserialize(source).map(|held| held.map(Duration::from_nanos))
    }
}
