//! Secrets by name: from the environment, then from files.
//!
//! The secret `mlflow-token` is the environment variable `CPD_SECRET_MLFLOW_TOKEN`, or else the file `mlflow-token` in the
//! directory of `[secrets]`, as systemd's credentials and mounted secrets of a container are. A line break at the end of
//! a file is not part of the secret: editors put it there. Both are asked at the moment of a call, so a secret that was
//! renewed is used with the next call, and nothing is kept.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use cpd_connector_api::secret::{Secret, Secrets};

/// The largest file that is taken for a secret: as much as systemd allows.
const BYTES_MAX: u64 = 1024 * 1024;

/// The secrets of this process.
#[derive(Clone, Debug)]
pub struct SecretStore {
    directory: Option<PathBuf>,
    environment: fn(&str) -> Option<String>,
}

impl SecretStore {
    /// The environment, and the files of a directory if there is one.
    pub fn new(directory: Option<PathBuf>) -> Self {
        Self { directory, environment: |name| std::env::var(name).ok() }
    }
}

impl Secrets for SecretStore {
    fn secret(&self, name: &str) -> Option<Secret> {
        let from_environment = (self.environment)(&variable(name)).map(Secret::new);
        from_environment.or_else(|| from_file(self.directory.as_deref()?, name))
    }
}

/// The environment variable of a secret.
fn variable(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    format!("CPD_SECRET_{}", name.chars().map(plain).collect::<String>())
}

fn from_file(directory: &Path, name: &str) -> Option<Secret> {
    // A name is one file of the directory and never a way out of it. Hidden files are the mounting system's own.
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
        return None;
    }
    let path = directory.join(name);
    let mut text = String::new();
    let read = std::fs::File::open(&path).and_then(|file| file.take(BYTES_MAX + 1).read_to_string(&mut text));
    match read {
        Ok(length) if u64::try_from(length).is_ok_and(|l| l <= BYTES_MAX) => {
            let bare = text.strip_suffix('\n').unwrap_or(&text);
            Some(Secret::new(bare.strip_suffix('\r').unwrap_or(bare)))
        }
        Ok(_) => {
            tracing::warn!(file = %path.display(), "a secret's file has more than {BYTES_MAX} bytes and is left alone");
            None
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => {
            tracing::warn!(file = %path.display(), error = %e, "a secret's file does not read");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_directory_is_the_secret_of_its_name() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), "abc\n").unwrap();
        std::fs::write(dir.path().join("windows"), "abc\r\n").unwrap();
        std::fs::write(dir.path().join("lines"), "a\nb\n\n").unwrap();
        std::fs::write(dir.path().join(".hidden"), "abc").unwrap();
        std::fs::write(dir.path().join("binary"), [0xff, 0xfe]).unwrap();
        std::fs::create_dir(dir.path().join("inner")).unwrap();
        std::fs::write(dir.path().join("inner/token"), "abc").unwrap();
        let store = SecretStore::new(Some(dir.path().join("inner")));
        assert_eq!(store.secret("token"), Some(Secret::new("abc")));
        assert_eq!(store.secret("../token"), None, "no way out of the directory");
        assert_eq!(store.secret(".."), None);
        let store = SecretStore::new(Some(dir.path().to_owned()));
        assert_eq!(store.secret("token"), Some(Secret::new("abc")));
        assert_eq!(store.secret("windows"), Some(Secret::new("abc")));
        assert_eq!(store.secret("lines"), Some(Secret::new("a\nb\n")));
        for none in [".hidden", "binary", "inner", "inner/token", "gone", "", "/etc/hostname"] {
            assert_eq!(store.secret(none), None, "{none}");
        }
        assert_eq!(SecretStore::new(None).secret("token"), None);
    }

    #[test]
    fn a_renewed_secret_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let store = SecretStore::new(Some(dir.path().to_owned()));
        assert_eq!(store.secret("token"), None);
        std::fs::write(dir.path().join("token"), "one").unwrap();
        assert_eq!(store.secret("token"), Some(Secret::new("one")));
        std::fs::write(dir.path().join("token"), "two").unwrap();
        assert_eq!(store.secret("token"), Some(Secret::new("two")));
    }

    #[test]
    fn the_environment_comes_first() {
        assert_eq!(variable("mlflow-token"), "CPD_SECRET_MLFLOW_TOKEN");
        assert_eq!(variable("a.b/c é"), "CPD_SECRET_A_B_C__");
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), "file").unwrap();
        std::fs::write(dir.path().join("other"), "file").unwrap();
        let environment = |name: &str| (name == "CPD_SECRET_TOKEN").then(|| "environment".to_owned());
        let store = SecretStore { environment, ..SecretStore::new(Some(dir.path().to_owned())) };
        assert_eq!(store.secret("token"), Some(Secret::new("environment")));
        assert_eq!(store.secret("other"), Some(Secret::new("file")));
    }
}
