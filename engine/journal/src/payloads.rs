//! Large payloads: stored once each, by content, beside the segments.
//!
//! A record that would hold a large document holds its SHA-256 instead, and the document is a file of that name in
//! `payloads/`, synced before the record is written. So a document that travels through many records and many runs takes its
//! room once, and reading a history does not drag it along. A file is what its name says or it is damaged: every read checks.
//!
//! A crash between the two leaves a file that no record names, which is harmless.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

/// The folder in the directory of a journal.
const FOLDER: &str = "payloads";

/// SHA-256 of a payload.
pub type PayloadDigest = [u8; 32];

/// A payload that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// It is not there.
    #[error("find the payload {0}: it is not in the journal's directory")]
    Missing(String),
    /// It is not what its name says.
    #[error("read the payload {0}: its content is not what its name says")]
    Damaged(String),
    /// The file cannot be read.
    #[error("read the payload {digest}")]
    Io {
        /// Which.
        digest: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// The payloads of a journal, or some that came with a history.
#[derive(Debug, Default)]
pub struct Payloads {
    folder: Option<PathBuf>,
    /// Those in memory, if that is where they are.
    memory: Option<Mutex<BTreeMap<PayloadDigest, Vec<u8>>>>,
    /// What is known to be stored.
    stored: Mutex<HashSet<PayloadDigest>>,
    temporary: AtomicU64,
}

impl Payloads {
    /// Those of the journal in a directory.
    pub fn of(journal: &Path) -> Self {
        Self { folder: Some(journal.join(FOLDER)), ..Self::default() }
    }

    /// These, in memory.
    pub fn in_memory(payloads: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let payloads = payloads.into_iter().map(|bytes| (digest_of(&bytes), bytes)).collect();
        Self { memory: Some(Mutex::new(payloads)), ..Self::default() }
    }

    /// Whether payloads can be stored here.
    pub fn can_store(&self) -> bool {
        self.folder.is_some() || self.memory.is_some()
    }

    /// Stores a payload, if it is not there; durable when this returns.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn put(&self, bytes: &[u8]) -> io::Result<PayloadDigest> {
        let digest = digest_of(bytes);
        if let Some(memory) = &self.memory {
            memory.lock().entry(digest).or_insert_with(|| bytes.to_vec());
            return Ok(digest);
        }
        let Some(folder) = &self.folder else { return Err(io::ErrorKind::Unsupported.into()) };
        if self.stored.lock().contains(&digest) {
            return Ok(digest);
        }
        let path = folder.join(hex(&digest));
        // One that was left half written has no name of its own: what is there is whole.
        if !path.exists() {
            if !folder.exists() {
                fs::create_dir_all(folder)?;
                sync_directory(folder.parent().unwrap_or(folder))?;
            }
            let number = self.temporary.fetch_add(1, Ordering::Relaxed);
            let temporary = folder.join(format!(".{}.{}.{number}", hex(&digest), std::process::id()));
            let written = File::create(&temporary).and_then(|mut file| {
                file.write_all(bytes)?;
                file.sync_all()?;
                fs::rename(&temporary, &path)
            });
            if let Err(error) = written {
                // Whoever could not write it whole leaves nothing of it behind, if that can be helped.
                drop(fs::remove_file(&temporary));
                return Err(error);
            }
            sync_directory(folder)?;
        }
        self.stored.lock().insert(digest);
        Ok(digest)
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// If it is not there, or not what it was.
    pub fn get(&self, digest: &PayloadDigest) -> Result<Vec<u8>, PayloadError> {
        let name = hex(digest);
        if let Some(memory) = &self.memory {
            return memory.lock().get(digest).cloned().ok_or(PayloadError::Missing(name));
        }
        let Some(folder) = &self.folder else { return Err(PayloadError::Missing(name)) };
        let bytes = match fs::read(folder.join(&name)) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(PayloadError::Missing(name)),
            Err(source) => return Err(PayloadError::Io { digest: name, source }),
        };
        if digest_of(&bytes) != *digest {
            return Err(PayloadError::Damaged(name));
        }
        Ok(bytes)
    }

    /// Every payload that is stored, in order of their digests.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn all(&self) -> io::Result<Vec<PayloadDigest>> {
        let mut found = Vec::new();
        if let Some(memory) = &self.memory {
            found.extend(memory.lock().keys().copied());
        }
        if let Some(folder) = self.folder.as_ref().filter(|f| f.exists()) {
            for entry in fs::read_dir(folder)? {
                found.extend(entry?.file_name().to_str().and_then(unhex));
            }
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }
}

/// SHA-256 of the bytes.
pub fn digest_of(bytes: &[u8]) -> PayloadDigest {
    Sha256::digest(bytes).into()
}

/// As its file is called: lower-case hexadecimal.
pub fn hex(digest: &PayloadDigest) -> String {
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
        text
    })
}

fn unhex(name: &str) -> Option<PayloadDigest> {
    let mut digest = PayloadDigest::default();
    if name.len() != 64 || !name.is_ascii() {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(name.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(digest)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_stored_once_and_read_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let payloads = Payloads::of(dir.path());
        let digest = payloads.put(b"content").unwrap();
        assert_eq!(payloads.put(b"content").unwrap(), digest);
        assert_eq!(Payloads::of(dir.path()).get(&digest).unwrap(), b"content");
        assert_eq!(fs::read_dir(dir.path().join(FOLDER)).unwrap().count(), 1);
        assert_eq!(payloads.all().unwrap(), [digest]);
    }

    #[test]
    fn a_payload_that_is_gone_or_changed_is_said_to_be() {
        let dir = tempfile::tempdir().unwrap();
        let payloads = Payloads::of(dir.path());
        let digest = payloads.put(b"content").unwrap();
        let path = dir.path().join(FOLDER).join(hex(&digest));
        fs::write(&path, b"Content").unwrap();
        assert!(matches!(payloads.get(&digest), Err(PayloadError::Damaged(_))));
        fs::remove_file(&path).unwrap();
        assert!(matches!(payloads.get(&digest), Err(PayloadError::Missing(_))));
        assert_eq!(Payloads::of(dir.path()).put(b"content").unwrap(), digest, "another process stores it again");
        assert!(payloads.get(&digest).is_ok());
    }

    #[test]
    fn half_written_files_are_no_payloads() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(FOLDER)).unwrap();
        fs::write(dir.path().join(FOLDER).join(".0000.1.0"), b"half").unwrap();
        assert!(Payloads::of(dir.path()).all().unwrap().is_empty());
    }
}
