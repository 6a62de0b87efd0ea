//! One suite for the log over every file layer.

use std::sync::Arc;

use cpd_journal::files::{Files, MemoryFiles, RealFiles, SimFiles};
use cpd_journal::{Chain, Error, Log, Lsn, Options, Position, Reader};

use crate::kit::{Bench, entry, everything, shape, small, stream};

type Layer = Arc<dyn Files>;

/// Runs a test over each file layer.
fn over_each_layer(test: impl Fn(Layer)) {
    test(Arc::new(MemoryFiles::new()));
    test(Arc::new(SimFiles::new()));
    let directory = tempfile::tempdir().expect("a directory");
    test(Arc::new(RealFiles::new(directory.path())));
}

#[test]
fn what_was_appended_is_read_back_in_order_after_reopening() {
    over_each_layer(|files| {
        let mut bench = Bench::open(&files, small()).expect("a new journal");
        assert!(bench.recovered.created);
        for i in 0..100 {
            bench.append(i % 3, &[i as usize, 0, 50]).expect("an append");
        }
        let written = bench.acknowledged.clone();
        bench.log.close().expect("a close");
        let bench = Bench::open(&files, small()).expect("the journal");
        assert_eq!(bench.acknowledged, written);
        assert!(!bench.recovered.created && bench.recovered.cut.is_none());
        assert_eq!(bench.recovered.last(), Some(Lsn(300)));
        assert!(bench.recovered.segments > 2);
    });
}

#[test]
fn records_have_dense_numbers_and_a_chain_of_digests() {
    over_each_layer(|files| {
        let mut bench = Bench::open(&files, small()).expect("a new journal");
        for i in 0..30 {
            bench.append(i % 2, &[3; 4]).expect("an append");
        }
        let entries = everything(&bench.log.reader()).expect("a scan");
        let mut lsn = 1;
        let mut last = [cpd_journal::Digest::ZERO; 2];
        for stored in &entries {
            let of = usize::from(stored.stream().0[0]);
            for record in stored.records() {
                assert_eq!(record.lsn, Lsn(lsn));
                lsn += 1;
                let (seq, at) = (record.seq, record.at);
                last[of] = cpd_journal::digest(
                    &last[of],
                    stored.stream(),
                    seq,
                    at,
                    record.kind,
                    record.version,
                    record.payload,
                );
                assert_eq!(record.digest, Some(last[of]));
            }
            assert_eq!(stored.digest(), last[of]);
        }
        assert_eq!(lsn, 121);
    });
}

#[test]
fn history_of_a_stream_is_found_from_its_last_frame() {
    over_each_layer(|files| {
        let mut bench = Bench::open(&files, small()).expect("a new journal");
        for i in 0..200 {
            bench.append(if i % 10 == 0 { 1 } else { 2 }, &[i as usize]).expect("an append");
        }
        let reader = bench.log.reader();
        for of in [1, 2] {
            let history = reader.history(bench.chains[&of].last()).expect("a history");
            let shapes: Vec<_> = history.iter().map(shape).collect();
            let written: Vec<_> = bench.acknowledged.iter().filter(|s| s.0 == stream(of)).cloned().collect();
            assert_eq!(shapes, written);
        }
        let since = reader.history_since(bench.chains[&1].last(), 15).expect("a part of a history");
        assert_eq!((since.len(), since[0].seq()), (6, 15));
        assert!(since[0].records().all(|record| record.digest.is_some()));
    });
}

#[test]
fn history_of_no_frame_is_empty() {
    let files: Layer = Arc::new(MemoryFiles::new());
    let bench = Bench::open(&files, small()).expect("a new journal");
    assert!(bench.log.reader().history(Position::NONE).expect("a history").is_empty());
}

#[test]
fn a_single_frame_is_read_by_its_position_with_all_digests() {
    over_each_layer(|files| {
        let mut bench = Bench::open(&files, small()).expect("a new journal");
        bench.append(1, &[10]).expect("an append");
        let receipt = bench.append(1, &[20, 30]).expect("an append");
        let stored = bench.log.reader().read(receipt.position).expect("the entry");
        assert_eq!((stored.lsn(), stored.seq(), stored.next_seq()), (receipt.lsn, 2, 4));
        assert!(stored.records().all(|record| record.digest.is_some()));
    });
}

#[test]
fn positions_that_address_no_frame_are_refused() {
    over_each_layer(|files| {
        let mut bench = Bench::open(&files, small()).expect("a new journal");
        let receipt = bench.append(1, &[10]).expect("an append");
        let free = Reader::open_files(Arc::clone(&files)).expect("a reader");
        for reader in [bench.log.reader(), free] {
            assert!(matches!(reader.read(Position(3)), Err(Error::Damaged(_))));
            assert!(matches!(reader.read(Position(receipt.position.0 + 1)), Err(Error::Damaged(_))));
            assert!(matches!(reader.read(Position(1 << 40)), Err(Error::Beyond { .. })));
            assert!(matches!(reader.read(Position(u64::MAX)), Err(Error::Beyond { .. })));
        }
    });
}

#[test]
fn a_scan_begins_with_the_entry_that_holds_the_record() {
    over_each_layer(|files| {
        let mut bench = Bench::open(&files, small()).expect("a new journal");
        for _ in 0..40 {
            bench.append(1, &[50, 50, 50]).expect("an append");
        }
        for (from, first) in [(0, 1), (1, 1), (3, 1), (4, 4), (60, 58), (120, 118)] {
            let mut scan = bench.log.reader().scan(Lsn(from)).expect("a scan");
            let stored = scan.next().expect("an entry").expect("a good one");
            assert_eq!(stored.lsn(), Lsn(first), "from {from}");
        }
        assert!(bench.log.reader().scan(Lsn(121)).expect("a scan").next().is_none());
    });
}

#[test]
fn a_scan_goes_on_where_it_found_the_end_and_resumes_from_its_cursor() {
    over_each_layer(|files| {
        let mut bench = Bench::open(&files, small()).expect("a new journal");
        let free = Reader::open_files(Arc::clone(&files)).expect("a reader");
        for reader in [bench.log.reader(), free] {
            let mut scan = reader.scan(bench.log.next()).expect("a scan");
            let mut cursor = scan.cursor();
            // Enough for several segments, so that the end is also met between two of them.
            for i in 0..120 {
                assert!(scan.next().is_none());
                let receipt = bench.append(1, &[i, 30]).expect("an append");
                let stored = scan.next().expect("an entry").expect("a good one");
                assert_eq!((stored.lsn(), stored.position()), (receipt.lsn, receipt.position));
                let resumed = reader.resume(cursor).expect("a scan").next().expect("an entry").expect("a good one");
                assert_eq!(resumed.lsn(), receipt.lsn);
                cursor = scan.cursor();
            }
        }
    });
}

#[test]
fn entry_longer_than_a_segment_gets_a_segment_of_its_own() {
    over_each_layer(|files| {
        let mut bench = Bench::open(&files, small()).expect("a new journal");
        bench.append(1, &[10]).expect("an append");
        bench.append(1, &[20_000]).expect("an append");
        bench.append(1, &[10]).expect("an append");
        let firsts: Vec<_> = bench.log.reader().segments().expect("segments").iter().map(|s| s.first.0).collect();
        assert_eq!(firsts, [1, 2, 3]);
        let bench = Bench::open(&files, small()).expect("the journal");
        assert_eq!(bench.acknowledged.len(), 3);
    });
}

#[test]
fn a_group_lies_in_one_segment() {
    over_each_layer(|files| {
        let mut bench = Bench::open(&files, small()).expect("a new journal");
        bench.append(1, &[2000]).expect("an append");
        let receipts = bench.append_group(&[(1, &[1000]), (2, &[1000])]).expect("an append");
        let segments = bench.log.reader().segments().expect("segments");
        assert_eq!((segments.len(), segments[1].first), (2, receipts[0].lsn));
    });
}

#[test]
fn entry_that_does_not_continue_its_stream_is_refused_and_leaves_no_trace() {
    over_each_layer(|files| {
        let (mut log, _) = Log::open_files(Arc::clone(&files), small()).expect("a new journal");
        let chain = Chain::start(stream(1));
        let (first, next) = entry(&chain, &[1]);
        let (fork, _) = entry(&chain, &[2]);
        let (second, _) = entry(&next, &[3]);
        log.append(&[first]).expect("an append");
        let error = log.append(&[second, fork]).expect_err("a fork");
        assert!(matches!(error, Error::OutOfOrder { found: 1, expected: 3, .. }), "{error}");
        let (second, _) = entry(&next, &[3]);
        log.append(&[second]).expect("the stream goes on");
        assert_eq!(everything(&log.reader()).expect("a scan").len(), 2);
    });
}

#[test]
fn entries_of_one_stream_may_be_built_before_the_first_is_durable() {
    over_each_layer(|files| {
        let (mut log, _) = Log::open_files(Arc::clone(&files), small()).expect("a new journal");
        let chain = Chain::start(stream(1));
        let (first, chain) = entry(&chain, &[1]);
        let (second, chain) = entry(&chain, &[1]);
        let receipts = log.append(&[first, second]).expect("an append");
        let (third, chain) = entry(&chain, &[1]);
        log.append(&[third]).expect("an append");
        let history = log.reader().history(chain.last()).expect("a history");
        assert_eq!(
            history.iter().map(|e| e.previous()).collect::<Vec<_>>()[..2],
            [Position::NONE, receipts[0].position]
        );
        assert_eq!(history.len(), 3);
    });
}

#[test]
fn pruning_drops_whole_segments_and_keeps_the_rest_readable() {
    over_each_layer(|files| {
        let mut bench = Bench::open(&files, small()).expect("a new journal");
        for _ in 0..100 {
            bench.append(1, &[100, 100]).expect("an append");
        }
        let segments = bench.log.reader().segments().expect("segments");
        let first = bench.log.prune(Lsn(segments[2].first.0 + 1)).expect("a pruning");
        assert_eq!(first, segments[2].first);
        assert_eq!(bench.log.prune(first).expect("a pruning"), first);
        let reader = bench.log.reader();
        assert!(matches!(reader.scan(Lsn(1)), Err(Error::PrunedRecord { .. })));
        assert!(matches!(reader.read(Position(64)), Err(Error::Pruned { .. })));
        assert!(matches!(reader.history(bench.chains[&1].last()), Err(Error::Pruned { .. })));
        let oldest = reader.scan(first).expect("a scan").next().expect("an entry").expect("a good one");
        assert_eq!(oldest.records().map(|r| r.digest.is_some()).collect::<Vec<_>>(), [false, true]);
        bench.append(1, &[1]).expect("the journal goes on");
        let bench = Bench::open(&files, small()).expect("the journal");
        assert_eq!(bench.recovered.first, first);
    });
}

#[test]
fn the_last_segment_is_never_pruned() {
    over_each_layer(|files| {
        let mut bench = Bench::open(&files, small()).expect("a new journal");
        for _ in 0..50 {
            bench.append(1, &[100, 100]).expect("an append");
        }
        let first = bench.log.prune(Lsn(u64::MAX)).expect("a pruning");
        let segments = bench.log.reader().segments().expect("segments");
        assert_eq!((segments.len(), segments[0].first), (1, first));
    });
}

#[test]
fn segments_filled_ahead_hold_the_same_as_those_that_grow() {
    over_each_layer(|files| {
        let options =
            Options { fill_ahead: true, segment_bytes: 64 << 10, first_segment_bytes: 8 << 10, ..Options::default() };
        let mut bench = Bench::open(&files, options.clone()).expect("a new journal");
        assert_eq!(bench.log.reader().segments().expect("segments")[0].bytes, 8 << 10);
        for i in 0..400 {
            bench.append(i as u8 % 5, &[i, 100]).expect("an append");
        }
        let written = bench.acknowledged.clone();
        drop(bench);
        let bench = Bench::open(&files, options).expect("the journal");
        assert_eq!(bench.acknowledged, written);
        assert_eq!(bench.recovered.cut, None);
        // Segments grow from one to the next.
        let lengths: Vec<_> = bench.log.reader().segments().expect("segments").iter().map(|s| s.bytes).collect();
        assert!(lengths[0] <= 8 << 10 && lengths[1] > 8 << 10 && lengths[1] <= 16 << 10, "{lengths:?}");
    });
}

#[test]
fn an_empty_directory_has_no_journal_to_read() {
    over_each_layer(|files| {
        assert!(matches!(Reader::open_files(files), Err(Error::Missing)));
    });
}

#[test]
fn a_journal_keeps_its_identity_and_its_first_number() {
    over_each_layer(|files| {
        let options = Options { journal: [9; 16], first: Lsn(1000), ..small() };
        let mut bench = Bench::open(&files, options).expect("a new journal");
        assert_eq!(bench.append(1, &[1]).expect("an append").lsn, Lsn(1000));
        let bench = Bench::open(&files, Options { journal: [1; 16], ..small() }).expect("the journal");
        assert_eq!(
            (bench.recovered.journal, bench.recovered.first, bench.recovered.next),
            ([9; 16], Lsn(1000), Lsn(1001))
        );
    });
}

#[test]
fn a_run_of_the_reference_benchmark_stays_under_its_budget() {
    let files: Layer = Arc::new(MemoryFiles::new());
    let mut bench = Bench::open(&files, Options { fill_ahead: false, ..Options::default() }).expect("a new journal");
    let before = bench.recovered.end;
    for _ in 0..4 {
        bench.append(1, &[50, 50, 50]).expect("an append");
    }
    let bytes = Bench::open(&files, Options::default()).expect("the journal").recovered.end.0 - before.0;
    assert!(bytes < 1_200, "{bytes}");
}
