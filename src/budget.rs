//! PURE: how much may be done in a time: a bucket of tokens that fills by itself. It never waits.

use std::time::Duration;

/// A bucket that is full at first, gives a token for each thing that is done, and is given one
/// back in every `pause` until it is full again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Budget {
    pause: Duration,
    /// How long an empty bucket takes to be full.
    depth: Duration,
    /// When it is full again.
    full_at: Duration,
}

impl Budget {
    /// A bucket of `burst` tokens that is given one every `pause`.
    pub(crate) fn new(burst: u32, pause: Duration) -> Self {
        Self {
            pause,
            depth: pause.saturating_mul(burst),
            full_at: Duration::ZERO,
        }
    }

    /// Takes a token at `now`, a time since whichever beginning; whether there was one.
    pub(crate) fn take(&mut self, now: Duration) -> bool {
        if now < self.next(now) {
            return false;
        }
        self.full_at = self.full_at.max(now).saturating_add(self.pause);
        true
    }

    /// When there is a token: `now`, or later.
    pub(crate) fn next(&self, now: Duration) -> Duration {
        let after = self.full_at.max(now).saturating_add(self.pause);
        after.saturating_sub(self.depth).max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn taken(budget: &mut Budget, now: Duration) -> usize {
        (0..100).take_while(|_| budget.take(now)).count()
    }

    #[test]
    fn a_full_bucket_gives_its_burst_at_once_and_then_one_each_pause() {
        let mut budget = Budget::new(5, SECOND);
        assert_eq!(taken(&mut budget, SECOND * 3), 5);
        assert_eq!(budget.next(SECOND * 3), SECOND * 4);
        assert_eq!(taken(&mut budget, SECOND * 4 - Duration::from_nanos(1)), 0);
        assert_eq!(taken(&mut budget, SECOND * 4), 1);
        assert_eq!(taken(&mut budget, SECOND * 7), 3);
    }

    #[test]
    fn a_bucket_is_never_more_than_full() {
        let mut budget = Budget::new(5, SECOND);
        assert_eq!(taken(&mut budget, Duration::ZERO), 5);
        assert_eq!(taken(&mut budget, SECOND * 1_000), 5);
        assert_eq!(taken(&mut budget, SECOND * 1_000), 0);
    }

    #[test]
    fn over_any_time_it_gives_its_burst_and_what_it_was_given_back() {
        let mut budget = Budget::new(10, Duration::from_millis(20));
        let mut total = 0;
        for step in 0..=1_000_u32 {
            total += taken(&mut budget, Duration::from_millis(3) * step);
        }
        assert_eq!(total, 10 + 3_000 / 20);
    }

    #[test]
    fn the_next_token_is_there_when_it_is_said_to_be() {
        let mut budget = Budget::new(3, Duration::from_millis(7));
        let mut now = Duration::ZERO;
        for _ in 0..50 {
            now = budget.next(now);
            assert!(budget.take(now));
        }
        assert_eq!(now, Duration::from_millis(7) * 47);
    }
}
