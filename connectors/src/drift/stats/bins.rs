//! Cutting a numeric column into bins and counting both samples in them.
//!
//! 1. [`bin`] takes a [`Binning`] and finds edges, from the reference alone unless the strategy says otherwise.
//! 2. Every bin is closed on the left and open on the right, `[a, b)`, as in `numpy.histogram` and `pandas.cut(right=False)`.
//! 3. Open ends reach to minus and plus infinity, so that no value of the current sample falls outside and out of the count.
//!
//! A value at which several quantiles of the reference fall together (a column that is mostly zeros) becomes a bin of its
//! own, `[v, next float after v)`. Merging the equal edges, as many tools do, would put everything above `v` into the bin of
//! `v`, and a column that was constant could then drift upwards without being noticed.

use super::{Error, Sample};

/// The fewest bins that can be asked for.
pub const BINS_MIN: u32 = 2;
/// The most bins that can be asked for. More bins than this have too few rows each to say anything, and the result carries them all.
pub const BINS_MAX: u32 = 1_000;
/// Up to this many distinct reference values, evidently takes each value as a category of its own.
const EVIDENTLY_DISTINCT_MAX: usize = 20;

/// How to cut a numeric column.
#[derive(Clone, Debug, PartialEq)]
pub enum Binning {
    /// As many bins as given, between quantiles of the reference, with open ends. Ten of them are deciles, the default:
    /// they depend on the reference alone, so a figure of today and its replay next year agree.
    Quantiles(u32),
    /// As many bins as given, equally wide over the range of the reference, with open ends.
    Width(u32),
    /// evidently 0.7.23's: `numpy.histogram_bin_edges(…, bins="sturges")` over *both* samples together if the reference has
    /// more than 20 distinct values, else one bin per distinct value. Closed at both ends.
    /// One known difference: for a column that pandas holds as integers numpy takes widths of at least 1, which tells only
    /// when log₂(rows) + 1 is larger than the range.
    Sturges,
    /// These inner edges, ascending, with open ends: `n` edges make `n + 1` bins.
    Edges(Vec<f64>),
}

impl Binning {
    /// Ten bins of a tenth of the reference each.
    pub const DECILES: Binning = Binning::Quantiles(10);
}

/// What the bins are.
#[derive(Clone, Debug, PartialEq)]
pub enum Cut {
    /// Inner edges; below the first and from the last on, the bins are open. One more bin than edges.
    Open(Vec<f64>),
    /// All edges; the last bin includes its right edge. One bin less than edges.
    Closed(Vec<f64>),
    /// One bin per value.
    Values(Vec<f64>),
}

/// Two samples counted in the same bins.
#[derive(Clone, Debug, PartialEq)]
pub struct Binned {
    /// The bins.
    pub cut: Cut,
    /// Reference rows per bin.
    pub reference: Vec<u64>,
    /// Current rows per bin.
    pub current: Vec<u64>,
}

/// Cuts both samples as `binning` says and counts them.
///
/// # Errors
/// If the number of bins is out of [`BINS_MIN`] to [`BINS_MAX`], or edges do not ascend.
pub fn bin(binning: &Binning, reference: &Sample, current: &Sample) -> Result<Binned, Error> {
    let cut = match binning {
        Binning::Quantiles(n) => Cut::Open(quantile_edges(checked(*n)?, reference)),
        Binning::Width(n) => Cut::Open(width_edges(checked(*n)?, reference)),
        Binning::Sturges => sturges(reference, current),
        Binning::Edges(edges) => {
            check_edges(edges)?;
            Cut::Open(edges.clone())
        }
    };
    Ok(Binned { reference: count(&cut, reference), current: count(&cut, current), cut })
}

/// Says whether `edges` can be given to [`Binning::Edges`].
///
/// # Errors
/// If there are none or too many, or one is not finite or not larger than the one before.
pub fn check_edges(edges: &[f64]) -> Result<(), Error> {
    checked(u32::try_from(edges.len()).unwrap_or(u32::MAX).saturating_add(1))?;
    let bad = edges.iter().enumerate().find(|&(i, e)| !e.is_finite() || (i > 0 && *e <= edges[i - 1]));
    bad.map_or(Ok(()), |(index, &value)| Err(Error::Edge { index, value }))
}

fn checked(bins: u32) -> Result<u32, Error> {
    if (BINS_MIN..=BINS_MAX).contains(&bins) { Ok(bins) } else { Err(Error::Bins { found: bins }) }
}

fn quantile_edges(bins: u32, reference: &Sample) -> Vec<f64> {
    let mut edges: Vec<f64> = Vec::with_capacity(bins as usize);
    for k in 1..bins {
        let e = reference.quantile(f64::from(k) / f64::from(bins));
        match edges.last() {
            Some(&last) if e > last => edges.push(e),
            // The second quantile at the same value closes that value's own bin; later ones find it closed.
            Some(&last) if e == last => edges.push(e.next_up()),
            _ if edges.is_empty() => edges.push(e),
            _ => {}
        }
    }
    edges
}

fn width_edges(bins: u32, reference: &Sample) -> Vec<f64> {
    let (lo, hi) = (reference.min(), reference.max());
    if lo == hi {
        return vec![lo, lo.next_up()];
    }
    let mut edges: Vec<f64> = (1..bins).map(|k| lo + (hi - lo) * (f64::from(k) / f64::from(bins))).collect();
    edges.dedup();
    edges
}

fn sturges(reference: &Sample, current: &Sample) -> Cut {
    let known = reference.distinct(EVIDENTLY_DISTINCT_MAX + 1);
    if known.len() <= EVIDENTLY_DISTINCT_MAX {
        let mut values = [known, current.distinct(usize::MAX)].concat();
        values.sort_unstable_by(f64::total_cmp);
        values.dedup();
        return Cut::Values(values);
    }
    let (lo, hi) = (reference.min().min(current.min()), reference.max().max(current.max()));
    let rows = (reference.len() + current.len()) as f64;
    let width = (hi - lo) / (rows.log2() + 1.0);
    let bins = ((hi - lo) / width).ceil();
    // numpy.linspace: the step first, then multiples of it, and the last edge set to the end.
    let step = (hi - lo) / bins;
    let bins = bins as usize;
    Cut::Closed((0..=bins).map(|i| if i == bins { hi } else { lo + i as f64 * step }).collect())
}

/// Counts a sample in the bins. Values outside of closed ends are not counted; the strategies here never leave any.
fn count(cut: &Cut, sample: &Sample) -> Vec<u64> {
    let values = sample.values();
    let below = |edge: f64| values.partition_point(|&v| v < edge) as u64;
    let total = values.len() as u64;
    let differences = |marks: Vec<u64>| marks.windows(2).map(|w| w[1].saturating_sub(w[0])).collect();
    match cut {
        Cut::Open(edges) => {
            let inner = edges.iter().map(|&e| below(e));
            differences(std::iter::once(0).chain(inner).chain([total]).collect())
        }
        Cut::Closed(edges) => {
            let Some((&last, inner)) = edges.split_last() else { return Vec::new() };
            let end = values.partition_point(|&v| v <= last) as u64;
            differences(inner.iter().map(|&e| below(e)).chain([end]).collect())
        }
        Cut::Values(known) => known.iter().map(|&k| values.partition_point(|&v| v <= k) as u64 - below(k)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(values: &[f64]) -> Sample {
        Sample::new(values.to_vec()).unwrap()
    }

    #[test]
    fn an_edge_belongs_to_the_bin_above_it() {
        let b = bin(&Binning::Edges(vec![1.0, 2.0]), &sample(&[0.5, 1.0, 1.5, 2.0]), &sample(&[-9.0, 9.0])).unwrap();
        assert_eq!((b.reference, b.current), (vec![1, 2, 1], vec![1, 0, 1]));
    }

    #[test]
    fn a_value_that_holds_several_quantiles_is_a_bin_of_its_own() {
        let reference = sample(&[vec![0.0; 80], (1..=20).map(f64::from).collect()].concat());
        let b = bin(&Binning::DECILES, &reference, &sample(&[-1.0, 0.0, 0.1, 30.0])).unwrap();
        let Cut::Open(edges) = &b.cut else { panic!("{:?}", b.cut) };
        assert_eq!(edges[..2], [0.0, 0.0_f64.next_up()]);
        assert_eq!(b.reference[..2], [0, 80]);
        assert_eq!(b.current[..3], [1, 1, 1]);
        assert_eq!(b.reference.iter().sum::<u64>(), 100);
    }

    #[test]
    fn a_constant_reference_still_sees_values_above_it() {
        for binning in [Binning::DECILES, Binning::Width(10)] {
            let b = bin(&binning, &sample(&[1.0; 30]), &sample(&[1.0, 2.0, 0.0])).unwrap();
            assert_eq!((b.reference, b.current), (vec![0, 30, 0], vec![1, 1, 1]));
        }
    }

    #[test]
    fn every_row_is_counted_once_by_every_strategy() {
        let (r, c) = (sample(&[0.1, 0.2, 0.2, 5.0, 9.0]), sample(&[-3.0, 0.2, 77.0]));
        for binning in
            [Binning::DECILES, Binning::Quantiles(2), Binning::Width(7), Binning::Sturges, Binning::Edges(vec![0.2])]
        {
            let b = bin(&binning, &r, &c).unwrap();
            assert_eq!((b.reference.iter().sum::<u64>(), b.current.iter().sum::<u64>()), (5, 3), "{binning:?}");
        }
    }

    #[test]
    fn edges_and_numbers_of_bins_that_make_no_sense_are_refused() {
        let s = sample(&[1.0]);
        let bad = |b| bin(&b, &s, &s).unwrap_err();
        assert_eq!(bad(Binning::Quantiles(1)), Error::Bins { found: 1 });
        assert_eq!(bad(Binning::Width(1_001)), Error::Bins { found: 1_001 });
        assert_eq!(bad(Binning::Edges(vec![])), Error::Bins { found: 1 });
        assert_eq!(bad(Binning::Edges(vec![1.0, 1.0])), Error::Edge { index: 1, value: 1.0 });
        assert_eq!(bad(Binning::Edges(vec![f64::INFINITY])), Error::Edge { index: 0, value: f64::INFINITY });
        assert!(matches!(bad(Binning::Edges(vec![f64::NAN])), Error::Edge { index: 0, .. }));
    }
}
