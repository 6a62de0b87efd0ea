//! Reads chosen columns of a data file, CSV or Parquet, into what the statistics need.
//!
//! 1. The file is opened, must be a regular file, and is read as a stream: a CSV record or a Parquet page at a time.
//! 2. Numeric columns are kept as doubles (8 bytes a row and column, bounded by [`Limits::values_max`] for one file);
//!    categorical ones as a count per category (bounded by [`Limits::categories_max`]). Nothing else of the file stays in memory.
//! 3. Missing values are counted and left out.
//! 4. The SHA-256 of the bytes that were read goes with the figures; a file that changes meanwhile is refused.
//!
//! The kind of a column, if nobody says: a Parquet column has a type; a CSV column is numeric if everything in it that is not
//! missing reads as a finite number, else categorical. A CSV that turns out to have categorical columns is read twice.
//!
//! What it does not do: it never guesses at a bad row, never skips one, and never looks into columns that were not asked for
//! (they only have to be there). Blank lines of a CSV are no rows.

mod csv_file;
mod error;
mod gather;
mod parquet_file;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

pub use csv_file::CsvOptions;
pub use error::Error;

/// What a file is.
#[derive(Clone, Debug, PartialEq)]
pub enum Format {
    /// Text with one row a line.
    Csv(CsvOptions),
    /// Apache Parquet.
    Parquet,
}

impl Format {
    /// The format that the ending of a file's name tells: `.csv`, `.txt`, `.tsv` (tabs), `.parquet`, `.pq`.
    pub fn of_name(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "csv" | "txt" => Some(Format::Csv(CsvOptions::default())),
            "tsv" => Some(Format::Csv(CsvOptions { delimiter: b'\t', ..CsvOptions::default() })),
            "parquet" | "pq" => Some(Format::Parquet),
            _ => None,
        }
    }
}

/// How values of a column are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// On the number line.
    Numeric,
    /// By name.
    Categorical,
}

/// A column that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name; in Parquet, the dotted path.
    pub name: String,
    /// How to read it; `None` finds out.
    pub kind: Option<Kind>,
}

/// How much of a file may be kept in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Numbers kept of one file, over all columns. 8 bytes each.
    pub values_max: usize,
    /// Different categories of one column.
    pub categories_max: usize,
}

impl Default for Limits {
    /// 2²⁶ numbers (512 MiB for each of the two files), and 1 000 categories: above that, bins hold too few rows each to say
    /// anything, and the column is more likely an identifier.
    fn default() -> Self {
        Self { values_max: 1 << 26, categories_max: 1_000 }
    }
}

/// What was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Rows of the file.
    pub rows: u64,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// The columns, in the order in which they were asked for, or of the file.
    pub columns: Vec<Column>,
}

/// One column of a [`Table`].
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Rows without a value.
    pub missing: u64,
    /// The values.
    pub data: Data,
}

/// The values of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// In the order of the file.
    Numeric(Vec<f64>),
    /// Rows per category.
    Categorical(BTreeMap<String, u64>),
}

impl Data {
    /// The kind of the values.
    pub fn kind(&self) -> Kind {
        match self {
            Data::Numeric(_) => Kind::Numeric,
            Data::Categorical(_) => Kind::Categorical,
        }
    }
}

/// Where in a file something stands; counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of text.
    Line(u64),
    /// A row of a table.
    Row(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line(n) => write!(f, "line {n}"),
            Place::Row(n) => write!(f, "row {n}"),
        }
    }
}

/// Why reading ended early although nothing was wrong with the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The caller does not want it any more.
    Cancelled,
    /// The time is up.
    TimedOut,
}

/// Asked now and then while a file is read.
pub type Stop<'a> = &'a dyn Fn() -> Option<Stopped>;

/// Rows between two looks at [`Stop`]: well below a millisecond of work.
const ROWS_BETWEEN_STOPS: u64 = 4_096;

/// A file and how to read it.
#[derive(Clone, Debug)]
pub struct Source {
    path: PathBuf,
    format: Format,
    limits: Limits,
}

impl Source {
    /// A source that is read as `format`, or as the name tells.
    ///
    /// # Errors
    /// If neither tells the format.
    pub fn new(path: PathBuf, format: Option<Format>, limits: Limits) -> Result<Self, Error> {
        match format.or_else(|| Format::of_name(&path)) {
            Some(format) => Ok(Self { path, format, limits }),
            None => Err(Error::Format { path }),
        }
    }

    /// Reads the columns `wanted`, or all if that is `None`. Blocks; `stop` is asked every few thousand rows.
    ///
    /// # Errors
    /// Whatever [`Error`] says.
    pub fn read(&self, wanted: Option<&[Wanted]>, stop: Stop<'_>) -> Result<Table, Error> {
        match &self.format {
            Format::Csv(options) => csv_file::read(self, options, wanted, stop),
            Format::Parquet => parquet_file::read(self, wanted, stop),
        }
    }

    fn open(&self) -> Result<File, Error> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Error::NotFound { path: self.path.clone() },
            _ => Error::Io { path: self.path.clone(), source },
        };
        // Asked before opening: opening a pipe would wait for someone to write to it.
        let found = fs::metadata(&self.path).map_err(failed)?;
        if !found.is_file() {
            let found = if found.is_dir() { "a directory" } else { "a device or a pipe" };
            return Err(Error::NotAFile { path: self.path.clone(), found });
        }
        File::open(&self.path).map_err(failed)
    }

    fn io(&self, source: io::Error) -> Error {
        Error::Io { path: self.path.clone(), source }
    }

    /// Positions in `names` of what is wanted, with the kinds that were asked for.
    fn choose(&self, wanted: Option<&[Wanted]>, names: &[String]) -> Result<Vec<(usize, Option<Kind>)>, Error> {
        let Some(wanted) = wanted else {
            if let Some(name) = names.iter().enumerate().find_map(|(i, n)| names[..i].contains(n).then_some(n)) {
                let count = names.iter().filter(|n| *n == name).count();
                return Err(Error::Ambiguous { path: self.path.clone(), name: name.clone(), count });
            }
            return Ok((0..names.len()).map(|i| (i, None)).collect());
        };
        let place = |w: &Wanted| {
            let mut found = names.iter().enumerate().filter(|(_, n)| **n == w.name).map(|(i, _)| i);
            match (found.next(), found.count()) {
                (Some(at), 0) => Ok((at, w.kind)),
                (Some(_), more) => {
                    Err(Error::Ambiguous { path: self.path.clone(), name: w.name.clone(), count: more + 1 })
                }
                (None, _) => Err(Error::NoColumn {
                    path: self.path.clone(),
                    name: w.name.clone(),
                    known: nearest(&w.name, names),
                }),
            }
        };
        wanted.iter().map(place).collect()
    }
}

/// The names in full if they are few, else the nearest ones and how many more there are.
fn nearest(name: &str, names: &[String]) -> String {
    const SHOWN_MAX: usize = 8;
    let mut ranked: Vec<&String> = names.iter().collect();
    let likeness = |n: &str| strsim::jaro_winkler(&n.to_lowercase(), &name.to_lowercase());
    ranked.sort_by(|a, b| likeness(b).total_cmp(&likeness(a)));
    let shown = ranked.iter().take(SHOWN_MAX).map(|n| format!("`{}`", short(n))).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN_MAX) {
        0 if names.is_empty() => "none".to_owned(),
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// A value as it may stand in a message: no more than 60 characters.
fn short(value: &str) -> String {
    match value.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// Hashes a whole file as a stream.
fn hash(mut file: &File, stop: Stop<'_>) -> Result<Result<String, Stopped>, io::Error> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        if let Some(stopped) = stop() {
            return Ok(Err(stopped));
        }
        match file.read(&mut buffer) {
            Ok(0) => return Ok(Ok(hex(hash))),
            Ok(n) => hash.update(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
