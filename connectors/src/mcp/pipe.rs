//! The protocol over a program's standard input and output: a message a line.
//!
//! A line that is no message is passed over, because servers print banners; after a thousand of them, or with a line that is
//! too long, the server is given up. The end of its output is the end of the session.

use std::io;
use std::sync::Arc;

use cpd_connector_api::{Problem, Standard, Value};
use rmcp::RoleClient;
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::Mutex;

use super::witness::Witness;

/// Lines that are no messages: more of them, and the other side speaks something else.
const GARBAGE_LINES_MAX: usize = 1_000;

/// The transport.
pub struct Pipe {
    output: BufReader<ChildStdout>,
    /// What of a line has come. Here and not in a future, because receiving is cancelled and taken up again.
    line: Vec<u8>,
    line_bytes_max: usize,
    input: Arc<Mutex<Option<ChildStdin>>>,
    witness: Arc<Witness>,
}

impl Pipe {
    /// Over a program's output and input.
    pub fn new(output: ChildStdout, input: ChildStdin, line_bytes_max: usize, witness: Arc<Witness>) -> Self {
        let input = Arc::new(Mutex::new(Some(input)));
        Self { output: BufReader::new(output), line: Vec::new(), line_bytes_max, input, witness }
    }

    /// The next whole line; `None` at the end.
    async fn next_line(&mut self) -> Result<Option<Vec<u8>>, String> {
        loop {
            let piece = self.output.fill_buf().await.map_err(|e| format!("its output does not read: {e}"))?;
            if piece.is_empty() {
                return Ok(None);
            }
            let end = piece.iter().position(|b| *b == b'\n');
            let taken = end.map_or(piece.len(), |end| end + 1);
            self.line.extend_from_slice(&piece[..taken]);
            self.output.consume(taken);
            if self.line.len() > self.line_bytes_max {
                return Err(format!("found a line of more than {0} bytes, expected at most {0}", self.line_bytes_max));
            }
            if end.is_some() {
                return Ok(Some(std::mem::take(&mut self.line)));
            }
        }
    }

    async fn message(&mut self) -> Result<RxJsonRpcMessage<RoleClient>, String> {
        loop {
            let Some(line) = self.next_line().await? else {
                return Err("the server closed its output".into());
            };
            let Some(text) = std::str::from_utf8(&line).ok().map(str::trim) else {
                self.garbage(&line)?;
                continue;
            };
            if text.is_empty() {
                continue;
            }
            match serde_json::from_str(text) {
                Ok(message) => {
                    if let Ok(value) = Value::from_json(text.as_bytes()) {
                        self.witness.response(&value);
                    }
                    return Ok(message);
                }
                Err(_) => self.garbage(&line)?,
            }
        }
    }

    fn garbage(&self, line: &[u8]) -> Result<(), String> {
        if self.witness.garbage(line) < GARBAGE_LINES_MAX {
            return Ok(());
        }
        Err("the server does not speak the protocol".into())
    }
}

impl Transport<RoleClient> for Pipe {
    type Error = io::Error;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), io::Error>> + Send + 'static {
        let input = self.input.clone();
        async move {
            let mut line = serde_json::to_vec(&message)?;
            line.push(b'\n');
            let mut input = input.lock().await;
            let input = input.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
            input.write_all(&line).await?;
            input.flush().await
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        match self.message().await {
            Ok(message) => Some(message),
            Err(what) => {
                let detail = format!("{what}{}", self.witness.remark());
                self.witness.lost(Problem::standard(Standard::Runtime, detail).with_status(502));
                None
            }
        }
    }

    async fn close(&mut self) -> Result<(), io::Error> {
        // The server sees the end of its input, which is how it is told to go.
        drop(self.input.lock().await.take());
        Ok(())
    }
}
