//! The two-sample Kolmogorov–Smirnov test: D = sup |F − G|, and how likely a D as large is by chance.
//!
//! The p-value is scipy's (`scipy.stats.ks_2samp`, two-sided, `method="auto"`): exact while both samples have at most
//! [`EXACT_ROWS_MAX`] rows, else asymptotic. Both can be asked for.
//!
//! - Exact, samples of one size: the closed form of Gnedenko and Korolyuk by reflections, as a Horner scheme.
//! - Exact, else: the share of lattice paths that touch a boundary (Hodges, "The Significance Probability of the Smirnov
//!   Two-Sample Test", 1958), counted from the touching side so that small p-values keep their digits (Viehmann, "Numerically
//!   more stable computation of the p-values for the two-sample Kolmogorov–Smirnov test", arXiv:2102.08037).
//! - Asymptotic: the one-sample distribution at n·m / (n + m) rows, in the private module `kolmogorov`.
//!
//! Ties make every form conservative: the true p is smaller.

use super::{Sample, kolmogorov};

/// Up to this many rows in both samples, the exact p-value is taken. scipy's bound; 10 000 rows against 9 999 cost about 10⁸ steps at worst.
pub const EXACT_ROWS_MAX: usize = 10_000;

/// How a p-value came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// From all orders in which the two samples can be mixed.
    Exact,
    /// From the distribution that a large sample approaches.
    Asymptotic,
}

impl Method {
    /// `exact` or `asymptotic`.
    pub fn name(self) -> &'static str {
        match self {
            Method::Exact => "exact",
            Method::Asymptotic => "asymptotic",
        }
    }
}

/// The outcome of the test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ks {
    /// The largest vertical distance of the two distribution functions, 0 to 1.
    pub d: f64,
    /// How likely a distance this large is if both samples come from one distribution.
    pub p: f64,
    /// How `p` was computed.
    pub method: Method,
}

/// Tests as `scipy.stats.ks_2samp` does by default.
pub fn test(reference: &Sample, current: &Sample) -> Ks {
    let d = statistic(reference, current);
    let (n, m) = (reference.len(), current.len());
    if n.max(m) <= EXACT_ROWS_MAX {
        Ks { d, p: exact_p(d, n, m), method: Method::Exact }
    } else {
        Ks { d, p: asymptotic_p(d, n, m), method: Method::Asymptotic }
    }
}

/// The largest difference of the two empirical distribution functions, by one walk over both sorted samples.
pub fn statistic(reference: &Sample, current: &Sample) -> f64 {
    let (a, b) = (reference.values(), current.values());
    let (n, m) = (a.len() as f64, b.len() as f64);
    let (mut i, mut j, mut d) = (0, 0, 0.0_f64);
    // Past the end of one sample the difference only shrinks.
    while i < a.len() && j < b.len() {
        let at = a[i].min(b[j]);
        while i < a.len() && a[i] == at {
            i += 1;
        }
        while j < b.len() && b[j] == at {
            j += 1;
        }
        d = d.max((i as f64 / n - j as f64 / m).abs());
    }
    d
}

/// The p-value by the one-sample law at the effective number of rows: `scipy.stats.ks_2samp(…, method="asymp")`.
pub fn asymptotic_p(d: f64, n: usize, m: usize) -> f64 {
    let (n, m) = (n as f64, m as f64);
    // One row against one make half a row, which rounds to none.
    kolmogorov::upper_tail(((n * m / (n + m)).round_ties_even() as u64).max(1), d)
}

/// The exact p-value for samples of `n` and `m` rows without ties. Takes time n·m·d; above [`EXACT_ROWS_MAX`] that is felt.
pub fn exact_p(d: f64, n: usize, m: usize) -> f64 {
    let (n, m) = (n.max(m) as i128, n.min(m) as i128);
    if m == 0 {
        return 1.0;
    }
    let g = gcd(n, m);
    // D is a multiple of one over the least common multiple; this is the multiple.
    let h = (d * (n / g * m) as f64).round_ties_even() as i128;
    if h <= 0 {
        return 1.0;
    }
    let p = if n == m { equal_sizes(n, h) } else { touching_paths(n, m, g, h) };
    p.clamp(0.0, 1.0)
}

/// 2 Σₖ (−1)ᵏ⁻¹ C(2n, n − kh) / C(2n, n), with the first factor of every term taken out of those behind it.
fn equal_sizes(n: i128, h: i128) -> f64 {
    let ratio = |k: i128| (0..h).fold(1.0, |r, j| r * (n - k * h - j) as f64 / (n + k * h + j + 1) as f64);
    2.0 * (0..=n / h).rev().fold(0.0, |inner, k| ratio(k) * (1.0 - inner))
}

/// Walks all lattice paths from (0, 0) to (n, m) column by column and keeps, per point, the share of paths to it that have
/// touched |x·m − y·n| / g ≥ h.
fn touching_paths(n: i128, m: i128, g: i128, h: i128) -> f64 {
    let (step_x, step_y) = (m / g, n / g);
    // Points inside of the boundary at column x are those with lo ≤ y < hi.
    let window = |x: i128| {
        let lo = ((x * step_x - h).div_euclid(step_y) + 1).clamp(0, m + 1);
        let hi = (-(-(x * step_x + h)).div_euclid(step_y)).clamp(lo, m + 1);
        (lo as usize, hi as usize)
    };
    // Outside every path has touched. Windows only move upwards, so what lies above one has not been written yet.
    let mut touched = vec![1.0; m as usize + 1];
    let (mut lo, mut hi) = window(0);
    touched[lo..hi].fill(0.0);
    for x in 1..=n {
        let left_behind = lo;
        (lo, hi) = window(x);
        touched[left_behind.min(lo)..lo].fill(1.0);
        let x = x as f64;
        let mut below = if lo == 0 { 0.0 } else { 1.0 };
        for (y, at) in touched.iter_mut().enumerate().take(hi).skip(lo) {
            let y = y as f64;
            below = (*at * x + below * y) / (x + y);
            *at = below;
        }
    }
    touched[m as usize]
}

fn gcd(a: i128, b: i128) -> i128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_exact_forms_agree_on_equal_sizes() {
        for (n, h) in [(1, 1), (5, 2), (10, 3), (40, 9), (200, 17), (200, 60)] {
            let (closed, walked) = (equal_sizes(n, h), touching_paths(n, n, n, h));
            assert!((closed - walked).abs() <= 1e-12 * closed.max(1e-3), "n {n}, h {h}: {closed} and {walked}");
        }
    }

    #[test]
    fn the_exact_p_counts_all_mixtures_of_small_samples() {
        // Brute force: every way to choose which of the n + m places the first sample takes.
        for (n, m) in [(1_usize, 1_usize), (2, 1), (3, 2), (4, 6), (5, 3), (7, 2), (4, 4)] {
            let ways: Vec<f64> = (0..1_u32 << (n + m))
                .filter(|w| w.count_ones() as usize == n)
                .map(|w| {
                    let (mut i, mut j, mut d) = (0, 0, 0.0_f64);
                    for place in 0..n + m {
                        if w >> place & 1 == 1 {
                            i += 1
                        } else {
                            j += 1
                        }
                        d = d.max((i as f64 / n as f64 - j as f64 / m as f64).abs());
                    }
                    d
                })
                .collect();
            for &d in &ways {
                let share = ways.iter().filter(|&&w| w >= d - 1e-9).count() as f64 / ways.len() as f64;
                assert!(
                    (exact_p(d, n, m) - share).abs() < 1e-12,
                    "{n} and {m} rows, d {d}: {} not {share}",
                    exact_p(d, n, m)
                );
            }
        }
    }

    #[test]
    fn samples_apart_have_distance_one_and_equal_ones_zero() {
        let s = |v: &[f64]| Sample::new(v.to_vec()).unwrap();
        let apart = test(&s(&[1.0, 2.0, 3.0]), &s(&[4.0, 5.0]));
        assert_eq!((apart.d, apart.method), (1.0, Method::Exact));
        assert!((apart.p - 0.2).abs() < 1e-15);
        assert_eq!((asymptotic_p(0.0, 1, 1), asymptotic_p(1.0, 1, 1)), (1.0, 0.0));
        assert_eq!(test(&s(&[1.0, 1.0, 2.0]), &s(&[1.0, 2.0, 1.0])), Ks { d: 0.0, p: 1.0, method: Method::Exact });
    }
}
