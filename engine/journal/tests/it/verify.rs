//! The report on a journal: whole ones are called whole, and of others it says what is lost.

use std::sync::Arc;

use cpd_journal::files::{Files, MemoryFiles};
use cpd_journal::{Error, Lsn, Options, Report, verify_files};

use crate::kit::{Bench, small};

fn layer(files: &MemoryFiles) -> Arc<dyn Files> {
    Arc::new(files.clone())
}

/// Twelve entries of two records over several segments.
fn journal() -> MemoryFiles {
    let files = MemoryFiles::new();
    let mut bench = Bench::open(&layer(&files), Options { segment_bytes: 900, ..small() }).expect("a new journal");
    for i in 0..12 {
        bench.append(i % 2, &[i as usize, 70]).expect("an append");
    }
    bench.log.close().expect("a close");
    files
}

fn segments(files: &MemoryFiles) -> Vec<String> {
    files.list().expect("names").into_iter().filter(|name| name.ends_with(".seg")).collect()
}

fn report(files: &MemoryFiles) -> Report {
    verify_files(layer(files)).expect("a report")
}

fn flip(files: &MemoryFiles, name: &str, byte: usize) -> MemoryFiles {
    let copy = files.copy();
    let mut bytes = files.contents(name).expect("a file");
    bytes[byte] ^= 0x10;
    copy.put(name, bytes);
    copy
}

#[test]
fn a_whole_journal_is_called_whole_and_counted() {
    let files = journal();
    let report = report(&files);
    assert!(report.is_whole() && report.torn.is_none() && report.marked, "{report:?}");
    assert_eq!((report.frames, report.records, report.streams), (12, 24, 2));
    assert_eq!((report.first, report.next, report.segments), (Lsn(1), Lsn(25), segments(&files).len() as u64));
}

#[test]
fn every_flipped_bit_is_in_the_report() {
    let files = journal();
    let last = segments(&files).pop().expect("a segment");
    for name in files.list().expect("names") {
        let bytes = files.contents(&name).expect("a file");
        for bit in 0..bytes.len() * 8 {
            let copy = files.copy();
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            copy.put(&name, flipped);
            match verify_files(layer(&copy)) {
                // Behind the last frame, a change is a torn tail.
                Ok(report) if name == last && bit / 8 >= bytes.len() - 8 => {
                    assert!(report.is_whole() && report.torn.is_some(), "{name} bit {bit}");
                }
                Ok(report) => {
                    assert!(!report.is_whole() || name == "mark", "{name} bit {bit}");
                    assert!(report.findings.iter().any(|f| f.damage.file == name), "{name} bit {bit}: {report:?}");
                }
                Err(error) => panic!("{name} bit {bit}: {error}"),
            }
        }
    }
}

#[test]
fn a_damaged_frame_costs_its_own_records_and_no_others() {
    let files = journal();
    let first = &segments(&files)[0];
    // In the payload of the second frame.
    let offset = 64 + 96 + 78 + 96 + 20;
    let report = report(&flip(&files, first, offset));
    assert_eq!(report.findings[0].lost, Some((Lsn(3), Lsn(5))));
    assert_eq!((report.lost_records(), report.frames), (2, 11));
    // The stream that misses it is named, too.
    assert!(report.findings.iter().any(|finding| finding.damage.expected.contains("its record 1")));
}

#[test]
fn a_missing_segment_is_named_with_the_records_that_were_in_it() {
    let files = journal();
    let names = segments(&files);
    for (i, name) in names.iter().enumerate() {
        let copy = files.copy();
        copy.remove(name).expect("the segment");
        let report = report(&copy);
        let from: u64 = name[..20].parse().expect("a number");
        let to = names.get(i + 1).map_or(25, |next| next[..20].parse().expect("a number"));
        assert_eq!(report.findings[0].lost, Some((Lsn(from), Lsn(to))), "{name}");
    }
}

#[test]
fn a_damaged_header_costs_its_segment() {
    let files = journal();
    let names = segments(&files);
    let report = report(&flip(&files, &names[1], 20));
    let number = |name: &str| Lsn(name[..20].parse().expect("a number"));
    assert_eq!(report.findings[0].lost, Some((number(&names[1]), number(&names[2]))));
}

#[test]
fn a_torn_tail_is_reported_and_is_no_loss() {
    let files = journal();
    let last = segments(&files).pop().expect("a segment");
    let mut bytes = files.contents(&last).expect("the segment");
    bytes.extend_from_slice(&[0xCA, 0x4A, 1, 2, 3]);
    files.put(&last, bytes);
    let report = report(&files);
    assert!(report.is_whole());
    assert_eq!(report.torn.expect("a torn tail").file, last);
}

#[test]
fn pruned_streams_are_counted_and_are_no_loss() {
    let files = journal();
    let mut bench = Bench::open(&layer(&files), small()).expect("the journal");
    bench.log.prune(Lsn(u64::MAX)).expect("a pruning");
    let report = report(&files);
    assert!(report.is_whole(), "{report:?}");
    assert_eq!(report.first, bench.log.reader().segments().expect("segments")[0].first);
    assert!(report.pruned_streams > 0);
}

#[test]
fn an_empty_directory_cannot_be_verified() {
    assert!(matches!(verify_files(layer(&MemoryFiles::new())), Err(Error::Missing)));
}
