//! Takes a journal out as text, and in again.
//!
//! One JSON object a line: a head, then each entry in order, then an end that tells how much there was, so that a text cut short is noticed.
//!
//! ```json
//! {"cpd_journal_export":1,"journal":"00…","first":1}
//! {"lsn":1,"stream":"72…","seq":1,"at":1700000000000000,"before":"00…","digest":"5e…","records":[{"kind":1,"version":1,"payload":"eyJ9"}]}
//! {"stored":"eyJsYXJnZSI6dHJ1ZX0="}
//! {"next":2,"entries":1}
//! ```
//!
//! Numbers, times and digests stay as they are; where frames stand does not, and is no part of the text. On the way in, each digest is recomputed
//! from the payloads and compared: what comes in is what went out. Only the first entry of a stream whose beginning was pruned must be believed, for
//! there is nothing to recompute it from.
//!
//! Payloads are base64, since this crate does not know what they hold. After an error on the way in, what is in the directory is a beginning of the
//! journal and should be thrown away.

use std::collections::HashMap;
use std::io::{BufRead, Read, Write};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use crate::chain::{Chain, Entry, EntryBuilder};
use crate::error::{Error, Result};
use crate::files::Files;
use crate::format;
use crate::ids::{Digest, Lsn, Position, StreamId};
use crate::log::{Log, Options};
use crate::mark;
use crate::payloads::Payloads;
use crate::reader::Reader;
use crate::stored::StoredEntry;

/// The version of the text.
pub const EXPORT_VERSION: u16 = 1;
/// The longest line: a frame of the greatest size in base64, and room for what stands around its records.
const LINE_BYTES_MAX: u64 = 64 << 20;
/// How many bytes are imported with one sync.
const GROUP_BYTES: u64 = 4 << 20;

/// How much was taken out or in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Entries.
    pub entries: u64,
    /// Records in them.
    pub records: u64,
    /// The oldest record.
    pub first: Lsn,
    /// The record after the newest.
    pub next: Lsn,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    cpd_journal_export: u16,
    journal: String,
    first: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    lsn: u64,
    stream: String,
    seq: u64,
    at: i64,
    before: Option<String>,
    digest: String,
    records: Vec<LineRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LineRecord {
    kind: u16,
    version: u8,
    payload: String,
}

/// A payload that records refer to.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    stored: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    next: u64,
    entries: u64,
}

/// Writes everything that a reader sees, from its oldest record on.
/// Payloads that are stored apart come before the end.
pub fn export(reader: &Reader, payloads: &Payloads, out: &mut dyn Write) -> Result<Summary> {
    let first = reader.segments()?.first().map(|segment| segment.first).ok_or(Error::Missing)?;
    let journal = StreamId(reader.journal()?).to_string();
    put(out, &Head { cpd_journal_export: EXPORT_VERSION, journal, first: first.0 })?;
    let mut summary = Summary { first, next: first, ..Summary::default() };
    for entry in reader.scan(first)? {
        let entry = entry?;
        put(out, &line(&entry))?;
        summary.entries += 1;
        summary.records += entry.record_count() as u64;
        summary.next = entry.next_lsn();
    }
    for digest in payloads.all().map_err(|e| Error::io("list", "the payloads", e))? {
        let bytes = payloads.get(&digest).map_err(|e| Error::io("export", "a payload", std::io::Error::other(e)))?;
        put(out, &Stored { stored: BASE64.encode(bytes) })?;
    }
    put(out, &End { next: summary.next.0, entries: summary.entries })?;
    out.flush().map_err(|e| Error::io("write", "the export", e))?;
    Ok(summary)
}

fn put(out: &mut dyn Write, line: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_vec(line).map_err(|e| Error::io("write", "the export", e.into()))?;
    text.push(b'\n');
    out.write_all(&text).map_err(|e| Error::io("write", "the export", e))
}

fn line(entry: &StoredEntry) -> Line {
    let records = entry.records().map(|record| LineRecord {
        kind: record.kind,
        version: record.version,
        payload: BASE64.encode(record.payload),
    });
    Line {
        lsn: entry.lsn().0,
        stream: entry.stream().to_string(),
        seq: entry.seq(),
        at: entry.at(),
        before: entry.before().map(|digest| digest.to_string()),
        digest: entry.digest().to_string(),
        records: records.collect(),
    }
}

/// Makes a journal out of an export, in a directory without one. Of the options, the identity and the first record are the export's.
pub fn import(files: Arc<dyn Files>, options: Options, payloads: &Payloads, text: &mut dyn BufRead) -> Result<Summary> {
    let names = files.list().map_err(|e| Error::io("list", &files.describe(), e))?;
    if let Some(file) = names.into_iter().find(|name| format::segment_first(name).is_some() || name == mark::MARK_NAME)
    {
        return Err(Error::NotEmpty { file });
    }
    let mut lines = Lines { text, number: 0 };
    let head: Head = lines.next("the head of an export")?;
    if head.cpd_journal_export != EXPORT_VERSION {
        let supported = EXPORT_VERSION;
        return Err(Error::TooNew { file: "the export".into(), found: head.cpd_journal_export, supported });
    }
    let StreamId(journal) = lines.parse("a journal's identity", &head.journal)?;
    let first = Lsn(head.first).max(Lsn::FIRST);
    let (log, _) = Log::open_files(files, Options { journal, first, ..options })?;
    let summary = Summary { first, next: first, ..Summary::default() };
    let mut import = Import { log, summary, chains: HashMap::new(), group: Vec::new(), bytes: 0 };
    loop {
        let value: serde_json::Value = lines.next("an entry, or the end of the export")?;
        if value.get("entries").is_some() {
            let end: End =
                serde_json::from_value(value).map_err(|e| lines.refuse(e.to_string(), "the end of the export"))?;
            let Summary { entries, next, .. } = import.summary;
            if (end.entries, end.next) != (entries, next.0) {
                let found = format!("an end after {} entries, before record {}", end.entries, end.next);
                return Err(lines.refuse(found, format!("{entries} entries, record {next}")));
            }
            import.flush()?;
            import.log.close()?;
            return Ok(import.summary);
        }
        if value.get("stored").is_some() {
            let line: Stored = serde_json::from_value(value).map_err(|e| lines.refuse(e.to_string(), "a payload"))?;
            let bytes = BASE64.decode(&line.stored);
            let bytes = bytes.map_err(|e| lines.refuse(format!("a payload with {e}"), "base64"))?;
            payloads.put(&bytes).map_err(|e| Error::io("write", "a payload", e))?;
            continue;
        }
        let line: Line = serde_json::from_value(value).map_err(|e| lines.refuse(e.to_string(), "an entry"))?;
        import.take(&lines, &line)?;
    }
}

struct Import {
    log: Log,
    summary: Summary,
    chains: HashMap<StreamId, Chain>,
    group: Vec<Entry>,
    bytes: u64,
}

impl Import {
    fn take(&mut self, lines: &Lines<'_>, line: &Line) -> Result<()> {
        let next = self.summary.next;
        if line.lsn != next.0 {
            return Err(lines.refuse(format!("record {}", line.lsn), format!("record {next}")));
        }
        let stream: StreamId = lines.parse("a stream", &line.stream)?;
        let digest: Digest = lines.parse("a digest", &line.digest)?;
        let before: Option<Digest> = line.before.as_ref().map(|text| lines.parse("a digest", text)).transpose()?;
        let known = self.chains.contains_key(&stream);
        let chain = self.chains.entry(stream).or_insert_with(|| match line.seq {
            1 => Chain::start(stream),
            seq => Chain::at(stream, seq, before.unwrap_or_default(), Position::NONE),
        });
        if line.seq != chain.next_seq() {
            let found = format!("record {} of stream {stream}", line.seq);
            return Err(lines.refuse(found, format!("its record {}", chain.next_seq())));
        }
        let mut builder = EntryBuilder::new(chain, line.at);
        for record in &line.records {
            let payload = BASE64.decode(&record.payload);
            let payload = payload.map_err(|e| lines.refuse(format!("a payload with {e}"), "base64"))?;
            builder.push(record.kind, record.version, &payload);
        }
        let believed = !known && line.seq > 1 && before.is_none();
        let (entry, after) = if believed { builder.finish_as(digest) } else { builder.finish() }?;
        if after.digest() != digest {
            return Err(lines.refuse(format!("records with digest {}", after.digest()), format!("{digest}, as stated")));
        }
        *chain = after;
        self.summary.entries += 1;
        self.summary.records += line.records.len() as u64;
        self.summary.next = next.plus(line.records.len() as u64);
        self.bytes += entry.bytes();
        self.group.push(entry);
        if self.bytes >= GROUP_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        if !self.group.is_empty() {
            self.log.append(&self.group)?;
            self.group.clear();
            self.bytes = 0;
        }
        Ok(())
    }
}

struct Lines<'a> {
    text: &'a mut dyn BufRead,
    number: u64,
}

impl Lines<'_> {
    fn next<T: serde::de::DeserializeOwned>(&mut self, expected: &str) -> Result<T> {
        self.number += 1;
        let mut line = Vec::new();
        let read = (&mut *self.text).take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        read.map_err(|e| Error::io("read", "the export", e))?;
        if line.pop() != Some(b'\n') {
            let found =
                if line.len() as u64 + 1 >= LINE_BYTES_MAX { "a line that is too long" } else { "the end of the text" };
            return Err(self.refuse(found, expected));
        }
        serde_json::from_slice(&line).map_err(|e| self.refuse(e.to_string(), expected))
    }

    fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(&self, what: &str, text: &str) -> Result<T> {
        text.parse().map_err(|e: T::Err| self.refuse(e.to_string(), what))
    }

    fn refuse(&self, found: impl Into<String>, expected: impl Into<String>) -> Error {
        Error::Import { line: self.number, found: found.into(), expected: expected.into() }
    }
}
