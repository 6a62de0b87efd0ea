//! One suite for every driver of the index.

use std::path::Path;

use cpd_journal::Lsn;
use cpd_journal::index::{
    Batch, Direction, Driver, Index, IndexError, KEY_BYTES_MAX, Opened, Range, Space, open_or_rebuild,
};

const RUNS: Space = Space(1);
const TIMERS: Space = Space(2);

/// The drivers that are part of this build.
fn drivers() -> Vec<Driver> {
    let mut drivers = vec![Driver::Memory];
    drivers.extend(on_disk());
    drivers
}

fn on_disk() -> Vec<Driver> {
    let mut drivers = Vec::new();
    if cfg!(feature = "index-fjall") {
        drivers.push(Driver::Fjall);
    }
    if cfg!(feature = "index-sled") {
        drivers.push(Driver::Sled);
    }
    drivers
}

fn over_each(drivers: Vec<Driver>, test: impl Fn(Driver, &Path)) {
    for driver in drivers {
        let directory = tempfile::tempdir().expect("a directory");
        test(driver, &directory.path().join(driver.name()));
    }
}

fn open(driver: Driver, path: &Path) -> Box<dyn Index> {
    let Opened { index, rebuilt } = open_or_rebuild(driver, path).expect("an index");
    assert_eq!(rebuilt, None);
    index
}

fn keys(index: &dyn Index, space: Space, range: &Range, direction: Direction, limit: usize) -> Vec<String> {
    let pairs = index.scan(space, range, direction, limit).expect("a scan");
    pairs.into_iter().map(|(key, _)| String::from_utf8(key).expect("text")).collect()
}

fn fill(index: &dyn Index, keys: &[&str]) {
    let mut batch = Batch::new();
    for key in keys {
        batch.put(RUNS, *key, format!("value of {key}"));
    }
    index.write(batch).expect("a write");
}

#[test]
fn what_was_put_is_got_until_it_is_deleted() {
    over_each(drivers(), |driver, path| {
        let index = open(driver, path);
        fill(&*index, &["a", "b"]);
        assert_eq!(index.get(RUNS, b"a").expect("a get"), Some(b"value of a".to_vec()));
        assert_eq!(index.get(TIMERS, b"a").expect("a get"), None);
        let mut batch = Batch::new();
        batch.delete(RUNS, "a").put(RUNS, "b", "new").delete(RUNS, "never there");
        index.write(batch).expect("a write");
        assert_eq!(index.get(RUNS, b"a").expect("a get"), None);
        assert_eq!(index.get(RUNS, b"b").expect("a get"), Some(b"new".to_vec()));
        assert_eq!(index.driver(), driver.name());
    });
}

#[test]
fn the_last_change_of_a_key_in_a_batch_counts() {
    over_each(drivers(), |driver, path| {
        let index = open(driver, path);
        let mut batch = Batch::new();
        batch.put(RUNS, "a", "1").delete(RUNS, "a").put(RUNS, "b", "1").put(RUNS, "b", "2");
        batch.delete(RUNS, "c").put(RUNS, "c", "3");
        index.write(batch).expect("a write");
        assert_eq!(index.get(RUNS, b"a").expect("a get"), None);
        assert_eq!(index.get(RUNS, b"b").expect("a get"), Some(b"2".to_vec()));
        assert_eq!(index.get(RUNS, b"c").expect("a get"), Some(b"3".to_vec()));
    });
}

#[test]
fn scans_are_ordered_bounded_and_stay_in_their_space() {
    over_each(drivers(), |driver, path| {
        let index = open(driver, path);
        fill(&*index, &["b", "a", "ab", "abc", "b\u{7f}", "c", ""]);
        let mut batch = Batch::new();
        batch.put(Space(0), "z", "").put(TIMERS, "a", "").put(Space(254), [0xFF, 0xFF], "");
        index.write(batch.clone()).expect("a write");
        let scan = |range: &Range, direction, limit| keys(&*index, RUNS, range, direction, limit);
        use Direction::{Ascending, Descending};
        assert_eq!(scan(&Range::all(), Ascending, 100), ["", "a", "ab", "abc", "b", "b\u{7f}", "c"]);
        assert_eq!(scan(&Range::all(), Descending, 3), ["c", "b\u{7f}", "b"]);
        assert_eq!(scan(&Range::all(), Ascending, 0), [""; 0]);
        assert_eq!(scan(&Range::prefix(b"a"), Ascending, 100), ["a", "ab", "abc"]);
        assert_eq!(scan(&Range::prefix(b"a"), Descending, 100), ["abc", "ab", "a"]);
        assert_eq!(scan(&Range::prefix(b"a").after(b"a"), Ascending, 1), ["ab"]);
        assert_eq!(scan(&Range::prefix(b"a").before(b"abc"), Descending, 100), ["ab", "a"]);
        assert_eq!(scan(&Range { start: b"ab".to_vec(), end: Some(b"b".to_vec()) }, Ascending, 100), ["ab", "abc"]);
        assert_eq!(scan(&Range { start: b"b".to_vec(), end: Some(b"a".to_vec()) }, Ascending, 100), [""; 0]);
        let last = index.scan(Space(254), &Range::prefix(&[0xFF]), Ascending, 10).expect("a scan");
        assert_eq!(last, [(vec![0xFF, 0xFF], vec![])]);
    });
}

#[test]
fn an_index_says_up_to_where_it_is_true_and_never_goes_back() {
    over_each(drivers(), |driver, path| {
        let index = open(driver, path);
        assert_eq!(index.applied().expect("a record"), Lsn::ZERO);
        let mut batch = Batch::new();
        batch.put(RUNS, "a", "1").applied(Lsn(7));
        index.write(batch).expect("a write");
        fill(&*index, &["b"]);
        assert_eq!(index.applied().expect("a record"), Lsn(7));
        let mut batch = Batch::new();
        batch.put(RUNS, "c", "1").applied(Lsn(6));
        assert!(matches!(index.write(batch), Err(IndexError::Backwards { found: Lsn(7), stated: Lsn(6) })));
        assert_eq!(index.get(RUNS, b"c").expect("a get"), None);
    });
}

#[test]
fn a_wiped_index_is_empty_and_begins_again() {
    over_each(drivers(), |driver, path| {
        let index = open(driver, path);
        for i in 0..5000 {
            let mut batch = Batch::new();
            batch.put(RUNS, format!("{i:05}"), "x").put(TIMERS, format!("{i}"), "y").applied(Lsn(i));
            if i % 100 == 0 {
                index.write(batch).expect("a write");
            }
        }
        index.wipe().expect("a wiping");
        assert_eq!(index.applied().expect("a record"), Lsn::ZERO);
        for space in [RUNS, TIMERS] {
            assert!(keys(&*index, space, &Range::all(), Direction::Ascending, 10).is_empty());
        }
        let mut batch = Batch::new();
        batch.put(RUNS, "a", "1").applied(Lsn(1));
        index.write(batch).expect("a write");
        assert_eq!(index.applied().expect("a record"), Lsn(1));
    });
}

#[test]
fn batches_that_no_driver_would_take_are_refused_as_a_whole() {
    over_each(drivers(), |driver, path| {
        let index = open(driver, path);
        let mut batch = Batch::new();
        batch.put(RUNS, "good", "1").put(Space(255), "state", "hacked");
        assert!(matches!(index.write(batch), Err(IndexError::Reserved)));
        let mut batch = Batch::new();
        batch.put(RUNS, "good", "1").put(RUNS, vec![b'k'; KEY_BYTES_MAX + 1], "1");
        assert!(matches!(index.write(batch), Err(IndexError::TooLarge { .. })));
        assert_eq!(index.get(RUNS, b"good").expect("a get"), None);
        let mut batch = Batch::new();
        batch.put(RUNS, vec![b'k'; KEY_BYTES_MAX], vec![1; 1 << 20]);
        index.write(batch).expect("a write at the limit");
        assert_eq!(index.get(RUNS, &vec![b'k'; KEY_BYTES_MAX]).expect("a get").map(|v| v.len()), Some(1 << 20));
    });
}

#[test]
fn an_index_on_disk_is_there_again_after_reopening() {
    over_each(on_disk(), |driver, path| {
        for round in 1..5u64 {
            let index = open(driver, path);
            assert_eq!(index.applied().expect("a record"), Lsn((round - 1) * 100));
            assert_eq!(keys(&*index, RUNS, &Range::all(), Direction::Ascending, 1000).len() as u64, (round - 1) * 100);
            for i in (round - 1) * 100..round * 100 {
                let mut batch = Batch::new();
                batch.put(RUNS, format!("{i:05}"), "x").applied(Lsn(i + 1));
                index.write(batch).expect("a write");
            }
        }
    });
}

/// What the disk holds at some moment is what the next process finds if this one is killed then.
#[test]
fn an_index_whose_process_was_killed_holds_all_batches_up_to_the_one_it_claims() {
    over_each(on_disk(), |driver, path| {
        let index = open(driver, path);
        for i in 1..=500u64 {
            let mut batch = Batch::new();
            batch.put(RUNS, format!("{i:05}"), vec![b'x'; 100]).put(TIMERS, format!("{i:05}"), "t");
            if i > 50 {
                batch.delete(TIMERS, format!("{:05}", i - 50));
            }
            index.write(batch.applied(Lsn(i)).clone()).expect("a write");
            if i % 100 != 0 {
                continue;
            }
            let copy = path.with_file_name(format!("copy-{i}"));
            copy_directory(path, &copy);
            let Opened { index: survivor, rebuilt } = open_or_rebuild(driver, &copy).expect("an index");
            let applied = survivor.applied().expect("a record").0;
            assert!(applied <= i);
            if driver == Driver::Fjall {
                assert_eq!((applied, &rebuilt), (i, &None), "fjall hands each batch to the system");
            }
            let expected: Vec<_> = (1..=applied).map(|i| format!("{i:05}")).collect();
            assert_eq!(keys(&*survivor, RUNS, &Range::all(), Direction::Ascending, 1000), expected);
            let open: Vec<_> = (applied.saturating_sub(50) + 1..=applied).map(|i| format!("{i:05}")).collect();
            assert_eq!(keys(&*survivor, TIMERS, &Range::all(), Direction::Ascending, 1000), open);
        }
    });
}

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

#[test]
fn an_index_that_cannot_be_opened_is_put_aside_and_begun_anew() {
    over_each(on_disk(), |driver, path| {
        for _ in 0..2 {
            drop(std::fs::remove_dir_all(path));
            drop(open(driver, path));
            damage(path);
            let Opened { index, rebuilt } = open_or_rebuild(driver, path).expect("an index");
            let rebuilt = rebuilt.expect("it was damaged");
            assert!(!rebuilt.reason.is_empty());
            assert!(rebuilt.moved_to.expect("it was moved").exists());
            assert_eq!(index.applied().expect("a record"), Lsn::ZERO);
            fill(&*index, &["a"]);
        }
    });
}

/// Overwrites every file with garbage.
fn damage(path: &Path) {
    for entry in std::fs::read_dir(path).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            damage(&path);
        } else {
            std::fs::write(path, [0xA5; 3000]).expect("a write");
        }
    }
}

#[test]
fn a_file_in_place_of_the_index_is_put_aside() {
    over_each(on_disk(), |driver, path| {
        std::fs::write(path, "not a directory").expect("a write");
        let Opened { rebuilt, .. } = open_or_rebuild(driver, path).expect("an index");
        assert!(rebuilt.is_some());
    });
}

#[test]
fn a_file_or_a_dangling_link_in_place_of_the_directory_around_the_index_is_put_aside() {
    over_each(on_disk(), |driver, path| {
        for link in [false, true] {
            let around = path.join("index");
            drop(std::fs::create_dir_all(path));
            if link {
                std::os::unix::fs::symlink("nowhere/at/all", &around).expect("a link");
            } else {
                std::fs::write(&around, "not a directory").expect("a write");
            }
            let Opened { index, rebuilt } = open_or_rebuild(driver, &around.join("x")).expect("an index");
            assert_eq!(rebuilt.expect("it was begun anew").moved_to, Some(path.join("index.broken")));
            fill(&*index, &["a"]);
            drop(index);
            std::fs::remove_dir_all(&around).expect("a directory");
        }
    });
}

#[test]
fn an_index_that_can_be_made_nowhere_is_kept_in_memory() {
    over_each(on_disk(), |driver, _| {
        let nowhere = Path::new("/proc/cpd-index/x");
        let Opened { index, rebuilt } = open_or_rebuild(driver, nowhere).expect("an index");
        let rebuilt = rebuilt.expect("it was begun anew");
        assert!(rebuilt.reason.contains("kept in memory"), "{}", rebuilt.reason);
        assert_eq!((rebuilt.moved_to, index.driver()), (None, "memory"));
        fill(&*index, &["a"]);
    });
}

#[test]
fn an_index_in_use_is_left_alone() {
    over_each(on_disk(), |driver, path| {
        let index = open(driver, path);
        fill(&*index, &["a"]);
        let second = open_or_rebuild(driver, path);
        assert!(matches!(second.map(drop), Err(IndexError::InUse { .. })));
        assert!(index.get(RUNS, b"a").expect("a get").is_some());
    });
}
