//! `cpd journal verify|inspect|export` and `cpd audit verify`.

use std::io::Write as _;

use anyhow::Context;
use cpd_core::json;
use cpd_core::machine::RunId;
use cpd_core::time::Timestamp;
use cpd_journal::record::Kind;
use cpd_journal::verify::{Finding, Report, verify};
use cpd_journal::{Lsn, Reader};

use super::{Global, style};
use crate::exit::Exit;

/// `cpd journal …`
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Check every byte: checksums, numbers, chains of digests; say what is lost.
    Verify,
    /// Print entries: where they stand, whose they are, what they hold.
    Inspect(InspectArgs),
    /// Write every record as a line of JSON to stdout.
    Export,
}

/// `cpd audit …`
#[derive(clap::Subcommand)]
pub(crate) enum AuditCommand {
    /// Check that the log of every run is complete and unchanged.
    Verify,
}

/// `cpd journal inspect`
#[derive(clap::Args)]
pub(crate) struct InspectArgs {
    /// From this record on.
    #[arg(long, default_value_t = 1, value_name = "LSN")]
    from: u64,
    /// At most so many entries.
    #[arg(short = 'n', long, default_value_t = 100)]
    limit: usize,
}

pub(crate) fn journal(global: &Global, command: &Command) -> anyhow::Result<Exit> {
    let dir = global.data.join("journal");
    match command {
        Command::Verify => {
            let report = verify(&dir)?;
            print_report(global, &report)
        }
        Command::Inspect(args) => {
            let reader = Reader::open(&dir)?;
            for entry in reader.scan(Lsn(args.from))?.take(args.limit) {
                let entry = entry?;
                let records = entry.records().map(|r| {
                    let name = Kind(r.kind).name().map_or_else(|| format!("kind {}", r.kind), str::to_owned);
                    (name, r.payload.len())
                });
                let records: Vec<(String, usize)> = records.collect();
                let run = RunId(entry.stream.0).to_string();
                let at = Timestamp(entry.at);
                if global.json {
                    let records: Vec<_> = records.iter().map(|(k, n)| json!({ "kind": **k, "bytes": *n })).collect();
                    let object = json!({
                        "lsn": entry.lsn.0, "position": entry.position.0, "stream": *run, "seq": entry.first_seq,
                        "at": at.to_string(), "bytes": entry.stored_len(), "records": records,
                    });
                    style::line(&object.to_json())?;
                } else {
                    let names: Vec<&str> = records.iter().map(|(k, _)| k.as_str()).collect();
                    let head = format!("{:>8} @{:<10} {at} {run} seq {:<5} {:>6} B", entry.lsn.0, entry.position.0, entry.first_seq, entry.stored_len());
                    style::line(&format!("{}  {}", style::dim(&head), names.join(" ")))?;
                }
            }
            Ok(Exit::Done)
        }
        Command::Export => {
            let reader = Reader::open(&dir)?;
            let mut out = std::io::BufWriter::new(std::io::stdout().lock());
            cpd_engine::export::export(&reader, &mut out).context("export the journal")?;
            out.flush()?;
            Ok(Exit::Done)
        }
    }
}

pub(crate) fn audit(global: &Global, command: &AuditCommand) -> anyhow::Result<Exit> {
    let AuditCommand::Verify = command;
    let report = verify(&global.data.join("journal"))?;
    print_report(global, &report)
}

fn print_report(global: &Global, report: &Report) -> anyhow::Result<Exit> {
    let Report { segments, entries, records, streams, bytes, findings, .. } = report;
    let exit = if findings.is_empty() { Exit::Done } else { Exit::Diverged };
    if global.json {
        let findings: Vec<_> = findings
            .iter()
            .map(|Finding { segment, offset, what }| json!({ "segment": **segment, "offset": *offset, "what": **what }))
            .collect();
        let object = json!({
            "verdict": if exit == Exit::Done { "whole" } else { "damaged" }, "segments": *segments, "entries": *entries,
            "records": *records, "streams": *streams, "bytes": *bytes, "findings": findings,
        });
        style::line(&object.to_json())?;
        return Ok(exit);
    }
    for Finding { segment, offset, what } in findings {
        style::line(&format!("{} {segment} at offset {offset}: {what}", style::bad("✗")))?;
    }
    let scope = format!(
        "{} in {} of {} in {} ({} bytes)",
        style::count(*records, "record"),
        style::count(*entries, "entry").replace("entrys", "entries"),
        style::count(*streams, "stream"),
        style::count(*segments, "segment"),
        bytes
    );
    if exit == Exit::Done {
        style::line(&format!("{} {scope}: every checksum, number and chain of digests is right", style::good("✓")))?;
    } else {
        style::line(&format!("{} {scope} could be read; {}", style::bad("✗"), style::count(findings.len() as u64, "finding")))?;
    }
    Ok(exit)
}
