//! `cpd journal verify|inspect|export` and `cpd audit verify`.

use std::io::Write as _;

use anyhow::Context;
use cpd_core::machine::RunId;
use cpd_core::time::Timestamp;
use cpd_core::{Value, json};
use cpd_journal::payloads::Payloads;
use cpd_journal::record::Kind;
use cpd_journal::{Finding, Lsn, Reader, Report, transfer, verify};

use super::{Global, style};
use crate::exit::Exit;

/// `cpd journal …`
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Check every byte: checksums, numbers, chains of digests; say what is lost.
    Verify,
    /// Print entries: where they stand, whose they are, what they hold.
    Inspect(InspectArgs),
    /// Write every entry as a line of JSON to stdout.
    Export,
}

/// `cpd audit …`
#[derive(clap::Subcommand)]
pub(crate) enum AuditCommand {
    /// Check that the log of every run is complete and unchanged.
    Verify,
    /// Print who administered what, and what was refused, newest first.
    Log(super::audit::LogArgs),
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
            let documents = documents(global, &report);
            print_report(global, &report, &documents)
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
                let run = RunId(entry.stream().0).to_string();
                let at = Timestamp(entry.at());
                if global.json {
                    let records: Vec<_> = records.iter().map(|(k, n)| json!({ "kind": **k, "bytes": *n })).collect();
                    let object = json!({
                        "lsn": entry.lsn().0, "position": entry.position().0, "stream": *run, "seq": entry.seq(),
                        "at": at.to_string(), "bytes": entry.bytes(), "records": records,
                    });
                    style::line(&object.to_json())?;
                } else {
                    let names: Vec<&str> = records.iter().map(|(k, _)| k.as_str()).collect();
                    let head = format!(
                        "{:>8} @{:<10} {at} {run} seq {:<5} {:>6} B",
                        entry.lsn().0,
                        entry.position().0,
                        entry.seq(),
                        entry.bytes()
                    );
                    style::line(&format!("{}  {}", style::dim(&head), names.join(" ")))?;
                }
            }
            Ok(Exit::Done)
        }
        Command::Export => {
            let reader = Reader::open(&dir)?;
            let mut out = std::io::BufWriter::new(std::io::stdout().lock());
            transfer::export(&reader, &Payloads::of(&dir), &mut out).context("export the journal")?;
            out.flush()?;
            Ok(Exit::Done)
        }
    }
}

pub(crate) fn audit(global: &Global, command: &AuditCommand) -> anyhow::Result<Exit> {
    if let AuditCommand::Log(args) = command {
        return super::audit::log(global, args);
    }
    let report = verify(global.data.join("journal"))?;
    let documents = documents(global, &report);
    print_report(global, &report, &documents)
}

/// What a whole journal refers to and cannot be read: large documents that are stored apart.
fn documents(global: &Global, report: &Report) -> Vec<String> {
    if !report.is_whole() {
        // What is damaged has been said.
        return Vec::new();
    }
    match global.view().and_then(|view| Ok(view.unreadable()?)) {
        Ok(found) => found.iter().map(|(run, seq, error)| format!("record {seq} of run {run}: {error}")).collect(),
        Err(error) => vec![format!("{error:#}")],
    }
}

fn print_report(global: &Global, report: &Report, documents: &[String]) -> anyhow::Result<Exit> {
    let Report { segments, frames, records, streams, bytes, findings, more_findings, torn, .. } = report;
    let exit = if report.is_whole() && documents.is_empty() { Exit::Done } else { Exit::Diverged };
    let lost = |finding: &Finding| {
        finding.lost.map(|(from, to)| format!("records {from} to {} are lost", Lsn(to.0.saturating_sub(1))))
    };
    if global.json {
        let findings: Vec<_> = findings
            .iter()
            .map(|f| {
                let d = &f.damage;
                json!({ "segment": *d.file, "offset": d.offset, "found": *d.found, "expected": *d.expected, "lost": lost(f) })
            })
            .collect();
        let object = json!({
            "verdict": if exit == Exit::Done { "whole" } else { "damaged" }, "segments": *segments, "entries": *frames,
            "records": *records, "streams": *streams, "bytes": *bytes, "findings": findings,
            "unreadable": documents.iter().map(|d| Value::from(d.clone())).collect::<Vec<_>>(), "moreFindings": *more_findings, "torn": torn.as_ref().map(ToString::to_string),
        });
        style::line(&object.to_json())?;
        return Ok(exit);
    }
    for document in documents {
        style::line(&format!("{} {document}", style::bad("✗")))?;
    }
    for finding in findings {
        let lost = lost(finding).map_or_else(String::new, |l| format!("; {l}"));
        style::line(&format!("{} {}{lost}", style::bad("✗"), finding.damage))?;
    }
    if *more_findings > 0 {
        style::line(&format!("  and {} more", style::count(*more_findings, "finding")))?;
    }
    if let Some(torn) = torn {
        style::line(&format!(
            "{} {torn}: a torn tail that was never acknowledged; the next start cuts it",
            style::warn("!")
        ))?;
    }
    let entries = if *frames == 1 { "1 entry".to_owned() } else { format!("{frames} entries") };
    let scope = format!(
        "{} in {entries} of {} in {} ({bytes} bytes)",
        style::count(*records, "record"),
        style::count(*streams, "stream"),
        style::count(*segments, "segment"),
    );
    if exit == Exit::Done {
        style::line(&format!("{} {scope}: every checksum, number and chain of digests is right", style::good("✓")))?;
    } else if report.is_whole() {
        let broken = style::count(documents.len() as u64, "record");
        style::line(&format!("{} {scope}; {broken} cannot be read for want of a payload", style::bad("✗")))?;
    } else {
        style::line(&format!("{} {scope} could be read", style::bad("✗")))?;
    }
    Ok(exit)
}
