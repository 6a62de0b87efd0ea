//! Apache Parquet: flat columns of numbers, booleans, decimals and strings, compressed with Snappy, gzip or Zstandard.
//!
//! A column is read row group by row group and page by page, so memory holds one page of it beside what is gathered. The file
//! is hashed first; length and time of change must be the same before and after.
//!
//! Nested columns go by their dotted path (`customer.age`); repeated ones (lists, maps) have no single value a row and are
//! refused, as are dates, times and identifiers: none of them is compared with sense as a number or by name.
//! A NaN is a missing value. 64-bit integers beyond 2⁵³ round to doubles.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};

use parquet::basic::{ConvertedType, LogicalType, Type as PhysicalType};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;

use super::gather::Gather;
use super::{Error, Kind, Place, Source, Stop, Table, Wanted, hash};

/// Values decoded at a time.
const BATCH_ROWS: usize = 4_096;

/// How the stored values of a column are to be understood.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Meaning {
    Bool,
    Number,
    Unsigned,
    Half,
    /// An integer times ten to the minus this.
    Decimal(i32),
    Text,
}

impl Meaning {
    fn kind(self) -> Kind {
        match self {
            Meaning::Bool | Meaning::Text => Kind::Categorical,
            Meaning::Number | Meaning::Unsigned | Meaning::Half | Meaning::Decimal(_) => Kind::Numeric,
        }
    }

    /// `None` for types that are neither numbers nor names.
    fn of(column: &ColumnDescriptor) -> Option<Self> {
        let scale = match column.logical_type_ref() {
            Some(LogicalType::Decimal(d)) => Some(d.scale),
            None if column.converted_type() == ConvertedType::DECIMAL => Some(column.type_scale()),
            _ => None,
        };
        if let Some(scale) = scale {
            return (0..=1_000).contains(&scale).then_some(Meaning::Decimal(scale));
        }
        let whole = || match column.logical_type_ref() {
            None => match column.converted_type() {
                ConvertedType::NONE
                | ConvertedType::INT_8
                | ConvertedType::INT_16
                | ConvertedType::INT_32
                | ConvertedType::INT_64 => Some(Meaning::Number),
                ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64 => {
                    Some(Meaning::Unsigned)
                }
                _ => None,
            },
            Some(LogicalType::Integer(i)) if i.is_signed => Some(Meaning::Number),
            Some(LogicalType::Integer(_)) => Some(Meaning::Unsigned),
            Some(_) => None,
        };
        match column.physical_type() {
            PhysicalType::BOOLEAN => Some(Meaning::Bool),
            PhysicalType::INT32 | PhysicalType::INT64 => whole(),
            PhysicalType::FLOAT | PhysicalType::DOUBLE => Some(Meaning::Number),
            PhysicalType::BYTE_ARRAY => match (column.logical_type_ref(), column.converted_type()) {
                (Some(LogicalType::String | LogicalType::Enum), _) => Some(Meaning::Text),
                (None, ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::NONE) => Some(Meaning::Text),
                _ => None,
            },
            PhysicalType::FIXED_LEN_BYTE_ARRAY if column.logical_type_ref() == Some(&LogicalType::Float16) => {
                Some(Meaning::Half)
            }
            PhysicalType::FIXED_LEN_BYTE_ARRAY | PhysicalType::INT96 => None,
        }
    }
}

/// One column while it is read.
struct Target<'s, 'g> {
    source: &'s Source,
    gather: &'g mut Gather<'s>,
    meaning: Meaning,
    left: &'g mut usize,
    row: u64,
}

pub(super) fn read(source: &Source, wanted: Option<&[Wanted]>, stop: Stop<'_>) -> Result<Table, Error> {
    let file = source.open()?;
    let before = stamp(source, &file)?;
    let sha256 = hash(&file, stop).map_err(|e| source.io(e))?.map_err(Error::Stopped)?;
    if before.0 == 0 {
        return Err(Error::Empty { path: source.path.clone(), found: "nothing in it" });
    }
    let reading = file.try_clone().map_err(|e| source.io(e))?;
    // The reader checks much, but not all that a damaged file may hold; a bound it trips over must not take the caller along.
    let table = catch_unwind(AssertUnwindSafe(|| read_columns(source, reading, wanted, stop)))
        .unwrap_or_else(|_| Err(corrupt(source, "the reader gave up on impossible contents")))?;
    if stamp(source, &file)? != before {
        return Err(Error::Changed { path: source.path.clone() });
    }
    Ok(Table { sha256, ..table })
}

fn stamp(source: &Source, file: &File) -> Result<(u64, Option<std::time::SystemTime>), Error> {
    let found = file.metadata().map_err(|e| source.io(e))?;
    Ok((found.len(), found.modified().ok()))
}

fn corrupt(source: &Source, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Corrupt { path: source.path.clone(), source: why.into() }
}

fn read_columns(source: &Source, file: File, wanted: Option<&[Wanted]>, stop: Stop<'_>) -> Result<Table, Error> {
    let unsound = |e: ParquetError| corrupt(source, e);
    let reader = SerializedFileReader::new(file).map_err(unsound)?;
    let meta = reader.metadata().file_metadata();
    let described = meta.schema_descr().columns();
    let names: Vec<String> = described.iter().map(|c| c.path().string()).collect();
    let rows = u64::try_from(meta.num_rows()).map_err(|_| corrupt(source, "it says that it has less than no rows"))?;
    let chosen = source.choose(wanted, &names)?;
    if rows == 0 {
        return Err(Error::Empty { path: source.path.clone(), found: "columns and no rows" });
    }
    let mut left = source.limits.values_max;
    let mut columns = Vec::with_capacity(chosen.len());
    for (at, kind) in chosen {
        let column = &described[at];
        let meaning = Meaning::of(column).filter(|_| column.max_rep_level() == 0).ok_or_else(|| Error::Type {
            path: source.path.clone(),
            column: names[at].clone(),
            found: type_name(column),
        })?;
        let mut gather = Gather::new(source, names[at].clone(), Some(kind.unwrap_or_else(|| meaning.kind())));
        let mut target = Target { source, gather: &mut gather, meaning, left: &mut left, row: 0 };
        for group in 0..reader.num_row_groups() {
            let pages = reader.get_row_group(group).and_then(|g| g.get_column_reader(at)).map_err(unsound)?;
            target.drain(pages, column.max_def_level(), stop)?;
        }
        if target.row != rows {
            let found = target.row;
            return Err(corrupt(source, format!("column `{}` has {found} rows, expected {rows}", names[at])));
        }
        columns.push(gather.finish());
    }
    Ok(Table { rows, sha256: String::new(), columns })
}

fn type_name(column: &ColumnDescriptor) -> String {
    let physical = column.physical_type().to_string().to_lowercase();
    let logical = match column.logical_type_ref() {
        Some(logical) => format!("{logical:?}"),
        None => column.converted_type().to_string(),
    };
    let word: String = logical.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    let list = if column.max_rep_level() > 0 { "repeated " } else { "" };
    if word.is_empty() || word == "NONE" {
        format!("{list}{physical}")
    } else {
        format!("{list}{physical} ({})", word.to_lowercase())
    }
}

impl Target<'_, '_> {
    fn drain(&mut self, pages: ColumnReader, def_max: i16, stop: Stop<'_>) -> Result<(), Error> {
        match pages {
            ColumnReader::BoolColumnReader(r) => self.values(r, def_max, stop, |t, &v| t.bool(v)),
            ColumnReader::Int32ColumnReader(r) => self.values(r, def_max, stop, |t, &v| match t.meaning {
                // The same bits, as the format stores unsigned integers.
                Meaning::Unsigned => t.whole(i128::from(v as u32)),
                _ => t.whole(i128::from(v)),
            }),
            ColumnReader::Int64ColumnReader(r) => self.values(r, def_max, stop, |t, &v| match t.meaning {
                Meaning::Unsigned => t.whole(i128::from(v as u64)),
                _ => t.whole(i128::from(v)),
            }),
            ColumnReader::FloatColumnReader(r) => self.values(r, def_max, stop, |t, &v| t.float(f64::from(v))),
            ColumnReader::DoubleColumnReader(r) => self.values(r, def_max, stop, |t, &v| t.float(v)),
            ColumnReader::ByteArrayColumnReader(r) => self.values(r, def_max, stop, |t, v: &ByteArray| t.bytes(v)),
            ColumnReader::FixedLenByteArrayColumnReader(r) => self.values(r, def_max, stop, |t, v| t.bytes(v)),
            ColumnReader::Int96ColumnReader(_) => Err(corrupt(self.source, "a column is not of the type it says")),
        }
    }

    fn values<T: DataType>(
        &mut self,
        mut reader: ColumnReaderImpl<T>,
        def_max: i16,
        stop: Stop<'_>,
        mut take: impl FnMut(&mut Self, &T::T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (mut defined, mut values) = (Vec::with_capacity(BATCH_ROWS), Vec::with_capacity(BATCH_ROWS));
        loop {
            if let Some(stopped) = stop() {
                return Err(Error::Stopped(stopped));
            }
            defined.clear();
            values.clear();
            let (records, ..) = reader
                .read_records(BATCH_ROWS, Some(&mut defined), None, &mut values)
                .map_err(|e| corrupt(self.source, e))?;
            if records == 0 {
                return Ok(());
            }
            let mut values = values.iter();
            for at in 0..records {
                self.row += 1;
                if def_max > 0 && defined.get(at).is_none_or(|d| *d < def_max) {
                    self.gather.missing();
                    continue;
                }
                let value =
                    values.next().ok_or_else(|| corrupt(self.source, "a page holds fewer values than it says"))?;
                take(self, value)?;
            }
        }
    }

    fn place(&self) -> Place {
        Place::Row(self.row)
    }

    fn bool(&mut self, value: bool) -> Result<(), Error> {
        if self.gather.is_numeric() {
            self.gather.number(f64::from(u8::from(value)), self.place(), self.left)
        } else {
            self.gather.category(if value { "true" } else { "false" })
        }
    }

    fn float(&mut self, value: f64) -> Result<(), Error> {
        if value.is_nan() {
            self.gather.missing();
            return Ok(());
        }
        self.gather.number(value, self.place(), self.left)
    }

    fn whole(&mut self, value: i128) -> Result<(), Error> {
        match self.meaning {
            Meaning::Decimal(scale) => self.decimal(&value.to_string(), scale),
            _ if self.gather.is_numeric() => self.gather.number(value as f64, self.place(), self.left),
            _ => self.gather.category(&value.to_string()),
        }
    }

    /// Takes an unscaled decimal. Going through text gives the nearest double, as for the same decimal in a CSV.
    fn decimal(&mut self, unscaled: &str, scale: i32) -> Result<(), Error> {
        let text = decimal_text(unscaled, usize::try_from(scale).unwrap_or(0));
        self.gather.text(&text, self.place(), self.left)
    }

    fn bytes(&mut self, value: &ByteArray) -> Result<(), Error> {
        let data = value.data();
        match self.meaning {
            Meaning::Half => match <[u8; 2]>::try_from(data) {
                Ok(bytes) => self.float(half(u16::from_le_bytes(bytes))),
                Err(_) => Err(corrupt(self.source, "a half float is not two bytes long")),
            },
            Meaning::Decimal(scale) if data.len() <= 16 => {
                // Two's complement, most significant byte first.
                let sign = if data.first().is_some_and(|b| b & 0x80 != 0) { -1 } else { 0 };
                let unscaled = data.iter().fold(sign, |n: i128, b| (n << 8) | i128::from(*b));
                self.decimal(&unscaled.to_string(), scale)
            }
            Meaning::Decimal(_) => Err(Error::Type {
                path: self.source.path.clone(),
                column: self.gather.name().to_owned(),
                found: format!("decimal of {} bytes", data.len()),
            }),
            _ => {
                let text = std::str::from_utf8(data).map_err(|_| Error::NotUtf8 {
                    path: self.source.path.clone(),
                    place: self.place(),
                    column: self.gather.name().to_owned(),
                })?;
                self.gather.text(text, self.place(), self.left)
            }
        }
    }
}

/// `-1234` with scale 2 is `-12.34`.
fn decimal_text(unscaled: &str, scale: usize) -> String {
    let (sign, digits) = unscaled.strip_prefix('-').map_or(("", unscaled), |d| ("-", d));
    if scale == 0 {
        return unscaled.to_owned();
    }
    let digits = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    format!("{sign}{whole}.{fraction}")
}

/// IEEE 754 binary16.
fn half(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2.0_f64.powi(-24),
        0x1f if fraction == 0.0 => f64::INFINITY,
        0x1f => f64::NAN,
        _ => (1.0 + fraction / 1_024.0) * 2.0_f64.powi(exponent - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_and_half_floats_read_as_written() {
        assert_eq!(decimal_text("-1234", 2), "-12.34");
        assert_eq!(decimal_text("5", 3), "0.005");
        assert_eq!(decimal_text("-5", 0), "-5");
        assert_eq!(
            [0x3c00, 0xc000, 0x3555, 0x0001, 0x7bff].map(half),
            [1.0, -2.0, 0.333251953125, 5.960464477539063e-8, 65_504.0]
        );
        assert!(half(0x7e00).is_nan() && half(0xfc00) == f64::NEG_INFINITY);
    }
}
