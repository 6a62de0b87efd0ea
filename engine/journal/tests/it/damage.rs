//! Damage: every flipped bit and every cut of a small journal is found, with a place, or lies behind everything that was acknowledged.

use std::sync::Arc;

use cpd_journal::files::{Files, MemoryFiles};
use cpd_journal::format::TERMINATOR_BYTES;
use cpd_journal::{Error, Lsn, MarkState, OnLoss, Options, Reader};

use crate::kit::{Bench, Shape, everything, shape, small};

const MARK: &str = "mark";

/// A journal of two sealed segments and a last one, closed in order or not.
fn journal(closed: bool) -> (MemoryFiles, Vec<Shape>) {
    let files = MemoryFiles::new();
    let mut bench = Bench::open(&layer(&files), Options { segment_bytes: 700, ..small() }).expect("a new journal");
    for i in 0..6 {
        bench.append(i % 2, &[i as usize, 70]).expect("an append");
        bench.append_group(&[(3, &[1]), (4, &[2])]).expect("an append");
    }
    let written = bench.acknowledged.clone();
    if closed {
        bench.log.close().expect("a close");
    }
    let segments = files.list().expect("names").iter().filter(|name| name.ends_with(".seg")).count();
    assert!(segments > 2, "{segments}");
    (files, written)
}

fn layer(files: &MemoryFiles) -> Arc<dyn Files> {
    Arc::new(files.clone())
}

/// Opens and reads everything.
fn read(files: &MemoryFiles) -> Result<(Bench, Vec<Shape>), Error> {
    let bench = Bench::open(&layer(files), Options { segment_bytes: 700, ..small() })?;
    let shapes = everything(&bench.log.reader())?.iter().map(shape).collect();
    Ok((bench, shapes))
}

/// Changes one file in every way that `changes` gives, and hands each result to `check`.
fn each_change(
    files: &MemoryFiles,
    changes: impl Fn(&[u8]) -> Vec<Vec<u8>>,
    check: impl Fn(&str, usize, &MemoryFiles),
) {
    for name in files.list().expect("names") {
        let bytes = files.contents(&name).expect("a file");
        for (i, changed) in changes(&bytes).into_iter().enumerate() {
            let copy = files.copy();
            copy.put(&name, changed);
            check(&name, i, &copy);
        }
    }
}

fn flips(bytes: &[u8]) -> Vec<Vec<u8>> {
    (0..bytes.len() * 8)
        .map(|bit| {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            flipped
        })
        .collect()
}

fn cuts(bytes: &[u8]) -> Vec<Vec<u8>> {
    (0..bytes.len()).map(|length| bytes[..length].to_vec()).collect()
}

fn blanks(bytes: &[u8]) -> Vec<Vec<u8>> {
    (0..bytes.len())
        .map(|from| {
            let mut blank = bytes.to_vec();
            blank[from..].fill(0);
            blank
        })
        .collect()
}

/// In a journal that was closed, a change at a byte is found; only in the mark and behind the last frame it may do no harm, and is reported.
fn found_or_harmless(written: &[Shape], name: &str, at: usize, files: &MemoryFiles) {
    match read(files) {
        Ok((bench, shapes)) => {
            assert_eq!(shapes, written, "{name} byte {at}");
            match bench.recovered.cut {
                None if name == MARK => assert_eq!(bench.recovered.mark, MarkState::Unreadable, "{name} byte {at}"),
                // A change behind the end that leaves nothing but zeros is none.
                None => assert!(at >= end_of_frames(written, &bench), "{name} byte {at}"),
                Some(cut) => {
                    assert!(cut.segment == name && cut.offset <= at as u64 && cut.loss.is_none(), "{name} byte {at}")
                }
            }
        }
        Err(Error::Damaged(damage)) => assert!(damage.file.ends_with(".seg"), "{name} byte {at}: {damage}"),
        Err(error) => panic!("{name} byte {at}: {error:?}"),
    }
}

/// The offset in the last segment behind which nothing was acknowledged.
fn end_of_frames(written: &[Shape], bench: &Bench) -> usize {
    let segments = bench.log.reader().segments().expect("segments");
    let last = segments.last().expect("a segment");
    assert_eq!(bench.recovered.next.0 - 1, written.iter().map(|shape| shape.2.len() as u64).sum::<u64>());
    (bench.recovered.end.0 - last.base.0) as usize
}

#[test]
fn every_flipped_bit_of_a_closed_journal_is_found() {
    let (files, written) = journal(true);
    each_change(&files, flips, |name, i, files| found_or_harmless(&written, name, i / 8, files));
}

#[test]
fn every_cut_of_a_closed_journal_is_found() {
    let (files, written) = journal(true);
    each_change(&files, cuts, |name, i, files| found_or_harmless(&written, name, i, files));
}

#[test]
fn every_blanked_end_of_a_closed_journal_is_found() {
    let (files, written) = journal(true);
    each_change(&files, blanks, |name, i, changed| {
        if files.contents(name) != changed.contents(name) {
            found_or_harmless(&written, name, i, changed);
        }
    });
}

#[test]
fn every_missing_file_of_a_closed_journal_is_noticed() {
    let (files, written) = journal(true);
    for name in files.list().expect("names") {
        let copy = files.copy();
        copy.remove(&name).expect("the file");
        match read(&copy) {
            Ok((bench, shapes)) => {
                assert_eq!((name.as_str(), bench.recovered.mark, &shapes), (MARK, MarkState::Missing, &written));
            }
            Err(error) => assert!(matches!(error, Error::Damaged(_)), "{name}: {error:?}"),
        }
    }
}

/// Without an orderly close the mark may be late. Then damage in the last group looks like a torn tail, and nothing else does.
#[test]
fn flipped_bits_of_a_killed_journal_are_found_or_cost_the_last_group_and_are_reported() {
    let (files, written) = journal(false);
    files.remove(MARK).expect("the mark");
    let before_last_group = &written[..written.len() - 2];
    each_change(&files, flips, |name, i, files| match read(files) {
        Ok((bench, shapes)) => {
            let cut = bench.recovered.cut.unwrap_or_else(|| panic!("{name} bit {i} was not reported"));
            assert!(shapes.starts_with(before_last_group) && written.starts_with(&shapes), "{name} bit {i}");
            assert!(cut.offset <= i as u64 / 8 && i as u64 / 8 < cut.offset + cut.bytes && cut.segment == name);
        }
        Err(Error::Damaged(damage)) => assert!(damage.file.ends_with(".seg"), "{name} bit {i}: {damage}"),
        Err(error) => panic!("{name} bit {i}: {error:?}"),
    });
}

/// The last frame is under way when the process dies: any part of it may be there.
#[test]
fn a_crash_at_every_byte_of_the_last_frame_cuts_it_and_keeps_the_rest() {
    for filled in [false, true] {
        let files = MemoryFiles::new();
        let mut bench = Bench::open(&layer(&files), small()).expect("a new journal");
        bench.append(1, &[40, 40]).expect("an append");
        bench.append(2, &[10]).expect("an append");
        let kept = bench.acknowledged.clone();
        let start = (bench.log.reader().segments().expect("segments")[0].bytes as usize) - TERMINATOR_BYTES;
        bench.append(1, &[30, 0, 30]).expect("an append");
        let name = files.list().expect("names")[0].clone();
        let mut whole = files.contents(&name).expect("the segment");
        whole.truncate(whole.len() - TERMINATOR_BYTES);
        for written in start..whole.len() {
            let copy = files.copy();
            let mut torn = whole[..written].to_vec();
            if filled {
                torn.resize(whole.len() + 300, 0);
            }
            copy.put(&name, torn);
            let mut bench = Bench::open(&layer(&copy), small()).expect("a journal");
            assert_eq!(bench.acknowledged, kept, "{written} bytes");
            // What was torn may end in zeros that nobody can see.
            let cut = bench.recovered.cut.take().map_or((start as u64, 0), |cut| (cut.offset, cut.bytes));
            assert!(cut.0 == start as u64 && cut.1 <= (written - start) as u64);
            assert!(cut.1 > 0 || whole[start..written].iter().all(|&b| b == 0));
            bench.append(1, &[7]).expect("an append");
            let again = Bench::open(&layer(&copy), small()).expect("a journal");
            assert_eq!((again.acknowledged, again.recovered.cut), (bench.acknowledged, None));
        }
    }
}

#[test]
fn a_lost_end_is_cut_only_when_an_operator_says_so() {
    let (files, written) = journal(true);
    let last = files.list().expect("names").into_iter().rfind(|name| name.ends_with(".seg")).expect("a segment");
    let mut bytes = files.contents(&last).expect("the segment");
    bytes[70] ^= 1;
    files.put(&last, bytes);
    let refused = Bench::open(&layer(&files), small()).map(drop).expect_err("damage");
    assert!(refused.is_damage() && refused.hint().is_some());
    let cutting = Options { on_loss: OnLoss::Cut, ..small() };
    let bench = Bench::open(&layer(&files), cutting).expect("a journal");
    let cut = bench.recovered.cut.expect("a cut");
    assert!(cut.loss.is_some() && cut.offset == 64 && cut.segment == last);
    assert!(written.starts_with(&bench.acknowledged) && bench.acknowledged.len() < written.len());
    let again = Bench::open(&layer(&files), small()).expect("the mark agrees again");
    assert_eq!(again.recovered.cut, None);
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let (files, _) = journal(true);
    let name = files.list().expect("names")[0].clone();
    let mut bytes = files.contents(&name).expect("the segment");
    bytes[12] = 2;
    let crc = crc(&bytes[12..64]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    files.put(&name, bytes);
    let error = Reader::open_files(layer(&files)).map(drop).expect_err("too new");
    assert_eq!(error.to_string(), format!("{name} has format version 2, this program supports up to 1"));
    assert!(matches!(read(&files).map(drop), Err(Error::TooNew { .. })));
}

/// CRC-32C, bit by bit: slow, and independent of the one under test.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0x82F6_3B78 & 0u32.wrapping_sub(crc & 1)))
    })
}

#[test]
fn files_that_are_none_of_ours_are_left_alone() {
    let (files, written) = journal(true);
    for name in ["notes.txt", "1.seg", "0000000000000000000x.seg", "00000000000000000001.seg.bak"] {
        files.put(name, b"hello".to_vec());
    }
    let (_, shapes) = read(&files).expect("the journal");
    assert_eq!(shapes, written);
    assert_eq!(files.contents("1.seg"), Some(b"hello".to_vec()));
}

#[test]
fn segments_of_two_journals_are_not_mixed() {
    let (files, _) = journal(true);
    let other = MemoryFiles::new();
    let options = Options { journal: [5; 16], segment_bytes: 700, ..small() };
    let mut bench = Bench::open(&layer(&other), options).expect("a new journal");
    for i in 0..6 {
        bench.append(i % 2, &[i as usize, 70]).expect("an append");
        bench.append_group(&[(3, &[1]), (4, &[2])]).expect("an append");
    }
    let last = files.list().expect("names").into_iter().rfind(|name| name.ends_with(".seg")).expect("a segment");
    files.put(&last, other.contents(&last).expect("a segment of the same name"));
    assert!(matches!(read(&files).map(drop), Err(Error::Damaged(_))));
}

#[test]
fn a_free_reader_stops_at_a_torn_end_and_refuses_damage_before_it() {
    let (files, written) = journal(true);
    let last = files.list().expect("names").into_iter().rfind(|name| name.ends_with(".seg")).expect("a segment");
    let bytes = files.contents(&last).expect("the segment");
    // A frame that is just being written.
    let copy = files.copy();
    copy.put(&last, [&bytes[..], &[0xCA, 0x4A, 1, 0, 9, 9, 9, 9]].concat());
    let read: Vec<_> =
        everything(&Reader::open_files(layer(&copy)).expect("a reader")).expect("a scan").iter().map(shape).collect();
    assert_eq!(read, written);
    // One flipped bit in a frame that was acknowledged.
    let copy = files.copy();
    let mut flipped = bytes;
    flipped[100] ^= 4;
    copy.put(&last, flipped);
    let outcome = everything(&Reader::open_files(layer(&copy)).expect("a reader"));
    assert!(matches!(outcome, Err(Error::Damaged(_))));
}

#[test]
fn pruned_files_that_a_crash_has_left_are_removed() {
    let (files, _) = journal(true);
    let before = files.copy();
    let mut bench = Bench::open(&layer(&files), small()).expect("the journal");
    let first = bench.log.prune(Lsn(u64::MAX)).expect("a pruning");
    // The mark has moved, the files are still there.
    before.put(MARK, files.contents(MARK).expect("the mark"));
    let again = Bench::open(&layer(&before), small()).expect("the journal");
    assert_eq!(again.recovered.first, first);
    assert_eq!(before.list().expect("names"), files.list().expect("names"));
}
