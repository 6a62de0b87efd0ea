//! Measures appends: the disk's own limit, and the log at 1, 64 and 1,024 writers.
//!
//! `cargo run --release -p cpd-journal --example append_bench -- [directory] [seconds for each measurement]`
//!
//! The limit is a loop of one write and one sync over a file filled ahead, by one thread that does nothing else, with the bytes of as many entries in
//! each group as the log had on average: what the disk could take if entries cost nothing. A *writer* of the log has one entry under way; when it is durable, it builds (and hashes) the next and submits that, so the
//! numbers hold the whole cost of an acknowledged entry but the engine's. Latency is from submission to the call of `done`.
//! With `NO_FILL` in the environment, segments grow instead of being filled ahead.

#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use cpd_journal::{Batch, Chain, EntryBuilder, Log, Options, StreamId, Writer};

/// Three records of 60 bytes: a usual turn.
const PAYLOAD: [u8; 60] = [b'x'; 60];
const RECORDS: usize = 3;
const FRAME_BYTES: usize = 96 + RECORDS * (PAYLOAD.len() + 4);

fn main() {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from).join("append-bench");
    let seconds = arguments.next().and_then(|s| s.parse().ok()).unwrap_or(3);
    let time = Duration::from_secs(seconds);
    println!("{FRAME_BYTES} bytes an entry of {RECORDS} records, {seconds} s each, in {}", directory.display());
    println!(
        "{:>8} {:>14} {:>14} {:>6} {:>10} {:>10} {:>10} {:>12}",
        "writers", "limit/s", "entries/s", "%", "p50 µs", "p99 µs", "p99.9 µs", "entries/sync"
    );
    for writers in [1, 64, 1024] {
        let (rate, mut latencies, group) = log(&directory, writers, time);
        let limit = raw(&directory, group, time);
        latencies.sort_unstable();
        let quantile = |q: f64| latencies[((latencies.len() - 1) as f64 * q) as usize].as_micros();
        let percent = rate / limit * 100.0;
        println!(
            "{writers:>8} {limit:>14.0} {rate:>14.0} {percent:>6.0} {:>10} {:>10} {:>10} {group:>12.1}",
            quantile(0.5),
            quantile(0.99),
            quantile(0.999),
        );
    }
    history(&directory);
    std::fs::remove_dir_all(&directory).expect("the directory is ours");
}

fn fresh(directory: &Path) {
    drop(std::fs::remove_dir_all(directory));
    std::fs::create_dir_all(directory).expect("a directory");
}

/// Entries a second that the disk could take.
fn raw(directory: &Path, entries: f64, time: Duration) -> f64 {
    fresh(directory);
    let path = directory.join("raw");
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path).expect("a file");
    let length = 64 << 20;
    file.write_all_at(&vec![0; length], 0).expect("room");
    file.sync_all().expect("a sync");
    let group = vec![7; (FRAME_BYTES as f64 * entries) as usize];
    let (begin, mut groups, mut offset) = (Instant::now(), 0u64, 0);
    while begin.elapsed() < time {
        if offset + group.len() > length {
            offset = 0;
        }
        file.write_all_at(&group, offset as u64).expect("a write");
        file.sync_data().expect("a sync");
        offset += group.len();
        groups += 1;
    }
    groups as f64 * entries / begin.elapsed().as_secs_f64()
}

/// Entries a second that the log takes, their latencies, and how many shared a sync.
fn log(directory: &Path, writers: usize, time: Duration) -> (f64, Vec<Duration>, f64) {
    fresh(directory);
    let fill_ahead = std::env::var_os("NO_FILL").is_none();
    let (log, _) = Log::open(directory, Options { fill_ahead, ..Options::default() }).expect("a journal");
    let writer = Writer::spawn(log).expect("a writer");
    let (tell, told) = mpsc::channel::<(usize, Instant)>();
    let mut chains: Vec<_> = (0..writers).map(|w| Chain::start(StreamId((w as u128 + 1).to_be_bytes()))).collect();
    let mut latencies = Vec::with_capacity(1 << 20);
    let mut submit = |w: usize| {
        let mut builder = EntryBuilder::new(&chains[w], 1_700_000_000_000_000);
        for _ in 0..RECORDS {
            builder.push(1, 1, &PAYLOAD);
        }
        let (entry, next) = builder.finish().expect("an entry");
        chains[w] = next;
        let (tell, begin) = (tell.clone(), Instant::now());
        let done = move |outcome: Result<_, _>| {
            outcome.expect("an append");
            // When the time is over, nobody listens any more.
            let _ = tell.send((w, begin));
        };
        writer.submit(Batch { entries: vec![entry], done: Box::new(done) });
    };
    let begin = Instant::now();
    (0..writers).for_each(&mut submit);
    let mut entries = 0u64;
    while begin.elapsed() < time {
        let (w, submitted) = told.recv().expect("a writer");
        latencies.push(submitted.elapsed());
        entries += 1;
        submit(w);
    }
    let rate = entries as f64 / begin.elapsed().as_secs_f64();
    let stats = writer.stats();
    writer.close().expect("a close");
    (rate, latencies, stats.entries as f64 / stats.groups as f64)
}

/// Reads the history of a stream of 100,000 frames, then scans the journal.
fn history(directory: &Path) {
    fresh(directory);
    let (mut log, _) = Log::open(directory, Options::default()).expect("a journal");
    let mut chain = Chain::start(StreamId([1; 16]));
    for _ in 0..100 {
        let mut entries = Vec::new();
        for _ in 0..1000 {
            let mut builder = EntryBuilder::new(&chain, 1_700_000_000_000_000);
            builder.push(1, 1, &PAYLOAD);
            let (entry, next) = builder.finish().expect("an entry");
            chain = next;
            entries.push(entry);
        }
        log.append(&entries).expect("an append");
    }
    let reader = log.reader();
    let begin = Instant::now();
    let frames = reader.history(chain.last()).expect("a history").len();
    println!("history of {frames} frames of one stream: {:?}", begin.elapsed());
    let begin = Instant::now();
    let frames = reader.scan(cpd_journal::Lsn::FIRST).expect("a scan").filter(Result::is_ok).count();
    println!("scan of {frames} frames: {:?}", begin.elapsed());
    drop(log);
    let begin = Instant::now();
    let (_, recovered) = Log::open(directory, Options::default()).expect("a journal");
    println!("opening {} records in {} segments: {:?}", recovered.next.0 - 1, recovered.segments, begin.elapsed());
}
