//! One process owns a data directory.
//!
//! The lock is the operating system's (`flock`), so it goes when the process goes, however it goes. The file's text tells
//! others who has it.

use std::fs;
use std::io::{Read, Seek, Write};
use std::path::Path;

use crate::error::Error;

/// Owns a data directory while it lives.
#[derive(Debug)]
pub struct DirLock {
    _file: fs::File,
}

impl DirLock {
    /// Takes the directory, or says who has it.
    ///
    /// # Errors
    /// If another process has it, or the lock file cannot be used.
    pub fn acquire(data: &Path, since: &str) -> Result<Self, Error> {
        let path = data.join("lock");
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(Error::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let mut text = String::new();
                // Who has it is only for the message.
                drop(file.read_to_string(&mut text));
                let mut lines = text.lines().map(str::to_owned);
                let mut line = || lines.next().unwrap_or_else(|| "unknown".to_owned());
                let (pid, version, since) = (line(), line(), line());
                return Err(Error::Locked { path: data.to_owned(), pid, version, since });
            }
            Err(fs::TryLockError::Error(source)) => return Err(Error::Io { action: "lock", path, source }),
        }
        let text = format!("{}\ncpd {}\n{since}\n", std::process::id(), env!("CARGO_PKG_VERSION"));
        file.set_len(0).map_err(Error::io("write to", &path))?;
        file.rewind().map_err(Error::io("write to", &path))?;
        file.write_all(text.as_bytes()).map_err(Error::io("write to", &path))?;
        Ok(Self { _file: file })
    }

    /// Whether somebody owns the directory now: their process id, if it can be read.
    pub fn owner(data: &Path) -> Option<String> {
        match Self::probe(data) {
            Err(Error::Locked { pid, .. }) => Some(pid),
            _ => None,
        }
    }

    fn probe(data: &Path) -> Result<(), Error> {
        let path = data.join("lock");
        let mut file = fs::File::open(&path).map_err(Error::io("open", &path))?;
        match file.try_lock_shared() {
            Err(fs::TryLockError::WouldBlock) => {
                let mut text = String::new();
                drop(file.read_to_string(&mut text));
                let pid = text.lines().next().unwrap_or("unknown").to_owned();
                let unknown = || "unknown".to_owned();
                Err(Error::Locked { path: data.to_owned(), pid, version: unknown(), since: unknown() })
            }
            _ => Ok(()),
        }
    }
}
