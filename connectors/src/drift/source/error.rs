//! What can be wrong with a data file, in words for the one who has to put it right.

use std::io;
use std::path::PathBuf;

use super::{Place, Stopped};

/// Why a file did not give its columns.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such file.
    #[error("no data file at {path}")]
    NotFound {
        /// The path as resolved.
        path: PathBuf,
    },
    /// It is a directory or a device.
    #[error("{path} is {found}, expected a data file")]
    NotAFile {
        /// The path as resolved.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// The system refused.
    #[error("cannot read {path}")]
    Io {
        /// The path as resolved.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The name does not tell the format.
    #[error("the name of {path} does not tell its format, expected .csv, .tsv, .txt, .parquet or .pq")]
    Format {
        /// The path as resolved.
        path: PathBuf,
    },
    /// Not one row.
    #[error("{path} has {found}, expected at least one row of data")]
    Empty {
        /// The path as resolved.
        path: PathBuf,
        /// What was there.
        found: &'static str,
    },
    /// The column is not in the file.
    #[error("{path} has no column `{name}`, it has {known}")]
    NoColumn {
        /// The path as resolved.
        path: PathBuf,
        /// What was asked for.
        name: String,
        /// The nearest names of those that there are.
        known: String,
    },
    /// Two columns of one name.
    #[error("{path} has {count} columns named `{name}`, expected one")]
    Ambiguous {
        /// The path as resolved.
        path: PathBuf,
        /// What was asked for.
        name: String,
        /// How many there are.
        count: usize,
    },
    /// A row that is shorter or longer than the first.
    #[error("line {line} of {path} has {found} fields, expected {expected} as in the first line")]
    Ragged {
        /// The path as resolved.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// Fields found.
        found: u64,
        /// Fields of the first record.
        expected: u64,
    },
    /// A record without an end.
    #[error("the record that starts on line {line} of {path} is longer than {bytes_max} bytes")]
    RecordTooLong {
        /// The path as resolved.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// Bytes that are not text.
    #[error("{place} of {path}, column `{column}`, is not UTF-8 text")]
    NotUtf8 {
        /// The path as resolved.
        path: PathBuf,
        /// Where.
        place: Place,
        /// The column, or `header`.
        column: String,
    },
    /// Text where a number was expected.
    #[error("{place} of {path}, column `{column}`, holds `{value}`, expected a finite number")]
    NotNumeric {
        /// The path as resolved.
        path: PathBuf,
        /// Where.
        place: Place,
        /// The column.
        column: String,
        /// What stood there, cut short if long.
        value: String,
    },
    /// More categories than can be compared.
    #[error("column `{column}` of {path} has more than {max} different categories{}", because(.first_text))]
    TooManyCategories {
        /// The path as resolved.
        path: PathBuf,
        /// The column.
        column: String,
        /// The limit.
        max: usize,
        /// If nobody said that it is categorical: the first value that is no number, and where.
        first_text: Option<(Place, String)>,
    },
    /// More numbers than may be kept.
    #[error("{path} has more than {max} numbers in the columns asked for")]
    TooManyValues {
        /// The path as resolved.
        path: PathBuf,
        /// The limit.
        max: usize,
    },
    /// A column of a type that has no order and no name.
    #[error("column `{column}` of {path} is of type {found}, expected numbers, booleans, decimals or strings")]
    Type {
        /// The path as resolved.
        path: PathBuf,
        /// The column.
        column: String,
        /// Its type.
        found: String,
    },
    /// Parquet that does not hold what it says.
    #[error("{path} is not a sound Parquet file")]
    Corrupt {
        /// The path as resolved.
        path: PathBuf,
        /// What the reader said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Someone writes to the file.
    #[error("{path} changed while it was read")]
    Changed {
        /// The path as resolved.
        path: PathBuf,
    },
    /// Reading was given up.
    #[error("{}", match .0 { Stopped::Cancelled => "cancelled while reading", Stopped::TimedOut => "out of time while reading" })]
    Stopped(Stopped),
}

fn because(first_text: &Option<(Place, String)>) -> String {
    first_text.as_ref().map_or_else(String::new, |(place, value)| {
        format!("; it counts as categorical because {place} holds `{value}`, which is no finite number")
    })
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Error::NotFound { .. } => "paths are relative to the connector's base directory",
            Error::Format { .. } => "say `format: { type: csv }` or `format: { type: parquet }` beside the path",
            Error::NoColumn { .. } => {
                "names are compared letter by letter; a CSV without a header line needs `header: false`"
            }
            Error::Ambiguous { .. } => "rename one, or set `header: false` and use `column1`, `column2`, …",
            Error::Ragged { .. } => "is `delimiter` right, and are fields that hold it quoted?",
            Error::RecordTooLong { .. } => "a quote that is never closed takes the rest of the file into one field",
            Error::NotUtf8 { .. } => "convert the file to UTF-8",
            Error::NotNumeric { .. } => {
                "list the text under `missing` if it stands for no value, or say `kind: categorical` for the column"
            }
            Error::TooManyCategories { .. } => {
                "leave the column out by listing `columns`, or say `kind: numeric` and list texts that stand for no value under `missing`"
            }
            Error::TooManyValues { .. } => "ask for fewer columns at a time, or compare a sample",
            Error::Type { .. } => "leave the column out by listing `columns`",
            Error::Changed { .. } => "write to another name and rename the file when it is complete",
            Error::NotAFile { .. }
            | Error::Io { .. }
            | Error::Empty { .. }
            | Error::Corrupt { .. }
            | Error::Stopped(_) => return None,
        })
    }
}
