//! Secrets by name: from the environment, from files, from commands.
//!
//! The secret `mlflow-token` is
//!
//! 1. the environment variable `CPD_SECRET_MLFLOW_TOKEN`, or else
//! 2. the file `mlflow-token` in the directory of `[secrets]`, as systemd's credentials and mounted secrets of a container are, or else
//! 3. what the command prints that `[secrets.commands]` has under that name; `command` runs it.
//!
//! A line break at the end of a file or an output is not part of the secret: editors and programs put it there. All are asked at the
//! moment of a call, so a secret that was renewed is used with the next call, and nothing is kept.

mod command;

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cpd_connector_api::secret::{Secret, Secrets};

use crate::config;

/// The largest file or output that is taken for a secret: as much as systemd allows.
const BYTES_MAX: u64 = 1024 * 1024;

/// What the variables of secrets begin with.
const PREFIX: &str = "CPD_SECRET_";

/// The secrets of this process.
#[derive(Clone, Debug)]
pub struct SecretStore {
    config: config::Secrets,
    environment: fn(&str) -> Option<String>,
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A variable of the environment.
    Environment(String),
    /// A file.
    File(PathBuf),
    /// A command: its program.
    Command(String),
}

/// What became of the search for a secret: where it would come from, and it, or why it cannot be had.
type Found = (Source, Result<Secret, String>);

impl SecretStore {
    /// The environment, and what the configuration says.
    pub fn new(config: config::Secrets) -> Self {
        Self { config, environment: |name| std::env::var(name).ok() }
    }

    /// Looks for a secret in each place; `None` if no place knows it.
    pub fn find(&self, name: &str) -> Option<Found> {
        if let Some(value) = (self.environment)(&variable(name)) {
            return Some((Source::Environment(variable(name)), Ok(Secret::new(value))));
        }
        if let Some((path, read)) = self.config.directory.as_deref().and_then(|dir| from_file(dir, name)) {
            return Some((Source::File(path), read));
        }
        let words = self.config.commands.get(name)?;
        let limit = Duration::from_millis(self.config.command_timeout_ms);
        Some((Source::Command(words.first().cloned().unwrap_or_default()), command::output(words, limit)))
    }

    /// The names of all secrets that can be known without asking for one. A variable does not tell how its secret is written:
    /// `CPD_SECRET_MLFLOW_TOKEN` is said to be `mlflow-token`, unless one of `known` is spelled otherwise.
    pub fn names(&self, known: impl IntoIterator<Item = String>) -> BTreeSet<String> {
        let mut names: BTreeSet<String> = known.into_iter().collect();
        names.extend(self.config.commands.keys().cloned());
        let files = self.config.directory.iter().filter_map(|dir| std::fs::read_dir(dir).ok()).flatten().flatten();
        let files =
            files.filter(|entry| entry.path().is_file()).filter_map(|entry| entry.file_name().into_string().ok());
        names.extend(files.filter(|name| is_plain(name)));
        let variables: BTreeSet<String> = names.iter().map(|name| variable(name)).collect();
        let set = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        let set = set.filter(|name| !variables.contains(name));
        names.extend(set.filter_map(|name| Some(name.strip_prefix(PREFIX)?.to_lowercase().replace('_', "-"))));
        names
    }
}

impl Secrets for SecretStore {
    fn secret(&self, name: &str) -> Option<Secret> {
        match self.find(name)? {
            (_, Ok(secret)) => Some(secret),
            (source, Err(why)) => {
                tracing::warn!(secret = name, ?source, "a secret cannot be had: {why}");
                None
            }
        }
    }

    fn takes_time(&self, name: &str) -> bool {
        let sooner = || self.config.directory.as_deref().is_some_and(|dir| from_file(dir, name).is_some());
        self.config.commands.contains_key(name) && (self.environment)(&variable(name)).is_none() && !sooner()
    }
}

/// Whether a name can be that of a file in the directory. Hidden files are the mounting system's own.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty() && !name.starts_with('.') && name.chars().all(plain)
}

/// The text of a secret, without the line break at its end.
fn trimmed(text: &str) -> Secret {
    let bare = text.strip_suffix('\n').unwrap_or(text);
    Secret::new(bare.strip_suffix('\r').unwrap_or(bare))
}

/// The environment variable of a secret.
fn variable(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    format!("{PREFIX}{}", name.chars().map(plain).collect::<String>())
}

/// The file of a secret in the directory, if there is one.
fn from_file(directory: &Path, name: &str) -> Option<(PathBuf, Result<Secret, String>)> {
    // A name is one file of the directory and never a way out of it.
    if !is_plain(name) {
        return None;
    }
    let path = directory.join(name);
    let mut text = String::new();
    let read = std::fs::File::open(&path).and_then(|file| file.take(BYTES_MAX + 1).read_to_string(&mut text));
    let read = match read {
        Ok(length) if u64::try_from(length).is_ok_and(|l| l <= BYTES_MAX) => Ok(trimmed(&text)),
        Ok(_) => Err(format!("the file has more than {BYTES_MAX} bytes")),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return None,
        Err(e) => Err(format!("the file does not read: {e}")),
    };
    Some((path, read))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_directory(path: &Path) -> SecretStore {
        SecretStore::new(config::Secrets { directory: Some(path.to_owned()), ..config::Secrets::default() })
    }

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
        let store = in_directory(&dir.path().join("inner"));
        assert_eq!(store.secret("token"), Some(Secret::new("abc")));
        assert_eq!(store.secret("../token"), None, "no way out of the directory");
        assert_eq!(store.secret(".."), None);
        let store = in_directory(dir.path());
        assert_eq!(store.secret("token"), Some(Secret::new("abc")));
        assert_eq!(store.secret("windows"), Some(Secret::new("abc")));
        assert_eq!(store.secret("lines"), Some(Secret::new("a\nb\n")));
        for none in [".hidden", "binary", "inner", "inner/token", "gone", "", "/etc/hostname"] {
            assert_eq!(store.secret(none), None, "{none}");
        }
        assert_eq!(SecretStore::new(config::Secrets::default()).secret("token"), None);
    }

    #[test]
    fn a_renewed_secret_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let store = in_directory(dir.path());
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
        let store = SecretStore { environment, ..in_directory(dir.path()) };
        assert_eq!(store.secret("token"), Some(Secret::new("environment")));
        assert_eq!(store.secret("other"), Some(Secret::new("file")));
    }
    #[test]
    fn a_command_is_asked_last_and_a_command_alone_takes_time() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("both"), "file").unwrap();
        let print = |text: &str| vec!["/bin/echo".to_owned(), text.to_owned()];
        let commands = [("both".to_owned(), print("command")), ("alone".to_owned(), print("$HOME; `id`"))].into();
        let config = config::Secrets { directory: Some(dir.path().to_owned()), commands, ..config::Secrets::default() };
        let store = SecretStore::new(config);
        assert_eq!(store.secret("both"), Some(Secret::new("file")));
        assert_eq!(store.secret("alone"), Some(Secret::new("$HOME; `id`")), "there is no shell");
        assert!(store.takes_time("alone") && !store.takes_time("both") && !store.takes_time("none"));
        let names = store.names(["declared".to_owned()]);
        assert_eq!(names.iter().map(String::as_str).collect::<Vec<_>>(), ["alone", "both", "declared"]);
        assert_eq!(store.find("declared"), None);
    }
}
