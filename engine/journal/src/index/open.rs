//! Opening an index, or beginning it anew.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::{Index, IndexError, Over, memory::Memory};

/// Which driver keeps an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// Nowhere but in memory.
    Memory,
    /// fjall 3; needs the cargo feature `index-fjall`.
    Fjall,
    /// sled 0.34; needs the cargo feature `index-sled`.
    Sled,
}

impl Driver {
    /// Returns the name, which is also that of the index's directory.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Fjall => "fjall",
            Self::Sled => "sled",
        }
    }
}

/// An index that was begun anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// What was wrong with the old one.
    pub reason: String,
    /// Where the old one was put, if it could be.
    pub moved_to: Option<PathBuf>,
}

/// An open index. The caller applies the records after [`Index::applied`].
pub struct Opened {
    /// The index.
    pub index: Box<dyn Index>,
    /// Set if there was one that could not be used.
    pub rebuilt: Option<Rebuilt>,
}

/// Opens the index in a directory, which is made if there is none.
///
/// What cannot be used, whatever it is, is moved to `<directory>.broken`, in place of what was moved there before, and an empty index takes its
/// place. If it cannot be moved, or nothing can be made in its place, the index is kept in memory until the next start. Only an index that is in use,
/// or a driver that is not built in, is an error.
pub fn open_or_rebuild(driver: Driver, directory: &Path) -> Result<Opened, IndexError> {
    let index = match open(driver, directory) {
        Ok(index) => index,
        Err(error @ (IndexError::InUse { .. } | IndexError::NotBuilt { .. })) => return Err(error),
        Err(error) => return begin_anew(driver, directory, with_sources(&error)),
    };
    match index.applied() {
        Ok(_) => Ok(Opened { index, rebuilt: None }),
        Err(error) => {
            drop(index);
            begin_anew(driver, directory, with_sources(&error))
        }
    }
}

/// Puts aside what is there and opens an empty index in its place, as [`open_or_rebuild`] does; for an index that was open and then turned out to
/// be of no use. It must be closed.
pub fn begin_anew(driver: Driver, directory: &Path, reason: String) -> Result<Opened, IndexError> {
    let anew = put_aside(driver, directory).and_then(|aside| Ok((aside, open(driver, directory)?)));
    match anew {
        Ok((moved_to, index)) => Ok(Opened { index, rebuilt: Some(Rebuilt { reason, moved_to: Some(moved_to) }) }),
        Err(error) => {
            let why = with_sources(&error);
            let reason =
                format!("{reason}; it cannot be replaced ({why}), so it is kept in memory until the next start");
            let index = open(Driver::Memory, directory)?;
            Ok(Opened { index, rebuilt: Some(Rebuilt { reason, moved_to: None }) })
        }
    }
}

fn open(driver: Driver, directory: &Path) -> Result<Box<dyn Index>, IndexError> {
    // Damage is met as a panic, too; nothing of the half-opened store is used after it.
    catch_unwind(AssertUnwindSafe(|| open_driver(driver, directory))).unwrap_or_else(|panic| {
        let text =
            panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        let text = text.unwrap_or_else(|| "a panic without a message".into());
        Err(IndexError::Driver { driver: driver.name(), operation: "open", source: text.into() })
    })
}

fn open_driver(driver: Driver, directory: &Path) -> Result<Box<dyn Index>, IndexError> {
    match driver {
        Driver::Memory => Ok(Box::new(Over::new(Memory::default())?)),
        #[cfg(feature = "index-fjall")]
        Driver::Fjall => Ok(Box::new(super::fjall::open(directory)?)),
        #[cfg(feature = "index-sled")]
        Driver::Sled => Ok(Box::new(super::sled::open(directory)?)),
        #[cfg(not(feature = "index-fjall"))]
        Driver::Fjall => not_built(driver, directory),
        #[cfg(not(feature = "index-sled"))]
        Driver::Sled => not_built(driver, directory),
    }
}

#[cfg(not(all(feature = "index-fjall", feature = "index-sled")))]
fn not_built(driver: Driver, _: &Path) -> Result<Box<dyn Index>, IndexError> {
    Err(IndexError::NotBuilt { driver: driver.name() })
}

fn put_aside(driver: Driver, directory: &Path) -> Result<PathBuf, IndexError> {
    let failed = |error| IndexError::Driver { driver: driver.name(), operation: "put aside", source: Box::new(error) };
    // Something may stand where the directory around it should be.
    let parent = directory.parent().filter(|parent| parent.symlink_metadata().is_ok() && !parent.is_dir());
    let in_the_way = parent.unwrap_or(directory);
    let mut name = in_the_way.file_name().unwrap_or_default().to_owned();
    name.push(".broken");
    let aside = in_the_way.with_file_name(name);
    match fs::remove_dir_all(&aside).or_else(|_| fs::remove_file(&aside)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    fs::rename(in_the_way, &aside).map_err(failed)?;
    Ok(aside)
}

/// The whole chain of an error in one line, since the error itself ends here.
fn with_sources(error: &IndexError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}
