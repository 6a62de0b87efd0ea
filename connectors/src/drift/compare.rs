//! Compares two tables column by column and makes the answer of `drift.compare`. Pure: no files, no clocks.
//!
//! All statistics of a feature are computed, whichever of them makes its value, so that one journaled answer can be judged by
//! more than one policy. Nothing is rounded.

use std::collections::BTreeMap;
use std::sync::Arc;

use cpd_connector_api::Value;

use super::input::{Aggregate, Input, Statistic};
use super::source::{Column, Data, Kind, Stop, Stopped, Table};
use super::stats::bins::{Binned, Binning, Cut, bin};
use super::stats::chi2::{Chi2, contingency, goodness_of_fit};
use super::stats::shares::{Zeros, filled, hellinger, js_divergence, kl, linf, of_counts, psi};
use super::stats::{self, Sample, ks, wasserstein};

/// Why two tables cannot be compared.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// A column that is all missing.
    #[error("column `{column}` of the {side} data has no value in {rows} rows, expected at least one")]
    NoValues {
        /// Its name.
        column: String,
        /// `reference` or `current`.
        side: &'static str,
        /// Rows of the file.
        rows: u64,
    },
    /// A statistic on the number line, and a column that is not on it.
    #[error("statistic `{statistic}` needs numeric columns, and `{column}` is categorical")]
    NotNumeric {
        /// Its name.
        column: String,
        /// Which statistic.
        statistic: &'static str,
    },
    /// Bins for a column that has categories.
    #[error("column `{column}` is categorical and has `bins` or `edges`, expected none")]
    BinsOfCategories {
        /// Its name.
        column: String,
    },
    /// The two tables do not hold the same columns.
    #[error("column `{column}` is {reference} in the reference and not in the current data")]
    Kinds {
        /// Its name.
        column: String,
        /// The kind in the reference.
        reference: &'static str,
    },
    /// Values that cannot be compared.
    #[error("column `{column}` cannot be compared")]
    Values {
        /// Its name.
        column: String,
        /// Why.
        source: stats::Error,
    },
    /// Given up.
    #[error("{}", match .0 { Stopped::Cancelled => "cancelled while comparing", Stopped::TimedOut => "out of time while comparing" })]
    Stopped(Stopped),
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Error::NoValues { .. } => {
                Some("leave the column out by listing `columns`, or look at how the file was made")
            }
            Error::NotNumeric { .. } => Some("list the numeric columns, or take `psi` or `js`, which fit both kinds"),
            Error::Values { .. } => Some("values beyond 1e150 are no measurements; list them under `missing`"),
            Error::BinsOfCategories { .. } | Error::Kinds { .. } | Error::Stopped(_) => None,
        }
    }
}

/// A file as the answer names it.
pub struct Named<'a> {
    /// The path as given.
    pub path: &'a str,
    /// What was read.
    pub table: Table,
}

struct Feature {
    name: String,
    value: f64,
    weight: f64,
    report: Vec<(&'static str, Value)>,
}

/// Compares and reports. `stop` is asked between columns.
///
/// # Errors
/// Whatever [`Error`] says.
pub fn compare(input: &Input, reference: Named<'_>, current: Named<'_>, stop: Stop<'_>) -> Result<Value, Error> {
    let rows = (reference.table.rows, current.table.rows);
    let threshold = input.threshold();
    let file = |n: &Named<'_>| object([("path", n.path.into()), ("sha256", n.table.sha256.as_str().into())]);
    let files = (file(&reference), file(&current));
    let mut features = Vec::with_capacity(reference.table.columns.len());
    for (index, (r, c)) in reference.table.columns.into_iter().zip(current.table.columns).enumerate() {
        if let Some(stopped) = stop() {
            return Err(Error::Stopped(stopped));
        }
        let asked = input.columns.as_ref().and_then(|columns| columns.get(index));
        let own = asked.and_then(|a| a.binning.as_ref());
        let mut feature = one(input, own, rows, r, c)?;
        feature.weight = asked.map_or(1.0, |a| a.weight);
        features.push(feature);
    }
    // Stable: features of one value stay in the order of the columns.
    features.sort_by(|a, b| b.value.total_cmp(&a.value));
    let drifted = |f: &Feature| threshold.map(|t| f.value >= t);
    let drift = aggregate(input.aggregate, &features, &drifted);
    let worst = features.first().map_or(Value::Null, |f| f.name.as_str().into());
    let drifted_count = threshold.map(|_| features.iter().filter(|f| drifted(f) == Some(true)).count());
    let reports: Value = features
        .into_iter()
        .map(|f| {
            let flag = drifted(&f).map_or(Value::Null, Value::from);
            members(f.report.into_iter().chain([("drifted", flag), ("weight", f.weight.into())]))
        })
        .collect();
    Ok(object([
        ("drift", drift.into()),
        ("statistic", input.statistic.name().into()),
        ("aggregate", input.aggregate.name().into()),
        ("threshold", threshold.map_or(Value::Null, Value::from)),
        ("drifted", drifted_count.map_or(Value::Null, Value::from)),
        ("worst", worst),
        ("features", reports),
        ("rows", object([("reference", whole(rows.0)), ("current", whole(rows.1))])),
        ("reference", files.0),
        ("current", files.1),
    ]))
}

fn aggregate(how: Aggregate, features: &[Feature], drifted: &dyn Fn(&Feature) -> Option<bool>) -> f64 {
    let count = features.len().max(1) as f64;
    match how {
        Aggregate::Max => features.iter().map(|f| f.value).fold(0.0, f64::max),
        Aggregate::Mean => features.iter().map(|f| f.value).sum::<f64>() / count,
        Aggregate::Share => features.iter().filter(|f| drifted(f) == Some(true)).count() as f64 / count,
        Aggregate::Weighted => {
            let weights: f64 = features.iter().map(|f| f.weight).sum();
            features.iter().map(|f| f.value * f.weight).sum::<f64>() / weights
        }
    }
}

fn one(
    input: &Input,
    own: Option<&Binning>,
    (rows_r, rows_c): (u64, u64),
    reference: Column,
    current: Column,
) -> Result<Feature, Error> {
    let name = reference.name;
    let missing = object([("reference", gaps(reference.missing, rows_r)), ("current", gaps(current.missing, rows_c))]);
    let none = |side, rows| Error::NoValues { column: name.clone(), side, rows };
    if reference.missing >= rows_r {
        return Err(none("reference", rows_r));
    }
    if current.missing >= rows_c {
        return Err(none("current", rows_c));
    }
    let (kind, counted, line) = match (reference.data, current.data) {
        (Data::Numeric(r), Data::Numeric(c)) => {
            let bad = |source| Error::Values { column: name.clone(), source };
            let (r, c) = (Sample::new(r).map_err(bad)?, Sample::new(c).map_err(bad)?);
            let binning = own.unwrap_or(&input.bins.0);
            let binned = bin(binning, &r, &c).map_err(bad)?;
            let zeros = zeros(input, matches!(binning, Binning::Sturges));
            (Kind::Numeric, Counted::new(Bins::Numeric(binned), zeros), Some(Line::new(&r, &c)))
        }
        (Data::Categorical(r), Data::Categorical(c)) => {
            if own.is_some() {
                return Err(Error::BinsOfCategories { column: name });
            }
            let zeros = zeros(input, matches!(input.bins.0, Binning::Sturges));
            (Kind::Categorical, Counted::new(Bins::of_categories(&r, &c), zeros), None)
        }
        (Data::Numeric(_), _) => return Err(Error::Kinds { column: name, reference: "numeric" }),
        (Data::Categorical(_), _) => return Err(Error::Kinds { column: name, reference: "categorical" }),
    };
    let value = value(input.statistic, &counted, line.as_ref())
        .ok_or_else(|| Error::NotNumeric { column: name.clone(), statistic: input.statistic.name() })?;
    let kind = if kind == Kind::Numeric { "numeric" } else { "categorical" };
    let report = vec![
        ("name", Value::str(&name)),
        ("kind", kind.into()),
        ("value", value.into()),
        ("statistics", statistics(&counted, line.as_ref())),
        ("bins", counted.report()),
        ("missing", missing),
    ];
    Ok(Feature { name, value, weight: 1.0, report })
}

fn zeros(input: &Input, as_evidently: bool) -> Zeros {
    match input.zeros {
        Some(asked) => asked.into(),
        None if as_evidently => Zeros::Evidently,
        None => Zeros::FLOOR,
    }
}

fn gaps(missing: u64, rows: u64) -> Value {
    object([("rows", whole(missing)), ("share", (missing as f64 / rows.max(1) as f64).into())])
}

/// Both samples in the same bins or categories.
enum Bins {
    Numeric(Binned),
    Categories { names: Vec<String>, reference: Vec<u64>, current: Vec<u64> },
}

impl Bins {
    fn of_categories(reference: &BTreeMap<String, u64>, current: &BTreeMap<String, u64>) -> Self {
        let mut both: BTreeMap<&str, (u64, u64)> = reference.iter().map(|(k, n)| (k.as_str(), (*n, 0))).collect();
        for (name, count) in current {
            both.entry(name).or_default().1 = *count;
        }
        let names = both.keys().map(|k| (*k).to_owned()).collect();
        let (reference, current) = both.into_values().unzip();
        Bins::Categories { names, reference, current }
    }

    fn counts(&self) -> (&[u64], &[u64]) {
        match self {
            Bins::Numeric(b) => (&b.reference, &b.current),
            Bins::Categories { reference, current, .. } => (reference, current),
        }
    }
}

/// What follows from counts.
struct Counted {
    bins: Bins,
    psi: f64,
    kl: f64,
    js_divergence: f64,
    hellinger: f64,
    linf: f64,
    chi2: Chi2,
    fit: Chi2,
}

impl Counted {
    fn new(bins: Bins, zeros: Zeros) -> Self {
        let (r, c) = bins.counts();
        let (p, q) = (of_counts(r), of_counts(c));
        let (p_filled, q_filled) = (filled(r, zeros), filled(c, zeros));
        Self {
            psi: psi(&p_filled, &q_filled),
            kl: kl(&p_filled, &q_filled),
            js_divergence: js_divergence(&p, &q),
            hellinger: hellinger(&p, &q),
            linf: linf(&p, &q),
            chi2: contingency(r, c),
            fit: goodness_of_fit(r, c),
            bins,
        }
    }

    fn report(&self) -> Value {
        let (r, c) = self.bins.counts();
        let numbers = |n: &[f64]| n.iter().map(|v| Value::from(*v)).collect::<Value>();
        let (kind, key, marks) = match &self.bins {
            Bins::Numeric(Binned { cut: Cut::Open(edges), .. }) => ("open", "edges", numbers(edges)),
            Bins::Numeric(Binned { cut: Cut::Closed(edges), .. }) => ("closed", "edges", numbers(edges)),
            Bins::Numeric(Binned { cut: Cut::Values(values), .. }) => ("values", "values", numbers(values)),
            Bins::Categories { names, .. } => {
                ("categories", "categories", names.iter().map(Value::str).collect::<Value>())
            }
        };
        object([
            ("type", kind.into()),
            (key, marks),
            ("reference", numbers(&of_counts(r))),
            ("current", numbers(&of_counts(c))),
        ])
    }
}

/// What follows from values on a number line.
struct Line {
    ks: ks::Ks,
    wasserstein: f64,
    normed: f64,
}

impl Line {
    fn new(r: &Sample, c: &Sample) -> Self {
        Self { ks: ks::test(r, c), wasserstein: wasserstein::distance(r, c), normed: wasserstein::normed(r, c) }
    }
}

fn value(statistic: Statistic, counted: &Counted, line: Option<&Line>) -> Option<f64> {
    Some(match statistic {
        Statistic::Psi => counted.psi,
        Statistic::Kl => counted.kl,
        Statistic::Js => counted.js_divergence.sqrt(),
        Statistic::JsDivergence => counted.js_divergence,
        Statistic::Hellinger => counted.hellinger,
        Statistic::Linf => counted.linf,
        Statistic::Chi2 => counted.chi2.statistic,
        Statistic::Ks => line?.ks.d,
        Statistic::Wasserstein => line?.wasserstein,
        Statistic::WassersteinNormed => line?.normed,
    })
}

fn statistics(counted: &Counted, line: Option<&Line>) -> Value {
    // Infinite has no JSON; its p-value of 0 tells the rest.
    let statistic = |s: f64| if s.is_finite() { s.into() } else { Value::Null };
    let test = |t: Chi2| [("statistic", statistic(t.statistic)), ("p", t.p.into()), ("df", whole(t.df))];
    let fit = ("goodnessOfFit", object(test(counted.fit)));
    let of_line = line.into_iter().flat_map(|l| {
        let ks = [("d", l.ks.d.into()), ("p", l.ks.p.into()), ("method", l.ks.method.name().into())];
        [("ks", object(ks)), ("wasserstein", Value::from(l.wasserstein)), ("wassersteinNormed", Value::from(l.normed))]
    });
    let of_counts = [
        ("psi", Value::from(counted.psi)),
        ("kl", counted.kl.into()),
        ("js", counted.js_divergence.sqrt().into()),
        ("jsDivergence", counted.js_divergence.into()),
        ("hellinger", counted.hellinger.into()),
        ("linf", counted.linf.into()),
        ("chi2", members(test(counted.chi2).into_iter().chain([fit]))),
    ];
    members(of_counts.into_iter().chain(of_line))
}

fn whole(n: u64) -> Value {
    usize::try_from(n).map_or(Value::from(n as f64), Value::from)
}

fn object<const N: usize>(members: [(&'static str, Value); N]) -> Value {
    Value::from(members)
}

fn members(all: impl Iterator<Item = (&'static str, Value)>) -> Value {
    Value::Obj(Arc::new(all.map(|(k, v)| (Arc::from(k), v)).collect()))
}
