//! A small HTTP server in the test's process: it counts effects by `Idempotency-Key`, and misbehaves when asked.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// What a key has done.
#[derive(Clone, Debug, Default)]
pub struct Effect {
    /// How often it was asked for.
    pub calls: u32,
    /// What was asked for: path and body. More than one is a key that stands for two effects.
    pub what: std::collections::BTreeSet<String>,
}

#[derive(Default)]
struct State {
    effects: Mutex<BTreeMap<String, Effect>>,
    /// Requests without a key, that have an effect.
    keyless: Mutex<Vec<String>>,
    calls: Mutex<Vec<String>>,
    /// `/gate` answers once it is open.
    gate: AtomicBool,
    stopped: AtomicBool,
}

/// The server; its end is the end of its accepting.
pub struct Server {
    address: SocketAddr,
    state: Arc<State>,
}

impl Server {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let state = Arc::clone(&shared);
                // A client that was killed closes its side in the middle; that is what these tests do.
                std::thread::spawn(move || drop(stream.and_then(|stream| serve(&state, stream))));
            }
        });
        Self { address, state }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn effects(&self) -> BTreeMap<String, Effect> {
        self.state.effects.lock().expect("a lock").clone()
    }

    pub fn keyless(&self) -> Vec<String> {
        self.state.keyless.lock().expect("a lock").clone()
    }

    /// Paths that were asked for, in order.
    pub fn calls(&self) -> Vec<String> {
        self.state.calls.lock().expect("a lock").clone()
    }

    /// Lets `/gate` answer.
    pub fn open_gate(&self) {
        self.state.gate.store(true, Ordering::SeqCst);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::SeqCst);
        self.open_gate();
        drop(TcpStream::connect(self.address));
    }
}

fn serve(state: &State, stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split_whitespace();
        let (method, path) = (words.next().unwrap_or("").to_owned(), words.next().unwrap_or("").to_owned());
        let (mut length, mut key) = (0, None);
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.trim_end().split_once(':') else { break };
            match &*name.to_ascii_lowercase() {
                "content-length" => length = value.trim().parse().unwrap_or(0),
                "idempotency-key" => key = Some(value.trim().to_owned()),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        state.calls.lock().expect("a lock").push(format!("{method} {path}"));
        if method != "GET" {
            let what = format!("{method} {path} {}", String::from_utf8_lossy(&body));
            match key {
                Some(key) => {
                    let mut effects = state.effects.lock().expect("a lock");
                    let effect = effects.entry(key).or_default();
                    effect.calls += 1;
                    effect.what.insert(what);
                }
                None => state.keyless.lock().expect("a lock").push(what),
            }
        }
        match &*path {
            "/500" => answer(
                &mut stream,
                "500 Internal Server Error",
                "application/json",
                br#"{"detail":"the disk is on fire"}"#,
            )?,
            "/html" => answer(&mut stream, "200 OK", "text/html", b"<html><body>Please log in</body></html>")?,
            "/liar" => answer(&mut stream, "200 OK", "application/json", b"<html><body>Please log in</body></html>")?,
            "/big" => answer(&mut stream, "200 OK", "application/json", &vec![b'1'; 40 << 20])?,
            "/api.json" => {
                let text = format!(
                    r##"{{"asyncapi":"3.0.0","servers":{{"main":{{"host":"{}","protocol":"http"}}}},"channels":{{"room":{{"address":"room"}}}},
                    "operations":{{"say":{{"action":"receive","channel":{{"$ref":"#/channels/room"}}}}}}}}"##,
                    stream.local_addr()?
                );
                answer(&mut stream, "200 OK", "application/json", text.as_bytes())?;
            }
            "/lines" => {
                answer(&mut stream, "200 OK", "application/x-ndjson", b"{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n{\"n\":4}\n")?
            }
            // Held until the client gives up: the answer never comes.
            "/never" => while reader.read(&mut [0; 64])? > 0 {},
            "/gate" => {
                while !state.gate.load(Ordering::SeqCst) {
                    std::thread::yield_now();
                }
                answer(&mut stream, "200 OK", "application/json", br#"{"passed":true}"#)?;
            }
            _ => {
                let text = format!(r#"{{"path":"{path}"}}"#);
                answer(&mut stream, "200 OK", "application/json", text.as_bytes())?;
            }
        }
    }
}

fn answer(stream: &mut TcpStream, status: &str, kind: &str, body: &[u8]) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)
}
