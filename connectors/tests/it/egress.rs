//! Attacks on the rules of where definitions may reach, by every connector that takes an address from one. Each has its counterpart without
//! rules, which shows that the attack would otherwise arrive.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cpd_connector_api::{BoxFuture, Connector, Outcome, Request, Value, json};
use cpd_connectors::a2a::{A2a, A2aConfig};
use cpd_connectors::asyncapi::{AsyncApi, AsyncApiConfig};
use cpd_connectors::authentication::Authenticator;
use cpd_connectors::egress::{Egress, EgressConfig, Reach, Resolver};
use cpd_connectors::http::{Http, resource};
use cpd_connectors::mcp::{Mcp, McpConfig};
use cpd_connectors::openapi::OpenApi;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::asyncapi::Api;
use crate::server::{Reply, Server};
use crate::support::*;

/// What nobody outside should read.
const INNER: &str = "inner-s3cret";

/// A resolver whose answers for a name follow each other; the last one stays. Other names are looked up as ever.
#[derive(Default)]
struct Lookup {
    answers: BTreeMap<&'static str, Vec<IpAddr>>,
    asked: AtomicUsize,
}

impl Resolver for Lookup {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let Some(answers) = self.answers.get(name) else {
                return Ok(tokio::net::lookup_host((name, 0)).await?.map(|a| a.ip()).collect());
            };
            let at = self.asked.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1);
            Ok(vec![answers[at]])
        })
    }
}

fn lookup(answers: &[(&'static str, &[&str])]) -> Arc<Lookup> {
    let read = |list: &[&str]| list.iter().map(|a| a.parse().unwrap()).collect();
    Arc::new(Lookup { answers: answers.iter().map(|(name, list)| (*name, read(list))).collect(), asked: 0.into() })
}

/// The rules as they are by default, with a list, for a world in which some names lead to this machine.
fn rules(allow: &[&str]) -> Egress {
    let allow = allow.iter().map(ToString::to_string).collect();
    let egress = Egress::new(&EgressConfig { reach: Reach::Public, allow, ..EgressConfig::default() })
        .expect("the rules are good");
    egress.with_resolver(lookup(&[("evil.example", &["127.0.0.1"]), ("meta.example", &["169.254.169.254"])]))
}

/// The same world without rules.
fn no_rules() -> Egress {
    Egress::open().with_resolver(lookup(&[("evil.example", &["127.0.0.1"])]))
}

fn http(egress: Egress) -> Http {
    Http::over(guarded(egress))
}

async fn get(http: &Http, endpoint: impl Into<Value>, redirect: bool) -> Outcome {
    let with = json!({"method": "GET", "endpoint": endpoint.into(), "redirect": redirect});
    http.call(request("http.request", "k", with)).await
}

/// A service on this machine that is not for everybody.
async fn inner() -> (Server, u16) {
    let server = Server::start(|_| Reply::json(200, &json!({"answer": INNER}))).await;
    let port = server.url("").rsplit(':').next().unwrap().parse().unwrap();
    (server, port)
}

#[track_caller]
fn refused(outcome: &Outcome, what: &str) -> String {
    let (name, problem) = trouble(outcome);
    assert_eq!((name, problem.status), ("refused", 403), "{what}: {problem}");
    assert!(problem.kind.ends_with("/authorization"), "{what}: {problem:?}");
    let said = format!("{problem:?}");
    assert!(!said.contains(INNER), "{what}: {said}");
    detail(problem).to_owned()
}

#[tokio::test]
async fn this_machine_is_not_reached_in_any_spelling() {
    let (server, port) = inner().await;
    let (ruled, open) = (http(rules(&[])), http(no_rules()));
    let spellings = [
        "127.0.0.1",
        "localhost",
        "LOCALHOST.",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "017700000001",
        "0.0.0.0",
        "0",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "evil.example",
        "%65vil.example",
        "１２７.0.0.1",
        "127。0。0。1",
    ];
    for host in spellings {
        let said = refused(&get(&ruled, format!("http://{host}:{port}/"), false).await, host);
        assert!(said.contains("a loopback address, expected a public one"), "{host}: {said}");
    }
    assert_eq!(server.asked().len(), 0);
    for host in spellings {
        output(get(&open, format!("http://{host}:{port}/"), false).await);
    }
    assert_eq!(server.asked().len(), spellings.len(), "without the rules each of them arrives");
    // A name and a port may be let in, and nothing beside them.
    let one = http(rules(&[&format!("evil.example:{port}")]));
    output(get(&one, format!("http://evil.example:{port}/"), false).await);
    refused(&get(&one, format!("http://127.0.0.1:{port}/"), false).await, "the address");
    refused(&get(&one, format!("http://evil.example:{}/", port ^ 1), false).await, "another port");
}

#[tokio::test]
async fn tricks_with_users_in_addresses_do_not_lead_elsewhere() {
    let (server, port) = inner().await;
    let ruled = http(rules(&["public.example"]));
    for address in [
        format!("http://public.example@127.0.0.1:{port}/"),
        format!("http://public.example:80@127.0.0.1:{port}/"),
        format!("http://127.0.0.1:{port}#@public.example/"),
        format!("http://127.0.0.1:{port}\\@public.example/"),
        format!("http://127.0.0.1:{port}/@public.example"),
        format!("http:127.0.0.1:{port}"),
        format!("http:/\\127.0.0.1:{port}/"),
        format!("http://127.0.0.1:{port}?@public.example"),
        format!("  http://127.0.0.1:{port}/"),
        format!("http://12\t7.0.0.1:{port}/"),
    ] {
        let outcome = get(&ruled, address.clone(), false).await;
        assert_eq!(outcome.name(), "refused", "{address}: {outcome:?}");
        assert!(matches!(trouble(&outcome).1.status, 400 | 403), "{address}: {outcome:?}");
    }
    assert_eq!(server.asked().len(), 0);
}

#[tokio::test]
async fn a_redirect_is_held_against_the_rules_and_brings_nothing_back() {
    let (server, port) = inner().await;
    let targets = [
        "http://169.254.169.254/latest/meta-data/iam/security-credentials/".to_owned(),
        "http://metadata.google.internal/computeMetadata/v1/".to_owned(),
        "http://meta.example/".to_owned(),
        "http://[fd00:ec2::254]/".to_owned(),
        "http://[::ffff:a9fe:a9fe]/".to_owned(),
        format!("http://127.0.0.1:{port}/"),
        format!("http://evil.example:{port}/"),
        format!("//2130706433:{port}/"),
        format!("http://public.example@127.0.0.1:{port}/"),
    ];
    for target in targets {
        for method in ["GET", "PUT"] {
            let to = target.clone();
            let outer = Server::start(move |_| Reply::redirect(307, to.clone()).with("x-inner", INNER)).await;
            let outer_port: u16 = outer.url("").rsplit(':').next().unwrap().parse().unwrap();
            let ruled = http(rules(&[&format!("127.0.0.1:{outer_port}")]));
            let with = json!({"method": method, "endpoint": outer.url("/"), "redirect": true});
            let outcome = ruled.call(request("http.request", "k", with)).await;
            let (name, problem) = trouble(&outcome);
            assert_eq!(name, "refused", "{method} {target}: {problem}");
            assert!(!format!("{problem:?}").contains(INNER), "{problem:?}");
            assert_eq!(outer.asked().len(), 1);
        }
    }
    assert_eq!(server.asked().len(), 0);
}

#[tokio::test]
async fn the_address_that_is_connected_to_is_the_one_that_was_checked() {
    // Two servers at one port: a good one, and the one that a name points to when it is asked a second time.
    let good = TcpListener::bind("127.0.0.2:0").await.expect("all of 127.0.0.0/8 is here");
    let port = good.local_addr().unwrap().port();
    let bad = TcpListener::bind(("127.0.0.1", port)).await.expect("the same port");
    let serving = tokio::spawn(async move {
        loop {
            let (mut stream, _) = good.accept().await.unwrap();
            let mut piece = [0; 4096];
            let _ = stream.read(&mut piece).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\ngood").await;
        }
    });
    let rebinding = lookup(&[("rebind.example", &["127.0.0.2", "127.0.0.1"])]);
    let config =
        EgressConfig { reach: Reach::Public, allow: vec![format!("127.0.0.2:{port}")], ..EgressConfig::default() };
    let egress = Egress::new(&config).unwrap().with_resolver(rebinding.clone());
    let http = http(egress.clone());
    let address = format!("http://rebind.example:{port}/");
    assert_eq!(output(get(&http, address.clone(), false).await), json!("good"));
    assert_eq!(rebinding.asked.load(Ordering::Relaxed), 1, "looked up once, between check and connection not again");
    let said = refused(&get(&http, address, false).await, "the second answer");
    assert!(said.contains("which is 127.0.0.1"), "{said}");
    assert!(egress.connect("rebind.example", port).await.is_err());
    tokio::select! {
        biased;
        _ = bad.accept() => panic!("somebody came to the other address"),
        () = std::future::ready(()) => {}
    }
    serving.abort();
}

/// What each connector makes of a host that the rules do not let in.
async fn everybody(authenticator: &Authenticator, host: &str, port: u16) -> Vec<(&'static str, Outcome)> {
    let base = format!("http://{host}:{port}");
    let asking = |operation: &str, with: Value| Request { attempt: 1, ..request(operation, "k", with) };
    let mut all = vec![];
    let oauth = json!({"oauth2": {
        "authority": base.as_str(), "grant": "client_credentials", "client": {"id": "me", "secret": "hunter2x"},
    }});
    let oidc = json!({"oidc": {
        "authority": base.as_str(), "grant": "client_credentials", "client": {"id": "me", "secret": "hunter2x"},
    }});
    for (what, policy) in [("oauth2", oauth), ("oidc", oidc)] {
        let endpoint = json!({"uri": "http://93.184.216.34/", "authentication": policy});
        let with = json!({"method": "GET", "endpoint": endpoint});
        all.push((what, Http::over(authenticator.clone()).call(asking("http.request", with)).await));
    }
    let with = json!({
        "method": "tools/call", "parameters": {"name": "echo", "arguments": {}},
        "transport": {"http": {"endpoint": format!("{base}/mcp")}},
    });
    all.push(("mcp", Mcp::new(McpConfig::default(), authenticator).call(asking("mcp.call", with)).await));
    let with = json!({
        "method": "message/send", "server": format!("{base}/rpc"),
        "parameters": {"message": {"parts": [{"kind": "text", "text": "hello"}]}},
    });
    all.push(("a2a", A2a::new(&A2aConfig::default(), authenticator).call(asking("a2a.call", with)).await));
    let document = json!({
        "openapi": "3.1.0", "info": {"title": "x", "version": "1"}, "servers": [{"url": base.as_str()}],
        "paths": {"/x": {"get": {"operationId": "x", "responses": {"200": {}}}}},
    });
    let with = json!({"document": {"endpoint": "x.json"}, "operationId": "x", "parameters": {}});
    let resources = pinned("x.json", &document.to_json());
    let call = Request { resources, ..asking("openapi.call", with) };
    all.push(("openapi", OpenApi::new(authenticator.clone()).call(call).await));
    for protocol in ["http", "nats", "mqtt", "mqtt5", "redis", "ws"] {
        let mut api = Api::new(protocol, port, "a");
        api.server = json!({"host": format!("{host}:{port}"), "protocol": protocol});
        let call = api.request("asyncapi.publish", "k", &json!({"message": {"payload": 1}}));
        all.push((
            protocol,
            AsyncApi::new(AsyncApiConfig { timeout_ms: 500, ..AsyncApiConfig::default() }, authenticator)
                .call(call)
                .await,
        ));
    }
    #[cfg(feature = "grpc")]
    {
        let proto = "syntax = \"proto3\"; package p; message M {} service S { rpc Do (M) returns (M); }";
        let with = json!({
            "proto": {"endpoint": "p.proto"}, "method": "Do",
            "service": {"name": "p.S", "host": format!("http://{host}"), "port": i64::from(port)},
        });
        let call = Request { resources: pinned("p.proto", proto), ..asking("grpc.call", with) };
        all.push(("grpc", cpd_connectors::grpc::Grpc::new(authenticator.clone()).call(call).await));
    }
    let endpoint = json!(format!("{base}/doc.json"));
    let loaded = resource::load(authenticator.http(), authenticator, None, &endpoint).await;
    all.push(("resource", loaded.map_or_else(Outcome::Refused, |_| Outcome::succeeded(Value::Null))));
    all
}

#[tokio::test]
async fn every_connector_that_takes_an_address_is_under_the_rules() {
    let (server, port) = inner().await;
    for host in ["127.0.0.1", "localhost", "evil.example", "2130706433"] {
        for (what, outcome) in everybody(&guarded(rules(&[])), host, port).await {
            let said = refused(&outcome, &format!("{what} {host}"));
            assert!(said.contains("a loopback address"), "{what} {host}: {said}");
        }
    }
    for host in ["169.254.169.254", "meta.example"] {
        let reach = EgressConfig { reach: Reach::Any, ..EgressConfig::default() };
        let any = Egress::new(&reach).unwrap().with_resolver(lookup(&[("meta.example", &["169.254.169.254"])]));
        for (what, outcome) in everybody(&guarded(any), host, port).await {
            refused(&outcome, &format!("{what} {host}"));
        }
    }
    assert_eq!(server.asked().len(), 0);
    let all = everybody(&guarded(no_rules()), "evil.example", port).await;
    for (what, outcome) in all {
        assert!(outcome.problem().is_none_or(|p| p.status != 403), "{what} without rules: {outcome:?}");
    }
    assert!(server.asked().len() >= 5, "without the rules they arrive: {:?}", server.asked());
}
