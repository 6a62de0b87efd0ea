//! Which files `drift.compare` may open.
//!
//! A path is relative to the base directory and must stay in it: `..` is refused by sight, and a link that leads out by where
//! it leads. Absolute paths are refused unless the deployment allows them. The check is made before the file is opened; who may
//! change links inside of the base directory can defeat it, and could as well copy the file there.

use std::io;
use std::path::{Component, Path, PathBuf};

/// Why a path is not opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No path at all.
    #[error("the path is empty, expected one relative to the base directory")]
    Empty,
    /// From the root, and that is not allowed.
    #[error("path `{path}` is absolute, expected one relative to the base directory")]
    Absolute {
        /// As given.
        path: String,
    },
    /// Out of the base directory.
    #[error("path `{path}` leads out of the base directory, expected one that stays in it")]
    Escape {
        /// As given.
        path: String,
    },
    /// Nothing there.
    #[error("no data file at `{path}`")]
    NotFound {
        /// As given.
        path: String,
    },
    /// The base directory cannot be used.
    #[error("base directory {path} of the drift connector cannot be used")]
    Base {
        /// As configured.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused.
    #[error("path `{path}` cannot be followed")]
    Io {
        /// As given.
        path: String,
        /// What it said.
        source: io::Error,
    },
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Error::Absolute { .. } => Some("set `allow_absolute` in the connector's configuration if this is wanted"),
            Error::Escape { .. } => Some("put the file into the base directory, or configure another one"),
            Error::NotFound { .. } => Some("paths are relative to the connector's base directory"),
            Error::Empty | Error::Base { .. } | Error::Io { .. } => None,
        }
    }
}

/// The file that `given` stands for.
///
/// # Errors
/// If it is none that may be opened, or there is none.
pub fn resolve(base: &Path, allow_absolute: bool, given: &str) -> Result<PathBuf, Error> {
    let path = Path::new(given);
    let owned = || given.to_owned();
    if given.is_empty() {
        return Err(Error::Empty);
    }
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Error::NotFound { path: owned() },
        _ => Error::Io { path: owned(), source },
    };
    if path.is_absolute() {
        return if allow_absolute {
            path.canonicalize().map_err(failed)
        } else {
            Err(Error::Absolute { path: owned() })
        };
    }
    if !path.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
        return Err(Error::Escape { path: owned() });
    }
    let base = base.canonicalize().map_err(|source| Error::Base { path: base.to_owned(), source })?;
    let found = base.join(path).canonicalize().map_err(failed)?;
    if found.starts_with(&base) { Ok(found) } else { Err(Error::Escape { path: owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("in")).unwrap();
        std::fs::write(dir.path().join("in/a.csv"), "x\n1\n").unwrap();
        std::fs::write(dir.path().join("outside.csv"), "x\n1\n").unwrap();
        dir
    }

    #[test]
    fn a_path_that_stays_in_the_base_directory_is_found() {
        let dir = base();
        let found = resolve(&dir.path().join("in"), false, "./a.csv").unwrap();
        assert_eq!(found, dir.path().canonicalize().unwrap().join("in/a.csv"));
    }

    #[test]
    fn a_path_that_leads_out_is_refused_even_if_there_is_no_such_file() {
        let dir = base();
        let of = |given: &str| resolve(&dir.path().join("in"), false, given).unwrap_err();
        assert!(matches!(of("../outside.csv"), Error::Escape { .. }));
        assert!(matches!(of("sub/../../none.csv"), Error::Escape { .. }));
        assert!(matches!(of("/etc/hostname"), Error::Absolute { .. }));
        assert!(matches!(of(""), Error::Empty));
        assert!(matches!(of("none.csv"), Error::NotFound { .. }));
        assert!(matches!(of("a.csv/b"), Error::NotFound { .. }));
        assert!(matches!(of("nul\0.csv"), Error::Io { .. }));
        assert!(matches!(resolve(Path::new("/nowhere/at/all"), false, "a.csv"), Err(Error::Base { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_leads_out_is_refused_and_one_that_stays_is_followed() {
        let dir = base();
        let inner = dir.path().join("in");
        std::os::unix::fs::symlink("../outside.csv", inner.join("out.csv")).unwrap();
        std::os::unix::fs::symlink("a.csv", inner.join("same.csv")).unwrap();
        assert!(matches!(resolve(&inner, false, "out.csv"), Err(Error::Escape { .. })));
        assert!(resolve(&inner, false, "same.csv").unwrap().ends_with("in/a.csv"));
    }

    #[test]
    fn an_absolute_path_is_followed_where_it_is_allowed() {
        let dir = base();
        let outside = dir.path().join("outside.csv");
        assert!(resolve(&dir.path().join("in"), true, outside.to_str().unwrap()).is_ok());
    }
}
