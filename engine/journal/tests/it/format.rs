//! The bytes themselves: frozen, and harmless whatever they are.

use std::sync::Arc;

use cpd_journal::files::{Files, MemoryFiles};
use cpd_journal::format::{self, FRAME_HEADER_BYTES, Look, SEGMENT_HEADER_BYTES};
use cpd_journal::{Chain, EntryBuilder, Log, Options, Position, StreamId};
use proptest::prelude::*;

use crate::kit::small;

/// A segment with one entry of two records. Its bytes, checksums and digest below were computed by a program that shares nothing with this crate.
fn golden() -> Vec<u8> {
    let files = MemoryFiles::new();
    let options = Options { journal: *b"journal-identity", ..small() };
    let (mut log, _) = Log::open_files(Arc::new(files.clone()) as Arc<dyn Files>, options).expect("a new journal");
    let chain = Chain::start(StreamId(*b"run-0123456789ab"));
    let mut builder = EntryBuilder::new(&chain, 1_700_000_000_000_000);
    builder.push(7, 1, b"first").push(300, 2, &[0xEE; 130]);
    let (entry, _) = builder.finish().expect("an entry");
    log.append(&[entry]).expect("an append");
    files.contents("00000000000000000001.seg").expect("the segment")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_bytes_of_version_1_are_frozen() {
    let bytes = golden();
    assert_eq!(
        hex(&bytes[..SEGMENT_HEADER_BYTES]),
        concat!(
            "6370646a0d0a1a0a",                 // magic
            "96c3d080",                         // checksum
            "01004000",                         // version, length of the header
            "0100000000000000",                 // first record
            "0000000000000000",                 // base
            "0010000000000000",                 // capacity
            "0000000000000000",                 // previous segment's last frame
            "6a6f75726e616c2d6964656e74697479", // journal
        )
    );
    let frame = &bytes[SEGMENT_HEADER_BYTES..];
    assert_eq!(
        hex(&frame[..FRAME_HEADER_BYTES]),
        concat!(
            "ca4a0200",                                                         // magic, count
            "4cb43794",                                                         // checksum
            "90000001",                                                         // length of the body, version
            "00000000",                                                         // bytes not yet synced in front
            "0100000000000000",                                                 // lsn
            "72756e2d303132333435363738396162",                                 // stream
            "0100000000000000",                                                 // seq
            "00401e18240a0600",                                                 // at
            "0000000000000000",                                                 // previous frame
            "debe5d177cd770ce4acf98b511d2e6c3ae0e4f8d1170340d0b5ccfd7f5fa3c57", // digest
        )
    );
    assert_eq!(hex(&frame[96..104]), "0700010566697273", "kind, version, length, payload");
    assert_eq!(hex(&frame[105..110]), "2c01028201", "the second record's length takes two bytes");
    assert_eq!(bytes.len(), 64 + 96 + 144 + 8, "a terminator of zeros behind the group");
    assert_eq!(hex(&bytes[bytes.len() - 8..]), "0000000000000000");
}

proptest! {
    #[test]
    fn random_bytes_are_no_frame_and_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..400), at in any::<u64>(), count in any::<u16>()) {
        prop_assert!(!matches!(format::frame(&bytes, Position(at)), Look::Frame(_)));
        prop_assert!(format::segment_header(&bytes).is_err());
        if let Ok(records) = format::records(&bytes, count) {
            prop_assert_eq!(records.len(), usize::from(count));
            prop_assert!(records.iter().all(|record| record.kind != 0 && record.payload.end <= bytes.len()));
        }
    }

    /// A good frame, changed in a few bytes or shown at another place, is a frame no more.
    #[test]
    fn a_frame_is_good_only_as_it_was_and_where_it_was(changes in prop::collection::vec((any::<prop::sample::Index>(), 1..=255u8), 0..4), moved in 0..3u64) {
        let golden = golden();
        let mut frame = golden[SEGMENT_HEADER_BYTES..golden.len() - 8].to_vec();
        let whole = frame.clone();
        for (at, mask) in changes {
            let at = at.index(frame.len());
            frame[at] ^= mask;
        }
        let good = matches!(format::frame(&frame, Position(64 + moved)), Look::Frame(_));
        prop_assert_eq!(good, frame == whole && moved == 0);
    }

    /// A directory with garbage for a journal is refused, or is empty; it is never a panic.
    #[test]
    fn a_directory_of_garbage_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), keep in 0..400usize) {
        let mut segment = golden();
        segment.truncate(keep);
        segment.extend_from_slice(&bytes);
        let files = MemoryFiles::new();
        files.put("00000000000000000001.seg", segment.clone());
        files.put("mark", bytes);
        let layer: Arc<dyn Files> = Arc::new(files);
        drop(cpd_journal::verify_files(Arc::clone(&layer)));
        match Log::open_files(Arc::clone(&layer), small()) {
            Ok((log, recovered)) => {
                prop_assert!(keep >= SEGMENT_HEADER_BYTES);
                prop_assert!(recovered.next.0 == 1 || recovered.next.0 == 3);
                prop_assert_eq!(recovered.next.0 == 3, keep >= golden().len() - 8);
                drop(log);
            }
            Err(error) => prop_assert!(error.is_damage() && keep < SEGMENT_HEADER_BYTES),
        }
    }
}
