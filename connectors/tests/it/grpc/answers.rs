//! Bad answers, bad documents, silence, and the ends of calls that come from outside.

use std::time::Duration;

use cpd_connector_api::clock::{Clock, SystemClock};
use cpd_connector_api::{CancellationToken, Connector, Outcome, json};
use cpd_connectors::grpc::Grpc;
use cpd_connectors::http::HttpConfig;
use h2::Reason;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use super::service::{Reply, Service, framed, pet};
use super::{asking, grpc};
use crate::support::*;

/// The outcomes of one answer for a safe, an idempotent and an at-most-once method.
async fn answered(connector: &Grpc, reply: Reply) -> [Outcome; 3] {
    let service = Service::start(move |_| reply.clone()).await;
    let ask = |method: &'static str| connector.call(asking(service.port, method, None, &[]));
    [ask("Get").await, ask("Put").await, ask("Add").await]
}

#[tokio::test]
async fn bad_answers_mean_what_the_class_of_the_method_says() {
    let rex = || pet("rex", 4);
    let (uncertain, failed, refused) =
        (["failed", "failed", "unknown"], ["failed", "failed", "failed"], ["refused", "refused", "refused"]);
    let too_large = ["refused", "refused", "unknown"];
    for (reply, names, status, said) in [
        (Reply::Only(5, "no%20pet%20%C3%A9", vec![]), refused, 404, "answered NOT_FOUND: no pet \u{e9}"),
        (Reply::Only(3, "", vec![]), refused, 400, "answered INVALID_ARGUMENT"),
        (Reply::Status(vec![], 14, "busy"), failed, 503, "answered UNAVAILABLE: busy"),
        (Reply::Status(vec![rex()], 14, "busy"), uncertain, 503, "UNAVAILABLE: busy (after 1 messages)"),
        (Reply::Status(vec![], 13, "oops"), failed, 500, "answered INTERNAL: oops"),
        (Reply::Status(vec![], 4, ""), uncertain, 504, "answered DEADLINE_EXCEEDED"),
        (Reply::Status(vec![], 77, ""), failed, 500, "answered UNKNOWN"),
        (Reply::Messages(vec![]), uncertain, 502, "found 0 messages, expected one"),
        (Reply::Messages(vec![rex(), rex()]), uncertain, 502, "found 2 messages, expected one"),
        (Reply::Only(0, "", vec![]), uncertain, 502, "found 0 messages, expected one"),
        (Reply::Messages(vec![b"\x0a\x7fno".to_vec()]), uncertain, 502, "a message is no pets.v1.Pet"),
        (Reply::Messages(vec![b"\x0a\x01\xff".to_vec()]), uncertain, 502, "a message is no pets.v1.Pet"),
        (Reply::NoStatus, uncertain, 502, "it ended without a status"),
        (Reply::Raw(framed(&rex())[..6].to_vec()), uncertain, 502, "it ended within a message"),
        (Reply::Raw([&[1], &framed(&rex())[1..]].concat()), uncertain, 502, "a message is compressed"),
        (
            Reply::Http(200, "text/html", "<h1>Hello</h1>"),
            uncertain,
            502,
            "text/html, expected application/grpc: <h1>Hello",
        ),
        (Reply::Http(404, "text/html", "gone"), refused, 404, "answered HTTP 404"),
        (Reply::Http(500, "text/plain", "no"), failed, 500, "answered HTTP 500"),
        (Reply::Http(502, "text/html", "bad gateway"), uncertain, 502, "answered HTTP 502"),
        (Reply::Huge, too_large, 502, "found 40000000 bytes of messages or more, expected at most 8388608"),
        (Reply::Reset(Reason::REFUSED_STREAM), failed, 502, "was turned away before it was looked at"),
        (Reply::Reset(Reason::INTERNAL_ERROR), uncertain, 502, "was sent and got no whole answer"),
        (Reply::Drop, uncertain, 502, "was sent and got no whole answer"),
    ] {
        let shown = format!("{reply:?}");
        let outcomes = answered(&grpc(), reply).await;
        for (outcome, name) in outcomes.iter().zip(names) {
            let (found, problem) = trouble(outcome);
            assert_eq!((found, problem.status), (name, status), "{shown}: {problem}");
            assert!(detail(problem).contains(said), "{shown}: {problem}");
            assert!(problem.kind.ends_with("/communication"), "{problem}");
        }
    }
}

#[tokio::test]
async fn a_server_may_say_when_to_come_back() {
    let reply = Reply::Only(8, "", vec![("grpc-retry-pushback-ms", "1500")]);
    for outcome in answered(&grpc(), reply).await {
        assert!(
            matches!(&outcome, Outcome::Failed { not_before: Some(d), .. } if *d == Duration::from_millis(1_500)),
            "{outcome:?}"
        );
    }
    for outcome in answered(&grpc(), Reply::Only(8, "", vec![("grpc-retry-pushback-ms", "-1")])).await {
        assert!(matches!(&outcome, Outcome::Failed { not_before: None, .. }), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_stream_without_an_end_is_given_up_at_the_most_messages() {
    let service = Service::start(|_| Reply::Endless).await;
    for (method, name) in [("List", "refused"), ("Walk", "unknown")] {
        let outcome = grpc().call(asking(service.port, method, None, &[])).await;
        let (found, problem) = trouble(&outcome);
        assert!(found == name && detail(problem).contains("more than 10000 messages"), "{method}: {problem}");
    }
}

#[tokio::test]
async fn silence_ends_at_the_limit_the_deadline_or_the_cancellation_and_the_server_hears_of_it() {
    let service = Service::start(|_| Reply::Never).await;
    let impatient = Grpc::new(authenticator(HttpConfig { timeout_ms: 300, ..HttpConfig::default() }));
    for (method, name) in [("Get", "failed"), ("Put", "failed"), ("Add", "unknown")] {
        let outcome = impatient.call(asking(service.port, method, None, &[])).await;
        let (found, problem) = trouble(&outcome);
        assert_eq!((found, problem.status), (name, 504), "{problem}");
        assert!(detail(problem).contains("did not answer within 300 ms"), "{problem}");
        assert_eq!(service.given_up().await, Some(Ok(Reason::CANCEL)));

        let mut request = asking(service.port, method, None, &[]);
        request.deadline = Some(SystemClock.now().plus(Duration::from_millis(300)));
        let outcome = grpc().call(request).await;
        let (found, problem) = trouble(&outcome);
        assert!(found == name && problem.kind.ends_with("/timeout"), "{problem}");
        assert_eq!(service.given_up().await, Some(Ok(Reason::CANCEL)));

        let cancel = CancellationToken::new();
        let mut request = asking(service.port, method, None, &[]);
        request.cancel = cancel.clone();
        let (before, grpc) = (service.asked().len(), grpc());
        let ending = async {
            while service.asked().len() == before {
                tokio::task::yield_now().await;
            }
            cancel.cancel();
        };
        let (outcome, ()) = futures_util::future::join(grpc.call(request), ending).await;
        let (found, problem) = trouble(&outcome);
        assert!(found == name && detail(problem).contains("the call was cancelled while"), "{problem}");
        assert_eq!(service.given_up().await, Some(Ok(Reason::CANCEL)));
    }
}

#[tokio::test]
async fn what_speaks_no_http2_or_nothing_at_all_was_sent_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let old = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
        }
    });
    let outcome = grpc().call(asking(port, "Add", None, &[])).await;
    let (name, problem) = trouble(&outcome);
    assert!(name == "failed" && detail(problem).contains("it does not answer as HTTP/2 does"), "{problem}");
    old.abort();

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let impatient = Grpc::new(authenticator(HttpConfig { connect_timeout_ms: 200, ..HttpConfig::default() }));
    let outcome = impatient.call(asking(port, "Add", None, &[])).await;
    let (name, problem) = trouble(&outcome);
    assert!(name == "failed" && detail(problem).contains("time ran out after 200 ms"), "{problem}");
    drop(silent);
    let outcome = impatient.call(asking(port, "Add", None, &[])).await;
    let (name, problem) = trouble(&outcome);
    assert!(name == "failed" && problem.status == 503, "{problem}");
}

#[tokio::test]
async fn documents_that_are_no_proto_files_are_refused_and_nothing_is_sent() {
    let service = Service::start(|_| Reply::Messages(vec![pet("rex", 4)])).await;
    let many: String = (0..200_000).map(|n| format!("message M{n} {{ M{n} m = 1; }}\n")).collect();
    let large = format!("syntax = \"proto3\";\n{many}");
    assert!(large.len() > 5_000_000);
    for (document, said) in [
        ("", "expected one, but there is none in it"),
        ("<html><body>Sign in</body></html>", "line 1:1"),
        ("openapi: 3.1.0\npaths: {}\n", "line 1:1"),
        ("syntax = \"proto3\";\nimport \"other.proto\";\n", "an import of \"other.proto\""),
        ("syntax = \"proto3\";\nservice Store { rpc Add(Pet) returns (Pet); }", "line 2:"),
        (large.as_str(), "expected at most 1048576"),
    ] {
        let mut request = asking(service.port, "Add", None, &[]);
        request.resources = pinned("pets.proto", document);
        let outcome = grpc().call(request).await;
        let (name, problem) = trouble(&outcome);
        assert!(name == "refused" && problem.kind.ends_with("/configuration"), "{problem}");
        assert!(detail(problem).contains(said) && detail(problem).contains("pets.proto"), "{problem}");
    }
    let mut without = asking(service.port, "Add", None, &[]);
    without.resources = Default::default();
    let outcome = grpc().call(without).await;
    assert!(detail(trouble(&outcome).1).contains("registered without it"), "{outcome:?}");
    let mut bytes = asking(service.port, "Add", Some(json!({"name": 5})), &[]);
    bytes.deadline = None;
    let outcome = grpc().call(bytes).await;
    assert!(trouble(&outcome).1.kind.ends_with("/validation"), "{outcome:?}");
    assert!(service.asked().is_empty());
}
