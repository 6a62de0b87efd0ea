//! The log: what the disk gives, and how much of it the writer passes on.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cpd_journal::{Batch, Chain, EntryBuilder, Log, Options, StreamId, Writer};

use crate::meter::{Report, fresh_dir, quantile, sync_ms};

const RECORD_BYTES: usize = 300;
const TIME: Duration = Duration::from_secs(3);

/// How fast this disk syncs.
pub fn disk(report: &mut Report) {
    report.part("This disk");
    report.line("fdatasync after a 400-byte write", &[("p50", sync_ms(), "ms")]);
}

/// Appends of 300-byte records, each acknowledged after a sync.
pub fn append(report: &mut Report) {
    report.part("Append: 300-byte records, each acknowledged after a sync");
    for writers in [1usize, 64, 1_024] {
        let raw = raw(writers);
        report.line(&format!("raw pwrite + fdatasync, groups of {writers}"), &[("records/s", raw, "")]);
        let (rate, times) = journal(writers);
        report.line(
            &format!("journal, {writers} writers"),
            &[
                ("records/s", rate, ""),
                ("of raw", 100.0 * rate / raw, "%"),
                ("p50", quantile(&times, 0.5), "ms"),
                ("p99", quantile(&times, 0.99), "ms"),
            ],
        );
    }
}

/// A loop that writes and syncs groups as large as the number of writers: what no journal can beat.
fn raw(group: usize) -> f64 {
    let dir = fresh_dir();
    let file = std::fs::File::create(dir.path().join("raw")).expect("a file");
    let bytes = vec![b'x'; group * (RECORD_BYTES + 98)];
    file.write_all_at(&vec![0; 64 << 20], 0).expect("zeros");
    file.sync_all().expect("a sync");
    let begin = Instant::now();
    let (mut records, mut offset) = (0u64, 0u64);
    while begin.elapsed() < TIME {
        if offset + bytes.len() as u64 > 64 << 20 {
            offset = 0;
        }
        file.write_all_at(&bytes, offset).expect("a write");
        file.sync_data().expect("a sync");
        offset += bytes.len() as u64;
        records += group as u64;
    }
    records as f64 / begin.elapsed().as_secs_f64()
}

fn journal(writers: usize) -> (f64, Vec<Duration>) {
    let dir = fresh_dir();
    let (log, _) = Log::open(dir.path(), Options::default()).expect("a log");
    let writer = Writer::spawn(log).expect("a writer");
    let (done, acknowledged) = std::sync::mpsc::channel::<(usize, Instant)>();
    let count = Arc::new(AtomicU64::new(0));
    let payload = vec![b'x'; RECORD_BYTES];
    let mut chains: Vec<Chain> = (0..writers)
        .map(|i| Chain::start(StreamId(u128::try_from(i + 1).expect("small").to_be_bytes())))
        .collect();
    let begin = Instant::now();
    // Each of the writers has one record under way; the next one follows its acknowledgement.
    let submit = |index: usize, chains: &mut Vec<Chain>| {
        let mut builder = EntryBuilder::new(&chains[index], 0);
        builder.push(1, 1, &payload);
        let (entry, chain) = builder.finish();
        chains[index] = chain;
        let (done, sent) = (done.clone(), Instant::now());
        writer.submit(Batch { entries: vec![entry], done: Box::new(move |r| {
            r.expect("an append");
            done.send((index, sent)).ok();
        }) });
    };
    (0..writers).for_each(|i| submit(i, &mut chains));
    let mut times = Vec::new();
    while begin.elapsed() < TIME {
        let (index, sent) = acknowledged.recv().expect("an acknowledgement");
        times.push(sent.elapsed());
        count.fetch_add(1, Ordering::Relaxed);
        submit(index, &mut chains);
    }
    let rate = count.load(Ordering::Relaxed) as f64 / begin.elapsed().as_secs_f64();
    writer.stop();
    times.sort();
    (rate, times)
}
