//! The journal's bytes: frames, bodies, segment headers as they come, and a whole log that something has happened to.
//!
//! The first byte chooses: bytes as they are, or a script that writes a log, damages its files, and opens it again.
//! Holds: no panic; nothing is invented: what a damaged log still gives is a prefix of what was written, or an error that says where.
#![no_main]

use std::sync::Arc;

use cpd_journal::files::MemoryFiles;
use cpd_journal::{Chain, EntryBuilder, Log, Lsn, Options, Position, Reader, StreamId, format};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|data: &[u8]| -> Corpus {
    let Some((choice, rest)) = data.split_first() else { return Corpus::Reject };
    if choice % 2 == 0 {
        bytes(rest);
        return Corpus::Keep;
    }
    match damaged(&mut Unstructured::new(rest)) {
        Ok(()) => Corpus::Keep,
        Err(_) => Corpus::Reject,
    }
});

/// Every decoder, on anything.
fn bytes(data: &[u8]) {
    let _ = format::frame(data, Position(0));
    let _ = format::segment_header(data);
    if let Ok(name) = std::str::from_utf8(data)
        && let Some(first) = format::segment_first(name)
    {
        assert_eq!(format::segment_name(first), name, "two names for one segment");
    }
    let Some((count, body)) = data.split_at_checked(2) else { return };
    let count = u16::from_le_bytes([count[0], count[1]]);
    if let Ok(records) = format::records(body, count) {
        assert_eq!(records.len(), usize::from(count));
    }
}

/// A log, some damage, and what is left of it.
fn damaged(script: &mut Unstructured<'_>) -> Result<()> {
    let files = MemoryFiles::new();
    let (mut log, _) = Log::open_files(Arc::new(files.clone()), options()).expect("an empty log opens");
    let mut chains = [1_u8, 2, 3].map(|n| Chain::start(StreamId([n; 16])));
    let mut written: Vec<(Lsn, Vec<u8>)> = Vec::new();
    for _ in 0..script.int_in_range(1..=12)? {
        let chain = script.choose_index(chains.len())?;
        let mut entry = EntryBuilder::new(&chains[chain], 1_700_000_000_000_000);
        let mut payloads = Vec::new();
        for _ in 0..script.int_in_range(1..=3)? {
            let payload = vec![script.arbitrary::<u8>()?; script.int_in_range(0..=300)?];
            entry.push(script.int_in_range(1..=9)?, 1, &payload);
            payloads.push(payload);
        }
        let (entry, next) = entry.finish().expect("a small entry fits");
        let receipt = log.append(&[entry]).expect("a log in memory can be written").remove(0);
        chains[chain] = Chain::at(next.stream(), next.next_seq(), next.digest(), receipt.position);
        let numbered = payloads.into_iter().enumerate().map(|(i, p)| (receipt.lsn.plus(i as u64), p));
        written.extend(numbered);
    }
    drop(log);

    let names = cpd_journal::files::Files::list(&files).expect("memory can be listed");
    for _ in 0..script.int_in_range(0..=3)? {
        let name = script.choose(&names)?;
        let Some(mut contents) = files.contents(name) else { continue };
        if contents.is_empty() {
            continue;
        }
        let at = script.choose_index(contents.len())?;
        match script.int_in_range(0..=2)? {
            0 => contents[at] ^= 1 << script.int_in_range(0..=7)?,
            1 => contents.truncate(at),
            _ => {
                let end = contents.len().min(at + script.int_in_range(1..=600)?);
                contents[at..end].fill(0);
            }
        }
        files.put(name, contents);
    }

    // A reader takes what is there; it never repairs.
    if let Ok(reader) = Reader::open_files(Arc::new(files.copy())) {
        read(&reader, &written);
    }
    // An open repairs a torn tail, and says so, or refuses.
    if let Ok((log, _)) = Log::open_files(Arc::new(files), options()) {
        read(&log.reader(), &written);
    }
    Ok(())
}

/// Small segments: damage should meet more than one.
fn options() -> Options {
    Options { segment_bytes: 4096, first_segment_bytes: 4096, fill_ahead: false, ..Options::default() }
}

/// What can be read is what was written, from the first on, without a gap.
fn read(reader: &Reader, written: &[(Lsn, Vec<u8>)]) {
    let Ok(scan) = reader.scan(Lsn(1)) else { return };
    let mut found = 0;
    for entry in scan {
        let Ok(entry) = entry else { return };
        for record in entry.records() {
            let (lsn, payload) = written.get(found).expect("more was read than was written");
            assert_eq!(
                (record.lsn, record.payload),
                (*lsn, payload.as_slice()),
                "something else was read than was written"
            );
            found += 1;
        }
    }
}
