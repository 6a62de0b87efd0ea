//! What a NATS server says, taken apart: lines of text, and messages with a number of bytes behind their line.

use bytes::{Buf as _, BytesMut};
use cpd_connector_api::Value;

use crate::asyncapi::message::Inbound;
use crate::asyncapi::session::quoted;

/// The longest line: `INFO` of a large cluster names all its servers.
const LINE_BYTES_MAX: usize = 256 * 1024;

/// One thing that a server says.
#[derive(Clone, Debug, PartialEq)]
pub enum Packet {
    /// `INFO {…}`
    Info(Value),
    /// `MSG` or `HMSG`.
    Message(Inbound),
    /// `PING`
    Ping,
    /// `PONG`
    Pong,
    /// `+OK`
    Ok,
    /// `-ERR '…'`, without the quotes.
    Error(String),
}

/// Takes packets off a buffer, none with a message of more than `bytes_max`.
pub fn decoder(bytes_max: usize) -> impl FnMut(&mut BytesMut) -> Result<Option<Packet>, String> {
    move |buffer| decode(buffer, bytes_max)
}

fn decode(buffer: &mut BytesMut, bytes_max: usize) -> Result<Option<Packet>, String> {
    let Some(end) = buffer.iter().take(LINE_BYTES_MAX).position(|b| *b == b'\n') else {
        if buffer.len() >= LINE_BYTES_MAX {
            return Err(format!("a line of more than {LINE_BYTES_MAX} bytes"));
        }
        return Ok(None);
    };
    let line = buffer[..end].strip_suffix(b"\r").unwrap_or(&buffer[..end]);
    let line = std::str::from_utf8(line).map_err(|_| format!("a line that is no text: {}", quoted(line)))?;
    let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let packet = match word.to_ascii_uppercase().as_str() {
        "MSG" | "HMSG" => {
            let head =
                Head::read(rest, word.len() == 4).ok_or_else(|| format!("the line {:?}", quoted(line.as_bytes())))?;
            if head.total > bytes_max {
                return Err(format!("a message of {} bytes, where at most {bytes_max} are taken", head.total));
            }
            // The message, its line and the line's end behind both.
            if buffer.len() < end + 1 + head.total + 2 {
                return Ok(None);
            }
            buffer.advance(end + 1);
            let body = buffer.split_to(head.total);
            if !buffer.starts_with(b"\r\n") {
                return Err(format!("a message that is longer than the {} bytes it says", head.total));
            }
            buffer.advance(2);
            return Ok(Some(Packet::Message(head.message(&body))));
        }
        "INFO" => {
            let info = Value::from_json(rest.trim().as_bytes()).map_err(|e| format!("an INFO that is no JSON: {e}"))?;
            Packet::Info(info)
        }
        "PING" => Packet::Ping,
        "PONG" => Packet::Pong,
        "+OK" => Packet::Ok,
        "-ERR" => Packet::Error(rest.trim().trim_matches('\'').to_owned()),
        _ => return Err(format!("the line {:?}", quoted(line.as_bytes()))),
    };
    buffer.advance(end + 1);
    Ok(Some(packet))
}

/// The line before a message: `subject sid [reply] [header-bytes] total-bytes`.
struct Head {
    subject: String,
    headers: usize,
    total: usize,
}

impl Head {
    fn read(line: &str, with_headers: bool) -> Option<Self> {
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        let sizes = if with_headers { 2 } else { 1 };
        // A reply subject may stand between the id and the sizes.
        if !(2 + sizes..=3 + sizes).contains(&words.len()) {
            return None;
        }
        let total: usize = words[words.len() - 1].parse().ok()?;
        let headers: usize = if with_headers { words[words.len() - 2].parse().ok()? } else { 0 };
        (headers <= total).then(|| Self { subject: words[0].to_owned(), headers, total })
    }

    fn message(self, body: &[u8]) -> Inbound {
        let (block, payload) = body.split_at(self.headers);
        let block = String::from_utf8_lossy(block);
        // The first line is the version, with a status where there is nothing else.
        let headers = block.lines().skip(1).filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.trim().to_owned(), value.trim().to_owned()))
        });
        Inbound {
            payload: payload.to_vec(),
            content_type: None,
            headers: headers.collect(),
            correlation: None,
            channel: Some(self.subject),
        }
    }
}

#[cfg(test)]
mod tests {
    use cpd_connector_api::json;
    use proptest::prelude::*;

    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<Packet>, String> {
        let mut buffer = BytesMut::from(bytes);
        let mut packets = Vec::new();
        while let Some(packet) = decode(&mut buffer, 1_000)? {
            packets.push(packet);
        }
        Ok(packets)
    }

    #[test]
    fn everything_that_a_server_says_is_understood() {
        let said = b"INFO {\"headers\":true}\r\nPING\r\npong\r\n+OK\r\n-ERR 'Authorization Violation'\r\n\
            MSG a.b 1 5\r\nhello\r\nHMSG a 1 reply 21 23\r\nNATS/1.0\r\nx: y: z\r\n\r\n{}\r\nMSG a 1 3\r\nno";
        let message = |channel: &str, payload: &[u8], headers: &[(&str, &str)]| {
            let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            let (payload, channel) = (payload.to_vec(), Some(channel.to_owned()));
            Packet::Message(Inbound { payload, headers, channel, ..Inbound::default() })
        };
        let expected = [
            Packet::Info(json!({"headers": true})),
            Packet::Ping,
            Packet::Pong,
            Packet::Ok,
            Packet::Error("Authorization Violation".into()),
            message("a.b", b"hello", &[]),
            message("a", b"{}", &[("x", "y: z")]),
        ];
        assert_eq!(all(said).unwrap(), expected);
    }

    #[test]
    fn what_is_none_of_it_is_an_error_that_shows_it() {
        for (said, expected) in [
            (&b"HTTP/1.1 400 Bad Request\r\n"[..], "HTTP/1.1 400"),
            (b"MSG a 1 x\r\n", "MSG a 1 x"),
            (b"MSG a 1 2000\r\n", "at most 1000"),
            (b"MSG a 1 2\r\nabcd\r\n", "longer than the 2 bytes"),
            (b"HMSG a 1 10 5\r\n", "HMSG a 1 10 5"),
            (b"INFO {\r\n", "no JSON"),
            (b"\xff\xfe\r\n", "no text"),
        ] {
            let error = all(said).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        assert!(all(&vec![b'x'; LINE_BYTES_MAX]).unwrap_err().contains("a line of more than"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_cuts_make_no_difference(
            bytes in prop::collection::vec(prop_oneof![
                Just(b"MSG a 1 3\r\nabc\r\n".to_vec()), Just(b"HMSG a 1 12 14\r\nNATS/1.0\r\n\r\n{}\r\n".to_vec()),
                Just(b"PING\r\n".to_vec()), prop::collection::vec(any::<u8>(), 0..20),
            ], 0..6),
            cut in 0usize..120,
        ) {
            let bytes = bytes.concat();
            let whole = all(&bytes);
            let cut = cut.min(bytes.len());
            let mut buffer = BytesMut::from(&bytes[..cut]);
            let mut packets = Vec::new();
            let mut step = |buffer: &mut BytesMut| -> Result<(), String> {
                while let Some(packet) = decode(buffer, 1_000)? {
                    packets.push(packet);
                }
                Ok(())
            };
            let first = step(&mut buffer);
            buffer.extend_from_slice(&bytes[cut..]);
            let done = first.and_then(|()| step(&mut buffer));
            prop_assert_eq!(whole, done.map(|()| packets));
        }
    }
}
