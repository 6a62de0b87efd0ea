//! Wasserstein distance of order one between two samples: how far values must move, on average.

use super::Sample;

/// evidently's lower bound for the standard deviation by which it divides.
const STD_MIN: f64 = 0.001;

/// The first Wasserstein distance, ∫ |F − G| dx over the two empirical distribution functions. In units of the column.
///
/// Source: Vallender, "Calculation of the Wasserstein Distance Between Probability Distributions on the Line", 1974;
/// `scipy.stats.wasserstein_distance`. One walk over both sorted samples.
pub fn distance(reference: &Sample, current: &Sample) -> f64 {
    let (a, b) = (reference.values(), current.values());
    let (n, m) = (a.len() as f64, b.len() as f64);
    let (mut i, mut j) = (0, 0);
    let mut at = reference.min().min(current.min());
    let mut total = 0.0;
    while i < a.len() || j < b.len() {
        let next = match (a.get(i), b.get(j)) {
            (Some(&x), Some(&y)) => x.min(y),
            (Some(&x), None) => x,
            (None, Some(&y)) => y,
            (None, None) => break,
        };
        total += (i as f64 / n - j as f64 / m).abs() * (next - at);
        at = next;
        i += a[i..].iter().take_while(|&&v| v == next).count();
        j += b[j..].iter().take_while(|&&v| v == next).count();
    }
    total
}

/// The distance in standard deviations of the reference, which evidently takes to be at least 0.001: a constant reference
/// makes it very large.
pub fn normed(reference: &Sample, current: &Sample) -> f64 {
    distance(reference, current) / reference.std().max(STD_MIN)
}
