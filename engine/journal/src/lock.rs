//! One process owns a data directory.
//!
//! A file in it is locked with `flock` for as long as the process lives: the system lets go of the lock however the process ends, so there are no
//! stale ones. What stands in the file (pid, version, start) is for people only, and may be left over from an owner that is gone.
//!
//! The file is never removed: a second process might lock the name that a third has just replaced.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The name of the lock file in a data directory.
pub const LOCK_NAME: &str = "cpd.lock";

/// The right to use a data directory, until it is dropped.
#[derive(Debug)]
pub struct DirLock {
    path: PathBuf,
    file: File,
}

/// Who holds a lock, in the holder's own words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The process.
    pub pid: Option<u32>,
    /// The version of the program.
    pub version: Option<String>,
    /// When it was started, as it told the time.
    pub started: Option<String>,
    /// Whether it is about to let go.
    pub closing: bool,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process uses it.
    #[error("{} is used by {held}", directory.display())]
    Held {
        /// The data directory.
        directory: PathBuf,
        /// Who.
        held: Held,
    },
    /// The lock file cannot be made or locked.
    #[error("lock {}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl LockError {
    /// Returns what one can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Held { held: Held { pid: Some(pid), .. }, .. } => {
                format!(
                    "stop that process first (`kill {pid}`), talk to it over its API, or choose another data directory"
                )
            }
            Self::Held { .. } => "stop the other process first, or choose another data directory".into(),
            Self::Io { .. } => "the data directory must exist, be writable, and lie on a file system with locks".into(),
        }
    }
}

impl std::fmt::Display for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "process {pid}")?,
            None => write!(f, "another process")?,
        }
        if let Some(version) = &self.version {
            write!(f, ", cpd {version}")?;
        }
        if let Some(started) = &self.started {
            write!(f, ", started {started}")?;
        }
        if self.closing {
            f.write_str(", closing")?;
        }
        Ok(())
    }
}

impl DirLock {
    /// Takes the lock of a data directory, which must exist. `version` and `started` are told to whoever comes second.
    pub fn acquire(directory: &Path, version: &str, started: &str) -> Result<Self, LockError> {
        let path = directory.join(LOCK_NAME);
        let io = |source| LockError::Io { path: path.clone(), source };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held { directory: directory.into(), held: Held::read(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let line = |text: &str| text.replace(['\n', '\r'], " ");
        let text = format!("pid {}\nversion {}\nstarted {}\n", std::process::id(), line(version), line(started));
        file.set_len(0).and_then(|()| file.write_all(text.as_bytes())).map_err(io)?;
        Ok(Self { path, file })
    }

    /// Tells whoever comes now that it is worth a moment's wait. If it cannot be written, they are refused as before.
    pub fn closing(&self) {
        drop((&self.file).write_all(b"closing yes\n"));
    }

    /// Returns the lock file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Held {
    /// Reads what the owner has written; whatever cannot be read is left out.
    fn read(file: &mut File) -> Self {
        let mut text = Vec::new();
        let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(LOCK_BYTES_MAX).read_to_end(&mut text));
        if read.is_err() {
            return Self::default();
        }
        let text = String::from_utf8_lossy(&text);
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Self {
            pid: field("pid").and_then(|pid| pid.parse().ok()),
            version: field("version").map(str::to_owned),
            started: field("started").map(str::to_owned),
            closing: field("closing") == Some("yes"),
        }
    }
}

/// More than any owner writes.
const LOCK_BYTES_MAX: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_owner_is_told_who_the_first_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let lock = DirLock::acquire(directory.path(), "1.2.3", "2026-11-23T06:00:00Z").expect("the lock");
        let error = DirLock::acquire(directory.path(), "1.2.4", "later").expect_err("a second owner");
        let pid = std::process::id();
        let text = error.to_string();
        assert!(
            text.ends_with(&format!("is used by process {pid}, cpd 1.2.3, started 2026-11-23T06:00:00Z")),
            "{text}"
        );
        assert!(error.hint().contains(&pid.to_string()));
        lock.closing();
        let error = DirLock::acquire(directory.path(), "1.2.4", "later").expect_err("it is still locked");
        assert!(matches!(&error, LockError::Held { held: Held { closing: true, pid: Some(_), .. }, .. }), "{error}");
        drop(lock);
        let lock = DirLock::acquire(directory.path(), "1.2.4", "later").expect("the lock is free again");
        let error = DirLock::acquire(directory.path(), "1.2.5", "later").expect_err("a third owner");
        assert!(matches!(&error, LockError::Held { held: Held { closing: false, .. }, .. }), "{error}");
        drop(lock);
    }

    #[test]
    fn whatever_stands_in_the_lock_file_does_not_matter() {
        let directory = tempfile::tempdir().expect("a directory");
        for garbage in [vec![], vec![0xff; 10_000], b"pid x\nversion\n".to_vec()] {
            std::fs::write(directory.path().join(LOCK_NAME), &garbage).expect("a file");
            let lock = DirLock::acquire(directory.path(), "1", "now").expect("the lock");
            std::fs::write(lock.path(), &garbage).expect("a file");
            let error = DirLock::acquire(directory.path(), "2", "now").expect_err("a second owner");
            assert!(matches!(error, LockError::Held { held: Held { pid: None, .. }, .. }));
        }
    }

    #[test]
    fn directory_that_does_not_exist_is_an_error_with_its_path() {
        let error = DirLock::acquire(Path::new("/nowhere/at/all"), "1", "now").expect_err("no directory");
        assert_eq!(error.to_string(), "lock /nowhere/at/all/cpd.lock");
    }
}
