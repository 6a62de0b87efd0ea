//! Server-sent events, put together from pieces of bytes as they come.
//!
//! Follows the WHATWG's rules: lines end in CR, LF or both; an event ends with an empty line; `data` lines of an event are joined with
//! line feeds; comments and unknown fields are passed over. An event that the end of the stream cuts off is none.
//! Nothing here limits anything: whoever feeds the pieces counts them.

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its type, if it has one.
    pub event: Option<String>,
    /// Its data; `None` if it had no `data` line.
    pub data: Option<String>,
    /// Its id.
    pub id: Option<String>,
    /// How many milliseconds to wait before connecting again.
    pub retry: Option<u64>,
}

/// Puts events together.
#[derive(Clone, Debug, Default)]
pub struct Events {
    line: Vec<u8>,
    after_return: bool,
    begun: bool,
    event: Event,
}

impl Events {
    /// Takes the next bytes; returns the events that they complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut done = Vec::new();
        for &byte in bytes {
            // The line feed of a CR LF pair belongs to the line that the CR ended.
            let second = byte == b'\n' && self.after_return;
            self.after_return = byte == b'\r';
            match byte {
                b'\n' if second => {}
                b'\n' | b'\r' => done.extend(self.line_ended()),
                _ => self.line.push(byte),
            }
        }
        done
    }

    fn line_ended(&mut self) -> Option<Event> {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        let line =
            if std::mem::replace(&mut self.begun, true) { &line[..] } else { line.trim_start_matches('\u{feff}') };
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return (event != Event::default()).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => match &mut self.event.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                none => *none = Some(value.to_owned()),
            },
            "event" => self.event.event = Some(value.to_owned()),
            "id" => self.event.id = Some(value.to_owned()),
            "retry" => self.event.retry = value.parse().ok(),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn data(bytes: &[u8]) -> Vec<String> {
        Events::default().push(bytes).into_iter().filter_map(|e| e.data).collect()
    }

    #[test]
    fn events_end_with_an_empty_line_whatever_ends_lines() {
        assert_eq!(data(b"data: a\n\ndata:b\r\n\r\ndata: c\r\rdata: cut off"), ["a", "b", "c"]);
        assert_eq!(data("\u{feff}data: a\n: comment\ndata:  b\nodd: x\n\n".as_bytes()), ["a\n b"]);
        let events = Events::default().push(b"id: 7\nretry: 20\nevent: message\n\n");
        let expected = Event { event: Some("message".into()), data: None, id: Some("7".into()), retry: Some(20) };
        assert_eq!(events, [expected]);
    }

    proptest! {
        #[test]
        fn the_cut_of_the_pieces_makes_no_difference(bytes in "(data: [a-z]{0,5}|[\r\n]{1,3}|id: x|:c|é){0,30}", cut in 0usize..100) {
            let whole = Events::default().push(bytes.as_bytes());
            let cut = cut.min(bytes.len());
            let mut events = Events::default();
            let mut pieces = events.push(&bytes.as_bytes()[..cut]);
            pieces.extend(events.push(&bytes.as_bytes()[cut..]));
            prop_assert_eq!(whole, pieces);
        }
    }
}
