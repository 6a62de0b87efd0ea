//! The log: what the disk gives, and how much of it the writer passes on.

use std::os::unix::fs::FileExt;
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

/// As the shards do it: a few threads own the writers' streams; whatever has been acknowledged meanwhile goes on in one
/// batch. Each writer has one record under way; its next one follows the acknowledgement.
fn journal(writers: usize) -> (f64, Vec<Duration>) {
    let dir = fresh_dir();
    let (log, _) = Log::open(dir.path(), Options::default()).expect("a log");
    let writer = Writer::spawn(log).expect("a writer");
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(writers);
    let begin = Instant::now();
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let owners: Vec<_> = (0..threads)
            .map(|thread| {
                let (writer, streams) = (writer.clone(), (thread..writers).step_by(threads));
                scope.spawn(move || own(&writer, streams.collect(), begin))
            })
            .collect();
        owners.into_iter().flat_map(|o| o.join().expect("a thread")).collect()
    });
    let rate = times.len() as f64 / begin.elapsed().as_secs_f64();
    writer.close().expect("a close");
    times.sort();
    (rate, times)
}

fn own(writer: &Writer, streams: Vec<usize>, begin: Instant) -> Vec<Duration> {
    let payload = [b'x'; RECORD_BYTES];
    let (done, acknowledged) = std::sync::mpsc::channel::<(Vec<usize>, Instant)>();
    let id = |stream: &usize| StreamId(u128::try_from(stream + 1).expect("small").to_be_bytes());
    let mut chains: Vec<Chain> = streams.iter().map(|s| Chain::start(id(s))).collect();
    let submit = |indexes: Vec<usize>, chains: &mut Vec<Chain>| {
        let entries = indexes.iter().map(|index| {
            let mut builder = EntryBuilder::new(&chains[*index], 0);
            builder.push(1, 1, &payload);
            let (entry, chain) = builder.finish().expect("an entry");
            chains[*index] = chain;
            entry
        });
        let (entries, done, sent) = (entries.collect(), done.clone(), Instant::now());
        let done = Box::new(move |result: cpd_journal::Result<_>| {
            result.expect("an append");
            done.send((indexes, sent)).ok();
        });
        writer.submit(Batch { entries, done });
    };
    submit((0..streams.len()).collect(), &mut chains);
    let mut times = Vec::new();
    while begin.elapsed() < TIME {
        let (mut indexes, sent) = acknowledged.recv().expect("an acknowledgement");
        times.extend(indexes.iter().map(|_| sent.elapsed()));
        while let Ok((more, sent)) = acknowledged.try_recv() {
            times.extend(more.iter().map(|_| sent.elapsed()));
            indexes.extend(more);
        }
        submit(indexes, &mut chains);
    }
    times
}
