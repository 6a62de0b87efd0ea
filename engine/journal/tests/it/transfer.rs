//! Export and import: what comes in is what went out, and nothing else comes in.

use std::sync::Arc;

use cpd_journal::files::{Files, MemoryFiles};
use cpd_journal::payloads::Payloads;
use cpd_journal::transfer::{Summary, export, import};
use cpd_journal::{Error, Lsn, Options, Reader, StoredEntry, verify_files};

use crate::kit::{Bench, everything, small};

fn layer(files: &MemoryFiles) -> Arc<dyn Files> {
    Arc::new(files.clone())
}

fn journal() -> MemoryFiles {
    let files = MemoryFiles::new();
    let options = Options { journal: [0xAB; 16], ..small() };
    let mut bench = Bench::open(&layer(&files), options).expect("a new journal");
    for i in 0..40 {
        bench.append_group(&[(i % 3, &[i as usize, 170]), (9, &[1])]).expect("an append");
    }
    files
}

fn text(files: &MemoryFiles) -> (Summary, String) {
    let mut out = Vec::new();
    let summary = export(&Reader::open_files(layer(files)).expect("a reader"), &Payloads::default(), &mut out)
        .expect("an export");
    (summary, String::from_utf8(out).expect("text"))
}

fn take_in(text: &str) -> Result<(MemoryFiles, Summary), Error> {
    let files = MemoryFiles::new();
    let summary = import(layer(&files), small(), &Payloads::default(), &mut text.as_bytes())?;
    Ok((files, summary))
}

/// Everything that must survive: all but where frames stand.
fn essence(files: &MemoryFiles) -> Vec<String> {
    let reader = Reader::open_files(layer(files)).expect("a reader");
    let line = |entry: &StoredEntry| {
        let records: Vec<_> =
            entry.records().map(|r| (r.lsn, r.seq, r.kind, r.version, r.payload.to_vec(), r.digest)).collect();
        format!("{} {} {} {records:?}", entry.stream(), entry.at(), entry.digest())
    };
    everything(&reader).expect("a scan").iter().map(line).collect()
}

#[test]
fn an_imported_journal_holds_what_the_exported_one_does() {
    let files = journal();
    let (out, text) = text(&files);
    let (copy, summary) = take_in(&text).expect("an import");
    assert_eq!((out, out.entries, out.records), (summary, 80, 120));
    assert_eq!(essence(&copy), essence(&files));
    assert!(verify_files(layer(&copy)).expect("a report").is_whole());
    let bench = Bench::open(&layer(&copy), small()).expect("the journal");
    assert_eq!(bench.recovered.journal, [0xAB; 16]);
}

#[test]
fn a_pruned_journal_can_be_moved_too() {
    let files = journal();
    let mut bench = Bench::open(&layer(&files), small()).expect("the journal");
    let first = bench.log.prune(Lsn(70)).expect("a pruning");
    assert!(first > Lsn(1));
    let (_, text) = text(&files);
    let (copy, summary) = take_in(&text).expect("an import");
    assert_eq!(summary.first, first);
    let digests = |files| -> Vec<_> {
        let reader = Reader::open_files(layer(files)).expect("a reader");
        everything(&reader).expect("a scan").iter().map(|entry| (entry.lsn(), entry.digest())).collect()
    };
    assert_eq!(digests(&copy), digests(&files));
}

#[test]
fn a_text_that_was_cut_changed_or_reordered_is_refused_with_its_line() {
    let (_, text) = text(&journal());
    let lines: Vec<_> = text.lines().collect();
    let with = |at: usize, line: &str| -> String {
        lines.iter().enumerate().map(|(i, &old)| format!("{}\n", if i == at { line } else { old })).collect()
    };
    let without = |at: usize| -> String {
        lines.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, line)| format!("{line}\n")).collect()
    };
    let cases = [
        (String::new(), 1),
        (without(0), 1),
        (without(1), 2),
        (without(40), 41),
        (without(81), 82),
        (text[..text.len() - 10].to_owned(), 82),
        (with(5, "garbage"), 6),
        (with(5, &lines[5].replace("\"at\":17", "\"at\":18")), 6),
        (with(5, &lines[5].replacen("\"kind\":", "\"kind\":1", 1)), 6),
        (with(5, &lines[5].replace("\"payload\":\"", "\"payload\":\"!")), 6),
        (with(5, &lines[5].replace("\"stream\":\"", "\"stream\":\"0")), 6),
        (with(5, &lines[5].replace("\"lsn\"", "\"nsl\"")), 6),
        (with(81, "{\"next\":121,\"entries\":79}"), 82),
    ];
    for (text, line) in cases {
        match take_in(&text).map(|(_, summary)| summary) {
            Err(Error::Import { line: at, .. }) => assert_eq!(at, line, "{}", &text[..text.len().min(200)]),
            other => panic!("{other:?} of {}", &text[..text.len().min(200)]),
        }
    }
}

#[test]
fn an_export_of_a_newer_version_is_refused() {
    let (_, text) = text(&journal());
    let newer = text.replacen("\"cpd_journal_export\":1", "\"cpd_journal_export\":2", 1);
    assert!(matches!(take_in(&newer).map(drop), Err(Error::TooNew { found: 2, .. })));
}

#[test]
fn nothing_is_imported_over_a_journal() {
    let files = journal();
    let (_, text) = text(&files);
    let before = essence(&files);
    let outcome = import(layer(&files), small(), &Payloads::default(), &mut text.as_bytes());
    assert!(matches!(outcome, Err(Error::NotEmpty { .. })));
    assert_eq!(essence(&files), before);
}

#[test]
fn payloads_that_are_stored_apart_travel_along() {
    let files = journal();
    let from = Payloads::in_memory([b"large".to_vec(), b"larger".to_vec()]);
    let mut text = Vec::new();
    export(&Reader::open_files(layer(&files)).unwrap(), &from, &mut text).unwrap();
    let to = Payloads::in_memory([]);
    import(layer(&MemoryFiles::new()), small(), &to, &mut text.as_slice()).unwrap();
    assert_eq!(to.all().unwrap(), from.all().unwrap());
    let broken = String::from_utf8(text).unwrap().replace("{\"stored\":\"", "{\"stored\":\"*");
    assert!(import(layer(&MemoryFiles::new()), small(), &to, &mut broken.as_bytes()).is_err());
}
