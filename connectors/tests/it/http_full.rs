//! `call: http` in full: each query, body and output, redirects within and across origins, and answers of every kind.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cpd_connector_api::{Connector, Outcome, Value, json};
use cpd_connectors::http::{Http, HttpConfig};

use crate::server::{Reply, Server};
use crate::support::*;

async fn call(input: Value) -> Outcome {
    http().call(request("http.request", "k", input)).await
}

/// Answers everything with one reply.
async fn always(reply: Reply) -> Server {
    Server::start(move |_| reply.clone()).await
}

#[tokio::test]
async fn every_kind_of_query_arrives() {
    let server = always(Reply::json(200, &json!({}))).await;
    let query = json!({
        "text": "a b&c=d/é", "number": 1.5, "whole": 3, "yes": true, "none": null, "list": ["x", 2, false, null],
        "empty": "", "no items": [],
    });
    let with_null = call(json!({"method": "GET", "endpoint": server.url("/p?own=1#part"), "query": query})).await;
    assert!(detail(trouble(&with_null).1).contains("\"list\": found null, expected a scalar"), "{with_null:?}");
    let query = json!({
        "text": "a b&c=d/é", "number": 1.5, "whole": 3, "yes": true, "none": null, "list": ["x", 2, false],
        "empty": "", "no items": [],
    });
    output(call(json!({"method": "GET", "endpoint": server.url("/p?own=1#part"), "query": query})).await);
    let asked = &server.asked()[0];
    assert_eq!(asked.path, "/p");
    let expected = "own=1&text=a%20b%26c%3Dd%2F%C3%A9&number=1.5&whole=3&yes=true&list=x&list=2&list=false&empty=";
    assert_eq!(asked.query, expected);
}

#[tokio::test]
async fn every_kind_of_body_arrives() {
    let server = always(Reply::json(200, &json!({}))).await;
    let form = json!({"Content-Type": "application/x-www-form-urlencoded"});
    let own = |kind: &str| json!({"content-type": kind});
    for (body, headers, expected, kind) in [
        (json!({"a": [1, null]}), json!({}), r#"{"a":[1,null]}"#, "application/json"),
        (json!([1, 2]), json!({}), "[1,2]", "application/json"),
        (json!(true), json!({}), "true", "application/json"),
        (json!(1.5), json!({}), "1.5", "application/json"),
        (json!({"a": 1}), own("application/vnd.api+json"), r#"{"a":1}"#, "application/vnd.api+json"),
        (json!("plain é"), json!({}), "plain é", "text/plain; charset=utf-8"),
        (json!("<a/>"), own("application/xml"), "<a/>", "application/xml"),
        (json!("{\"ready\": 1}"), own("application/json"), "{\"ready\": 1}", "application/json"),
        (
            json!({"a b": "é&", "n": [1, 2]}),
            form.clone(),
            "a%20b=%C3%A9%26&n=1&n=2",
            "application/x-www-form-urlencoded",
        ),
        (json!("a=1"), form.clone(), "a=1", "application/x-www-form-urlencoded"),
    ] {
        let input = json!({"method": "PUT", "endpoint": server.url("/"), "body": body, "headers": headers});
        output(call(input).await);
        let asked = server.asked().pop().unwrap();
        assert_eq!((asked.text(), asked.header("content-type")), (expected, Some(kind)));
    }
    let before = server.asked().len();
    output(call(json!({"method": "POST", "endpoint": server.url("/"), "body": null})).await);
    let asked = server.asked().pop().unwrap();
    assert_eq!((asked.text(), asked.header("content-type"), server.asked().len()), ("", None, before + 1));
    let outcome = call(json!({"method": "PUT", "endpoint": server.url("/"), "body": [1], "headers": form})).await;
    assert!(detail(trouble(&outcome).1).contains("expected an object"), "{outcome:?}");
}

#[tokio::test]
async fn an_answer_is_read_by_its_media_type_in_every_mode() {
    let latin = STANDARD.encode(b"caf\xe9");
    for (kind, body, content) in [
        ("application/json", b"{\"a\": 1}".as_slice(), json!({"a": 1})),
        ("application/problem+json; charset=utf-8", b"[1]", json!([1])),
        ("text/plain", b"[1]", json!("[1]")),
        ("text/html", b"<p>hi</p>", json!("<p>hi</p>")),
        ("text/html; charset=ISO-8859-1", b"caf\xe9", json!("caf\u{e9}")),
        ("application/xml", b"<a/>", json!("<a/>")),
        ("application/octet-stream", b"caf\xe9", json!(latin)),
        ("", b"{\"a\": 1}", json!({"a": 1})),
        ("", b"hello", json!("hello")),
        ("no media type at all;;;=", b"hello", json!("hello")),
        ("application/json; charset=\"", b"3", json!(3)),
        ("application/json", b"", Value::Null),
    ] {
        let server =
            always(Reply::new(200, kind, body).with("x-one", "1").with("x-one", "2").with("set-cookie", "id=7")).await;
        let mode = |output: &str| json!({"method": "GET", "endpoint": server.url("/p?q=1"), "output": output});
        assert_eq!(output(call(mode("content")).await), content, "{kind}");
        assert_eq!(output(call(mode("raw")).await), json!(STANDARD.encode(body)), "{kind}");
        let response = output(call(mode("response")).await);
        assert_eq!(response.get("statusCode"), Some(&json!(200)));
        assert_eq!(response.get("content"), Some(&content), "{kind}");
        assert_eq!(text(&response, &["headers", "x-one"]), "1, 2");
        assert_eq!(text(&response, &["headers", "set-cookie"]), "[redacted]");
        assert_eq!(text(&response, &["request", "method"]), "GET");
        assert_eq!(text(&response, &["request", "uri"]), server.url("/p?q=1"));
    }
    let server = always(Reply::new(200, "application/json", "{\"a\":")).await;
    for (mode, name) in [("content", "failed"), ("response", "failed")] {
        let outcome = call(json!({"method": "GET", "endpoint": server.url("/"), "output": mode})).await;
        assert_eq!(trouble(&outcome).0, name);
        assert!(detail(trouble(&outcome).1).contains("expected JSON"), "{outcome:?}");
    }
    // As bytes it is what it is.
    let raw = output(call(json!({"method": "GET", "endpoint": server.url("/"), "output": "raw"})).await);
    assert_eq!(raw, json!("eyJhIjo="));
}

#[tokio::test]
async fn html_where_json_was_asked_for_is_an_error_and_not_a_result() {
    let server = always(Reply::new(200, "text/html", "<h1>Log in</h1>")).await;
    let headers = json!({"accept": "application/json"});
    let ask = |method: &str| json!({"method": method, "endpoint": server.url("/"), "headers": headers});
    for (method, name) in [("GET", "failed"), ("PUT", "failed"), ("POST", "unknown")] {
        let outcome = call(ask(method)).await;
        let (found, problem) = trouble(&outcome);
        assert_eq!((found, problem.status), (name, 502), "{method}");
        assert!(detail(problem).contains("found text/html, expected JSON: <h1>Log in</h1>"), "{problem}");
    }
}

#[tokio::test]
async fn forty_megabytes_are_given_up_unless_they_are_allowed() {
    let megabyte = vec![b'x'; 1 << 20];
    let chunked = always(Reply::new(200, "text/plain", megabyte.clone()).chunked(40)).await;
    let announced = always(Reply::new(200, "text/plain", megabyte.repeat(40))).await;
    for server in [&chunked, &announced] {
        let outcome = call(json!({"method": "GET", "endpoint": server.url("/")})).await;
        let (name, problem) = trouble(&outcome);
        assert_eq!(name, "refused");
        assert!(detail(problem).contains("expected at most 8388608"), "{problem}");
        let large = HttpConfig { answer_bytes_max: 40 << 20, ..HttpConfig::default() };
        let http = Http::new(client(large), secrets());
        let input = json!({"method": "GET", "endpoint": server.url("/")});
        let whole = output(http.call(request("http.request", "k", input)).await);
        assert_eq!(whole.as_str().map(str::len), Some(40 << 20));
    }
}

#[tokio::test]
async fn statuses_of_the_3xx_are_errors_unless_redirects_are_welcome() {
    for (status, location) in [(300, None), (301, Some("/next")), (302, None), (304, None), (308, Some("/next"))] {
        let server = Server::start(move |asked| match (asked.path.as_str(), location) {
            ("/next", _) => Reply::json(200, &json!("there")),
            (_, Some(to)) => Reply::redirect(status, to),
            (_, None) => Reply::new(
                status,
                if status == 304 { "" } else { "text/plain" },
                if status == 304 { "" } else { "see" },
            ),
        })
        .await;
        let ask = |redirect: bool| json!({"method": "GET", "endpoint": server.url("/"), "redirect": redirect, "output": "response"});
        let outcome = call(ask(false)).await;
        let (name, problem) = trouble(&outcome);
        assert_eq!((name, problem.status), ("refused", status));
        assert!(problem.kind.ends_with("/communication"));
        let answer = output(call(ask(true)).await);
        let expected = if location.is_some() { 200 } else { i64::from(status) };
        assert_eq!(answer.get("statusCode"), Some(&json!(expected)), "{answer}");
        if location.is_some() {
            assert_eq!(text(&answer, &["request", "uri"]), server.url("/next"), "the request that was answered");
        }
    }
}

#[tokio::test]
async fn redirects_change_the_method_as_rfc_9110_says() {
    for (status, method, then) in [
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (303, "POST", "GET"),
        (303, "PUT", "GET"),
        (303, "HEAD", "HEAD"),
        (302, "PUT", "PUT"),
        (307, "POST", "POST"),
        (308, "PATCH", "PATCH"),
    ] {
        let server = Server::start(move |asked| match asked.path.as_str() {
            "/next" => Reply::new(200, "", ""),
            _ => Reply::redirect(status, "/next"),
        })
        .await;
        let mut input =
            json!({"method": method, "endpoint": server.url("/"), "redirect": true}).as_object().unwrap().clone();
        if method != "HEAD" {
            input.insert("body".into(), json!({"a": 1}));
        }
        output(call(Value::from(input)).await);
        let asked = server.asked();
        assert_eq!((asked.len(), asked[1].method.as_str()), (2, then), "{status} {method}");
        let kept = if then == method && method != "HEAD" { r#"{"a":1}"# } else { "" };
        assert_eq!(asked[1].text(), kept, "{status} {method}");
    }
}

#[tokio::test]
async fn ten_redirects_are_followed_and_no_more() {
    let server = Server::start(|asked| match asked.path[1..].parse::<u32>() {
        Ok(0) => Reply::json(200, &json!("done")),
        Ok(left) => Reply::redirect(302, format!("/{}", left - 1)),
        Err(_) => Reply::new(404, "", ""),
    })
    .await;
    let ask = |count: u32| json!({"method": "GET", "endpoint": server.url(&format!("/{count}")), "redirect": true});
    assert_eq!(output(call(ask(10)).await), json!("done"));
    let outcome = call(ask(11)).await;
    assert!(detail(trouble(&outcome).1).contains("more than 10 redirects"), "{outcome:?}");
}

#[tokio::test]
async fn credentials_stay_with_their_origin_and_do_not_come_back() {
    let other = Server::start(|asked| match asked.query.strip_prefix("back=") {
        Some(to) => Reply::redirect(302, to.to_owned()),
        None => Reply::json(200, &json!({})),
    })
    .await;
    let away = other.url("/x");
    let server = Server::start(move |asked| match asked.path.as_str() {
        "/here" => Reply::redirect(302, "/there"),
        "/away" => Reply::redirect(302, away.clone()),
        "/round" => Reply::redirect(302, format!("{away}?back=http://{}/there", asked.header("host").unwrap())),
        _ => Reply::json(200, &json!({})),
    })
    .await;
    for policy in [
        json!({"bearer": {"token": TOKEN}}),
        json!({"bearer": {"use": "token"}}),
        json!({"basic": {"username": "bob", "password": TOKEN}}),
    ] {
        for (path, arrives) in [("/here", true), ("/away", false), ("/round", false)] {
            let endpoint = json!({"uri": server.url(path), "authentication": policy});
            let headers = json!({"x-api-key": "another-secret", "cookie": "a=b", "x-plain": "yes"});
            let input = json!({"method": "GET", "endpoint": endpoint, "redirect": true, "headers": headers});
            output(call(input).await);
            let last = server.asked().into_iter().rev().find(|a| a.path == "/there");
            let last = if path == "/away" { other.asked().pop() } else { last }.expect("the end of the way");
            assert_eq!(last.header("authorization").is_some(), arrives, "{path}");
            assert_eq!(last.header("x-api-key").is_some(), arrives, "{path}");
            assert_eq!(last.header("cookie").is_some(), arrives, "{path}");
            assert_eq!(last.header("x-plain"), Some("yes"));
        }
    }
    assert!(other.asked().iter().all(|a| a.header("authorization").is_none()));
}

#[tokio::test]
async fn basic_and_bearer_from_secrets_are_sent_and_vanish_from_every_answer() {
    let server = Server::start(|asked| {
        let sent = asked.header("authorization").unwrap_or("").to_owned();
        match asked.path.as_str() {
            "/refuse" => Reply::json(403, &json!({"error": sent})),
            "/cut" => Reply::new(500, "text/plain", format!("{}{sent}{sent}", "x".repeat(270))),
            "/binary" => Reply::new(200, "application/octet-stream", [b"\xff\xfe", sent.as_bytes()].concat()),
            _ => Reply::json(200, &json!({sent: "key"})),
        }
    })
    .await;
    for (policy, expected) in [
        (json!({"bearer": {"use": "token"}}), format!("Bearer {TOKEN}")),
        (json!({"basic": {"use": "login"}}), format!("Basic {}", STANDARD.encode("somebody:hunter2x"))),
    ] {
        for (path, mode) in [
            ("/", "content"),
            ("/", "raw"),
            ("/", "response"),
            ("/refuse", "content"),
            ("/cut", "content"),
            ("/binary", "content"),
        ] {
            let endpoint = json!({"uri": server.url(path), "authentication": policy});
            let outcome = call(json!({"method": "GET", "endpoint": endpoint, "output": mode})).await;
            assert_eq!(server.asked().pop().unwrap().header("authorization"), Some(expected.as_str()));
            let mut shown = format!("{outcome:?}");
            if let Outcome::Succeeded(success) = &outcome
                && let Some(bytes) = success.output.as_str().and_then(|t| STANDARD.decode(t).ok())
            {
                shown.push_str(&String::from_utf8_lossy(&bytes));
            }
            assert!(shown.contains("[redacted]"), "{path} {mode}: {shown}");
            let secret = expected.split(' ').nth(1).unwrap();
            for piece in [secret, &secret[..8], "somebody", "hunter2x"] {
                assert!(!shown.contains(piece), "{path} {mode} {piece}: {shown}");
            }
        }
    }
    let outcome = call(json!({"method": "GET", "endpoint": {"uri": server.url("/refuse"), "authentication": {"bearer": {"use": "token"}}}})).await;
    let (name, problem) = trouble(&outcome);
    assert_eq!((name, problem.status), ("refused", 403));
    assert!(problem.kind.ends_with("/communication"), "the service's own word: {problem}");
}
