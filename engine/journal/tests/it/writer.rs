//! Group commit: one sync for a group, answers in order, and what happens when the disk fails or is full.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use cpd_journal::files::{Files, Mode, SimFiles};
use cpd_journal::{Batch, Chain, Error, Log, Lsn, Options, Receipt, Status, Writer, WriterOptions};

use crate::kit::{Bench, entry, everything, small, stream};

fn start(files: &SimFiles) -> Writer {
    start_with(files, WriterOptions::default())
}

fn start_with(files: &SimFiles, options: WriterOptions) -> Writer {
    let (log, _) = Log::open_files(Arc::new(files.clone()), small()).expect("a journal");
    Writer::spawn_with(log, options).expect("a writer")
}

type Answers = mpsc::Receiver<(u8, Result<Vec<Receipt>, Error>)>;

/// Submits a batch of one entry for each stream; the answers come out of the channel.
fn submit_each(writer: &Writer, streams: std::ops::Range<u8>) -> Answers {
    let (tell, told) = mpsc::channel();
    for of in streams {
        let (entry, _) = entry(&Chain::start(stream(of)), &[20]);
        let tell = tell.clone();
        let done = Box::new(move |outcome| tell.send((of, outcome)).expect("somebody listens"));
        writer.submit(Batch { entries: vec![entry], done });
    }
    told
}

#[test]
fn what_gathers_during_a_sync_is_one_group_with_one_sync() {
    let files = SimFiles::new();
    let writer = start(&files);
    files.hold_syncs();
    let first = submit_each(&writer, 0..1);
    files.wait_for_held(1);
    let before = files.counts();
    let rest = submit_each(&writer, 1..20);
    assert_eq!(writer.durable(), Lsn(1));
    files.release_syncs();
    assert_eq!(first.iter().count(), 1);
    assert_eq!(
        rest.iter().map(|(of, outcome)| outcome.map(|_| of).expect("an append")).collect::<Vec<_>>(),
        (1..20).collect::<Vec<_>>()
    );
    assert_eq!(writer.stats().groups, 2);
    assert_eq!(files.counts().syncs - before.syncs, 1);
    assert_eq!(writer.durable(), Lsn(21));
    assert_eq!(writer.pending_bytes(), 0);
}

#[test]
fn nothing_is_answered_or_readable_before_its_sync() {
    let files = SimFiles::new();
    let writer = start(&files);
    let mut scan = writer.reader().scan(Lsn(1)).expect("a scan");
    files.hold_syncs();
    let answers = submit_each(&writer, 0..1);
    files.wait_for_held(1);
    assert!(answers.try_recv().is_err());
    assert!(scan.next().is_none());
    files.release_syncs();
    assert!(answers.recv().expect("an answer").1.is_ok());
    assert_eq!(scan.next().expect("an entry").expect("a good one").lsn(), Lsn(1));
}

#[test]
fn a_long_queue_is_cut_into_groups_of_bounded_size() {
    let files = SimFiles::new();
    let writer = start_with(&files, WriterOptions { group_bytes_max: 400, ..WriterOptions::default() });
    files.hold_syncs();
    let first = submit_each(&writer, 0..1);
    files.wait_for_held(1);
    // 120 bytes each: three to a group.
    let rest = submit_each(&writer, 1..10);
    files.release_syncs();
    assert_eq!(first.iter().chain(rest.iter()).filter(|(_, outcome)| outcome.is_ok()).count(), 10);
    assert_eq!(writer.stats().groups, 4);
}

#[test]
fn failed_sync_poisons_everything_pending_and_later() {
    for failing in [io::ErrorKind::Other, io::ErrorKind::PermissionDenied] {
        let files = SimFiles::new();
        let seen = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&seen);
        let on_status = Arc::new(move |status| {
            if matches!(status, Status::Poisoned(_)) {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        let writer = start_with(&files, WriterOptions { on_status: Some(on_status), ..WriterOptions::default() });
        files.hold_syncs();
        let first = submit_each(&writer, 0..1);
        files.wait_for_held(1);
        let rest = submit_each(&writer, 1..5);
        // The sync that is held is counted when it is let go.
        files.fail_nth(1, failing);
        files.release_syncs();
        for (of, outcome) in first.iter().chain(rest.iter()) {
            assert!(matches!(outcome, Err(Error::Poisoned { .. })), "{of}: {outcome:?}");
        }
        assert!(matches!(writer.status(), Status::Poisoned(_)));
        let before = files.counts();
        assert!(matches!(submit_each(&writer, 7..8).recv(), Ok((7, Err(Error::Poisoned { .. })))));
        assert!(matches!(writer.prune(Lsn(5)), Err(Error::Poisoned { .. })));
        assert!(matches!(writer.close(), Err(Error::Poisoned { .. })));
        assert_eq!(files.counts(), before, "nothing is written after a failure");
        assert_eq!(seen.load(Ordering::SeqCst), 1);
        let files: Arc<dyn Files> = Arc::new(files.process_kill());
        Bench::open(&files, small()).expect("a journal that can be opened again");
    }
}

#[test]
fn full_disk_is_waited_out_and_nothing_is_lost_or_reordered() {
    let files = SimFiles::new();
    let (tell, told) = mpsc::channel();
    let on_status = Arc::new(move |status: Status| tell.send(matches!(status, Status::Full)).unwrap_or_default());
    let writer = start_with(&files, WriterOptions { on_status: Some(on_status), ..WriterOptions::default() });
    let before = submit_each(&writer, 0..3);
    assert_eq!(before.iter().count(), 3);
    files.set_capacity(Some(files.used() + 50));
    let during = submit_each(&writer, 3..60);
    assert_eq!(told.recv(), Ok(true));
    assert!(matches!(writer.status(), Status::Full));
    let (refused, _) = entry(&Chain::start(stream(99)), &[1]);
    assert!(writer.try_submit(Batch { entries: vec![refused], done: Box::new(drop) }).is_err());
    assert!(during.try_recv().is_err());
    // A crash now keeps what was acknowledged.
    let crashed: Arc<dyn Files> = Arc::new(files.power_loss(1));
    assert_eq!(Bench::open(&crashed, small()).expect("the journal").acknowledged.len(), 3);
    files.set_capacity(None);
    assert_eq!(told.recv(), Ok(false));
    let order: Vec<_> =
        during.iter().map(|(of, outcome)| outcome.map(|r| (of, r[0].lsn.0)).expect("an append")).collect();
    assert_eq!(order, (3..60).map(|of| (of, u64::from(of) + 1)).collect::<Vec<_>>());
    assert!(matches!(writer.status(), Status::Ok));
    writer.close().expect("a close");
    let files: Arc<dyn Files> = Arc::new(files);
    let bench = Bench::open(&files, small()).expect("the journal");
    assert_eq!(bench.acknowledged.iter().map(|s| s.0.0[0]).collect::<Vec<_>>(), (0..60).collect::<Vec<_>>());
}

/// The zeros of the next segment held the last free room, and records waited for it for ever.
#[test]
fn the_room_that_a_spare_takes_is_given_to_records_when_there_is_no_other() {
    let options =
        Options { fill_ahead: true, segment_bytes: 64 << 10, first_segment_bytes: 8 << 10, ..Options::default() };
    for through_writer in [false, true] {
        let files = SimFiles::new();
        let (mut log, _) = Log::open_files(Arc::new(files.clone()), options.clone()).expect("a journal");
        let (first, chain) = entry(&Chain::start(stream(1)), &[20]);
        // Too large for the first segment: the next one grows, and more than half of it is used at once.
        let (second, chain) = entry(&chain, &[10_000]);
        log.append(&[first]).expect("an append");
        log.append(&[second]).expect("an append");
        let spare = || files.open("spare", Mode::Read).and_then(|file| file.length()).unwrap_or(0);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while spare() < 32 << 10 {
            assert!(std::time::Instant::now() < deadline, "the spare is filled in time");
            std::thread::yield_now();
        }
        files.set_capacity(Some(files.used()));
        let (third, chain) = entry(&chain, &[3_000]);
        let (fourth, _) = entry(&chain, &[1_000]);
        if through_writer {
            let status = Arc::new(|status: Status| assert!(!matches!(status, Status::Full), "there was room"));
            let options = WriterOptions { on_status: Some(status), ..WriterOptions::default() };
            let writer = Writer::spawn_with(log, options).expect("a writer");
            writer.append(vec![third]).expect("an append");
            writer.append(vec![fourth]).expect("an append");
            assert_eq!((writer.stats().full, writer.stats().panics), (0, 0));
            writer.close().expect("a close");
        } else {
            log.append(&[third]).expect("an append");
            log.append(&[fourth]).expect("an append");
            assert_eq!(spare(), 0, "no other one is begun");
            log.close().expect("a close");
        }
        let files: Arc<dyn Files> = Arc::new(files);
        let bench = Bench::open(&files, options.clone()).expect("the journal");
        assert_eq!(bench.acknowledged.len(), 4);
    }
}

#[test]
fn closing_while_the_disk_is_full_answers_everyone_and_keeps_what_was_acknowledged() {
    let files = SimFiles::new();
    let (tell, told) = mpsc::channel();
    let on_status = Arc::new(move |status: Status| tell.send(matches!(status, Status::Full)).unwrap_or_default());
    let writer = start_with(&files, WriterOptions { on_status: Some(on_status), ..WriterOptions::default() });
    assert_eq!(submit_each(&writer, 0..3).iter().count(), 3);
    files.set_capacity(Some(files.used() + 50));
    let during = submit_each(&writer, 3..10);
    assert_eq!(told.recv(), Ok(true));
    assert!(matches!(writer.close(), Err(Error::ClosedWhileFull)));
    assert!(during.iter().all(|(_, outcome)| matches!(outcome, Err(Error::ClosedWhileFull))));
    files.set_capacity(None);
    let files: Arc<dyn Files> = Arc::new(files);
    let bench = Bench::open(&files, small()).expect("the journal");
    assert_eq!((bench.acknowledged.len(), bench.recovered.cut), (3, None));
}

#[test]
fn a_closed_writer_has_written_what_was_pending_and_refuses_the_rest() {
    let files = SimFiles::new();
    let writer = start(&files);
    let pending = submit_each(&writer, 0..50);
    writer.close().expect("a close");
    assert_eq!(pending.iter().filter(|(_, outcome)| outcome.is_ok()).count(), 50);
    assert!(matches!(submit_each(&writer, 50..51).recv(), Ok((50, Err(Error::Closed)))));
    assert!(matches!(writer.status(), Status::Closed));
    assert_eq!(writer.pending_bytes(), 0);
    writer.close().expect("closing again does nothing");
}

#[test]
fn dropping_the_last_handle_writes_what_is_pending() {
    let files = SimFiles::new();
    let writer = start(&files);
    let pending = submit_each(&writer, 0..50);
    drop(writer);
    assert_eq!(pending.iter().filter(|(_, outcome)| outcome.is_ok()).count(), 50);
}

#[test]
fn the_last_handle_may_be_dropped_on_the_writer_thread() {
    let files = SimFiles::new();
    let writer = start(&files);
    let (tell, told) = mpsc::channel();
    let (first, _) = entry(&Chain::start(stream(1)), &[1]);
    files.hold_syncs();
    let held = writer.clone();
    let done = Box::new(move |outcome: Result<_, _>| {
        drop(held);
        tell.send(outcome.is_ok()).expect("somebody listens");
    });
    writer.submit(Batch { entries: vec![first], done });
    drop(writer);
    files.release_syncs();
    assert_eq!(told.recv(), Ok(true));
}

#[test]
fn a_panic_in_an_answer_does_not_stop_the_writer() {
    let files = SimFiles::new();
    let writer = start(&files);
    let (first, _) = entry(&Chain::start(stream(1)), &[1]);
    writer.submit(Batch { entries: vec![first], done: Box::new(|_| panic!("told to")) });
    assert!(submit_each(&writer, 2..3).recv().expect("an answer").1.is_ok());
    assert_eq!(writer.stats().panics, 1);
}

#[test]
fn a_fork_is_refused_among_good_batches() {
    let files = SimFiles::new();
    let writer = start(&files);
    let chain = Chain::start(stream(1));
    let (first, next) = entry(&chain, &[1]);
    let (fork, _) = entry(&chain, &[2]);
    let (second, _) = entry(&next, &[3]);
    writer.append(vec![first]).expect("an append");
    assert!(matches!(writer.append(vec![fork]), Err(Error::OutOfOrder { .. })));
    assert!(matches!(writer.append(vec![]), Err(Error::Illegal(_))));
    writer.append(vec![second]).expect("an append");
    assert_eq!(everything(&writer.reader()).expect("a scan").len(), 2);
}

#[test]
fn try_submit_refuses_when_too_much_is_pending() {
    let files = SimFiles::new();
    let writer = start_with(&files, WriterOptions { pending_bytes_max: 100, ..WriterOptions::default() });
    files.hold_syncs();
    let first = submit_each(&writer, 0..1);
    files.wait_for_held(1);
    assert!(writer.pending_bytes() > 100);
    let (more, _) = entry(&Chain::start(stream(9)), &[1]);
    let back = writer.try_submit(Batch { entries: vec![more], done: Box::new(drop) }).expect_err("too much");
    files.release_syncs();
    assert!(first.recv().expect("an answer").1.is_ok());
    let (tell, told) = mpsc::channel();
    let done = Box::new(move |outcome: Result<_, _>| tell.send(outcome.is_ok()).expect("somebody listens"));
    assert!(writer.try_submit(Batch { entries: back.entries, done }).is_ok());
    assert_eq!(told.recv(), Ok(true));
}

#[test]
fn pruning_waits_its_turn_behind_batches() {
    let files = SimFiles::new();
    let writer = start(&files);
    let mut chain = Chain::start(stream(1));
    for _ in 0..50 {
        let (entry, next) = entry(&chain, &[200]);
        chain = next;
        writer.append(vec![entry]).expect("an append");
    }
    let segments = writer.reader().segments().expect("segments");
    assert_eq!(writer.prune(segments[1].first).expect("a pruning"), segments[1].first);
    assert_eq!(writer.reader().segments().expect("segments")[..], segments[1..]);
}

#[test]
fn followers_are_told_what_is_durable() {
    let files = SimFiles::new();
    let (tell, told) = mpsc::channel();
    let on_durable = Arc::new(move |next| tell.send(next).unwrap_or_default());
    let writer = start_with(&files, WriterOptions { on_durable: Some(on_durable), ..WriterOptions::default() });
    assert!(submit_each(&writer, 0..1).recv().expect("an answer").1.is_ok());
    assert_eq!(told.recv(), Ok(Lsn(2)));
}
