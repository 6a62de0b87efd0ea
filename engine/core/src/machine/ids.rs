//! Identities: runs and the activations of their tasks.

use std::fmt;
use std::str::FromStr;

use crate::time::Timestamp;

/// A run. 48 bits of milliseconds since the epoch, then 80 random bits, so ids sort by start. Written as 26 characters of
/// Crockford's base 32 in lower case (the ULID layout), which a double click selects whole.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub [u8; 16]);

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl RunId {
    /// An id for a run started at `at`; `random` comes from the engine's one door to randomness.
    pub fn new(at: Timestamp, random: [u8; 10]) -> Self {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&at.as_millis().max(0).to_be_bytes()[2..]);
        bytes[6..].copy_from_slice(&random);
        Self(bytes)
    }

    /// Runs whose text begins with `prefix` (1 to 26 characters) lie between these two, inclusive.
    pub fn prefix_range(prefix: &str) -> Option<(Self, Self)> {
        let pad = |with: char| prefix.chars().chain(std::iter::repeat(with)).take(26).collect::<String>();
        let (low, high) = (pad('0'), pad('z'));
        // 26 characters hold 130 bits: the first one has only 3 of its 5.
        let high = if prefix.is_empty() { high.replacen('z', "7", 1) } else { high };
        Some((low.parse().ok()?, high.parse().ok()?))
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = u128::from_be_bytes(self.0);
        (0..26).rev().try_for_each(|i| {
            let digit = (n >> (i * 5)) & 31;
            write!(f, "{}", char::from(ALPHABET[digit as usize]))
        })
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A text that is not a run id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("read run id {found:?}: expected 26 characters of 0-9 and a-z without i, l, o, u")]
pub struct BadRunId {
    /// What was given.
    pub found: String,
}

impl FromStr for RunId {
    type Err = BadRunId;

    fn from_str(s: &str) -> Result<Self, BadRunId> {
        let bad = || BadRunId { found: s.chars().take(64).collect() };
        let bytes = s.as_bytes();
        if bytes.len() != 26 || bytes[0] > b'7' {
            return Err(bad());
        }
        let n = bytes.iter().try_fold(0u128, |n, b| {
            let lower = b.to_ascii_lowercase();
            ALPHABET.iter().position(|a| *a == lower).map(|d| (n << 5) | d as u128)
        });
        n.map(|n| Self(n.to_be_bytes())).ok_or_else(bad)
    }
}

/// One activation of a task in a run; numbered from 0 (the workflow itself) in the order in which they begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActId(pub u32);

impl fmt::Display for ActId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_and_sort_by_start() {
        let a = RunId::new(Timestamp(1_000_000), [255; 10]);
        let b = RunId::new(Timestamp(2_000_000), [0; 10]);
        assert!(a < b && a.to_string() < b.to_string());
        assert_eq!(a.to_string().parse(), Ok(a));
        assert_eq!(a.to_string().to_uppercase().parse(), Ok(a));
        for wrong in
            ["", "x", "8zzzzzzzzzzzzzzzzzzzzzzzzz", "0000000000000000000000000u", "00000000000000000000000000000"]
        {
            assert!(wrong.parse::<RunId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_prefix_spans_exactly_the_ids_that_begin_with_it() {
        let id = RunId::new(Timestamp(1_790_000_000_000_000), [7; 10]);
        let text = id.to_string();
        for n in 0..=26 {
            let (low, high) = RunId::prefix_range(&text[..n]).unwrap();
            assert!(low <= id && id <= high, "{n}");
        }
        let (low, high) = RunId::prefix_range(&text[..8]).unwrap();
        assert!(low.to_string().starts_with(&text[..8]) && high.to_string().starts_with(&text[..8]));
        assert_eq!(RunId::prefix_range("not an id"), None);
    }
}
