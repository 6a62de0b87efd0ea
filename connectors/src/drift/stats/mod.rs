//! Drift statistics as pure functions: numbers in, numbers out; no files, no clocks, no randomness.
//!
//! How a column becomes figures:
//!
//! ```text
//! numeric      Sample (sorted) ── ks, wasserstein
//!                 └─ bins::bin ── counts ┐
//! categorical  counts per category ──────┴─ shares ── psi, kl, js, hellinger, linf
//!                                        └─ chi2
//! ```
//!
//! The reference is always the first argument and is called `p` where a formula needs a letter; the current sample is `q`.
//! The functions agree with scipy 1.17.1 and evidently 0.7.23 to twelve digits on the vectors in the tests.
//!
//! What it does not do: it never rounds, never decides what "too much drift" is, and never drops a value silently.
//! Missing values are for the caller to leave out and to report.

pub mod bins;
pub mod chi2;
mod kolmogorov;
pub mod ks;
pub mod shares;
#[cfg(test)]
mod vectors;
pub mod wasserstein;

/// The largest magnitude a value may have: squares and differences up to here stay finite.
pub const MAGNITUDE_MAX: f64 = 1e150;

/// Why figures cannot be had from what was given.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// There is nothing to compare.
    #[error("there are no values, expected at least one")]
    Empty,
    /// Something that has no place on the number line.
    #[error("value {value} at position {index} cannot be compared, expected a finite number of at most 1e150")]
    Value {
        /// Zero-based position in the sample as given.
        index: usize,
        /// What stood there.
        value: f64,
    },
    /// Edges that do not make bins.
    #[error("edge {value} at position {index} does not grow, expected finite numbers in ascending order")]
    Edge {
        /// Zero-based position among the edges.
        index: usize,
        /// What stood there.
        value: f64,
    },
    /// A number of bins that makes no sense.
    #[error("{found} bins were asked for, expected {} to {}", bins::BINS_MIN, bins::BINS_MAX)]
    Bins {
        /// What was asked for.
        found: u32,
    },
}

/// Finite numbers in ascending order; at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample(Vec<f64>);

impl Sample {
    /// Sorts `values`; their order does not matter to any figure.
    ///
    /// # Errors
    /// If there are none, or one is not finite or larger than [`MAGNITUDE_MAX`].
    pub fn new(mut values: Vec<f64>) -> Result<Self, Error> {
        if values.is_empty() {
            return Err(Error::Empty);
        }
        for (index, value) in values.iter_mut().enumerate() {
            if value.is_nan() || value.abs() > MAGNITUDE_MAX {
                return Err(Error::Value { index, value: *value });
            }
            // Negative zero would be another distinct value for the sort, and the same one for every comparison.
            *value += 0.0;
        }
        values.sort_unstable_by(f64::total_cmp);
        Ok(Self(values))
    }

    /// The values, ascending.
    pub fn values(&self) -> &[f64] {
        &self.0
    }

    /// How many values there are; never zero.
    #[expect(clippy::len_without_is_empty, reason = "a sample is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The smallest value.
    pub fn min(&self) -> f64 {
        self.0[0]
    }

    /// The largest value.
    pub fn max(&self) -> f64 {
        self.0[self.0.len() - 1]
    }

    /// Distinct values in ascending order, but no more than `limit` of them.
    pub fn distinct(&self, limit: usize) -> Vec<f64> {
        let mut found: Vec<f64> = Vec::new();
        for &v in &self.0 {
            if found.len() == limit {
                break;
            }
            if found.last() != Some(&v) {
                found.push(v);
            }
        }
        found
    }

    /// The quantile at `q` of \[0, 1\], by linear interpolation between the neighbours (R's type 7, numpy's default:
    /// Hyndman and Fan, "Sample Quantiles in Statistical Packages", The American Statistician 50, 1996).
    pub fn quantile(&self, q: f64) -> f64 {
        let last = self.0.len() - 1;
        let place = q.clamp(0.0, 1.0) * last as f64;
        let below = (place.floor() as usize).min(last);
        let (a, b, t) = (self.0[below], self.0[(below + 1).min(last)], place - below as f64);
        // Interpolating from the nearer end, as numpy does, keeps the last bit the same.
        if t < 0.5 { a + (b - a) * t } else { b - (b - a) * (1.0 - t) }
    }

    /// The population standard deviation (divides by n, as `numpy.std` does), in two passes.
    pub fn std(&self) -> f64 {
        let n = self.0.len() as f64;
        let mean = self.0.iter().sum::<f64>() / n;
        (self.0.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_sorted_and_knows_its_distinct_values() {
        let s = Sample::new(vec![3.0, -0.0, 1.0, 0.0, 3.0]).unwrap();
        assert_eq!(s.values(), [0.0, 0.0, 1.0, 3.0, 3.0]);
        assert_eq!(s.distinct(10), [0.0, 1.0, 3.0]);
        assert_eq!(s.distinct(2), [0.0, 1.0]);
        assert_eq!((s.min(), s.max(), s.len()), (0.0, 3.0, 5));
    }

    #[test]
    fn what_is_not_a_number_is_refused_with_its_position() {
        assert_eq!(Sample::new(vec![]), Err(Error::Empty));
        for bad in [f64::INFINITY, f64::NEG_INFINITY, 1e151] {
            assert_eq!(Sample::new(vec![1.0, bad]), Err(Error::Value { index: 1, value: bad }));
        }
        assert!(matches!(Sample::new(vec![f64::NAN]), Err(Error::Value { index: 0, .. })));
    }

    #[test]
    fn quantiles_interpolate_and_end_at_the_ends() {
        let s = Sample::new(vec![1.0, 2.0, 4.0, 8.0]).unwrap();
        assert_eq!([0.0, 0.25, 0.5, 0.9, 1.0].map(|q| s.quantile(q)), [1.0, 1.75, 3.0, 6.800000000000001, 8.0]);
        assert_eq!(Sample::new(vec![7.0]).unwrap().quantile(0.3), 7.0);
    }
}
