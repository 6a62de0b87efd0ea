//! `cpd serve`: the daemon as a process, and its API as a client sees it.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use super::{Place, eventually, workflow};

/// A daemon, and a client of it.
struct Daemon {
    child: Child,
    base: String,
    client: Client,
    token: Option<String>,
}

impl Daemon {
    fn start(place: &Place, listen: &str) -> Self {
        Self::run(place.command(&["serve", "--listen", listen]))
    }

    fn run(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the daemon starts");
        let mut base = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut base).expect("its address");
        assert!(base.starts_with("http://127.0.0.1:"), "{base:?}");
        let client = client(Duration::from_secs(30));
        Self { child, base: base.trim().to_owned(), client, token: None }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("an answer");
        let status = answer.status();
        let kind = answer.headers()["content-type"].to_str().expect("a text").to_owned();
        if status.is_client_error() || status.is_server_error() {
            assert_eq!(kind, "application/problem+json", "{path}");
        }
        let text = answer.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.ask(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        self.ask(Method::POST, path, Some(body)).await
    }

    async fn register(&self, source: &str) -> (StatusCode, Value) {
        let mut request = self.client.post(format!("{}/v1/definitions", self.base)).body(source.to_owned());
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.expect("an answer");
        (answer.status(), answer.json().await.expect("JSON"))
    }

    /// Ends it as a supervisor does.
    fn terminate(mut self) {
        Command::new("kill").arg(self.child.id().to_string()).status().expect("a signal");
        let status = self.child.wait().expect("an end");
        assert!(status.success(), "{status}");
    }

    fn kill(mut self) {
        self.child.kill().expect("a kill");
        self.child.wait().expect("an end");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn client(patience: Duration) -> Client {
    // Another test may have been first; it is the same for all.
    drop(rustls::crypto::ring::default_provider().install_default());
    Client::builder().no_proxy().timeout(patience).build().expect("a client")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// A place whose daemon lets this machine in.
fn local() -> Place {
    let place = Place::new();
    place.write(".cpd/cpd.toml", "[auth]\nlocal = true\n");
    place
}

const HELLO: &str =
    "  - greet: { set: { text: '${ \"hello \\(.who)\" }' } }\n  - rest: { wait: { milliseconds: 20 } }\n";

#[test]
fn a_run_is_started_waited_for_looked_at_and_replayed() {
    let place = local();
    let daemon = Daemon::start(&place, "127.0.0.1:0");
    runtime().block_on(async {
        assert_eq!(daemon.get("/healthz").await.0, 200);
        assert_eq!(daemon.get("/readyz").await, (StatusCode::OK, json!({ "ready": true, "why": [] })));
        assert_eq!(daemon.register(&workflow("hello", HELLO)).await.0, 201);
        assert_eq!(daemon.register(&workflow("hello", HELLO)).await.0, 200, "the same again changes nothing");
        let start = json!({ "workflow": "hello", "input": { "who": "you" }, "key": "k1" });
        let (status, started) = daemon.post("/v1/runs", start.clone()).await;
        assert_eq!((status, &started["existed"]), (StatusCode::CREATED, &json!(false)));
        let run = started["runId"].as_str().expect("a run").to_owned();
        let again = daemon.post("/v1/runs", start).await;
        assert_eq!((again.0, &again.1["runId"]), (StatusCode::OK, &started["runId"]));
        let (status, end) = daemon.get(&format!("/v1/runs/{run}/result?wait=20s")).await;
        assert_eq!(status, 200);
        assert_eq!(end, json!({ "runId": run, "status": "completed", "output": { "text": "hello you" } }));
        let (_, shown) = daemon.get(&format!("/v1/runs/{run}")).await;
        assert_eq!(shown["output"], json!({ "text": "hello you" }));
        let (_, list) = daemon.get("/v1/runs?status=completed&workflow=HELLO").await;
        assert_eq!(list["items"][0]["runId"], json!(run));
        assert_eq!(daemon.get("/v1/runs?status=open").await.1["items"], json!([]));
        let (_, log) = daemon.get(&format!("/v1/runs/{run}/log?limit=2")).await;
        assert_eq!((log["items"].as_array().map(Vec::len), &log["next"]), (Some(2), &json!("2")));
        assert_eq!(daemon.post(&format!("/v1/runs/{run}/replay"), json!({})).await.1["verdict"], "identical");
        let answer = daemon.client.get(format!("{}/v1/runs/{run}/log", daemon.base));
        let answer =
            answer.header("accept", "text/event-stream").header("last-event-id", "1").send().await.expect("a stream");
        let stream = answer.text().await.expect("a stream that ends with the run");
        assert!(stream.starts_with("id: 2\n") && stream.contains("event: RunCompleted"), "{stream}");
        let (status, text) = daemon.get("/metrics").await;
        assert!(status == 200 && text.as_str().is_some_and(|t| t.contains("cpd_") && t.ends_with("# EOF\n")), "{text}");
    });
    // What the command line sees is what the daemon has done; it does not start a second one over the directory.
    place.cpd(&["runs", "--json"]).exits(0).prints(&["completed", "hello"]);
    place.cpd(&["serve", "--listen", "127.0.0.1:0"]).exits(1).says(&["open the data directory"]);
    daemon.terminate();
    place.cpd(&["audit", "verify"]).exits(0);
}

#[test]
fn a_run_is_retried_forked_moved_to_another_version_and_drawn() {
    let place = local();
    let daemon = Daemon::start(&place, "127.0.0.1:0");
    runtime().block_on(async {
        let all = daemon.client.get(format!("{}/v1/stream", daemon.base)).send().await.expect("a stream");
        let policy = "cpd: policy/v1\nname: limit\nversion: 1.0.0\nfacts: { n: { type: number } }\n\
                      threshold: { any: [ n > 3 ] }\n";
        assert_eq!(daemon.register(policy).await.0, 201);
        let (status, decision) = daemon.post("/v1/policies/limit/evaluate", json!({ "facts": { "n": 4 } })).await;
        assert_eq!((status, &decision["outcome"]), (StatusCode::OK, &json!("TRIGGERED")), "{decision}");
        assert_eq!(daemon.post("/v1/policies/limits/evaluate", json!({ "facts": {} })).await.0, 404);

        let faulty = "  - first: { set: { n: 1 } }\n  - fail: { raise: { error: { type: 'urn:test', status: 400, title: No } } }\n";
        assert_eq!(daemon.register(&workflow("faulty", faulty)).await.0, 201);
        let start = async |name: &str| {
            let (status, started) = daemon.post("/v1/runs", json!({ "workflow": name })).await;
            assert_eq!(status, 201, "{started}");
            started["runId"].as_str().expect("a run").to_owned()
        };
        let ended = async |run: &str| daemon.get(&format!("/v1/runs/{run}/result?wait=20s")).await.1;
        let failed = start("faulty").await;
        assert_eq!(ended(&failed).await["status"], "faulted");
        for (path, body) in [("retry", json!({})), ("fork", json!({ "from": "fail" })), ("fork", json!({ "from": 1 }))] {
            let (status, again) = daemon.post(&format!("/v1/runs/{failed}/{path}"), body).await;
            assert_eq!(status, 201, "{path}: {again}");
            let run = again["runId"].as_str().expect("a run");
            assert_eq!(ended(run).await["status"], "faulted", "{path}");
        }
        assert_eq!(daemon.post(&format!("/v1/runs/{failed}/fork"), json!({})).await.0, 400);
        let (status, wrong) = daemon.post(&format!("/v1/runs/{failed}/fork"), json!({ "from": "nothing" })).await;
        assert!(status.is_client_error() && wrong["detail"].is_string(), "{wrong}");
        for (format, says) in [("svg", "<svg"), ("mermaid", "flowchart"), ("dot", "digraph"), ("json", "")] {
            let (status, drawn) = daemon.get(&format!("/v1/runs/{failed}/graph?format={format}")).await;
            assert!(status == 200 && drawn.to_string().contains(says), "{format}: {drawn}");
        }
        assert_eq!(daemon.get(&format!("/v1/runs/{failed}/graph?format=png")).await.0, 400);

        let long = workflow("long", "  - rest: { wait: { minutes: 10 } }\n  - say: { set: { version: 1 } }\n");
        assert_eq!(daemon.register(&long).await.0, 201);
        let run = start("long").await;
        let later = long.replace("'1.0.0'", "'1.1.0'").replace("version: 1 ", "version: 2 ");
        assert_eq!(daemon.register(&later).await.0, 201);
        let migrate = format!("/v1/runs/{run}/migrate");
        assert_eq!(daemon.post(&migrate, json!({ "to": "9.0.0" })).await.0, 404);
        let (status, moved) = daemon.post(&migrate, json!({ "to": "1.1.0" })).await;
        assert_eq!((status, &moved["version"]), (StatusCode::OK, &json!("1.1.0")), "{moved}");
        assert_eq!(daemon.get(&format!("/v1/runs/{run}")).await.1["version"], "1.1.0");
        assert_eq!(daemon.post(&format!("/v1/runs/{run}/cancel"), json!({ "reason": "enough" })).await.0, 200);
        assert_eq!(ended(&run).await["status"], "cancelled");

        let ask = "  - ask: { call: approval.request, with: { title: 'Go on?', approvers: { users: [ann] } } }\n";
        assert_eq!(daemon.register(&workflow("ask", ask)).await.0, 201);
        let asking = start("ask").await;
        let delegate = format!("/v1/runs/{asking}/delegate");
        let (status, not_theirs) = daemon.post(&delegate, json!({ "to": "bob" })).await;
        assert!(status == 403 && not_theirs["detail"].is_string(), "only who may decide may hand it on: {not_theirs}");
        assert_eq!(daemon.post(&delegate, json!({})).await.0, 400);

        // All of it was told to those who watch, and the end of the daemon ends what they watch.
        Command::new("kill").arg(daemon.child.id().to_string()).status().expect("a signal");
        let told = all.text().await.expect("a stream that ends");
        for event in ["RunStarted", "RunFaulted", "RunCancelled", "test/long"] {
            assert!(told.contains(event), "{event} is not in {told}");
        }
    });
    daemon.terminate();
}

#[test]
fn who_is_being_served_when_the_daemon_ends_is_answered_and_who_sends_slowly_is_not_waited_for() {
    use std::io::{Read as _, Write as _};
    let place = Place::new();
    place.write(".cpd/cpd.toml", "[auth]\nlocal = true\n[server]\nbody_ms_max = 2000\n");
    let daemon = Daemon::start(&place, "127.0.0.1:0");
    let address = daemon.base.strip_prefix("http://").expect("http").to_owned();
    let connect = |head: &str| {
        let mut stream = std::net::TcpStream::connect(&address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out");
        stream.write_all(head.as_bytes()).expect("a write");
        stream
    };
    let mut slow = connect("POST /v1/runs HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 100\r\n\r\n{");
    let mut answer = String::new();
    slow.read_to_string(&mut answer).expect("an answer, and the end of the connection");
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("body_ms_max"), "{answer}");

    let run = runtime().block_on(async {
        assert_eq!(daemon.register(&workflow("long", "  - rest: { wait: { minutes: 10 } }\n")).await.0, 201);
        let (_, started) = daemon.post("/v1/runs", json!({ "workflow": "long" })).await;
        started["runId"].as_str().expect("a run").to_owned()
    });
    // Connections without a request are not waited for: one that has had an answer, one that never sent anything.
    let mut idle = connect("GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
    idle.read_exact(&mut [0; 12]).expect("an answer");
    let _silent = connect("");
    // The daemon asks for the body when it has the head: then the request is under way.
    let under_way = |request: &str, bytes: usize| {
        let mut stream = connect(&format!(
            "{request} HTTP/1.1\r\nhost: 127.0.0.1\r\nexpect: 100-continue\r\ncontent-length: {bytes}\r\n\r\n"
        ));
        let mut told = [0; 25];
        stream.read_exact(&mut told).expect("an answer");
        assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream
    };
    let body = json!({ "workflow": "long" }).to_string();
    let mut starting = under_way("POST /v1/runs", body.len());
    let mut waiting = under_way(&format!("GET /v1/runs/{run}/result?wait=25s"), 1);
    waiting.write_all(b" ").expect("a write");
    let before = std::time::Instant::now();
    Command::new("kill").arg(daemon.child.id().to_string()).status().expect("a signal");
    starting.write_all(body.as_bytes()).expect("a write");
    for (mut stream, status) in [(starting, "HTTP/1.1 201 "), (waiting, "HTTP/1.1 202 ")] {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer, not a connection that is cut");
        assert!(answer.starts_with(status), "{answer}");
    }
    daemon.terminate();
    assert!(before.elapsed() < Duration::from_secs(8), "it waited for a connection that asks nothing");
}

#[test]
fn what_is_wrong_with_a_request_is_said_as_a_problem() {
    let place = local();
    let daemon = Daemon::start(&place, "127.0.0.1:0");
    runtime().block_on(async {
        daemon.register(&workflow("hello", HELLO)).await;
        let none = "/v1/runs/01m800000000000000000000aa";
        for (method, path, body, status, says) in [
            (Method::GET, "/nope", None, 404, "nothing at this path"),
            (Method::DELETE, "/v1/runs", None, 405, "does not take that method"),
            (Method::POST, "/v1/runs", Some(json!({ "workflow": "helo" })), 404, "did you mean test/hello?"),
            (Method::POST, "/v1/runs", Some(json!({ "wrkflow": "x" })), 400, "`wrkflow`"),
            (Method::POST, "/v1/runs", Some(json!([])), 400, "expected an object"),
            (Method::POST, "/v1/runs", Some(json!({})), 400, "no `workflow`"),
            (Method::GET, "/v1/runs?status=done", None, 400, "expected one of"),
            (Method::GET, "/v1/runs?limit=0", None, 400, "expected 1 to 1000"),
            (Method::GET, "/v1/runs?cursor=x", None, 400, "`cursor`"),
            (Method::GET, "/v1/runs?sort=up", None, 400, "malformed"),
            (Method::GET, "/v1/runs/../../etc/passwd", None, 404, "nothing at this path"),
            (Method::GET, "/v1/runs/xyz", None, 404, "run id"),
            (Method::GET, none, None, 404, "no open run"),
            (Method::POST, &format!("{none}/cancel"), Some(json!({})), 404, "no open run"),
        ] {
            let (found, problem) = daemon.ask(method.clone(), path, body).await;
            let detail = problem["detail"].as_str().unwrap_or_default();
            assert!(found == status && detail.contains(says), "{method} {path}: {found} {problem}");
            assert_eq!(problem["status"], json!(status));
        }
        let (status, problem) = daemon.register("document: {}\n").await;
        assert!(status == 422 && problem["diagnostics"][0]["code"].is_string(), "{problem}");
        // In a connection of its own: the daemon reads no further, and closes it.
        let large = client(Duration::from_secs(30))
            .post(format!("{}/v1/runs", daemon.base))
            .body(vec![b' '; 18 << 20])
            .send()
            .await;
        // It may be told before it has sent everything.
        if let Ok(large) = large {
            assert_eq!(large.status(), 413);
        }
        let started = daemon.post("/v1/runs", json!({ "workflow": "hello", "input": { "who": "x" } })).await.1;
        let run = started["runId"].as_str().expect("a run");
        daemon.get(&format!("/v1/runs/{run}/result?wait=20s")).await;
        assert_eq!(daemon.post(&format!("/v1/runs/{run}/cancel"), json!({})).await.0, 409, "it has ended");
        assert_eq!(daemon.get(&format!("/v1/runs/{run}/result?wait=soon")).await.0, 400);
        assert_eq!(daemon.post(&format!("/v1/runs/{run}/resolve"), json!({ "resolution": "maybe" })).await.0, 400);
    });
    daemon.terminate();
}

#[test]
fn nobody_comes_in_without_a_token_and_roles_hold() {
    let place = Place::new();
    let token = |role: &str, scope: &[&str]| {
        let mut args = vec!["token", "create", "--role", role, "--name", role, "--json"];
        scope.iter().for_each(|s| args.extend(["--scope", s]));
        place.cpd(&args).exits(0).json()["token"].as_str().expect("a token").to_owned()
    };
    let (viewer, operator, approver, admin) =
        (token("viewer", &["*"]), token("operator", &["test"]), token("approver", &["*"]), token("admin", &["*"]));
    let mut daemon = Daemon::start(&place, "127.0.0.1:0");
    let ask = "  - ask: { call: approval.request, with: { title: 'Go on?', approvers: { excludeInitiator: true } } }\n";
    runtime().block_on(async {
        for path in ["/v1/runs", "/v1/definitions", "/metrics", "/v1/stream"] {
            assert_eq!(daemon.get(path).await.0, 401, "{path}");
        }
        assert_eq!(daemon.get("/healthz").await.0, 200);
        daemon.token = Some("cpd_nobody_0000".to_owned());
        assert_eq!(daemon.get("/v1/runs").await.0, 401);
        daemon.token = Some(viewer);
        assert_eq!(daemon.get("/v1/runs").await.0, 200);
        assert_eq!(daemon.register(&workflow("ask", ask)).await.0, 403);
        daemon.token = Some(admin.clone());
        assert_eq!(daemon.register(&workflow("ask", ask)).await.0, 201);
        let elsewhere = workflow("far", ask).replace("namespace: test", "namespace: hr");
        assert_eq!(daemon.register(&elsewhere).await.0, 201);
        let (_, far) = daemon.post("/v1/runs", json!({ "workflow": "hr/far" })).await;
        let far = far["runId"].as_str().expect("a run").to_owned();
        daemon.token = Some(operator);
        assert_eq!(daemon.post("/v1/runs", json!({ "workflow": "hr/far" })).await.0, 403);
        assert_eq!(daemon.get(&format!("/v1/runs/{far}")).await.0, 404, "what is out of reach is not there");
        let (status, started) = daemon.post("/v1/runs", json!({ "workflow": "test/ask" })).await;
        assert_eq!(status, 201);
        let run = started["runId"].as_str().expect("a run").to_owned();
        let vote = format!("/v1/runs/{run}/vote");
        assert_eq!(daemon.post(&vote, json!({ "decision": "approved" })).await.0, 403, "an operator decides nothing");
        daemon.token = Some(approver);
        let listed = daemon.get("/v1/approvals").await.1;
        assert_eq!(listed["items"].as_array().map(Vec::len), Some(2), "{listed}");
        assert_eq!(daemon.post(&format!("/v1/runs/{run}/cancel"), json!({})).await.0, 403);
        assert_eq!(daemon.post(&vote, json!({ "decision": "approved", "comment": "fine" })).await.0, 200);
        let (_, end) = daemon.get(&format!("/v1/runs/{run}/result?wait=20s")).await;
        assert_eq!(end["output"]["decision"], "approved", "{end}");
        daemon.token = Some(admin);
        let own = daemon.post(&format!("/v1/runs/{far}/vote"), json!({ "decision": "approved" })).await;
        assert!(own.0 == 403 && own.1["detail"].as_str().is_some_and(|d| d.contains("has started the run")), "{own:?}");
    });
    daemon.terminate();
    let audit = place.cpd(&["audit", "log", "--json"]).exits(0);
    audit.prints(&["definition.register", "\"refused\""]);
}

#[test]
fn events_come_in_in_every_form_of_http() {
    let place = local();
    let daemon = Daemon::start(&place, "127.0.0.1:0");
    let hear = "  - hear: { listen: { to: { one: { with: { type: a.b } } } } }\n";
    runtime().block_on(async {
        daemon.register(&workflow("hear", hear)).await;
        let event = json!({ "specversion": "1.0", "id": "1", "source": "/t", "type": "a.b", "data": { "n": 7 } });
        let url = format!("{}/v1/events", daemon.base);
        let post = |kind: &'static str| daemon.client.post(&url).header("content-type", kind);
        let forms = [
            post("application/cloudevents+json").body(event.to_string()),
            post("application/cloudevents-batch+json").body(json!([event]).to_string()),
            post("application/json")
                .header("ce-specversion", "1.0")
                .header("ce-id", "1")
                .header("ce-source", "%2Ft")
                .header("ce-type", "a.b")
                .body("{\"n\":7}"),
        ];
        for form in forms {
            let started = daemon.post("/v1/runs", json!({ "workflow": "hear" })).await.1;
            let run = started["runId"].as_str().expect("a run").to_owned();
            let answer = form.send().await.expect("an answer");
            assert_eq!(answer.status(), 202);
            let told: Value = answer.json().await.expect("JSON");
            let told = told.get(0).unwrap_or(&told);
            assert_eq!(told["runs"], json!([run]), "{told}");
            let (_, end) = daemon.get(&format!("/v1/runs/{run}/result?wait=20s")).await;
            assert_eq!(end["output"], json!([{ "n": 7 }]));
        }
        for (kind, body, status) in [
            ("text/plain", "x".to_owned(), 415),
            ("application/cloudevents+json", "{".to_owned(), 400),
            (
                "application/cloudevents+json",
                json!({ "specversion": "1.0", "id": "1", "type": "a.b" }).to_string(),
                422,
            ),
            (
                "application/cloudevents+json",
                json!({ "specversion": "0.3", "id": "1", "source": "/t", "type": "a" }).to_string(),
                422,
            ),
            ("application/cloudevents-batch+json", json!({}).to_string(), 400),
            ("application/cloudevents-batch+json", json!([event, {}]).to_string(), 422),
        ] {
            let answer = post(kind).body(body.clone()).send().await.expect("an answer");
            assert_eq!(answer.status(), status, "{kind} {body}");
        }
    });
    daemon.terminate();
}

#[test]
fn what_the_daemon_runs_does_not_reach_this_machine_unless_it_is_told_so() {
    let place = local();
    let call = "  - fetch: { call: http, with: { method: get, endpoint: 'http://127.0.0.1:9/hidden' } }\n";
    let ends = |place: &Place| {
        let mut command = place.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.env_remove("CPD_EGRESS_ALLOW");
        let daemon = Daemon::run(command);
        let end = runtime().block_on(async {
            daemon.register(&workflow("call", call)).await;
            let started = daemon.post("/v1/runs", json!({ "workflow": "call" })).await.1;
            let run = started["runId"].as_str().expect("a run").to_owned();
            daemon.get(&format!("/v1/runs/{run}/result?wait=20s")).await.1
        });
        daemon.terminate();
        end["error"].clone()
    };
    let refused = ends(&place);
    assert_eq!(refused["status"], json!(403), "{refused}");
    place.write(".cpd/cpd.toml", "[auth]\nlocal = true\n[egress]\nallow = [\"127.0.0.1:9\"]\n");
    let failed = ends(&place);
    assert_ne!(failed["status"], json!(403), "it was let through, and nobody listens there: {failed}");
}

/// Clients start runs while the daemon is killed and started again; every start that was acknowledged comes to its end, once.
#[test]
fn every_acknowledged_start_ends_once_however_often_the_daemon_is_killed() {
    let rounds: usize = std::env::var("CPD_KILL_ROUNDS").ok().and_then(|r| r.parse().ok()).unwrap_or(12);
    let place = local();
    let listen: SocketAddr =
        TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port that was free a moment ago");
    let listen = listen.to_string();
    let first = Daemon::start(&place, &listen);
    let runtime = runtime();
    runtime.block_on(first.register(&workflow("hello", HELLO)));
    let (base, done) = (first.base.clone(), Arc::new(AtomicBool::new(false)));
    let (acknowledged, tried) = (Arc::new(Mutex::new(Vec::<(String, String)>::new())), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..8)
        .map(|who| {
            let (base, done, acknowledged, tried) = (base.clone(), done.clone(), acknowledged.clone(), tried.clone());
            runtime.spawn(async move {
                let http = client(Duration::from_secs(5));
                let mut number = 0;
                while !done.load(Ordering::SeqCst) {
                    number += 1;
                    tried.fetch_add(1, Ordering::SeqCst);
                    let key = format!("{who}-{number}");
                    let start = json!({ "workflow": "hello", "input": { "who": key }, "key": key });
                    match http.post(format!("{base}/v1/runs")).json(&start).send().await {
                        Ok(answer) if answer.status().is_success() => {
                            let started: Value = answer.json().await.unwrap_or_default();
                            if let Some(run) = started["runId"].as_str() {
                                acknowledged.lock().push((key, run.to_owned()));
                            }
                        }
                        _ => tokio::time::sleep(Duration::from_millis(5)).await,
                    }
                }
            })
        })
        .collect();
    let mut daemon = first;
    for round in 0..rounds {
        // So many more starts, and then in the middle of whatever is going on.
        let enough = acknowledged.lock().len() + 3 + 17 * (round % 7);
        eventually("starts", || (acknowledged.lock().len() >= enough).then_some(()));
        daemon.kill();
        daemon = Daemon::start(&place, &listen);
    }
    done.store(true, Ordering::SeqCst);
    runtime.block_on(async {
        for client in clients {
            client.await.expect("a client");
        }
        let acknowledged = acknowledged.lock().clone();
        let tried = tried.load(Ordering::SeqCst);
        println!("{} starts acknowledged of {tried} tried, over {rounds} kills", acknowledged.len());
        assert!(acknowledged.len() > rounds, "{} starts were acknowledged", acknowledged.len());
        for (key, run) in &acknowledged {
            let (status, end) = daemon.get(&format!("/v1/runs/{run}/result?wait=20s")).await;
            assert_eq!((status, &end["output"]["text"]), (StatusCode::OK, &json!(format!("hello {key}"))), "{end}");
            let again = json!({ "workflow": "hello", "input": { "who": key }, "key": key });
            assert_eq!(daemon.post("/v1/runs", again).await.1["runId"], json!(run), "the same key is the same run");
        }
    });
    daemon.terminate();
    place.cpd(&["journal", "verify"]).exits(0);
    place.cpd(&["audit", "verify"]).exits(0);
}
