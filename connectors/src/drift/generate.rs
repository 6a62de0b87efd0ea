//! Makes two files of card transactions to try drift on: a reference, and a current one that has moved by as much as asked.
//!
//! The same seed, rows and shift give the same bytes on every machine: the random numbers are our own SplitMix64 (Steele, Lea
//! and Flood, "Fast Splittable Pseudorandom Number Generators", 2014), normal values are sums of twelve uniform ones, and every
//! number is printed with fixed digits. No logarithm or exponential is used, whose last bit may differ between platforms.
//!
//! Columns: `amount`, `hour`, `merchant_risk`, `account_age_days`, `channel`, and `score`, what a fraud model makes of them.
//! A shift of 0 draws both files from one law. A larger one moves the current file towards higher amounts, later hours, riskier
//! merchants, younger accounts and more online business, and `score` by `shift` standard deviations.

use std::fmt::Write;

/// The shift at which the PSI of `score` over deciles is 0.22, in two decimals, for [`DEMO_SEED`] and [`DEMO_ROWS`].
pub const SHIFT_DEMO: f64 = 0.49;
/// The shift at which it is 0.05.
pub const SHIFT_SMALL: f64 = 0.23;
/// The seed of the demo.
pub const DEMO_SEED: u64 = 42;
/// The rows of each file of the demo.
pub const DEMO_ROWS: usize = 10_000;

/// The texts of two CSV files: reference, and current moved by `shift`. A shift that is not finite counts as 0, one beyond
/// ±5 as ±5.
pub fn generate(seed: u64, rows: usize, shift: f64) -> (String, String) {
    let shift = if shift.is_finite() { shift.clamp(-5.0, 5.0) } else { 0.0 };
    // Two streams that share nothing: a longer reference leaves the current file as it is.
    (file(SplitMix(seed), rows, 0.0), file(SplitMix(!seed), rows, shift))
}

fn file(mut random: SplitMix, rows: usize, shift: f64) -> String {
    let mut text = String::with_capacity(48 * (rows + 1));
    text.push_str("amount,hour,merchant_risk,account_age_days,channel,score\n");
    for _ in 0..rows {
        let (a, h, m, g, c, s) =
            (random.normal(), random.normal(), random.normal(), random.uniform(), random.uniform(), random.normal());
        // Squares make the amounts lean to the right, as amounts do.
        let amount = 5.0 + 12.0 * (2.0 + a + 0.3 * shift).powi(2);
        let hour = (14.0 + 4.0 * h + shift).rem_euclid(24.0).floor();
        let risk = (0.30 + 0.12 * (m + 0.6 * shift)).clamp(0.0, 1.0);
        let age = (3_650.0 * g * g * (1.0 - 0.08 * shift)).floor();
        let online = (0.45 + 0.08 * shift).clamp(0.0, 0.85);
        let channel = match c {
            c if c < online => "online",
            c if c < online + (1.0 - online) * 0.7 => "terminal",
            c if c < online + (1.0 - online) * 0.95 => "atm",
            _ => "phone",
        };
        let score = (0.35 + 0.10 * (0.35 * a + 0.45 * m + 0.82 * s + shift)).clamp(0.0, 1.0);
        // Writing to a string does not fail.
        let _ = writeln!(text, "{amount:.2},{hour:.0},{risk:.4},{age:.0},{channel},{score:.6}");
    }
    text
}

struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to below 1, in steps of 2⁻⁵³.
    fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Nearly normal with mean 0 and standard deviation 1 (Irwin and Hall); between −6 and 6.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drift::stats::Sample;
    use crate::drift::stats::bins::{Binning, bin};
    use crate::drift::stats::shares::{Zeros, filled, psi};

    fn scores(text: &str) -> Sample {
        let last = |line: &str| line.rsplit(',').next().unwrap().parse().unwrap();
        Sample::new(text.lines().skip(1).map(last).collect()).unwrap()
    }

    fn score_psi(seed: u64, rows: usize, shift: f64) -> f64 {
        let (reference, current) = generate(seed, rows, shift);
        let b = bin(&Binning::DECILES, &scores(&reference), &scores(&current)).unwrap();
        psi(&filled(&b.reference, Zeros::FLOOR), &filled(&b.current, Zeros::FLOOR))
    }

    #[test]
    fn the_random_numbers_are_those_of_the_published_generator() {
        // Reference values of Vigna's splitmix64.c for seed 1234567.
        let mut random = SplitMix(1_234_567);
        assert_eq!([random.next(), random.next()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn the_demo_drifts_as_documented() {
        assert_eq!(format!("{:.2}", score_psi(DEMO_SEED, DEMO_ROWS, SHIFT_DEMO)), "0.22");
        assert_eq!(format!("{:.2}", score_psi(DEMO_SEED, DEMO_ROWS, SHIFT_SMALL)), "0.05");
        assert!(score_psi(DEMO_SEED, DEMO_ROWS, 0.0) < 0.01);
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
        assert_eq!(generate(7, 50, 0.4), generate(7, 50, 0.4));
        assert_ne!(generate(7, 50, 0.4).0, generate(8, 50, 0.4).0);
        assert_eq!(generate(7, 50, 0.4).0, generate(7, 50, 3.0).0);
        assert_eq!(generate(7, 50, f64::NAN), generate(7, 50, 0.0));
    }

    #[test]
    fn more_shift_is_more_drift_for_any_seed() {
        for seed in 0..5 {
            let drift = [0.0, 0.2, 0.4, 0.8, 1.6].map(|shift| score_psi(seed, 3_000, shift));
            assert!(drift.is_sorted(), "seed {seed}: {drift:?}");
        }
    }
}
