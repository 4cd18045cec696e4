//! Numbers from numbers.

use std::time::Duration;

/// Times, to be asked what most of them were.
#[derive(Clone, Debug, Default)]
pub(super) struct Times(Vec<Duration>);

impl Times {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn note(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The time that this part of all did not exceed, in milliseconds; none of nothing.
    pub(super) fn at(&self, part: f64) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        let index = (part * sorted.len() as f64).ceil() as usize;
        Some(milliseconds(sorted[index.saturating_sub(1).min(last)]))
    }
}

pub(super) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// The line through these points: where it starts, and how steep it is.
pub(super) fn line(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let common = points.iter().map(|point| (point.0 - x) * (point.1 - y));
    let slope = common.sum::<f64>() / spread;
    (points.len() > 1 && spread > 0.0).then_some((y - slope * x, slope))
}

/// The exponent with which a cost grows with the size, by a line through the logarithms.
pub(super) fn exponent(points: &[(f64, f64)]) -> Option<f64> {
    let positive = points.iter().filter(|point| point.0 > 0.0 && point.1 > 0.0);
    let logarithms: Vec<_> = positive.map(|(x, y)| (x.ln(), y.ln())).collect();
    line(&logarithms).map(|(_, slope)| slope)
}

/// Seeded chance: the same seed, the same run.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, end: usize) -> usize {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end.max(1) as u64) as usize
    }
}
