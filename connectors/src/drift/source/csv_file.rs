//! CSV as RFC 4180 has it, with a delimiter and a quote of choice, and lines ending in LF or CRLF.
//!
//! One pass reads everything; columns of unknown kind in which a text turned up are read again as categorical. Both passes
//! hash what they read, and must find the same.

use std::cell::{Cell, RefCell};
use std::io::{self, Read};
use std::rc::Rc;

use csv::{ByteRecord, ErrorKind, ReaderBuilder};
use sha2::{Digest, Sha256};

use super::gather::Gather;
use super::{Error, Place, ROWS_BETWEEN_STOPS, Source, Stop, Table, Wanted, hex};

/// A record longer than this is taken for a quote that was never closed. A bound is needed: a record is held in memory.
const RECORD_BYTES_MAX: u64 = 16 << 20;

/// How a CSV file is written.
#[derive(Clone, Debug, PartialEq)]
pub struct CsvOptions {
    /// Between fields; a comma if nobody says.
    pub delimiter: u8,
    /// Around fields that hold the delimiter, a quote (doubled) or a line's end.
    pub quote: u8,
    /// Whether the first line holds names. If not, columns are called `column1`, `column2`, …
    pub header: bool,
    /// Texts that stand for no value, compared after blanks around the field are taken off.
    pub missing: Vec<String>,
}

impl Default for CsvOptions {
    /// The texts that pandas takes for missing and that nobody would use as a category.
    fn default() -> Self {
        let missing = ["", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "<NA>", "#N/A"];
        Self { delimiter: b',', quote: b'"', header: true, missing: missing.map(str::to_owned).to_vec() }
    }
}

/// Counts the bytes since the last record, and hashes all of them.
struct Watched<R> {
    inner: R,
    hash: Rc<RefCell<Sha256>>,
    since_record: Rc<Cell<u64>>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.since_record.get() > RECORD_BYTES_MAX {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        let n = self.inner.read(buffer)?;
        self.hash.borrow_mut().update(&buffer[..n]);
        self.since_record.set(self.since_record.get() + n as u64);
        Ok(n)
    }
}

struct Pass<'a> {
    rows: u64,
    sha256: String,
    columns: Vec<Gather<'a>>,
}

pub(super) fn read(
    source: &Source,
    options: &CsvOptions,
    wanted: Option<&[Wanted]>,
    stop: Stop<'_>,
) -> Result<Table, Error> {
    let choose = |names: &[String]| {
        let chosen = source.choose(wanted, names)?;
        Ok(chosen.into_iter().map(|(at, kind)| (at, Gather::new(source, names[at].clone(), kind))).collect())
    };
    let first = pass(source, options, choose, stop)?;
    let again: Vec<_> = first.columns.iter().map(Gather::again).collect();
    let mut columns = first.columns;
    if again.iter().any(Option::is_some) {
        let choose = |names: &[String]| {
            let mut places = Vec::new();
            for gather in again.into_iter().flatten() {
                let at = names.iter().position(|n| n == gather.name());
                places.push((at.ok_or_else(|| Error::Changed { path: source.path.clone() })?, gather));
            }
            Ok(places)
        };
        let second = pass(source, options, choose, stop)?;
        if second.sha256 != first.sha256 {
            return Err(Error::Changed { path: source.path.clone() });
        }
        let mut read_again = second.columns.into_iter();
        for column in columns.iter_mut().filter(|c| c.again().is_some()) {
            if let Some(better) = read_again.next() {
                *column = better;
            }
        }
    }
    let columns = columns.into_iter().map(Gather::finish).collect();
    Ok(Table { rows: first.rows, sha256: first.sha256, columns })
}

fn pass<'a>(
    source: &'a Source,
    options: &CsvOptions,
    choose: impl FnOnce(&[String]) -> Result<Vec<(usize, Gather<'a>)>, Error>,
    stop: Stop<'_>,
) -> Result<Pass<'a>, Error> {
    let hash = Rc::new(RefCell::new(Sha256::new()));
    let since_record = Rc::new(Cell::new(0));
    let watched = Watched { inner: source.open()?, hash: hash.clone(), since_record: since_record.clone() };
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .delimiter(options.delimiter)
        .quote(options.quote)
        .buffer_capacity(1 << 16)
        .from_reader(watched);
    let mut record = ByteRecord::new();
    let empty = |found| Error::Empty { path: source.path.clone(), found };
    // Returns the line of the record, or `None` at the end.
    let mut next = |record: &mut ByteRecord| {
        let line = reader.position().line();
        let more = reader.read_byte_record(record).map_err(|e| problem(source, e, line))?;
        since_record.set(0);
        Ok::<_, Error>(more.then(|| record.position().map_or(line, csv::Position::line)))
    };

    let mut pending = next(&mut record)?;
    if pending.is_none() {
        return Err(empty("nothing in it"));
    }
    let names = names(source, options, &record)?;
    if options.header {
        pending = next(&mut record)?;
    }
    let mut columns = choose(&names)?;
    let (mut rows, mut left) = (0_u64, source.limits.values_max);
    while let Some(line) = pending {
        for (at, column) in &mut columns {
            let place = Place::Line(line);
            let field = record.get(*at).unwrap_or_default();
            let text = std::str::from_utf8(field).map_err(|_| Error::NotUtf8 {
                path: source.path.clone(),
                place,
                column: column.name().to_owned(),
            })?;
            if options.missing.iter().any(|m| m == text.trim_ascii()) {
                column.missing();
            } else {
                column.text(text, place, &mut left)?;
            }
        }
        rows += 1;
        if rows.is_multiple_of(ROWS_BETWEEN_STOPS)
            && let Some(stopped) = stop()
        {
            return Err(Error::Stopped(stopped));
        }
        pending = next(&mut record)?;
    }
    if rows == 0 {
        return Err(empty("a header and no rows"));
    }
    let sha256 = hex(hash.borrow().clone());
    Ok(Pass { rows, sha256, columns: columns.into_iter().map(|(_, c)| c).collect() })
}

fn names(source: &Source, options: &CsvOptions, first: &ByteRecord) -> Result<Vec<String>, Error> {
    if !options.header {
        return Ok((1..=first.len()).map(|i| format!("column{i}")).collect());
    }
    let line = first.position().map_or(1, csv::Position::line);
    let text = |field: &[u8]| std::str::from_utf8(field).map(|t| t.trim_ascii().to_owned());
    first.iter().map(text).collect::<Result<_, _>>().map_err(|_| Error::NotUtf8 {
        path: source.path.clone(),
        place: Place::Line(line),
        column: "header".to_owned(),
    })
}

fn problem(source: &Source, error: csv::Error, line: u64) -> Error {
    let path = source.path.clone();
    let text = error.to_string();
    match error.into_kind() {
        ErrorKind::UnequalLengths { pos, expected_len, len } => {
            Error::Ragged { path, line: pos.map_or(line, |p| p.line()), found: len, expected: expected_len }
        }
        ErrorKind::Io(e) if e.kind() == io::ErrorKind::FileTooLarge => {
            Error::RecordTooLong { path, line, bytes_max: RECORD_BYTES_MAX }
        }
        ErrorKind::Io(e) => source.io(e),
        _ => source.io(io::Error::other(text)),
    }
}
