//! A directory that can lose power, fail and fill up, on command and by a seed.
//!
//! Every file keeps two sets of bytes: *live* ones, which reads see, and *durable* ones, which a sync makes out of them. In between stands the
//! list of changes that were not synced. [`SimFiles::power_loss`] keeps any of those changes: of writes, any 512-byte sectors; of changes of
//! length, any. Names are journaled in order, so of the changes to the directory any number of the first survive.
//!
//! A failed sync is as bad as on Linux: the changes are no longer waiting for the next one, so they stay live, but may never be durable.
//!
//! Only changes count as operations: create, write, change of length, sync, rename, remove, sync of the directory. A write that fails has written
//! a part.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::memory::{copy_in, copy_out};
use super::{File, Files, Mode};

const SECTOR: u64 = 512;

/// A directory for tests. Clones are the same directory.
#[derive(Clone, Debug, Default)]
pub struct SimFiles {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    disk: Mutex<Disk>,
    released: Condvar,
}

/// How often each operation was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Operations of all kinds that change something.
    pub all: u64,
    /// Writes to files.
    pub writes: u64,
    /// Syncs of files.
    pub syncs: u64,
    /// Syncs of the directory.
    pub dir_syncs: u64,
    /// Syncs that are held back at this moment.
    pub held: u64,
}

#[derive(Debug, Default)]
struct Disk {
    files: Vec<Inode>,
    live: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    names_pending: Vec<NameChange>,
    counts: Counts,
    fail: Option<Fail>,
    capacity: Option<u64>,
    hold_syncs: bool,
}

#[derive(Debug)]
struct Fail {
    at: u64,
    kind: io::ErrorKind,
    /// Whether every operation after it fails, too.
    forever: bool,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
    /// Changes that a failed sync has forgotten.
    forgotten: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

#[derive(Clone, Debug)]
enum NameChange {
    Link(String, usize),
    Rename(String, String),
    Unlink(String),
}

impl SimFiles {
    /// Makes an empty directory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the n-th operation from now (the first is 1) fail, once.
    pub fn fail_nth(&self, n: u64, kind: io::ErrorKind) {
        let mut disk = self.shared.disk.lock();
        disk.fail = Some(Fail { at: disk.counts.all + n, kind, forever: false });
    }

    /// Makes the n-th operation from now fail, and all after it: the process has lost its disk.
    pub fn fail_from(&self, n: u64, kind: io::ErrorKind) {
        let mut disk = self.shared.disk.lock();
        disk.fail = Some(Fail { at: disk.counts.all + n, kind, forever: true });
    }

    /// Limits the sum of the lengths of all files, or lifts the limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.shared.disk.lock().capacity = bytes;
    }

    /// Returns the sum of the lengths of all files.
    pub fn used(&self) -> u64 {
        self.shared.disk.lock().used()
    }

    /// Holds every sync of a file back until [`release_syncs`](Self::release_syncs).
    pub fn hold_syncs(&self) {
        self.shared.disk.lock().hold_syncs = true;
    }

    /// Lets the syncs go.
    pub fn release_syncs(&self) {
        self.shared.disk.lock().hold_syncs = false;
        self.shared.released.notify_all();
    }

    /// Waits until that many syncs are held back.
    pub fn wait_for_held(&self, syncs: u64) {
        let mut disk = self.shared.disk.lock();
        while disk.counts.held < syncs {
            self.shared.released.wait(&mut disk);
        }
    }

    /// Returns how often each operation was asked for.
    pub fn counts(&self) -> Counts {
        self.shared.disk.lock().counts
    }

    /// Returns the directory as the next process finds it after this one was killed: everything written is there.
    pub fn process_kill(&self) -> Self {
        let disk = self.shared.disk.lock();
        let mut next = Disk { capacity: disk.capacity, ..Disk::default() };
        next.files = disk.files.clone();
        next.live = disk.live.clone();
        next.durable = disk.durable.clone();
        next.names_pending = disk.names_pending.clone();
        Self::from(next)
    }

    /// Returns the directory as the next process finds it after a loss of power: what was synced, and any of the rest, as the seed will have it.
    pub fn power_loss(&self, seed: u64) -> Self {
        let disk = self.shared.disk.lock();
        let mut random = Random(seed);
        let mut names = disk.durable.clone();
        let kept = random.below(disk.names_pending.len() as u64 + 1) as usize;
        for change in &disk.names_pending[..kept] {
            change.apply(&mut names);
        }
        // One loss in four keeps nothing of what was not synced, one in four keeps nearly all.
        let odds = [0, 1, 2, 15][random.below(4) as usize];
        let mut next = Disk { capacity: disk.capacity, ..Disk::default() };
        for (name, &inode) in &names {
            let mut bytes = disk.files[inode].durable.clone();
            for change in disk.files[inode].forgotten.iter().chain(&disk.files[inode].pending) {
                change.survive(&mut bytes, &mut random, odds);
            }
            next.live.insert(name.clone(), next.files.len());
            next.files.push(Inode { live: bytes.clone(), durable: bytes, ..Inode::default() });
        }
        next.durable = next.live.clone();
        Self::from(next)
    }

    /// Returns a copy of a file's live bytes.
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let disk = self.shared.disk.lock();
        disk.live.get(name).map(|&inode| disk.files[inode].live.clone())
    }

    /// Replaces a file's bytes, live and durable, as if they had always been these.
    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        let mut disk = self.shared.disk.lock();
        let inode = disk.files.len();
        disk.files.push(Inode { live: bytes.clone(), durable: bytes, ..Inode::default() });
        disk.live.insert(name.into(), inode);
        disk.durable.insert(name.into(), inode);
    }
}

impl From<Disk> for SimFiles {
    fn from(disk: Disk) -> Self {
        Self { shared: Arc::new(Shared { disk: Mutex::new(disk), released: Condvar::new() }) }
    }
}

impl Disk {
    fn used(&self) -> u64 {
        self.live.values().map(|&inode| self.files[inode].live.len() as u64).sum()
    }

    /// Counts an operation; an error if this is the one to fail.
    fn count(&mut self) -> io::Result<()> {
        self.counts.all += 1;
        match &self.fail {
            Some(fail) if self.counts.all == fail.at || fail.forever && self.counts.all > fail.at => {
                Err(io::Error::new(fail.kind, format!("operation {} was told to fail", self.counts.all)))
            }
            _ => Ok(()),
        }
    }

    /// Returns how long a file may become.
    fn room(&self, inode: usize) -> u64 {
        let length = self.files[inode].live.len() as u64;
        self.capacity.map_or(u64::MAX, |capacity| length + capacity.saturating_sub(self.used()))
    }

    fn change(&mut self, inode: usize, change: Change) -> io::Result<()> {
        let file = &mut self.files[inode];
        match &change {
            Change::Write(offset, bytes) => copy_in(&mut file.live, bytes, *offset)?,
            Change::Length(length) => file.live.resize(*length as usize, 0),
        }
        file.pending.push(change);
        Ok(())
    }
}

impl Change {
    /// Lets a random part of the change reach the disk.
    fn survive(&self, disk: &mut Vec<u8>, random: &mut Random, odds: u64) {
        match self {
            Self::Length(length) if random.chance(odds) => disk.resize(*length as usize, 0),
            Self::Length(_) => {}
            Self::Write(offset, bytes) => {
                let mut from = *offset;
                let end = offset + bytes.len() as u64;
                while from < end {
                    let to = ((from / SECTOR + 1) * SECTOR).min(end);
                    if random.chance(odds) {
                        let part = &bytes[(from - offset) as usize..(to - offset) as usize];
                        copy_in(disk, part, from).expect("it fitted when it was written");
                    }
                    from = to;
                }
            }
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Link(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            Self::Unlink(name) => {
                names.remove(name);
            }
        }
    }
}

/// SplitMix64: small, and the same everywhere.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// True `odds` times in 16, but every other time if the odds are 1 or 2.
    fn chance(&mut self, odds: u64) -> bool {
        match odds {
            1 | 2 => self.next() & 1 == 1,
            _ => self.below(16) < odds,
        }
    }
}

impl Files for SimFiles {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.shared.disk.lock().live.keys().cloned().collect())
    }

    fn open(&self, name: &str, mode: Mode) -> io::Result<Box<dyn File>> {
        let mut disk = self.shared.disk.lock();
        let inode = match (disk.live.get(name).copied(), mode) {
            (Some(_), Mode::Create) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(inode), _) => inode,
            (None, Mode::Create) => {
                disk.count()?;
                let inode = disk.files.len();
                disk.files.push(Inode::default());
                disk.live.insert(name.into(), inode);
                disk.names_pending.push(NameChange::Link(name.into(), inode));
                inode
            }
            (None, _) => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(Box::new(SimFile { shared: Arc::clone(&self.shared), inode }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.name_change(from, NameChange::Rename(from.into(), to.into()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.name_change(name, NameChange::Unlink(name.into()))
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut disk = self.shared.disk.lock();
        disk.counts.dir_syncs += 1;
        disk.count()?;
        disk.names_pending.clear();
        disk.durable = disk.live.clone();
        Ok(())
    }

    fn describe(&self) -> String {
        "simulated disk".into()
    }
}

impl SimFiles {
    fn name_change(&self, of: &str, change: NameChange) -> io::Result<()> {
        let mut disk = self.shared.disk.lock();
        disk.count()?;
        if !disk.live.contains_key(of) {
            return Err(io::ErrorKind::NotFound.into());
        }
        change.apply(&mut disk.live);
        disk.names_pending.push(change);
        Ok(())
    }
}

#[derive(Debug)]
struct SimFile {
    shared: Arc<Shared>,
    inode: usize,
}

impl File for SimFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.shared.disk.lock().files[self.inode].live.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(copy_out(&self.shared.disk.lock().files[self.inode].live, buffer, offset))
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut disk = self.shared.disk.lock();
        disk.counts.writes += 1;
        let failure = disk.count().err();
        let room = disk.room(self.inode).saturating_sub(offset);
        let fits = (bytes.len() as u64).min(room) as usize;
        let written = if failure.is_some() { fits.min(bytes.len() / 2) } else { fits };
        if written > 0 {
            disk.change(self.inode, Change::Write(offset, bytes[..written].to_vec()))?;
        }
        match failure {
            Some(error) => Err(error),
            None if written < bytes.len() => Err(io::ErrorKind::StorageFull.into()),
            None => Ok(()),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.shared.disk.lock();
        disk.counts.syncs += 1;
        // What is written while the sync is under way waits for the next one.
        let covered = disk.files[self.inode].pending.len();
        if disk.hold_syncs {
            disk.counts.held += 1;
            self.shared.released.notify_all();
            while disk.hold_syncs {
                self.shared.released.wait(&mut disk);
            }
            disk.counts.held -= 1;
        }
        let failure = disk.count().err();
        let mut random = Random(disk.counts.all);
        let file = &mut disk.files[self.inode];
        let covered: Vec<_> = file.pending.drain(..covered.min(file.pending.len())).collect();
        if let Some(error) = failure {
            file.forgotten.extend(covered);
            return Err(error);
        }
        // What an earlier sync has forgotten may have reached the disk since, but not over what is synced now.
        for change in std::mem::take(&mut file.forgotten) {
            change.survive(&mut file.durable, &mut random, 1);
        }
        for change in covered {
            match change {
                Change::Write(offset, bytes) => copy_in(&mut file.durable, &bytes, offset)?,
                Change::Length(length) => file.durable.resize(length as usize, 0),
            }
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut disk = self.shared.disk.lock();
        disk.count()?;
        if length > disk.room(self.inode) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        disk.change(self.inode, Change::Length(length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(files: &SimFiles, name: &str) -> Box<dyn File> {
        files.open(name, Mode::Create).expect("a new file")
    }

    #[test]
    fn synced_bytes_under_a_synced_name_survive_any_loss_of_power() {
        let files = SimFiles::new();
        let a = file(&files, "a");
        a.write_all_at(&[7; 2000], 0).expect("a write");
        a.sync_data().expect("a sync");
        files.sync_dir().expect("a sync");
        a.write_all_at(&[8; 2000], 2000).expect("a write");
        for seed in 0..200 {
            let bytes = files.power_loss(seed).contents("a").expect("the file");
            assert_eq!(bytes[..1536], [7; 1536]);
            assert!(bytes[1536..2000].iter().all(|&b| b == 7));
        }
    }

    #[test]
    fn unsynced_bytes_survive_sector_by_sector() {
        let files = SimFiles::new();
        let a = file(&files, "a");
        files.sync_dir().expect("a sync");
        a.write_all_at(&[1; 1024], 0).expect("a write");
        let outcomes: std::collections::BTreeSet<_> =
            (0..200).map(|seed| files.power_loss(seed).contents("a").expect("the file")).collect();
        let second_only = [vec![0; 512], vec![1; 512]].concat();
        for outcome in [vec![], vec![1; 512], second_only, vec![1; 1024]] {
            assert!(outcomes.contains(&outcome), "{} bytes never came out", outcome.len());
        }
    }

    #[test]
    fn a_name_that_was_not_synced_may_be_gone() {
        let files = SimFiles::new();
        let a = file(&files, "a");
        a.write_all_at(b"x", 0).expect("a write");
        a.sync_data().expect("a sync");
        assert!((0..50).any(|seed| files.power_loss(seed).contents("a").is_none()));
        assert!((0..50).any(|seed| files.power_loss(seed).contents("a") == Some(b"x".to_vec())));
    }

    #[test]
    fn bytes_of_a_failed_sync_are_not_saved_by_the_next_one() {
        let outcome = |syncs_before: u64| {
            let files = SimFiles::new();
            let a = file(&files, "a");
            for _ in 0..=syncs_before {
                files.sync_dir().expect("a sync");
            }
            a.write_all_at(b"x", 0).expect("a write");
            files.fail_nth(1, io::ErrorKind::Other);
            assert!(a.sync_data().is_err());
            a.sync_data().expect("a sync");
            files.power_loss(0).contents("a").expect("the file")
        };
        let outcomes: std::collections::BTreeSet<_> = (0..50).map(outcome).collect();
        assert_eq!(outcomes, [vec![], b"x".to_vec()].into());
    }

    #[test]
    fn a_full_disk_takes_what_fits() {
        let files = SimFiles::new();
        let a = file(&files, "a");
        files.set_capacity(Some(10));
        let error = a.write_all_at(&[1; 20], 0).expect_err("no room");
        assert_eq!((error.kind(), files.used()), (io::ErrorKind::StorageFull, 10));
    }
}
