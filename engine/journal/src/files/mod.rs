//! The few things that the journal asks of a file system, behind two traits, so that tests can lose power.
//!
//! [`RealFiles`] is a directory, [`MemoryFiles`] is none, and `SimFiles` (feature `testing`) tells live bytes from durable ones, fails on command
//! and fills up. Names are plain file names within one directory.
//!
//! What the journal relies on, of every layer:
//!
//! - Bytes are durable after [`File::sync_data`] returned well, and so is the length that reaching them needs.
//! - A file's name, or its disappearance, is durable after [`Files::sync_dir`].
//! - A 512-byte sector is written whole or not at all. (The last sector of acknowledged bytes is written again when the next frame follows in it.)
//! - Reading sees what was written, durable or not.

mod memory;
mod real;
#[cfg(any(test, feature = "testing"))]
mod sim;

use std::io;

pub use memory::MemoryFiles;
pub use real::RealFiles;
#[cfg(any(test, feature = "testing"))]
pub use sim::{Counts, SimFiles};

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// An existing file, to read.
    Read,
    /// An existing file, to read and write.
    Write,
    /// A new file, to read and write; it is an error if it exists.
    Create,
}

/// The files of one directory.
pub trait Files: Send + Sync + 'static {
    /// Returns the names of all files, sorted.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Opens a file.
    fn open(&self, name: &str, mode: Mode) -> io::Result<Box<dyn File>>;
    /// Gives a file another name, taking the place of a file that has it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file's name.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes the names durable.
    fn sync_dir(&self) -> io::Result<()>;
    /// Returns what to call this directory in a message.
    fn describe(&self) -> String;
}

/// An open file.
pub trait File: Send + Sync {
    /// Returns the length.
    fn length(&self) -> io::Result<u64>;
    /// Reads up to the end of `buffer` or of the file; returns how many bytes.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all bytes. After an error, any part of them may have been written.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes the bytes durable, and the length that they need.
    fn sync_data(&self) -> io::Result<()>;
    /// Cuts or extends the file with zeros, without making that durable.
    fn set_len(&self, length: u64) -> io::Result<()>;
}
