//! `digest` against a server that issues nonces and checks every answer by a computation of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use cpd_connector_api::{Connector, Value, json};
use md5::Md5;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use crate::server::{Asked, Reply, Server};
use crate::support::*;

const PASSWORD: &str = "Circle of \"Life\"";

fn hash(algorithm: &str, text: &str) -> String {
    let bytes = match algorithm {
        "MD5" => Md5::digest(text).to_vec(),
        _ => Sha256::digest(text).to_vec(),
    };
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// What the server asks for, and what it has seen.
struct Guard {
    algorithm: &'static str,
    qop: &'static str,
    /// Nonces that are turned down as too old, so many.
    stale: u32,
    nonces: u32,
    effects: u32,
    counts: Vec<String>,
}

impl Guard {
    fn new(algorithm: &'static str, qop: &'static str) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { algorithm, qop, stale: 0, nonces: 0, effects: 0, counts: Vec::new() }))
    }

    fn challenge(&mut self, stale: bool) -> Reply {
        self.nonces += 1;
        let mut value = format!("Digest realm=\"a, b\", nonce=\"n{}\", opaque=\"o=\"", self.nonces);
        if !self.algorithm.is_empty() {
            value.push_str(&format!(", algorithm={}", self.algorithm));
        }
        if !self.qop.is_empty() {
            value.push_str(&format!(", qop=\"{}\"", self.qop));
        }
        if stale {
            value.push_str(", stale=true");
        }
        Reply::json(401, &json!({"error": "who are you?"}))
            .with("www-authenticate", "Basic realm=x")
            .with("www-authenticate", value)
    }

    fn answer(&mut self, asked: &Asked) -> Reply {
        let Some(given) = asked.header("authorization").and_then(|a| a.strip_prefix("Digest ")) else {
            return self.challenge(false);
        };
        let members = members(given);
        let one = |name: &str| members.get(name).map_or("", String::as_str);
        if one("nonce") != format!("n{}", self.nonces) || self.stale > 0 {
            self.stale = self.stale.saturating_sub(1);
            return self.challenge(true);
        }
        let (base, session) = self.algorithm.strip_suffix("-sess").map_or((self.algorithm, false), |b| (b, true));
        let h = |text: &str| hash(if base.is_empty() { "MD5" } else { base }, text);
        let mut first = h(&format!("Mufasa:a, b:{PASSWORD}"));
        if session {
            first = h(&format!("{first}:{}:{}", one("nonce"), one("cnonce")));
        }
        let mut second = format!("{}:{}", asked.method, asked.target());
        if one("qop") == "auth-int" {
            second = format!("{second}:{}", h(asked.text()));
        }
        let second = h(&second);
        let middle = match one("qop") {
            "" => one("nonce").to_owned(),
            qop => format!("{}:{}:{}:{qop}", one("nonce"), one("nc"), one("cnonce")),
        };
        let good = one("response") == h(&format!("{first}:{middle}:{second}"))
            && one("uri") == asked.target()
            && one("opaque") == "o="
            && one("username") == "Mufasa"
            && one("qop").is_empty() == self.qop.is_empty();
        if !good {
            return self.challenge(false);
        }
        self.effects += 1;
        self.counts.push(one("nc").to_owned());
        Reply::json(200, &json!({"sent": given, "body": asked.text()}))
    }
}

/// The members of an answer, whose values may be quoted.
fn members(text: &str) -> BTreeMap<String, String> {
    let mut members = BTreeMap::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_start_matches([',', ' ']).to_owned();
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => {
                let end = (0..quoted.len()).find(|i| quoted[*i..].starts_with('"') && !quoted[..*i].ends_with('\\'));
                let end = end.expect("the quotation ends");
                (quoted[..end].replace("\\\"", "\""), &quoted[end + 1..])
            }
            None => {
                let end = after.find(',').unwrap_or(after.len());
                (after[..end].to_owned(), &after[end..])
            }
        };
        members.insert(name, value);
        rest = next;
    }
    members
}

async fn guarded(guard: &Arc<Mutex<Guard>>) -> Server {
    let guard = Arc::clone(guard);
    Server::start(move |asked| match asked.path.as_str() {
        "/moved" => Reply::redirect(307, "/thing?a=b&c=%20d"),
        _ => guard.lock().answer(asked),
    })
    .await
}

fn ask(url: String, method: &str, password: &str) -> cpd_connector_api::Request {
    let policy = json!({"digest": {"username": "Mufasa", "password": password}});
    let endpoint = json!({"uri": url, "authentication": policy});
    let mut input = json!({"method": method, "endpoint": endpoint, "redirect": true}).as_object().unwrap().clone();
    if method == "POST" {
        input.insert("body".into(), json!("the body"));
    }
    request("http.request", "k", Value::from(input))
}

#[tokio::test]
async fn every_kind_of_challenge_is_answered_to_a_server_that_checks() {
    for algorithm in ["", "MD5", "MD5-sess", "SHA-256", "SHA-256-sess"] {
        for qop in ["", "auth", "auth-int,auth", "auth-int"] {
            let guard = Guard::new(algorithm, qop);
            let server = guarded(&guard).await;
            for (number, method) in ["GET", "POST"].into_iter().enumerate() {
                let outcome = http().call(ask(server.url("/thing?a=b&c=%20d"), method, PASSWORD)).await;
                let shown = format!("{outcome:?}");
                let answer = output(outcome);
                let sent = text(&answer, &["sent"]);
                assert!(
                    sent.contains("response=\"[redacted]\"") && !shown.contains("Life"),
                    "{algorithm} {qop}: {sent}"
                );
                assert_eq!(text(&answer, &["body"]), if method == "POST" { "the body" } else { "" });
                assert_eq!(guard.lock().effects, u32::try_from(number).unwrap() + 1);
            }
            assert_eq!(server.asked().len(), 4, "a challenge and an answer each");
        }
    }
}

#[tokio::test]
async fn a_nonce_that_grew_old_is_replaced_and_a_wrong_password_is_told_once() {
    let guard = Guard::new("SHA-256", "auth");
    guard.lock().stale = 1;
    let server = guarded(&guard).await;
    output(http().call(ask(server.url("/thing"), "POST", PASSWORD)).await);
    assert_eq!((guard.lock().effects, server.asked().len()), (1, 3));
    guard.lock().stale = 100;
    let outcome = http().call(ask(server.url("/thing"), "POST", PASSWORD)).await;
    assert_eq!((trouble(&outcome).0, trouble(&outcome).1.status), ("refused", 401));
    assert_eq!(server.asked().len(), 3 + 4, "a server that finds every nonce too old is not asked for ever");

    let guard = Guard::new("SHA-256", "auth");
    let server = guarded(&guard).await;
    let outcome = http().call(ask(server.url("/thing"), "POST", "wrong password")).await;
    let (name, problem) = trouble(&outcome);
    assert_eq!((name, problem.status), ("refused", 401));
    assert!(problem.kind.ends_with("/communication"), "the service's own word: {problem}");
    assert_eq!((guard.lock().effects, server.asked().len()), (0, 2));
}

#[tokio::test]
async fn a_redirect_within_the_origin_is_answered_for_its_own_address() {
    let guard = Guard::new("SHA-256", "auth");
    let server = guarded(&guard).await;
    output(http().call(ask(server.url("/moved"), "POST", PASSWORD)).await);
    assert_eq!(guard.lock().effects, 1);
    assert_eq!(guard.lock().counts, ["00000001"]);
}

#[tokio::test]
async fn another_origin_gets_no_answer_to_its_challenge() {
    let guard = Guard::new("MD5", "");
    let thief = guarded(&guard).await;
    let target = thief.url("/thing");
    let server = Server::start(move |_| Reply::redirect(302, target.clone())).await;
    let outcome = http().call(ask(server.url("/"), "GET", PASSWORD)).await;
    assert_eq!((trouble(&outcome).0, trouble(&outcome).1.status), ("refused", 401));
    assert_eq!(thief.asked().len(), 1);
    assert_eq!(thief.asked()[0].header("authorization"), None);
}

#[tokio::test]
async fn a_server_without_a_digest_challenge_is_a_problem_of_authentication() {
    for (challenge, said) in [
        (Some("Basic realm=x, Digest realm=y, nonce=z, algorithm=SHA-3"), "with basic, digest with SHA-3"),
        (None, "with no WWW-Authenticate"),
    ] {
        let server = Server::start(move |_| {
            let reply = Reply::new(401, "text/plain", "who are you?");
            challenge.map_or(reply.clone(), |c| reply.with("www-authenticate", c))
        })
        .await;
        let outcome = http().call(ask(server.url("/"), "POST", PASSWORD)).await;
        let (name, problem) = trouble(&outcome);
        assert_eq!((name, problem.status), ("refused", 401));
        assert!(problem.kind.ends_with("/authentication"), "{problem}");
        assert!(detail(problem).contains(said), "{problem}");
        assert_eq!(server.asked().len(), 1);
    }
}
