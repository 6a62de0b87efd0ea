//! Structs to payloads and back: the wire format of bincode 1, frozen.
//!
//! A payload is a struct of one kind and version, its fields in order, without names: integers as varints (below 251 one byte; else a byte
//! 251, 252, 253 or 254 and 2, 4, 8 or 16 bytes in little-endian; signed ones zigzagged first), lengths and enum variants as such integers, `f64` as 8 bytes,
//! `bool` and the tag of an `Option` as one byte, text and bytes behind their length. Golden bytes in the tests below hold it.
//!
//! Decoding takes a limit: neither the bytes read nor those that a length claims may exceed it, so no length is believed before it was compared.
//! Bytes behind the last field are an error, not ignored: the version of a record says which fields there are, nothing else does.
//!
//! Why this and what was refused: `docs/decisions/0002-records.md`.

use bincode::Options as _;
use serde::{Deserialize, Serialize};

/// A payload that is not what its kind and version say, or a struct that cannot become one.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The value has a form that the format cannot hold, such as a sequence of unknown length.
    #[error("encode a {type_name}")]
    Encode {
        /// The type.
        type_name: &'static str,
        /// What the encoder said.
        #[source]
        source: bincode::Error,
    },
    /// There are more bytes than such a value may have.
    #[error("decode {found} bytes as a {type_name} of at most {limit}")]
    TooLarge {
        /// The type.
        type_name: &'static str,
        /// How many bytes there are.
        found: usize,
        /// How many there may be.
        limit: u64,
    },
    /// The bytes are not those of such a value.
    #[error("decode {found} bytes as a {type_name}")]
    Decode {
        /// The type.
        type_name: &'static str,
        /// How many bytes there are.
        found: usize,
        /// What the decoder said.
        #[source]
        source: bincode::Error,
    },
}

fn options() -> impl bincode::Options {
    bincode::DefaultOptions::new().with_little_endian().with_varint_encoding().reject_trailing_bytes()
}

/// Appends a value to a buffer. The buffer is as it was if that fails.
pub fn encode<T: Serialize + ?Sized>(value: &T, buffer: &mut Vec<u8>) -> Result<(), CodecError> {
    let before = buffer.len();
    options().with_no_limit().serialize_into(&mut *buffer, value).map_err(|source| {
        buffer.truncate(before);
        CodecError::Encode { type_name: std::any::type_name::<T>(), source }
    })
}

/// Reads a value that takes all of `bytes`, which may be `limit` at most; borrows from them where the type does.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8], limit: u64) -> Result<T, CodecError> {
    let (type_name, found) = (std::any::type_name::<T>(), bytes.len());
    // bincode's own limit leaves out the bytes of varints; what it is for here are the lengths inside.
    if found as u64 > limit {
        return Err(CodecError::TooLarge { type_name, found, limit });
    }
    options().with_limit(limit).deserialize(bytes).map_err(|source| CodecError::Decode { type_name, found, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Choice {
        None,
        Some { text: String },
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Everything {
        small: u64,
        two: u32,
        four: u64,
        eight: u64,
        negative: i64,
        float: f64,
        yes: bool,
        maybe: Option<u8>,
        text: String,
        list: Vec<Choice>,
        array: [u8; 3],
    }

    fn everything() -> Everything {
        Everything {
            small: 250,
            two: 251,
            four: 65_536,
            eight: 1 << 40,
            negative: -3,
            float: 1.5,
            yes: true,
            maybe: Some(7),
            text: "é".into(),
            list: vec![Choice::None, Choice::Some { text: "a".into() }],
            array: [1, 2, 3],
        }
    }

    const GOLDEN: &[u8] = &[
        250, // small
        251, 251, 0, // two
        252, 0, 0, 1, 0, // four
        253, 0, 0, 0, 0, 0, 1, 0, 0, // eight
        5, // negative: zigzag of -3
        0, 0, 0, 0, 0, 0, 0xf8, 0x3f, // float
        1,    // yes
        1, 7, // maybe
        2, 0xc3, 0xa9, // text
        2, 0, 1, 1, b'a', // list
        1, 2, 3, // array
    ];

    #[test]
    fn the_wire_format_is_frozen() {
        let mut bytes = Vec::new();
        encode(&everything(), &mut bytes).expect("it encodes");
        assert_eq!(bytes, GOLDEN);
        assert_eq!(decode::<Everything>(GOLDEN, 1000).expect("it decodes"), everything());
    }

    #[test]
    fn bytes_missing_or_left_over_are_refused() {
        for end in 0..GOLDEN.len() {
            assert!(decode::<Everything>(&GOLDEN[..end], 1000).is_err(), "{end} bytes");
        }
        let more = [GOLDEN, &[0]].concat();
        assert!(decode::<Everything>(&more, 1000).is_err());
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_it_is_used() {
        // A text that claims 2^60 bytes.
        let bytes = [253, 0, 0, 0, 0, 0, 0, 0, 16];
        assert!(decode::<String>(&bytes, 1 << 20).is_err());
        assert!(decode::<Vec<u64>>(&bytes, 1 << 20).is_err());
        assert!(decode::<String>(&[3, b'a', b'b', b'c'], 3).is_err());
    }

    #[test]
    fn a_failed_encoding_leaves_the_buffer_as_it_was() {
        struct Endless;
        impl Serialize for Endless {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_seq((0..).take_while(|n| *n < 3))
            }
        }
        let mut buffer = vec![1, 2];
        assert!(encode(&(7u8, Endless), &mut buffer).is_err());
        assert_eq!(buffer, [1, 2]);
    }
}
