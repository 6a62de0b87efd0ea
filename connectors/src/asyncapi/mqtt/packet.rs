//! Packets of MQTT 3.1.1 and 5, as far as a client of one call writes and reads them.
//!
//! A packet is a byte with its kind and flags, its length in at most four bytes of seven bits each, and that many bytes. Version 5
//! adds properties: a length in the same form, then pairs of a number and a value whose shape the number tells.
//! Reading is bounded by the largest packet that is taken, and never panics.

use bytes::{Buf as _, BytesMut};

/// A packet that a broker sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// The answer to CONNECT.
    ConnAck(Answer),
    /// A message.
    Publish(Publish),
    /// The answer to a PUBLISH of quality 1.
    PubAck(u16, Answer),
    /// The first answer to a PUBLISH of quality 2.
    PubRec(u16, Answer),
    /// The second one.
    PubComp(u16, Answer),
    /// The answer to SUBSCRIBE.
    SubAck(u16, Answer),
    /// The answer to PINGREQ.
    PingResp,
    /// The broker ends the session (version 5).
    Disconnect(Answer),
}

/// A code, and what version 5 says beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// 0 is good.
    pub code: u8,
    /// The properties.
    pub properties: Properties,
}

/// A message that a broker sends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publish {
    /// Its topic.
    pub topic: String,
    /// Its quality of service.
    pub qos: u8,
    /// Its number, if its quality is not 0.
    pub id: u16,
    /// The payload.
    pub payload: Vec<u8>,
    /// The properties.
    pub properties: Properties,
}

/// The properties of version 5 that matter here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// Content type.
    pub content_type: Option<String>,
    /// Correlation data.
    pub correlation: Option<Vec<u8>>,
    /// Reason, in words.
    pub reason: Option<String>,
    /// User properties.
    pub user: Vec<(String, String)>,
    /// The largest packet that the broker takes.
    pub packet_max: Option<u32>,
    /// The best quality that it knows.
    pub qos_max: Option<u8>,
    /// After how many seconds without a word it hangs up.
    pub keep_alive: Option<u16>,
}

/// Takes packets off a buffer, none larger than `bytes_max`.
pub fn decoder(five: bool, bytes_max: usize) -> impl FnMut(&mut BytesMut) -> Result<Option<Packet>, String> {
    move |buffer| decode(buffer, five, bytes_max)
}

fn decode(buffer: &mut BytesMut, five: bool, bytes_max: usize) -> Result<Option<Packet>, String> {
    // The first byte tells at once whether this is a broker; its length would have us wait for what never comes.
    match buffer.first() {
        Some(first) if first >> 4 != 3 && first & 0x0f != 0 => {
            return Err(format!("a packet that begins with byte {first} (is it an MQTT broker?)"));
        }
        _ => {}
    }
    let (mut length, mut head) = (0usize, 1usize);
    loop {
        let Some(byte) = buffer.get(head).copied() else { return Ok(None) };
        length |= usize::from(byte & 0x7f) << (7 * (head - 1));
        head += 1;
        if byte & 0x80 == 0 {
            break;
        }
        if head > 4 {
            return Err("a packet without an end to its length".into());
        }
    }
    // Topic and properties are not counted as the message's bytes; they have room of their own.
    if length > bytes_max.saturating_add(256 * 1024) {
        return Err(format!("a packet of {length} bytes, where messages of at most {bytes_max} are taken"));
    }
    if buffer.len() < head + length {
        return Ok(None);
    }
    let first = buffer[0];
    buffer.advance(head);
    let body = buffer.split_to(length);
    let mut reader = Reader(&body);
    packet(first, &mut reader, five).map(Some)
}

fn packet(first: u8, body: &mut Reader<'_>, five: bool) -> Result<Packet, String> {
    let numbered = |body: &mut Reader<'_>| -> Result<(u16, Answer), String> { Ok((body.u16()?, body.answer(five)?)) };
    Ok(match first >> 4 {
        2 => {
            body.u8()?;
            let code = body.u8()?;
            Packet::ConnAck(Answer { code, properties: body.properties(five)? })
        }
        3 => {
            let (topic, qos) = (body.text()?, (first >> 1) & 3);
            let id = if qos > 0 { body.u16()? } else { 0 };
            let properties = body.properties(five)?;
            Packet::Publish(Publish { topic, qos, id, payload: body.0.to_vec(), properties })
        }
        4 => numbered(body).map(|(id, answer)| Packet::PubAck(id, answer))?,
        5 => numbered(body).map(|(id, answer)| Packet::PubRec(id, answer))?,
        7 => numbered(body).map(|(id, answer)| Packet::PubComp(id, answer))?,
        9 => {
            let id = body.u16()?;
            let properties = body.properties(five)?;
            Packet::SubAck(id, Answer { code: body.u8()?, properties })
        }
        13 => Packet::PingResp,
        14 => Packet::Disconnect(body.answer(five)?),
        kind => return Err(format!("a packet of kind {kind}, which a broker does not send")),
    })
}

/// The bytes of a packet that are left.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or("a packet that ends too early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, String> {
        self.take(1).map(|b| b[0])
    }

    fn u16(&mut self) -> Result<u16, String> {
        self.take(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.take(4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    }

    fn varint(&mut self) -> Result<usize, String> {
        let mut value = 0;
        for shift in 0..4 {
            let byte = self.u8()?;
            value |= usize::from(byte & 0x7f) << (7 * shift);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a length without an end".into())
    }

    fn bytes(&mut self) -> Result<&'a [u8], String> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    fn text(&mut self) -> Result<String, String> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| "a text that is not UTF-8".into())
    }

    /// A code and properties, either of which may be left out when all is well.
    fn answer(&mut self, five: bool) -> Result<Answer, String> {
        if !five || self.0.is_empty() {
            return Ok(Answer::default());
        }
        Ok(Answer { code: self.u8()?, properties: self.properties(five)? })
    }

    fn properties(&mut self, five: bool) -> Result<Properties, String> {
        let mut found = Properties::default();
        if !five || self.0.is_empty() {
            return Ok(found);
        }
        let length = self.varint()?;
        let mut inner = Reader(self.take(length)?);
        while !inner.0.is_empty() {
            match inner.u8()? {
                0x03 => found.content_type = Some(inner.text()?),
                0x09 => found.correlation = Some(inner.bytes()?.to_vec()),
                0x1f => found.reason = Some(inner.text()?),
                0x26 => found.user.push((inner.text()?, inner.text()?)),
                0x27 => found.packet_max = Some(inner.u32()?),
                0x24 => found.qos_max = Some(inner.u8()?),
                0x13 => found.keep_alive = Some(inner.u16()?),
                0x01 | 0x17 | 0x19 | 0x25 | 0x28 | 0x29 | 0x2a => drop(inner.u8()?),
                0x21..=0x23 => drop(inner.u16()?),
                0x02 | 0x11 | 0x18 => drop(inner.u32()?),
                0x0b => drop(inner.varint()?),
                0x08 | 0x12 | 0x15 | 0x16 | 0x1a | 0x1c => drop(inner.bytes()?),
                other => return Err(format!("a property of number {other}, which MQTT 5 does not have")),
            }
        }
        Ok(found)
    }
}

/// Builds one packet.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Adds a byte.
    pub fn u8(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }

    /// Adds a number of two bytes.
    pub fn u16(mut self, number: u16) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    /// Adds a number of four bytes.
    pub fn u32(mut self, number: u32) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    /// Adds bytes behind their length. What is longer than a length can say is cut: callers check before.
    pub fn text(self, bytes: &[u8]) -> Self {
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        let mut with = self.u16(length);
        with.0.extend(&bytes[..usize::from(length)]);
        with
    }

    /// Adds bytes as they are.
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    /// Adds properties behind their length, if it is version 5.
    pub fn properties(mut self, five: bool, properties: Writer) -> Self {
        if five {
            varint(properties.0.len(), &mut self.0);
            self.0.extend(properties.0);
        }
        self
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The packet, with its first byte and length.
    pub fn packet(self, first: u8) -> Vec<u8> {
        let mut bytes = vec![first];
        varint(self.0.len(), &mut bytes);
        bytes.extend(self.0);
        bytes
    }
}

/// The largest length that MQTT can say.
pub const LENGTH_MAX: usize = 268_435_455;

fn varint(mut number: usize, out: &mut Vec<u8>) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or(0);
        number >>= 7;
        out.push(if number > 0 { low | 0x80 } else { low });
        if number == 0 {
            return;
        }
    }
}

/// The words for a code of version 5, or of the answer to CONNECT in version 3.1.1.
pub fn words(code: u8) -> &'static str {
    match code {
        1 | 0x84 => "it does not speak this version of MQTT",
        2 | 0x85 => "it does not accept the client's name",
        3 | 0x88 => "it is not available",
        4 | 0x86 => "wrong user name or password",
        5 | 0x87 => "not authorised",
        0x80 => "unspecified error",
        0x81 => "malformed packet",
        0x82 => "protocol error",
        0x83 => "implementation error",
        0x89 => "it is busy",
        0x8a => "banned",
        0x8b => "it is shutting down",
        0x8c => "bad authentication method",
        0x8d => "keep-alive time-out",
        0x8e => "another session took this one's place",
        0x8f => "invalid topic filter",
        0x90 => "invalid topic name",
        0x93 => "too many messages in flight",
        0x95 => "packet too large",
        0x96 => "messages come too fast",
        0x97 => "quota exceeded",
        0x98 => "administrative action",
        0x99 => "the payload is not what it says",
        0x9a => "retained messages are not supported",
        0x9b => "this quality of service is not supported",
        0x9c => "use another server",
        0x9d => "the server has moved",
        0x9f => "too many connections",
        0xa1 | 0xa2 => "this kind of subscription is not supported",
        _ => "a code without a name",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(bytes: &[u8], five: bool) -> Result<Vec<Packet>, String> {
        let mut buffer = BytesMut::from(bytes);
        let mut packets = Vec::new();
        while let Some(packet) = decode(&mut buffer, five, 1_000)? {
            packets.push(packet);
        }
        Ok(packets)
    }

    fn publish(five: bool) -> Vec<u8> {
        let properties = Writer::default().u8(0x26).text(b"a").text(b"b").u8(0x03).text(b"text/plain").u8(0x01).u8(1);
        Writer::default().text(b"t/1").u16(7).properties(five, properties).raw(b"hello").packet(0x32)
    }

    #[test]
    fn a_message_comes_back_as_it_was_written() {
        for five in [false, true] {
            let Packet::Publish(found) = all(&publish(five), five).unwrap().remove(0) else { panic!("no message") };
            assert_eq!((found.topic.as_str(), found.qos, found.id, &found.payload[..]), ("t/1", 1, 7, &b"hello"[..]));
            let user = if five { vec![("a".to_owned(), "b".to_owned())] } else { vec![] };
            assert_eq!(found.properties.user, user);
            assert_eq!(found.properties.content_type.is_some(), five);
        }
    }

    #[test]
    fn answers_are_read_in_their_long_and_short_forms() {
        let long = [0x20, 0x03, 0, 0x87, 0, 0x40, 2, 0, 9, 0x40, 4, 0, 9, 0x97, 0, 0xd0, 0, 0x90, 4, 0, 1, 0, 0x80];
        let code = |code| Answer { code, ..Answer::default() };
        let expected = [
            Packet::ConnAck(code(0x87)),
            Packet::PubAck(9, code(0)),
            Packet::PubAck(9, code(0x97)),
            Packet::PingResp,
            Packet::SubAck(1, code(0x80)),
        ];
        assert_eq!(all(&long, true).unwrap(), expected);
        assert_eq!(all(&[0x20, 2, 0, 5, 0x90, 3, 0, 1, 0x80], false).unwrap().len(), 2);
        assert_eq!(all(&[0x20, 2, 0, 1], true).unwrap(), [Packet::ConnAck(code(1))], "an old broker's answer");
    }

    #[test]
    fn lengths_of_every_size_are_written_and_read() {
        for length in [0, 1, 127, 128, 16_383, 16_384, 100_000] {
            let bytes = Writer::default().text(b"t").raw(&vec![b'x'; length]).packet(0x30);
            let mut buffer = BytesMut::from(&bytes[..]);
            let Ok(Some(Packet::Publish(found))) = decode(&mut buffer, false, 200_000) else { panic!("{length}") };
            assert_eq!((found.payload.len(), buffer.len()), (length, 0));
        }
    }

    #[test]
    fn what_is_no_packet_is_an_error() {
        for (bytes, said) in [
            (&[0x30u8, 0xff, 0xff, 0xff, 0xff, 1][..], "without an end"),
            (&[0x30, 0xff, 0xff, 0xff, 0x7f], "at most 1000"),
            (&[0x30, 2, 0, 9], "ends too early"),
            (&[0xf0, 0], "kind 15"),
            (b"HTTP/1.1 400 Bad Request\r\n", "is it an MQTT broker?"),
        ] {
            let error = all(bytes, true).map(|_| ()).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200), flip in any::<u8>(), at in 0usize..40, five in any::<bool>(),
        ) {
            let _ = all(&bytes, five);
            let mut near = publish(five);
            let at = at % near.len();
            near[at] ^= flip;
            let _ = all(&near, five);
        }
    }
}
