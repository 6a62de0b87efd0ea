//! A journal that was cut or changed: never a panic, never silently wrong. A cut tail comes back with what is whole; a
//! changed byte is either in what a crash may leave unfinished, or it is refused with segment and offset.

use std::collections::{BTreeMap, BTreeSet};

use super::{Out, Place, SUM, detached};

struct Whole {
    place: Place,
    /// The only segment, and where its last frame ends.
    bytes: Vec<u8>,
    end: usize,
    /// What was acknowledged, as it was noted when the last process ended in order.
    mark: Vec<u8>,
    /// Where entries begin.
    starts: Vec<usize>,
    /// Where entries end, and the stream of each.
    entries: Vec<(usize, String)>,
    /// What `runs --json` says of each run, by id.
    runs: BTreeMap<String, String>,
}

/// A journal of several runs, the last of which is open, and the process was not stopped cleanly.
fn whole() -> Whole {
    let place = Place::new();
    place.write("add.yaml", SUM);
    for n in 0..6 {
        place.cpd(&["run", "add.yaml", &format!("a={n}"), "b=2", "-q"]).exits(0);
    }
    detached(&place, &["add.yaml", "a=7", "b=2"]);
    let entries = place.cpd(&["journal", "inspect", "--json", "-n", "1000"]).exits(0).lines();
    let number = |v: &serde_json::Value| usize::try_from(v.as_u64().expect("a number")).expect("small");
    let starts: Vec<usize> = entries.iter().map(|e| number(&e["position"])).collect();
    let last = entries.last().expect("an entry");
    let end = number(&last["position"]) + number(&last["bytes"]);
    let segments = place.segments();
    assert_eq!(segments.len(), 1);
    let bytes = std::fs::read(&segments[0]).expect("a segment");
    let mark = std::fs::read(place.data().join("journal/mark")).expect("a mark");
    let stream = |e: &serde_json::Value| e["stream"].as_str().expect("a stream").to_owned();
    let entries = entries.iter().map(|e| (number(&e["position"]) + number(&e["bytes"]), stream(e))).collect();
    let runs = runs(&place.cpd(&["runs", "--json"]).exits(0));
    Whole { place, bytes, end, mark, starts, entries, runs }
}

fn runs(out: &Out) -> BTreeMap<String, String> {
    out.lines().iter().map(|r| (r["runId"].as_str().expect("an id").to_owned(), r.to_string())).collect()
}

impl Whole {
    /// Puts a changed journal in place, without the index, and without the mark if a process was killed before it wrote one.
    fn put(&self, bytes: &[u8], marked: bool) {
        let mark = self.place.data().join("journal/mark");
        if marked {
            std::fs::write(mark, &self.mark).expect("a mark")
        } else {
            drop(std::fs::remove_file(mark))
        }
        drop(std::fs::remove_dir_all(self.place.data().join("index")));
        let segments = self.place.segments();
        // A recovery may have gone on in a segment after it.
        for later in &segments[1..] {
            std::fs::remove_file(later).expect("a removal");
        }
        std::fs::write(&segments[0], bytes).expect("a segment");
    }

    /// `damage` in a message: segment and offset.
    fn names_the_place(&self, out: &Out) -> bool {
        let text = format!("{}{}", out.stdout, out.stderr);
        text.contains(".seg") && text.contains("byte")
    }
}

/// Where to cut: evenly, and at the ends of entries.
fn cuts(whole: &Whole) -> BTreeSet<usize> {
    let evenly = (0..whole.end).step_by((whole.end / 20).max(1));
    evenly.chain(whole.starts.iter().flat_map(|s| [s - 1, *s, s + 1])).collect()
}

/// The journal cut at `at`: as a crash leaves it, zeros where it was filled ahead, and as a bad copy leaves it, shorter.
fn cut(whole: &Whole, at: usize) -> [Vec<u8>; 2] {
    let (mut zeros, mut shorter) = (whole.bytes.clone(), whole.bytes.clone());
    zeros[at..].fill(0);
    shorter.truncate(at);
    [zeros, shorter]
}

/// The length of a segment's header: without it nothing in the segment can be read.
const HEADER: usize = 64;

#[test]
fn a_journal_cut_anywhere_after_a_kill_comes_back_with_what_is_whole() {
    let whole = whole();
    let (mut recovered, mut lost) = (0, BTreeSet::new());
    for at in cuts(&whole) {
        for bytes in cut(&whole, at) {
            whole.put(&bytes, false);
            let verified = whole.place.cpd(&["journal", "verify"]).calm();
            let listed = whole.place.cpd(&["runs", "--json"]).calm();
            if at < HEADER {
                assert!(matches!(listed.code, Some(0 | 1)) && matches!(verified.code, Some(0 | 1 | 5)), "cut at {at}");
                assert!(listed.stdout.is_empty(), "cut at {at}: {listed:?}");
                continue;
            }
            assert_eq!(verified.code, Some(0), "cut at {at}: {verified:?}");
            // The rows of runs all of whose entries are whole are as they were; no run is there of which nothing is.
            let same = |end: usize| bytes.get(..end) == Some(&whole.bytes[..end]);
            let kept: Vec<&String> = whole.entries.iter().filter(|(end, _)| same(*end)).map(|(_, s)| s).collect();
            let begun: BTreeSet<&String> = kept.iter().copied().filter(|s| whole.runs.contains_key(*s)).collect();
            let listed = runs(&listed.exits(0));
            assert_eq!(listed.keys().collect::<BTreeSet<_>>(), begun, "cut at {at}");
            for (id, row) in &listed {
                if whole.entries.iter().filter(|(_, s)| s == id).count() == kept.iter().filter(|s| **s == id).count() {
                    assert_eq!(whole.runs[id], *row, "cut at {at}");
                }
            }
            lost.insert(whole.runs.len() - listed.len());
            let ran = whole.place.cpd(&["run", "add.yaml", "a=1", "b=2", "--json", "-q"]).exits(0);
            assert_eq!(ran.json()["output"]["sum"], 3, "cut at {at}");
            whole.place.cpd(&["journal", "verify"]).exits(0);
            recovered += 1;
        }
    }
    println!("{recovered} cuts recovered");
    assert!(recovered > 50 && lost.len() >= whole.runs.len(), "{recovered} cuts, {lost:?} runs lost");
}

#[test]
fn a_journal_that_ended_in_order_and_was_cut_anywhere_is_refused() {
    let whole = whole();
    for at in cuts(&whole) {
        for bytes in cut(&whole, at) {
            whole.put(&bytes, true);
            let verified = whole.place.cpd(&["journal", "verify"]).calm();
            assert!(matches!(verified.code, Some(1 | 5)), "cut at {at}: {verified:?}");
            let ran = whole.place.cpd(&["run", "add.yaml", "a=1", "b=2", "--json", "-q"]).exits(1);
            assert!(whole.names_the_place(&ran), "cut at {at}: {ran:?}");
            assert_eq!(std::fs::read(&whole.place.segments()[0]).expect("a segment"), bytes, "cut at {at}");
        }
    }
}

#[test]
fn a_flipped_bit_is_never_believed() {
    let whole = whole();
    let last = *whole.starts.last().expect("an entry");
    let step = (whole.end / 60).max(1);
    let (mut refused, mut cut) = (0, 0);
    for at in (0..whole.end).step_by(step) {
        let mut bytes = whole.bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        whole.put(&bytes, at % 2 == 0);
        let verified = whole.place.cpd(&["journal", "verify"]).calm();
        if at < last {
            assert!(matches!(verified.code, Some(1 | 5)), "flip at {at} of {} goes unseen: {verified:?}", whole.end);
            assert!(verified.code == Some(1) || whole.names_the_place(&verified), "flip at {at}: {verified:?}");
        }
        let listed = whole.place.cpd(&["runs", "--json"]).calm();
        if listed.code == Some(0) {
            for (id, row) in runs(&listed) {
                assert_eq!(whole.runs.get(&id), Some(&row), "flip at {at}: a run is not what it was");
            }
        }
        let before = std::fs::read(&whole.place.segments()[0]).expect("a segment");
        let ran = whole.place.cpd(&["run", "add.yaml", "a=1", "b=2", "--json", "-q"]).calm();
        if ran.code == Some(0) {
            cut += 1;
            assert!(at >= last, "flip at {at}, before the last entry at {last}: the journal was written to: {ran:?}");
            whole.place.cpd(&["journal", "verify"]).exits(0);
        } else {
            refused += 1;
            assert_eq!(ran.code, Some(1), "flip at {at}: {ran:?}");
            assert!(ran.stderr.contains(".seg"), "flip at {at}: {ran:?}");
            let after = std::fs::read(&whole.place.segments()[0]).expect("a segment");
            assert_eq!(before, after, "flip at {at}: a refused journal is left as it is");
        }
    }
    println!("{refused} flips refused, {cut} cut as an unfinished tail");
    assert!(refused > 0);
}

#[test]
fn audit_verify_names_segment_and_offset_of_a_flipped_byte() {
    let whole = whole();
    let frame = whole.starts[3];
    let at = frame + 60;
    let mut bytes = whole.bytes.clone();
    bytes[at] ^= 0x40;
    whole.put(&bytes, true);
    let segment = whole.place.segments()[0].file_name().expect("a name").to_string_lossy().into_owned();
    for args in [&["audit", "verify"][..], &["journal", "verify"]] {
        whole.place.cpd(args).exits(5).prints(&[&format!("✗ {segment} is damaged at byte {frame}: ")]);
    }
    let report = whole.place.cpd(&["audit", "verify", "--json"]).exits(5).json();
    assert_eq!(report["verdict"], "damaged");
    assert_eq!((&report["findings"][0]["segment"], &report["findings"][0]["offset"]), (&segment.into(), &frame.into()));
    whole.put(&whole.bytes, true);
    whole.place.cpd(&["audit", "verify"]).exits(0);
}

#[test]
fn an_index_that_is_gone_or_rubbish_is_rebuilt() {
    let whole = whole();
    let index = whole.place.data().join("index");
    std::fs::remove_dir_all(&index).expect("an index");
    assert_eq!(runs(&whole.place.cpd(&["runs", "--json"]).exits(0)), whole.runs);
    whole.place.cpd(&["resume", "last", "-q"]).exits(0);
    for file in walk(&index) {
        std::fs::write(&file, b"rubbish").expect("a file");
    }
    whole.place.cpd(&["run", "add-up", "a=1", "b=2", "-q", "--json"]).exits(0);
    let after = runs(&whole.place.cpd(&["runs", "--json"]).exits(0));
    assert_eq!(after.len(), whole.runs.len() + 1);
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a directory").flatten() {
        if entry.path().is_dir() { files.extend(walk(&entry.path())) } else { files.push(entry.path()) }
    }
    files
}

#[test]
fn a_journal_export_is_the_whole_journal() {
    let whole = whole();
    let report = whole.place.cpd(&["journal", "verify", "--json"]).exits(0).json();
    assert_eq!(report["verdict"], "whole");
    let lines = whole.place.cpd(&["journal", "export"]).exits(0).lines();
    // A line says what it is, then one an entry, then one that says that it is all.
    assert_eq!(lines.len() as u64, report["entries"].as_u64().expect("a count") + 2);
    whole.place.cpd(&["journal", "inspect", "-n", "2"]).exits(0).prints(&["@", "Registered", "RunStarted TaskEntered"]);
    let two = whole.place.cpd(&["journal", "inspect", "-n", "2", "--json"]).exits(0).lines();
    assert_eq!(two.len(), 2);
    whole.place.cpd(&["journal", "verify", "--data", "nowhere"]).exits(1).says(&["nowhere"]);
}
