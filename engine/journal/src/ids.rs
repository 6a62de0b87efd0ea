//! The small types that everything in the journal speaks of: who (`StreamId`), which (`Lsn`, `Seq` as a plain `u64`), where (`Position`), and the
//! link of the chain (`Digest`).
//!
//! None of them carries behaviour beyond printing, parsing and stepping; none of them touches a file.

use std::fmt;
use std::str::FromStr;

/// Names one stream of records: a run, or a control stream (registrations, schedules, operator actions).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StreamId(pub [u8; 16]);

/// The number of a record in the whole journal: dense, from 1. Zero means "before the first record".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Before the first record.
    pub const ZERO: Self = Self(0);
    /// The first record of a journal.
    pub const FIRST: Self = Self(1);

    /// Returns the number `n` records later, or the greatest there is.
    pub fn plus(self, n: u64) -> Self {
        Self(self.0.saturating_add(n))
    }
}

/// The address of a frame: its byte offset in the journal as if all segments that ever were stood one behind the other.
///
/// An address is good for the life of the journal, also after older segments were pruned. No frame stands at zero, because a segment begins with
/// its header; zero is [`Position::NONE`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

impl Position {
    /// No frame: the stream begins here.
    pub const NONE: Self = Self(0);

    /// Tells whether this addresses no frame.
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }
}

/// A link of the chain of a stream: SHA-256 over a record and the link before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The link before the first record of a stream: 32 zero bytes.
    pub const ZERO: Self = Self([0; 32]);
}

/// A text that is not the hexadecimal form of an id or a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} hexadecimal digits, found {found:?}")]
pub struct NotHex {
    /// How many digits there should be.
    pub expected: usize,
    /// What was there instead, cut to a readable length.
    pub found: String,
}

fn hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn from_hex<const N: usize>(text: &str) -> Result<[u8; N], NotHex> {
    let refuse = || NotHex { expected: N * 2, found: text.chars().take(80).collect() };
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return Err(refuse());
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |c: u8| char::from(c).to_digit(16).ok_or_else(refuse);
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Ok(bytes)
}

macro_rules! hexadecimal {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                hex(f, &self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = NotHex;

            fn from_str(text: &str) -> Result<Self, NotHex> {
                from_hex(text).map(Self)
            }
        }
    };
}

macro_rules! decimal {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

hexadecimal!(StreamId);
hexadecimal!(Digest);
decimal!(Lsn);
decimal!(Position);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_as_hex_and_parse_back() {
        let id = StreamId(*b"0123456789abcdef");
        assert_eq!(id.to_string(), "30313233343536373839616263646566");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("AB".repeat(32).parse(), Ok(Digest([0xab; 32])));
    }

    #[test]
    fn text_that_is_not_hex_is_refused_whatever_its_bytes() {
        for text in ["", "3", "30313233343536373839616263646z66", "é0313233343536373839616263646566", &"é".repeat(16)]
        {
            assert!(text.parse::<StreamId>().is_err(), "{text}");
        }
    }
}
