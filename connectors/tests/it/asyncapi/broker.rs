//! Real brokers: Debian's `nats-server`, `mosquitto` and `redis-server`, and the command-line clients that come with them as foreign witnesses.
//!
//! `CPD_REAL_BROKERS`, or else `CPD_REAL_PARTS`, says what to do when a program is not there: `require` fails, nothing set skips loudly,
//! `skip` leaves them out (`tests/real/brokers.sh` installs them). Each broker listens on a loopback port of its own, lives no longer than its
//! [`Broker`], and takes a signal if the test is killed. What it says is watched, so that nothing here waits by sleeping.

use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;

/// How long a broker may take for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// The path of a program, or `None` after a line that says loudly why the test is skipped.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    let found = dirs.map(|dir| dir.join(name)).find(|p| p.is_file());
    let wish = ["CPD_REAL_BROKERS", "CPD_REAL_PARTS"].into_iter().find_map(|name| std::env::var(name).ok());
    let wish = wish.unwrap_or_default();
    let why = match (wish.as_str(), found) {
        ("skip", _) => "CPD_REAL_BROKERS or CPD_REAL_PARTS is skip".to_owned(),
        ("require" | "", Some(found)) => return Some(found),
        ("", None) => format!("{name} is not installed; tests/real/brokers.sh does it"),
        ("require", None) => panic!("{name} is required and not installed: run tests/real/brokers.sh"),
        _ => panic!("CPD_REAL_BROKERS or CPD_REAL_PARTS is neither `require` nor `skip`"),
    };
    // Straight to the stream: a captured line would not be seen.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
    None
}

/// A running program whose output is watched.
pub struct Broker {
    pub port: u16,
    child: Child,
    said: watch::Receiver<String>,
    dir: tempfile::TempDir,
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Broker {
    /// Starts a program with a directory of its own, as it says. It is ended when the test is.
    fn spawn(program: &Path, port: u16, arguments: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program).args(arguments(dir.path()));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, said) = watch::channel(String::new());
        let pipes: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for pipe in pipes {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    sender.send_modify(|said| {
                        said.push_str(&line);
                        said.push('\n');
                    });
                }
            });
        }
        Self { port, child, said, dir }
    }

    /// Everything that it has said, as soon as that is in it.
    pub async fn says(&self, what: &str) -> String {
        self.repeats(what, 1).await
    }

    /// The same as soon as it is in it so many times.
    pub async fn repeats(&self, what: &str, times: usize) -> String {
        let mut said = self.said.clone();
        let enough = said.wait_for(|said| said.matches(what).count() >= times);
        let waited = tokio::time::timeout(PATIENCE, enough).await;
        match waited {
            Ok(Ok(said)) => said.clone(),
            _ => panic!("it never said {what:?}:\n{}", *self.said.borrow()),
        }
    }

    /// Kills it outright.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end.
    pub fn terminate(&mut self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).unwrap();
        self.child.wait().unwrap();
    }

    /// A NATS server with these lines in its configuration.
    pub async fn nats(config: &str) -> Option<Self> {
        let program = program("nats-server")?;
        let config = config.to_owned();
        let mut broker = Self::spawn(&program, 0, |dir| {
            let path = dir.join("nats.conf");
            std::fs::write(&path, format!("listen: 127.0.0.1:-1\n{config}\n")).unwrap();
            // With a trace of every line, to know when a subscription is there.
            ["-c", path.to_str().unwrap(), "-DV"].map(str::to_owned).to_vec()
        });
        let said = broker.says("Server is ready").await;
        let at = "client connections on 127.0.0.1:";
        let port = said.split(at).nth(1).and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        broker.port = port.unwrap_or_else(|| panic!("no port in\n{said}"));
        Some(broker)
    }

    /// A mosquitto with these lines in its configuration; `{dir}` in them is its directory.
    pub async fn mosquitto(config: &str, files: &[(&str, &str)]) -> Option<Self> {
        let program = program("mosquitto")?;
        // It takes no port of the system's choice, so another may be faster: then another one.
        for _ in 0..10 {
            let port = free_port();
            let broker = Self::spawn(&program, port, |dir| {
                for (name, content) in files {
                    std::fs::write(dir.join(name), content).unwrap();
                }
                let path = dir.join("mosquitto.conf");
                let more = config.replace("{dir}", dir.to_str().unwrap());
                let own = format!("user root\nlistener {port} 127.0.0.1\nlog_type all\nlog_dest stderr\n{more}\n");
                std::fs::write(&path, own).unwrap();
                ["-c", path.to_str().unwrap(), "-v"].map(str::to_owned).to_vec()
            });
            let mut said = broker.said.clone();
            let up = |said: &String| said.contains("running") || said.contains("Address already in use");
            let said = tokio::time::timeout(PATIENCE, said.wait_for(up)).await.expect("mosquitto speaks");
            if said.expect("mosquitto came up").contains("running") {
                return Some(broker);
            }
        }
        panic!("found no free port in ten tries")
    }

    /// A Redis server with these arguments.
    pub async fn redis(arguments: &[&str]) -> Option<Self> {
        let program = program("redis-server")?;
        for _ in 0..10 {
            let port = free_port();
            let broker = Self::spawn(&program, port, |dir| {
                let port = port.to_string();
                let own = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--dir", dir.to_str().unwrap()];
                own.iter().chain(arguments).map(ToString::to_string).collect()
            });
            let mut said = broker.said.clone();
            let up = |said: &String| said.contains("Ready to accept") || said.contains("Address already in use");
            let said = tokio::time::timeout(PATIENCE, said.wait_for(up)).await.expect("redis-server speaks");
            if said.expect("redis-server came up").contains("Ready to accept") {
                return Some(broker);
            }
        }
        panic!("found no free port in ten tries")
    }

    /// A foreign client that runs until it is done: `mosquitto_sub`, `redis-cli`.
    pub fn client(&self, name: &str, arguments: &[&str]) -> Option<Self> {
        let program = program(name)?;
        let port = self.port.to_string();
        let arguments: Vec<String> = ["-p", &port].iter().chain(arguments).map(ToString::to_string).collect();
        Some(Self::spawn(&program, self.port, |_| arguments))
    }

    /// What it says until it ends by itself.
    pub async fn last_words(mut self) -> String {
        let mut said = self.said.clone();
        // The watchers let go when the program has closed its output.
        let all = async { while said.changed().await.is_ok() {} };
        tokio::time::timeout(PATIENCE, all).await.expect("a client ends");
        self.child.wait().unwrap();
        self.said.borrow().clone()
    }

    /// A file in its directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// An authority's certificate, and certificate and key of `localhost`, as PEM.
pub fn certificates() -> (String, String, String) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    (pem, leaf.pem(), key.serialize_pem())
}
