//! A histogram of atomics: an observation is two additions, whoever else observes at the moment.

use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds of times, in microseconds: 100 µs to five minutes.
pub(super) const TIMES: &[u64] = &[
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
];

/// Upper bounds of how long runs take, in microseconds: 10 ms to thirty days.
pub(super) const RUNS: &[u64] = &[
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    60_000_000,
    300_000_000,
    1_800_000_000,
    3_600_000_000,
    21_600_000_000,
    86_400_000_000,
    604_800_000_000,
    2_592_000_000_000,
];

/// Upper bounds of entries in a group.
pub(super) const ENTRIES: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 4_096];

/// Upper bounds of bytes in a group.
pub(super) const BYTES: &[u64] = &[256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 8_388_608];

/// How often a value lay within which bounds.
#[derive(Debug)]
pub(super) struct Histogram {
    bounds: &'static [u64],
    /// One more than bounds: what lies above all of them.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// What a histogram holds at a moment.
pub(super) struct Reading {
    pub sum: f64,
    pub count: u64,
    pub buckets: Vec<(f64, u64)>,
}

impl Histogram {
    pub(super) fn new(bounds: &'static [u64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    pub(super) fn observe(&self, value: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    pub(super) fn time(&self, took: std::time::Duration) {
        self.observe(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// What it holds, with values divided by `unit`: a million makes seconds of microseconds.
    pub(super) fn read(&self, unit: f64) -> Reading {
        let counts: Vec<u64> = self.counts.iter().map(|c| c.load(Ordering::Relaxed)).collect();
        let bounds = self.bounds.iter().map(|b| *b as f64 / unit).chain([f64::INFINITY]);
        Reading {
            sum: self.sum.load(Ordering::Relaxed) as f64 / unit,
            count: counts.iter().sum(),
            buckets: bounds.zip(counts).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        let histogram = Histogram::new(&[10, 100]);
        for value in [0, 10, 11, 100, 101, u64::from(u32::MAX)] {
            histogram.observe(value);
        }
        let reading = histogram.read(1.0);
        assert_eq!(reading.buckets, [(10.0, 2), (100.0, 2), (f64::INFINITY, 2)]);
        assert_eq!(reading.count, 6);
        assert_eq!(reading.sum, 222.0 + f64::from(u32::MAX));
    }

    #[test]
    fn bounds_are_in_order() {
        for bounds in [TIMES, RUNS, ENTRIES, BYTES] {
            assert!(bounds.is_sorted_by(|a, b| a < b), "{bounds:?}");
        }
    }
}
