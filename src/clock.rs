//! EDGE: the clocks, read here and nowhere else. Only edges may: to the core time is an argument.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// The clock that deadlines are measured by; a test may hold it.
#[expect(clippy::disallowed_methods, reason = "this is where edges read it")]
pub fn now() -> Instant {
    Instant::now()
}

/// The clock on the wall, since 1970: for people, and for what ends at a time of day.
#[expect(clippy::disallowed_methods, reason = "this is where edges read it")]
pub fn since_1970() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}

/// The same in seconds, as certificates tell theirs.
pub fn unix_seconds() -> i64 {
    i64::try_from(since_1970().as_secs()).unwrap_or(i64::MAX)
}
