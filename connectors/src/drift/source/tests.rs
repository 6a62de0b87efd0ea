//! Files as they come: good, strange and bad.

use std::path::Path;
use std::sync::Arc;

use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DoubleType, FixedLenByteArray, FixedLenByteArrayType, FloatType, Int32Type,
    Int64Type,
};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

struct Dir(TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, contents).unwrap();
        path
    }
}

fn go() -> Option<Stopped> {
    None
}

fn want(names: &[&str]) -> Vec<Wanted> {
    names.iter().map(|n| Wanted { name: (*n).to_owned(), kind: None }).collect()
}

fn kind(name: &str, kind: Kind) -> Vec<Wanted> {
    vec![Wanted { name: name.to_owned(), kind: Some(kind) }]
}

fn read_as(path: &Path, format: Option<Format>, wanted: Option<&[Wanted]>) -> Result<Table, Error> {
    Source::new(path.to_owned(), format, Limits::default())?.read(wanted, &go)
}

fn read(path: &Path, wanted: Option<&[Wanted]>) -> Result<Table, Error> {
    read_as(path, None, wanted)
}

fn csv_of(contents: impl AsRef<[u8]>, wanted: Option<&[Wanted]>) -> Result<Table, Error> {
    let dir = Dir::new();
    read(&dir.put("d.csv", contents), wanted)
}

/// The message without the directory, which differs from run to run.
fn message(error: Error) -> String {
    let text = error.to_string();
    let words = text.split(' ').map(|w| w.rsplit('/').next().unwrap_or(w));
    words.collect::<Vec<_>>().join(" ")
}

fn numbers(values: &[f64]) -> Data {
    Data::Numeric(values.to_vec())
}

fn categories(counts: &[(&str, u64)]) -> Data {
    Data::Categorical(counts.iter().map(|(k, n)| ((*k).to_owned(), *n)).collect())
}

#[test]
fn a_csv_gives_numbers_categories_and_its_hash() {
    let text = "amount,channel,note\n1.5,web,\"a, \"\"b\"\"\nc\"\n-2e3,atm,x\r\n NA ,web,y\n";
    let t = csv_of(text, Some(&want(&["channel", "amount"]))).unwrap();
    assert_eq!(t.rows, 3);
    assert_eq!(t.sha256, hex(Sha256::new_with_prefix(text)));
    assert_eq!((t.columns[0].name.as_str(), &t.columns[0].data), ("channel", &categories(&[("atm", 1), ("web", 2)])));
    assert_eq!((t.columns[1].missing, &t.columns[1].data), (1, &numbers(&[1.5, -2_000.0])));
}

#[test]
fn a_column_with_one_text_late_in_the_file_is_categorical_from_the_start() {
    let mut text = "x,y\n".to_owned();
    (0..100).for_each(|i| text.push_str(&format!("{},{i}\n", i % 3)));
    text.push_str("none of these,100\n");
    let t = csv_of(&text, None).unwrap();
    assert_eq!(t.columns[0].data, categories(&[("0", 34), ("1", 33), ("2", 33), ("none of these", 1)]));
    assert!(matches!(&t.columns[1].data, Data::Numeric(v) if v.len() == 101));
}

#[test]
fn delimiter_quote_header_and_missing_texts_can_be_chosen() {
    let dir = Dir::new();
    let options = CsvOptions { delimiter: b';', quote: b'\'', header: false, missing: vec!["-999".to_owned()] };
    let path = dir.put("d.data", "1;'a;b'\n-999;NA\n");
    let t = read_as(&path, Some(Format::Csv(options)), None).unwrap();
    assert_eq!((t.rows, t.columns[0].missing, &t.columns[0].data), (2, 1, &numbers(&[1.0])));
    assert_eq!((t.columns[1].name.as_str(), &t.columns[1].data), ("column2", &categories(&[("NA", 1), ("a;b", 1)])));
    let t = read(&dir.put("d.tsv", "a\tb\n1\t2\n"), Some(&want(&["b"]))).unwrap();
    assert_eq!(t.columns[0].data, numbers(&[2.0]));
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_name() {
    let t = csv_of("\u{feff}x,y\n1,2\n", Some(&want(&["x"]))).unwrap();
    assert_eq!(t.columns[0].data, numbers(&[1.0]));
}

#[test]
fn columns_that_were_not_asked_for_may_hold_anything() {
    let t = csv_of(b"x,y\n1,\xff\xfe\n2,\xff\n", Some(&want(&["x"]))).unwrap();
    assert_eq!(t.columns[0].data, numbers(&[1.0, 2.0]));
}

#[test]
fn bad_csv_files_are_refused_with_line_column_and_what_was_found() {
    let of = |text: &str, wanted: Option<&[Wanted]>| message(csv_of(text, wanted).unwrap_err());
    assert_eq!(of("", None), "d.csv has nothing in it, expected at least one row of data");
    assert_eq!(of("a,b\n", None), "d.csv has a header and no rows, expected at least one row of data");
    assert_eq!(of("a,b\n1,2\n3\n", None), "line 3 of d.csv has 1 fields, expected 2 as in the first line");
    assert_eq!(
        of("a,b\n1,2\n3,x\n", Some(&kind("b", Kind::Numeric))),
        "line 3 of d.csv, column `b`, holds `x`, expected a finite number"
    );
    assert_eq!(
        of("a\n1\ninf\n", Some(&kind("a", Kind::Numeric))),
        "line 3 of d.csv, column `a`, holds `inf`, expected a finite number"
    );
    assert_eq!(of("a,b,a\n1,2,3\n", None), "d.csv has 2 columns named `a`, expected one");
    assert_eq!(of("a,b,a\n1,2,3\n", Some(&want(&["a"]))), "d.csv has 2 columns named `a`, expected one");
}

#[test]
fn a_column_that_is_not_there_is_named_with_its_neighbours() {
    let e = csv_of("amount,scor,Channel\n1,2,x\n", Some(&want(&["amount", "score"]))).unwrap_err();
    assert!(e.hint().is_some());
    assert_eq!(message(e), "d.csv has no column `score`, it has `scor`, `Channel`, `amount`");
    let header = (0..40).map(|i| format!("feature{i}")).collect::<Vec<_>>().join(",");
    let e = message(csv_of(format!("{header}\n{header}\n"), Some(&want(&["feature_7"]))).unwrap_err());
    assert!(e.contains("`feature7`") && e.ends_with(" and 32 more"), "{e}");
}

#[test]
fn text_that_is_not_utf_8_is_refused_where_it_stands() {
    let e = csv_of(b"a,b\nx,y\nx,\xff\n", None).unwrap_err();
    assert_eq!(message(e), "line 3 of d.csv, column `b`, is not UTF-8 text");
    let e = csv_of(b"a,\xff\nx,y\n", None).unwrap_err();
    assert_eq!(message(e), "line 1 of d.csv, column `header`, is not UTF-8 text");
}

#[test]
fn a_quote_that_is_never_closed_ends_at_a_bound() {
    let mut text = "a,b\n1,2\n3,\"".to_owned();
    text.push_str(&"x".repeat(17 << 20));
    let e = csv_of(text, None).unwrap_err();
    assert!(matches!(e, Error::RecordTooLong { line: 3, .. }), "{e}");
}

#[test]
fn an_identifier_is_refused_as_a_category_and_the_first_text_is_named() {
    let mut text = "id\n".to_owned();
    (0..1_001).for_each(|i| text.push_str(&format!("u{i}\n")));
    let e = message(csv_of(&text, None).unwrap_err());
    assert_eq!(
        e,
        "column `id` of d.csv has more than 1000 different categories; \
         it counts as categorical because line 2 holds `u0`, which is no finite number"
    );
}

#[test]
fn no_more_numbers_are_kept_than_allowed() {
    let dir = Dir::new();
    let path = dir.put("d.csv", "a,b\n1,2\n3,4\n5,6\n");
    let limits = Limits { values_max: 5, ..Limits::default() };
    let e = Source::new(path.clone(), None, limits).unwrap().read(None, &go).unwrap_err();
    assert!(matches!(e, Error::TooManyValues { max: 5, .. }), "{e}");
    let limits = Limits { values_max: 6, ..limits };
    assert_eq!(Source::new(path, None, limits).unwrap().read(None, &go).unwrap().rows, 3);
}

#[test]
fn what_is_no_file_or_of_no_known_format_is_refused() {
    let dir = Dir::new();
    assert!(matches!(read(&dir.path("none.csv"), None), Err(Error::NotFound { .. })));
    fs::create_dir(dir.path("sub.csv")).unwrap();
    assert!(matches!(read(&dir.path("sub.csv"), None), Err(Error::NotAFile { found: "a directory", .. })));
    assert!(matches!(read(&dir.put("d.xlsx", "x"), None), Err(Error::Format { .. })));
    #[cfg(unix)]
    assert!(matches!(
        read_as(Path::new("/dev/zero"), Some(Format::Parquet), None),
        Err(Error::NotAFile { found: "a device or a pipe", .. })
    ));
}

#[test]
fn reading_stops_soon_after_it_is_told_to() {
    let dir = Dir::new();
    let path = dir.put("d.csv", format!("x\n{}", "1\n".repeat(20_000)));
    let asked = std::cell::Cell::new(0);
    let stop = || {
        asked.set(asked.get() + 1);
        (asked.get() == 2).then_some(Stopped::TimedOut)
    };
    let e = Source::new(path, None, Limits::default()).unwrap().read(None, &stop).unwrap_err();
    assert!(matches!(e, Error::Stopped(Stopped::TimedOut)));
    assert_eq!(asked.get(), 2);
}

const SCHEMA: &str = "message m {
    OPTIONAL DOUBLE amount;
    REQUIRED INT64 count;
    REQUIRED INT32 small (INTEGER(8,false));
    OPTIONAL FLOAT ratio;
    REQUIRED BOOLEAN flag;
    OPTIONAL BYTE_ARRAY channel (STRING);
    REQUIRED INT32 price (DECIMAL(9,2));
    REQUIRED FIXED_LEN_BYTE_ARRAY(5) big (DECIMAL(10,3));
    REQUIRED INT32 day (DATE);
    OPTIONAL GROUP owner { OPTIONAL INT32 age; }
    REPEATED INT32 tags;
}";

fn column<T: parquet::data_type::DataType>(
    group: &mut SerializedRowGroupWriter<'_, fs::File>,
    values: &[T::T],
    defined: Option<&[i16]>,
    repeated: Option<&[i16]>,
) {
    let mut writer = group.next_column().unwrap().unwrap();
    writer.typed::<T>().write_batch(values, defined, repeated).unwrap();
    writer.close().unwrap();
}

/// Two row groups of three rows each.
fn parquet_file(path: &Path, compression: Compression) {
    let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
    let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
    let mut file = SerializedFileWriter::new(fs::File::create(path).unwrap(), schema, properties).unwrap();
    for group in 0..2 {
        let mut g = file.next_row_group().unwrap();
        let base = f64::from(group * 10);
        column::<DoubleType>(&mut g, &[base + 0.5, f64::NAN], Some(&[1, 0, 1]), None);
        column::<Int64Type>(&mut g, &[i64::from(group), -7, 1 << 40], None, None);
        column::<Int32Type>(&mut g, &[1, 200, 255], None, None);
        column::<FloatType>(&mut g, &[0.25, 0.5, 0.75], Some(&[1, 1, 1]), None);
        column::<BoolType>(&mut g, &[true, false, true], None, None);
        column::<ByteArrayType>(&mut g, &[ByteArray::from("web"), ByteArray::from("é")], Some(&[1, 1, 0]), None);
        column::<Int32Type>(&mut g, &[1_999, -5, 0], None, None);
        let big = [[0, 0, 0, 0x30, 0x39], [0xff, 0xff, 0xff, 0xff, 0xff], [0; 5]];
        let big = big.map(|b: [u8; 5]| FixedLenByteArray::from(b.to_vec()));
        column::<FixedLenByteArrayType>(&mut g, &big, None, None);
        column::<Int32Type>(&mut g, &[20_000, 20_001, 20_002], None, None);
        column::<Int32Type>(&mut g, &[33], Some(&[2, 1, 0]), None);
        column::<Int32Type>(&mut g, &[1, 2, 3], Some(&[1, 1, 1, 0]), Some(&[0, 1, 0, 0]));
        g.close().unwrap();
    }
    file.close().unwrap();
}

const FLAT: [&str; 9] = ["amount", "count", "small", "ratio", "flag", "channel", "price", "big", "owner.age"];

#[test]
fn a_parquet_file_gives_the_values_that_were_written_whatever_the_compression() {
    let dir = Dir::new();
    for (index, compression) in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
    ]
    .into_iter()
    .enumerate()
    {
        let path = dir.path(&format!("{index}.parquet"));
        parquet_file(&path, compression);
        let t = read(&path, Some(&want(&FLAT))).unwrap();
        assert_eq!((t.rows, t.sha256), (6, hex(Sha256::new_with_prefix(fs::read(&path).unwrap()))));
        let found: Vec<_> = t.columns.into_iter().map(|c| (c.name, c.missing, c.data)).collect();
        let forty = (1_u64 << 40) as f64;
        let expected = [
            (4, numbers(&[0.5, 10.5])),
            (0, numbers(&[0.0, -7.0, forty, 1.0, -7.0, forty])),
            (0, numbers(&[1.0, 200.0, 255.0, 1.0, 200.0, 255.0])),
            (0, numbers(&[0.25, 0.5, 0.75, 0.25, 0.5, 0.75])),
            (0, categories(&[("false", 2), ("true", 4)])),
            (2, categories(&[("web", 2), ("é", 2)])),
            (0, numbers(&[19.99, -0.05, 0.0, 19.99, -0.05, 0.0])),
            (0, numbers(&[12.345, -0.001, 0.0, 12.345, -0.001, 0.0])),
            (4, numbers(&[33.0, 33.0])),
        ];
        let expected: Vec<_> = FLAT.into_iter().zip(expected).map(|(n, (m, d))| (n.to_owned(), m, d)).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn the_kind_of_a_parquet_column_can_be_overridden() {
    let dir = Dir::new();
    let path = dir.path("d.parquet");
    parquet_file(&path, Compression::SNAPPY);
    let data = |name, k| read(&path, Some(&kind(name, k))).map(|t| t.columns[0].data.clone());
    assert_eq!(data("small", Kind::Categorical).unwrap(), categories(&[("1", 2), ("200", 2), ("255", 2)]));
    assert_eq!(data("price", Kind::Categorical).unwrap(), categories(&[("-0.05", 2), ("0.00", 2), ("19.99", 2)]));
    assert_eq!(data("flag", Kind::Numeric).unwrap(), numbers(&[1.0, 0.0, 1.0, 1.0, 0.0, 1.0]));
    assert_eq!(
        message(data("channel", Kind::Numeric).unwrap_err()),
        "row 1 of d.parquet, column `channel`, holds `web`, expected a finite number"
    );
}

#[test]
fn parquet_columns_that_are_neither_numbers_nor_names_are_refused() {
    let dir = Dir::new();
    let path = dir.path("d.parquet");
    parquet_file(&path, Compression::SNAPPY);
    let of = |name| message(read(&path, Some(&want(&[name]))).unwrap_err());
    assert_eq!(
        of("day"),
        "column `day` of d.parquet is of type int32 (date), expected numbers, booleans, decimals or strings"
    );
    assert_eq!(
        of("tags"),
        "column `tags` of d.parquet is of type repeated int32, expected numbers, booleans, decimals or strings"
    );
    assert!(of("colour").starts_with("d.parquet has no column `colour`, it has "));
}

#[test]
fn a_file_that_only_claims_to_be_parquet_is_refused() {
    let dir = Dir::new();
    for text in ["PAR1", "a,b\n1,2\n", "PAR1\0\0\0\0\0\0\0\0PAR1", "PAR1\u{7f}\u{7f}\u{7f}\u{7f}PAR1"] {
        let e = read(&dir.put("d.parquet", text), None).unwrap_err();
        assert!(matches!(e, Error::Corrupt { .. }), "{e}");
    }
    assert!(matches!(read(&dir.put("d.parquet", ""), None), Err(Error::Empty { .. })));
}

#[test]
fn damaged_parquet_gives_an_error_or_values_but_never_a_panic() {
    let dir = Dir::new();
    let path = dir.path("d.parquet");
    parquet_file(&path, Compression::SNAPPY);
    let sound = fs::read(&path).unwrap();
    let mut refused = 0;
    for at in (0..sound.len()).step_by(3) {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x41;
        refused += usize::from(read(&dir.put("bad.parquet", bytes), Some(&want(&FLAT))).is_err());
        let cut = read(&dir.put("cut.parquet", &sound[..at]), Some(&want(&FLAT)));
        assert!(cut.is_err(), "cut at {at}");
    }
    assert!(refused > sound.len() / 30, "only {refused} of {} damages were noticed", sound.len() / 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_bytes_give_a_table_or_an_error(bytes in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        "[a-c,\"\n\r0-9. ]{0,200}".prop_map(String::into_bytes),
    ]) {
        let dir = Dir::new();
        for name in ["d.csv", "d.parquet"] {
            if let Ok(t) = read(&dir.put(name, &bytes), None) {
                for c in t.columns {
                    let values = match c.data {
                        Data::Numeric(v) => v.len() as u64,
                        Data::Categorical(counts) => counts.values().sum(),
                    };
                    prop_assert_eq!(values + c.missing, t.rows, "every row has a value or misses one");
                }
            }
        }
    }
}
