//! Frames of RFC 6455: two bytes, a length, four bytes of mask from a client, and the payload.
//!
//! A message may come in several frames, with control frames between them; [`Message`] puts it together and never holds more
//! than it may have.

use bytes::{Buf as _, BytesMut};

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A message of text.
    Text,
    /// A message of bytes.
    Binary,
    /// Goodbye.
    Close,
    /// Are you there?
    Ping,
    /// I am here.
    Pong,
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Kind::Text => 1,
            Kind::Binary => 2,
            Kind::Close => 8,
            Kind::Ping => 9,
            Kind::Pong => 10,
        }
    }
}

/// A whole message, or a control frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// What it brings.
    pub payload: Vec<u8>,
}

/// A frame as a client sends it.
pub fn encode(kind: Kind, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut bytes = vec![0x80 | kind.code()];
    match u16::try_from(payload.len()) {
        Ok(length @ 0..=125) => bytes.push(0x80 | length.to_be_bytes()[1]),
        Ok(length) => {
            bytes.push(0x80 | 126);
            bytes.extend(length.to_be_bytes());
        }
        Err(_) => {
            bytes.push(0x80 | 127);
            bytes.extend((payload.len() as u64).to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// The message that is coming.
#[derive(Debug)]
pub struct Message {
    bytes_max: usize,
    begun: Option<Frame>,
}

impl Message {
    /// None yet; none will be larger than that.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, begun: None }
    }

    /// Takes frames off the buffer until a message, or a control frame, is whole.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, String> {
        loop {
            let Some((first, payload)) = one(buffer, self.bytes_max)? else { return Ok(None) };
            let last = first & 0x80 != 0;
            let kind = match first & 0x0f {
                0 => None,
                1 => Some(Kind::Text),
                2 => Some(Kind::Binary),
                8 => Some(Kind::Close),
                9 => Some(Kind::Ping),
                10 => Some(Kind::Pong),
                other => return Err(format!("a frame of kind {other}")),
            };
            match (kind, self.begun.take()) {
                (Some(kind @ (Kind::Close | Kind::Ping | Kind::Pong)), begun) => {
                    self.begun = begun;
                    return Ok(Some(Frame { kind, payload }));
                }
                (Some(kind), None) if last => return Ok(Some(Frame { kind, payload })),
                (Some(kind), None) => self.begun = Some(Frame { kind, payload }),
                (None, Some(mut begun)) => {
                    if begun.payload.len() + payload.len() > self.bytes_max {
                        return Err(format!("a message of more than the {} bytes that are taken", self.bytes_max));
                    }
                    begun.payload.extend(payload);
                    if last {
                        return Ok(Some(begun));
                    }
                    self.begun = Some(begun);
                }
                (Some(_), Some(_)) => return Err("a message within a message".into()),
                (None, None) => return Err("the rest of a message that has not begun".into()),
            }
        }
    }
}

/// The first byte and the payload of one frame.
fn one(buffer: &mut BytesMut, bytes_max: usize) -> Result<Option<(u8, Vec<u8>)>, String> {
    let [first, second] = match buffer.get(..2) {
        Some(head) => [head[0], head[1]],
        None => return Ok(None),
    };
    if first & 0x70 != 0 || second & 0x80 != 0 {
        return Err("a frame with an extension or a mask, which nobody agreed to".into());
    }
    let (head, length) = match second {
        126 => match buffer.get(2..4) {
            Some(bytes) => (4, u64::from(u16::from_be_bytes([bytes[0], bytes[1]]))),
            None => return Ok(None),
        },
        127 => match buffer.get(2..10).and_then(|bytes| <[u8; 8]>::try_from(bytes).ok()) {
            Some(bytes) => (10, u64::from_be_bytes(bytes)),
            None => return Ok(None),
        },
        small => (2, u64::from(small)),
    };
    let length = usize::try_from(length).ok().filter(|l| *l <= bytes_max);
    let length = length.ok_or_else(|| format!("a frame of more than the {bytes_max} bytes that are taken"))?;
    if buffer.len() < head + length {
        return Ok(None);
    }
    buffer.advance(head);
    Ok(Some((first, buffer.split_to(length).to_vec())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame as a server sends it.
    fn served(first: u8, payload: &[u8]) -> Vec<u8> {
        let masked = encode(Kind::Text, payload, [0; 4]);
        let head = masked.len() - payload.len() - 4;
        let mut bytes = [&masked[..head], payload].concat();
        bytes[0] = first;
        bytes[1] &= 0x7f;
        bytes
    }

    fn all(bytes: &[u8]) -> Result<Vec<Frame>, String> {
        let (mut buffer, mut message) = (BytesMut::from(bytes), Message::new(100_000));
        let mut frames = Vec::new();
        while let Some(frame) = message.decode(&mut buffer)? {
            frames.push(frame);
        }
        Ok(frames)
    }

    #[test]
    fn a_message_in_pieces_with_a_ping_between_them_is_put_together() {
        let said = [served(0x01, b"hel"), served(0x89, b"?"), served(0x00, b"l"), served(0x80, b"o")].concat();
        let text = Frame { kind: Kind::Text, payload: b"hello".to_vec() };
        assert_eq!(all(&said).unwrap(), [Frame { kind: Kind::Ping, payload: b"?".to_vec() }, text]);
        for length in [0, 125, 126, 65_535, 65_536] {
            assert_eq!(all(&served(0x82, &vec![7; length])).unwrap()[0].payload.len(), length);
        }
    }

    #[test]
    fn what_the_protocol_does_not_have_is_an_error() {
        for (bytes, said) in [
            (served(0x80, b"x"), "has not begun"),
            ([served(0x01, b"a"), served(0x81, b"b")].concat(), "within a message"),
            (served(0x83, b""), "kind 3"),
            (served(0xc1, b""), "extension"),
            (encode(Kind::Text, b"x", [1; 4]), "mask"),
            (vec![0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255], "100000 bytes"),
            ([served(0x01, &[0; 60_000]), served(0x80, &[0; 60_000])].concat(), "100000 bytes"),
        ] {
            let error = all(&bytes).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = all(&bytes);
        }
    }
}
