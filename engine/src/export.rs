//! The journal as lines of JSON, for people and other programs.

use std::io::Write;

use cpd_core::Value;
use cpd_core::json;
use cpd_core::machine::RunId;
use cpd_core::time::Timestamp;
use cpd_journal::record::Kind;
use cpd_journal::{Lsn, Reader};

use crate::history::{RawRecord, hex};

/// An export that could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The journal cannot be read.
    #[error("read the journal")]
    Journal(#[from] cpd_journal::Error),
    /// The lines cannot be written.
    #[error("write the lines")]
    Write(#[from] std::io::Error),
}

/// Writes one line a record: `lsn`, `run`, `seq`, `at`, `kind`, `digest`, and the record as it stands.
///
/// # Errors
/// If the journal cannot be read, or the lines cannot be written.
pub fn export(reader: &Reader, out: &mut dyn Write) -> Result<(), Error> {
    for entry in reader.scan(Lsn(1))? {
        let entry = entry?;
        let run = RunId(entry.stream.0).to_string();
        let last = entry.first_seq + u64::from(entry.count) - 1;
        for record in entry.records() {
            let raw = RawRecord { kind: record.kind, version: record.version, payload: record.payload.to_vec() };
            let digest = if record.seq == last { Value::from(hex(&entry.digest.0)) } else { Value::Null };
            let line = json!({
                "lsn": entry.lsn.0 + (record.seq - entry.first_seq),
                "run": *run,
                "seq": record.seq,
                "at": Timestamp(entry.at).to_string(),
                "kind": Kind(record.kind).name().unwrap_or("unknown"),
                "digest": digest,
                "record": serde_json::to_value(&raw).expect("a record is JSON"),
            });
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}
