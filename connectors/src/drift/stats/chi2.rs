//! Pearson's χ² on counts: would the two samples have come from one distribution?
//!
//! Two forms are in use and both are here. [`goodness_of_fit`] takes the reference as the truth (evidently); a category that the
//! reference has never seen makes it infinite. [`contingency`] takes both as samples (NannyML); it stays finite.
//!
//! Source: Pearson 1900; Yates 1934 for the correction. Tail probabilities are the regularised upper incomplete gamma
//! function of the crate `statrs`.

use statrs::function::gamma::checked_gamma_ur;

/// The outcome of a χ² test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chi2 {
    /// Σ (observed − expected)² / expected; infinite when something was observed that was not expected at all.
    pub statistic: f64,
    /// How likely a statistic this large is if nothing has changed.
    pub p: f64,
    /// Degrees of freedom.
    pub df: u64,
}

impl Chi2 {
    fn new(statistic: f64, df: u64) -> Self {
        Self { statistic, p: upper_tail(statistic, df), df }
    }
}

/// `scipy.stats.chisquare(current, reference · n_current / n_reference)`, as evidently calls it. Categories that are on neither side do not count.
pub fn goodness_of_fit(reference: &[u64], current: &[u64]) -> Chi2 {
    let pairs = seen(reference, current);
    let scale = total(current) / total(reference).max(1.0);
    let term = |&(r, c): &(f64, f64)| {
        let expected = r * scale;
        if expected == 0.0 { f64::INFINITY } else { (c - expected).powi(2) / expected }
    };
    Chi2::new(pairs.iter().map(term).sum(), (pairs.len() as u64).saturating_sub(1))
}

/// `scipy.stats.chi2_contingency` of the two rows of counts, with Yates' correction when there are two categories, as there.
/// Categories that are on neither side do not count.
pub fn contingency(reference: &[u64], current: &[u64]) -> Chi2 {
    let pairs = seen(reference, current);
    let (n, m) = (total(reference), total(current));
    let df = (pairs.len() as u64).saturating_sub(1);
    if df == 0 || n == 0.0 || m == 0.0 {
        return Chi2 { statistic: 0.0, p: 1.0, df };
    }
    let correction = if df == 1 { 0.5 } else { 0.0 };
    let term = |observed: f64, expected: f64| {
        let off = (observed - expected).abs();
        (off - off.min(correction)).powi(2) / expected
    };
    let of_pair = |&(r, c): &(f64, f64)| {
        let both = r + c;
        term(r, both * n / (n + m)) + term(c, both * m / (n + m))
    };
    Chi2::new(pairs.iter().map(of_pair).sum(), df)
}

fn seen(reference: &[u64], current: &[u64]) -> Vec<(f64, f64)> {
    reference.iter().zip(current).filter(|&(&r, &c)| r + c > 0).map(|(&r, &c)| (r as f64, c as f64)).collect()
}

fn total(counts: &[u64]) -> f64 {
    counts.iter().sum::<u64>() as f64
}

/// P(χ² ≥ x) with `df` degrees of freedom.
fn upper_tail(x: f64, df: u64) -> f64 {
    if df == 0 || x <= 0.0 {
        return 1.0;
    }
    if x.is_infinite() {
        return 0.0;
    }
    // The function fails only for arguments that cannot come here: not positive, or not finite.
    checked_gamma_ur(df as f64 / 2.0, x / 2.0).map_or(f64::NAN, |p| p.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_probabilities_agree_with_scipy() {
        // `scipy.stats.chi2.sf(x, df)` of scipy 1.17.1.
        for (x, df, expected) in [
            (0.001, 1, 0.9747728793699604),
            (3.84, 1, 0.05004352124870519),
            (700.0, 5, 4.911986103573117e-149),
            (900.0, 1_000, 0.9892827619087102),
            (1_100.0, 1_000, 0.014614408126295192),
            (1_500.0, 1_000, 1.0454640385980825e-22),
            (0.5, 7, 0.9994464813904249),
            (30.0, 9, 0.00043872177097947936),
            (120.0, 60, 6.876264968732136e-06),
        ] {
            let found = upper_tail(x, df);
            assert!((found / expected - 1.0).abs() < 1e-12, "x {x}, df {df}: {found} not {expected}");
        }
        assert_eq!((upper_tail(1e300, 3), upper_tail(f64::INFINITY, 3), upper_tail(0.0, 3)), (0.0, 0.0, 1.0));
    }
}
