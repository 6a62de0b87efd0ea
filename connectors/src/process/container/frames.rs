//! A container's output as the engine sends it: frames of a stream's number, three zeros, a length and that many bytes.

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::process::child::Output;

/// Why reading stopped before the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// More than is taken.
    TooMuch(&'static str),
    /// No frames, or not whole ones.
    Broken(String),
}

/// Reads frames into `output` until the stream ends, or one output has more than `most` bytes.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin), most: usize, output: &mut Output) -> Result<(), Stop> {
    loop {
        let mut head = [0_u8; 8];
        match fill(stream, &mut head).await? {
            0 => return Ok(()),
            8 => {}
            n => return Err(Stop::Broken(format!("found {n} bytes of a frame's head, expected 8"))),
        }
        let [number, a, b, c, length @ ..] = head;
        let (name, into) = match (number, a, b, c) {
            (0 | 1, 0, 0, 0) => ("stdout", &mut output.stdout),
            (2, 0, 0, 0) => ("stderr", &mut output.stderr),
            _ => return Err(Stop::Broken(format!("found {head:?}, expected the head of a frame"))),
        };
        let length = u32::from_be_bytes(length) as usize;
        if into.len().saturating_add(length) > most {
            return Err(Stop::TooMuch(name));
        }
        let at = into.len();
        into.resize(at + length, 0);
        let found = fill(stream, &mut into[at..]).await?;
        if found < length {
            into.truncate(at + found);
            return Err(Stop::Broken(format!("found {found} bytes of a frame, expected {length}")));
        }
    }
}

/// Reads until the buffer is full or the stream has ended: how many bytes that were.
async fn fill(stream: &mut (impl AsyncRead + Unpin), buffer: &mut [u8]) -> Result<usize, Stop> {
    let mut filled = 0;
    while filled < buffer.len() {
        match stream.read(&mut buffer[filled..]).await {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) => return Err(Stop::Broken(e.to_string())),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(number: u8, text: &[u8]) -> Vec<u8> {
        [&[number, 0, 0, 0][..], &(text.len() as u32).to_be_bytes(), text].concat()
    }

    async fn of(bytes: &[u8], most: usize) -> (Result<(), Stop>, Output) {
        let mut output = Output::default();
        (read(&mut &*bytes, most, &mut output).await, output)
    }

    #[tokio::test]
    async fn frames_are_sorted_by_stream() {
        let bytes = [frame(1, b"a"), frame(2, b"E"), frame(1, b""), frame(1, b"b")].concat();
        let (end, output) = of(&bytes, 2).await;
        assert_eq!((end, output), (Ok(()), Output { stdout: b"ab".to_vec(), stderr: b"E".to_vec() }));
    }

    #[tokio::test]
    async fn a_length_beyond_the_limit_is_refused_before_there_is_room_for_it() {
        let huge = [&[1, 0, 0, 0][..], &u32::MAX.to_be_bytes()].concat();
        assert_eq!(of(&huge, 1000).await.0, Err(Stop::TooMuch("stdout")));
    }

    #[tokio::test]
    async fn what_is_no_frame_or_half_of_one_is_said() {
        for bytes in [b"HTTP/1.1 200 OK".to_vec(), vec![1, 0, 0], frame(1, b"abc")[..9].to_vec(), frame(3, b"x")] {
            assert!(matches!(of(&bytes, 1000).await.0, Err(Stop::Broken(_))), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_keep_more_than_it_may(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (_, output) = runtime.block_on(of(&bytes, 64));
            prop_assert!(output.stdout.len() <= 64 && output.stderr.len() <= 64);
        }
    }
}
