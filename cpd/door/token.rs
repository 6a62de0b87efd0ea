//! Bearer tokens: `cpd_<id>_<secret><checksum>`.
//!
//! | part | is | why |
//! |---|---|---|
//! | `cpd_` | fixed | scanners of repositories and logs find leaked ones |
//! | id | 12 characters, public | finds the record; stands in lists and in the audit |
//! | secret | 43 characters, 256 random bits | cannot be guessed |
//! | checksum | 6 characters: CRC-32C of all before it | scanners, and the door, tell a token from a text that looks like one |
//!
//! All characters are of `0-9A-Za-z`. The journal keeps SHA-256 over the whole token, and the token itself nowhere: it is
//! shown once. A slow hash protects what people choose; a secret of 256 random bits has no dictionary, and one SHA-256 is as
//! hard to turn back as a thousand.

use std::collections::BTreeSet;
use std::sync::Arc;

use cpd_core::time::Timestamp;
use cpd_engine::control::{Actor, Control, NewToken, Token};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::principal::{Role, Scope};

/// What every token begins with.
pub const PREFIX: &str = "cpd_";
/// Characters of the public id.
const ID: usize = 12;
/// Characters of the secret: log₂ 62⁴³ is 256.03.
const SECRET: usize = 43;
/// Characters of the checksum: 62⁶ is more than 2³².
const CHECKSUM: usize = 6;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// The longest name of a token.
const NAME_MAX: usize = 64;
/// The longest name of a namespace, as in definitions.
const NAMESPACE_MAX: usize = 63;

/// A token that was made. The only thing that ever holds its text.
#[derive(Clone)]
pub struct Issued {
    /// What is kept of it.
    pub token: Arc<Token>,
    /// The token itself, to be shown once.
    pub text: String,
}

/// A token that is wished for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Its name, for people: it stands in the journal as `token:NAME` wherever it does something.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Where.
    pub scope: Scope,
    /// Until when.
    pub expires_at: Option<Timestamp>,
}

/// Why a token was not made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its name is of no use.
    #[error("make a token named {0:?}: expected 1 to 64 of the characters A-Z, a-z, 0-9, `.`, `_`, `-` and `@`")]
    Name(String),
    /// A namespace that no definition can have.
    #[error(
        "make a token for the namespace {0:?}: expected 1 to 63 of the characters a-z, 0-9 and `-`, or `*` for all"
    )]
    Namespace(String),
    /// It would reach nothing.
    #[error("make a token without a namespace: expected at least one, or `*` for all")]
    NoNamespace,
    /// It would be good for nothing.
    #[error("make a token that ended at {0}: expected a time that is still to come")]
    Past(Timestamp),
    /// The machine has no randomness.
    #[error("draw a secret from the operating system")]
    Random(#[source] getrandom::Error),
    /// The journal did not take it, or the name is taken.
    #[error(transparent)]
    Engine(#[from] cpd_engine::Error),
}

/// Makes a token; its record is durable when this returns.
///
/// # Errors
/// If the wish makes no sense, the name is taken, or the journal takes nothing now.
pub async fn issue(control: &Control, wish: Wish, by: Actor) -> Result<Issued, Error> {
    let Wish { name, role, scope, expires_at } = wish;
    check_name(&name)?;
    if let Some(past) = expires_at.filter(|end| *end <= control.now()) {
        return Err(Error::Past(past));
    }
    let namespaces = match scope {
        Scope::All => None,
        Scope::Namespaces(names) if names.is_empty() => return Err(Error::NoNamespace),
        Scope::Namespaces(names) => Some(names),
    };
    let (id, text) = draw()?;
    let new = NewToken {
        id: id.into(),
        name: name.into(),
        role: role.name().into(),
        namespaces,
        hash: hash(&text),
        expires_at,
    };
    let token = control.create_token(new, by).await?;
    Ok(Issued { token, text })
}

/// Whether a token may have that name.
///
/// # Errors
/// If it is empty, long, or has other characters than a name may have.
pub fn check_name(name: &str) -> Result<(), Error> {
    let fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@');
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(fit) {
        return Err(Error::Name(name.to_owned()));
    }
    Ok(())
}

/// The scope of names as people give them: `*` for all.
///
/// # Errors
/// If one of them cannot be a namespace, or there is none.
pub fn scope<'n>(names: impl IntoIterator<Item = &'n str>) -> Result<Scope, Error> {
    let names: BTreeSet<Arc<str>> = names.into_iter().map(Arc::from).collect();
    if names.is_empty() {
        return Err(Error::NoNamespace);
    }
    if names.contains("*") {
        return Ok(Scope::All);
    }
    let fit = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    match names.iter().find(|n| n.is_empty() || n.len() > NAMESPACE_MAX || !n.chars().all(fit)) {
        Some(wrong) => Err(Error::Namespace(wrong.to_string())),
        None => Ok(Scope::Namespaces(names)),
    }
}

/// What a token may do and where; `None` if a newer version of `cpd` gave it a role that this one does not know.
#[must_use]
pub fn rights(token: &Token) -> Option<(Role, Scope)> {
    let scope = token.namespaces.clone().map_or(Scope::All, Scope::Namespaces);
    Some((Role::named(&token.role)?, scope))
}

/// The good token that a text is.
///
/// How long it takes does not depend on which part of the text is wrong, but for what everybody may know: its form, and whether
/// there is a token of that id.
#[must_use]
pub fn recognise(control: &Control, text: &str) -> Option<Arc<Token>> {
    let id = id(text)?;
    let token = control.token(id)?;
    let same: bool = hash(text).ct_eq(&token.hash).into();
    (same && token.is_good(control.now())).then_some(token)
}

/// The public id in a text that has the form of a token, checksum included.
#[must_use]
pub fn id(text: &str) -> Option<&str> {
    let rest = text.strip_prefix(PREFIX)?;
    let (id, secret) = rest.split_once('_')?;
    let alphanumeric = |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric());
    if id.len() != ID || secret.len() != SECRET + CHECKSUM || !alphanumeric(id) || !alphanumeric(secret) {
        return None;
    }
    let (before, checksum) = text.split_at(text.len() - CHECKSUM);
    (self::checksum(before) == checksum).then_some(id)
}

/// A fresh id and the text of its token.
fn draw() -> Result<(String, String), Error> {
    let id = characters(ID)?;
    let secret = characters(SECRET)?;
    let before = format!("{PREFIX}{id}_{secret}");
    let checksum = checksum(&before);
    Ok((id, before + &checksum))
}

/// So many characters, each of them as likely as the others.
fn characters(count: usize) -> Result<String, Error> {
    let mut text = String::with_capacity(count);
    let mut bytes = [0; 64];
    while text.len() < count {
        getrandom::fill(&mut bytes).map_err(Error::Random)?;
        // 248 is 4 × 62: of the bytes below it every character has the same share.
        let fair = bytes.iter().filter(|b| **b < 248).map(|b| char::from(ALPHABET[usize::from(b % 62)]));
        text.extend(fair.take(count - text.len()));
    }
    Ok(text)
}

fn checksum(text: &str) -> String {
    let mut number = crc32c::crc32c(text.as_bytes());
    let mut digits = [ALPHABET[0]; CHECKSUM];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(number % 62) as usize];
        number /= 62;
    }
    digits.iter().map(|d| char::from(*d)).collect()
}

fn hash(text: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"cpd token 1\0");
    hash.update(text.as_bytes());
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_the_form_that_scanners_look_for_and_its_checksum_is_fixed() {
        let form = regex::Regex::new(r"\Acpd_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}\z").unwrap();
        let mut seen = BTreeSet::new();
        for _ in 0..200 {
            let (drawn, text) = draw().unwrap();
            assert!(form.is_match(&text), "{text}");
            assert_eq!(id(&text), Some(&*drawn));
            assert!(seen.insert(text));
        }
        let text = format!("cpd_{}_{}", "0".repeat(12), "0".repeat(43));
        assert_eq!(checksum(&text), "2KWk9w", "tokens that are out there must stay good");
    }

    #[test]
    fn one_character_changed_or_missing_is_no_token() {
        let (_, text) = draw().unwrap();
        for at in 0..text.len() {
            let mut other = text.clone().into_bytes();
            other[at] = if other[at] == b'x' { b'y' } else { b'x' };
            assert_eq!(id(std::str::from_utf8(&other).unwrap()), None, "{at}");
            assert_eq!(id(&text[..at]), None, "{at}");
        }
        for wrong in ["", "cpd_", "cpd__", "cpd_é", &format!("{text}0"), &text.replace('_', "-")] {
            assert_eq!(id(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn scopes_are_names_of_namespaces_or_all() {
        assert_eq!(scope(["a", "*"]).unwrap(), Scope::All);
        assert_eq!(scope(["b", "a", "b"]).unwrap(), Scope::Namespaces(["a".into(), "b".into()].into()));
        for wrong in [&["A"][..], &["a/b"], &[""], &["a", "ü"], &[]] {
            assert!(scope(wrong.iter().copied()).is_err(), "{wrong:?}");
        }
    }
}
