//! PURE: how long to wait before the next try. Nothing here sleeps.

use std::time::Duration;

/// Exponential delays with jitter, the same for the same seed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
    seed: u64,
}

impl Backoff {
    /// Delays that begin at `first` and double up to `longest`.
    pub fn new(first: Duration, longest: Duration, seed: u64) -> Self {
        Self {
            first,
            longest,
            failures: 0,
            seed,
        }
    }

    /// The delay after one more failure: between half and the whole of the doubled time, so that
    /// many who failed together do not return together.
    pub fn next_delay(&mut self) -> Duration {
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        let full = self.first.saturating_mul(factor).min(self.longest);
        self.failures = self.failures.saturating_add(1);
        let share = mix(self.seed.wrapping_add(u64::from(self.failures))) % 1_000;
        full / 2 + full.mul_f64(share as f64 / 2_000.0)
    }

    /// How often it failed since the beginning or the last [`Backoff::reset`].
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// It worked: the next failure begins anew.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// One step of SplitMix64: spreads neighbouring seeds.
fn mix(seed: u64) -> u64 {
    let mut bits = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest_and_keep_half() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(64), 7);
        for full in [1, 2, 4, 8, 16, 32, 64, 64, 64] {
            let delay = backoff.next_delay();
            let full = Duration::from_secs(full);
            assert!(full / 2 <= delay && delay <= full, "{delay:?} of {full:?}");
        }
    }

    #[test]
    fn a_hundred_failures_do_not_overflow() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(64), 7);
        let longest = (0..100).map(|_| backoff.next_delay()).max().unwrap();
        assert!(longest <= Duration::from_secs(64));
    }

    #[test]
    fn success_begins_anew() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(64), 7);
        let first = backoff.next_delay();
        backoff.next_delay();
        backoff.reset();
        assert_eq!(backoff.next_delay(), first);
    }
}
