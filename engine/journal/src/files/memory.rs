//! Files that live as long as the process: for tests, and for an engine that need not remember.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::RwLock;

use super::{File, Files, Mode};

type Bytes = Arc<RwLock<Vec<u8>>>;

/// A directory in memory. Clones are the same directory.
#[derive(Clone, Debug, Default)]
pub struct MemoryFiles {
    names: Arc<RwLock<BTreeMap<String, Bytes>>>,
}

impl MemoryFiles {
    /// Makes an empty directory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a copy of a file's bytes.
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        Some(self.names.read().get(name)?.read().clone())
    }

    /// Puts a file there, or replaces it.
    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        self.names.write().insert(name.into(), Arc::new(RwLock::new(bytes)));
    }

    /// Returns a directory with copies of all files.
    pub fn copy(&self) -> Self {
        let copy = Self::new();
        for (name, bytes) in &*self.names.read() {
            copy.put(name, bytes.read().clone());
        }
        copy
    }
}

impl Files for MemoryFiles {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names.read().keys().cloned().collect())
    }

    fn open(&self, name: &str, mode: Mode) -> io::Result<Box<dyn File>> {
        let mut names = self.names.write();
        match (names.get(name), mode) {
            (Some(_), Mode::Create) => Err(io::ErrorKind::AlreadyExists.into()),
            (Some(bytes), _) => Ok(Box::new(Arc::clone(bytes))),
            (None, Mode::Create) => {
                let bytes = Bytes::default();
                names.insert(name.into(), Arc::clone(&bytes));
                Ok(Box::new(bytes))
            }
            (None, _) => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut names = self.names.write();
        let bytes = names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        names.insert(to.into(), bytes);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.names.write().remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }

    fn describe(&self) -> String {
        "memory".into()
    }
}

impl File for Bytes {
    fn length(&self) -> io::Result<u64> {
        Ok(self.read().len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(copy_out(&self.read(), buffer, offset))
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        copy_in(&mut self.write(), bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.write().resize(in_memory(length)?, 0);
        Ok(())
    }
}

fn in_memory(length: u64) -> io::Result<usize> {
    usize::try_from(length).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

/// Reads as from a file; returns how many bytes there were.
pub(super) fn copy_out(file: &[u8], buffer: &mut [u8], offset: u64) -> usize {
    let rest = usize::try_from(offset).ok().and_then(|at| file.get(at..)).unwrap_or_default();
    let n = rest.len().min(buffer.len());
    buffer[..n].copy_from_slice(&rest[..n]);
    n
}

/// Writes as to a file, which grows as needed.
pub(super) fn copy_in(file: &mut Vec<u8>, bytes: &[u8], offset: u64) -> io::Result<()> {
    let end = in_memory(offset.checked_add(bytes.len() as u64).ok_or(io::ErrorKind::FileTooLarge)?)?;
    if end > file.len() {
        file.resize(end, 0);
    }
    file[end - bytes.len()..end].copy_from_slice(bytes);
    Ok(())
}
