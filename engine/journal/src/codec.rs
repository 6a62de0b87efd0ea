//! The payloads of records: bincode 1 with variable-length integers, little-endian, limited, no trailing bytes.
//!
//! The crate is frozen at 1.3.3 (see `docs/decisions/0002-records.md`); golden bytes hold what it writes.

use bincode::Options as _;
use serde::{Deserialize, Serialize};

/// The longest payload that is decoded.
const LIMIT: u64 = crate::format::BODY_MAX as u64;

/// A payload that is not what it should be.
#[derive(Debug, thiserror::Error)]
#[error("decode a payload of {len} bytes")]
pub struct DecodeError {
    /// Its length.
    pub len: usize,
    /// What is wrong.
    #[source]
    pub source: bincode::Error,
}

fn options() -> impl bincode::Options {
    bincode::DefaultOptions::new().with_limit(LIMIT).with_varint_encoding().with_little_endian().reject_trailing_bytes()
}

/// Appends the encoding of `record` to `out`.
pub fn encode(record: &impl Serialize, out: &mut Vec<u8>) {
    options().serialize_into(out, record).expect("a record is under the limit and writes to memory");
}

/// Decodes a payload; borrows from it where the type does.
///
/// # Errors
/// If the bytes are not an encoding of `T`, or bytes are left over.
pub fn decode<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, DecodeError> {
    options().deserialize(payload).map_err(|source| DecodeError { len: payload.len(), source })
}
