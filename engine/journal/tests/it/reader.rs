//! Reading beside a writer that never rests.

use std::sync::atomic::{AtomicBool, Ordering};

use cpd_journal::{Chain, Log, Lsn, Reader};

use crate::kit::{entry, small, stream};

/// Several journals, because one reads the headers of all segments each time it is opened.
const JOURNALS: usize = 12;
const SCANS: usize = 700;

#[test]
fn a_reader_beside_a_busy_writer_of_another_process_takes_nothing_for_damage() {
    for journal in 0..JOURNALS {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut log, _) = Log::open(dir.path(), small()).expect("a journal");
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // A reader that fails still ends the writer.
            let ending = Ending(&done);
            scope.spawn(|| {
                let mut chain = Chain::start(stream(1));
                while !done.load(Ordering::SeqCst) {
                    let (next, after) = entry(&chain, &[40]);
                    log.append(&[next]).expect("an append");
                    chain = after;
                }
            });
            let mut last = 0;
            for scan in 0..SCANS {
                // Each with what it finds on the disk, as another process would: it shares nothing with the log.
                let reader = Reader::open(dir.path()).expect("the journal is whole");
                for stored in reader.scan(Lsn(last + 1)).expect("a scan") {
                    let stored =
                        stored.unwrap_or_else(|e| panic!("journal {journal}, scan {scan}, behind record {last}: {e}"));
                    assert_eq!(stored.lsn(), Lsn(last + 1));
                    last = stored.lsn().0;
                }
            }
            drop(ending);
            assert!(last > 0, "nothing was written meanwhile");
        });
    }
}

struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
