//! Bodies that the sandbox answers with: whole ones, ones that break off, and ones that are far too large.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

/// What is left to send.
#[derive(Debug)]
pub struct Body {
    chunk: Bytes,
    left: usize,
    announced: bool,
    breaks: bool,
    flushed: bool,
}

/// The body breaks off: the server closes the connection.
#[derive(Debug, thiserror::Error)]
#[error("break the body off, as the fault says")]
pub struct Broken;

impl Body {
    /// These bytes, with their length.
    pub fn whole(bytes: Vec<u8>) -> Self {
        Self { left: bytes.len(), chunk: Bytes::from(bytes), announced: true, breaks: false, flushed: false }
    }

    /// The first half of these bytes, then nothing although their length was announced.
    pub fn broken(bytes: &[u8]) -> Self {
        Self {
            chunk: Bytes::copy_from_slice(&bytes[..bytes.len() / 2]),
            left: bytes.len(),
            announced: true,
            breaks: true,
            flushed: false,
        }
    }

    /// So many bytes of an endless JSON string, made as they are sent.
    pub fn huge(bytes: usize, announced: bool) -> Self {
        Self { chunk: Bytes::from(vec![b' '; 64 * 1024]), left: bytes, announced, breaks: false, flushed: false }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        if self.breaks && self.chunk.is_empty() {
            if !self.flushed {
                // The server sends what it has when the body has nothing for it; only then it is closed upon.
                self.flushed = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            return Poll::Ready(Some(Err(Broken)));
        }
        let part = self.chunk.slice(..self.chunk.len().min(self.left));
        self.left -= part.len();
        if self.breaks {
            self.chunk = Bytes::new();
        }
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        if self.announced { SizeHint::with_exact(self.left as u64) } else { SizeHint::default() }
    }
}
