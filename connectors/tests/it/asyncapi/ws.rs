//! WebSocket, against a server by `tungstenite`.

use std::sync::Arc;

use cpd_connector_api::{Connector, json};
use futures_util::{SinkExt, StreamExt};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request as Hello, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::*;
use crate::server::{Reply, Server};

type Socket = WebSocketStream<TcpStream>;

/// Serves every client as `play` does; returns the port, and what clients said in their first request.
async fn serve<F: Future<Output = ()> + Send + 'static>(
    play: impl Fn(Socket) -> F + Send + Sync + 'static,
) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let (play, log) = (Arc::new(play), asked.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (play, log) = (play.clone(), log.clone());
            tokio::spawn(async move {
                let hello = |hello: &Hello, response: Response| -> Result<Response, ErrorResponse> {
                    let login = hello.headers().get("authorization").map(|v| v.to_str().unwrap().to_owned());
                    log.lock().push(format!("{} {}", hello.uri(), login.unwrap_or_default()));
                    Ok(response)
                };
                let socket = tokio_tungstenite::accept_hdr_async(stream, hello).await;
                if let Ok(socket) = socket {
                    play(socket).await;
                }
            });
        }
    });
    (port, asked)
}

fn close(code: CloseCode) -> Message {
    Message::Close(Some(CloseFrame { code, reason: "because".into() }))
}

#[tokio::test]
async fn a_message_is_a_frame_and_the_goodbye_is_its_confirmation() {
    let heard = Arc::<Mutex<Vec<Message>>>::default();
    let log = heard.clone();
    let (port, asked) = serve(move |mut socket| {
        let log = log.clone();
        async move {
            while let Some(Ok(message)) = socket.next().await {
                log.lock().push(message);
            }
        }
    })
    .await;
    let mut api = Api::new("ws", port, "chat/room");
    let login = json!({"basic": {"use": "login"}});
    let asked_for = and(json!({"message": {"payload": {"text": "hi"}}}), "authentication", login);
    let Outcome::Succeeded(success) = api.publish("k", &asked_for).await else { panic!() };
    assert_eq!(text(&success.evidence.unwrap(), &["publication", "confirmation"]), "close");
    assert_eq!(heard.lock()[0], Message::Text(r#"{"text":"hi"}"#.into()));
    assert!(matches!(&heard.lock()[1], Message::Close(Some(frame)) if frame.code == CloseCode::Normal));
    assert_eq!(asked.lock()[0], "/chat/room Basic c29tZWJvZHk6aHVudGVyMng=");
    // Long ones have another form of length.
    for length in [200, 70_000] {
        heard.lock().clear();
        api.channel = json!({"address": "a", "messages": {"m": {"contentType": "text/plain"}}});
        output(api.publish("k", &json!({"message": {"payload": "x".repeat(length)}})).await);
        assert_eq!(heard.lock()[0].len(), length);
    }
}

#[tokio::test]
async fn messages_come_in_any_form_between_pings_until_there_are_enough() {
    let (port, _) = serve(|mut socket| async move {
        let long = format!("\"{}\"", "y".repeat(70_000));
        let parts = [
            Message::text("1"),
            Message::Ping(Bytes::from_static(b"?")),
            Message::binary(b"[2]".to_vec()),
            Message::text(long),
        ];
        for part in parts {
            let _ = socket.send(part).await;
        }
        // Until the client says goodbye.
        while let Some(Ok(_)) = socket.next().await {}
    })
    .await;
    let got = payloads(&output(Api::new("ws", port, "a").subscribe("k", &amount(3)).await));
    assert_eq!(got[..2], [json!(1), json!([2])]);
    assert_eq!(got[2].as_str().map(str::len), Some(70_000));
}

#[tokio::test]
async fn a_goodbye_ends_a_subscription_and_a_bad_one_fails_it() {
    for (code, good) in [(CloseCode::Normal, true), (CloseCode::Away, true), (CloseCode::Error, false)] {
        let (port, _) = serve(move |mut socket| async move {
            let _ = socket.send(Message::text("1")).await;
            let _ = socket.send(close(code)).await;
            while let Some(Ok(_)) = socket.next().await {}
        })
        .await;
        let outcome = Api::new("ws", port, "a").subscribe("k", &amount(5)).await;
        if good {
            assert_eq!(payloads(&output(outcome)), [json!(1)]);
        } else {
            let (name, kind, said) = ended(&outcome);
            assert_eq!((name, kind.as_str()), ("failed", "communication"), "{said}");
            assert!(said.contains("code 1011 because"), "{said}");
        }
    }
}

#[tokio::test]
async fn an_end_without_a_good_goodbye_leaves_a_message_unknown() {
    let (hangs_up, _) = serve(|mut socket| async move { drop(socket.next().await) }).await;
    let (dislikes, _) = serve(|mut socket| async move {
        let _ = socket.next().await;
        let _ = socket.send(close(CloseCode::Policy)).await;
        while let Some(Ok(_)) = socket.next().await {}
    })
    .await;
    let (silent, _) = serve(|socket| async move {
        std::future::pending::<()>().await;
        drop(socket);
    })
    .await;
    let quick = limited(AsyncApiConfig { timeout_ms: 500, ..AsyncApiConfig::default() });
    for (port, expected) in [(hangs_up, "the connection"), (dislikes, "code 1008"), (silent, "within 500 ms")] {
        let api = Api::new("ws", port, "a");
        let outcome = quick.call(api.request("asyncapi.publish", "k", &json!({"message": {"payload": 1}}))).await;
        let (name, kind, said) = ended(&outcome);
        assert_eq!((name, kind.as_str()), ("unknown", "communication"), "{said}");
        assert!(said.contains(expected), "{said}");
    }
}

#[tokio::test]
async fn what_is_no_websocket_is_told_by_its_answer() {
    for (status, name) in [(200, "refused"), (404, "refused"), (401, "refused"), (503, "failed")] {
        let server = Server::start(move |_| Reply::new(status, "text/plain", "no")).await;
        let port = server.url("").rsplit(':').next().unwrap().parse().unwrap();
        for outcome in [
            Api::new("ws", port, "a").publish("k", &json!({"message": {"payload": 1}})).await,
            Api::new("ws", port, "a").subscribe("k", &amount(1)).await,
        ] {
            let (found, kind, said) = ended(&outcome);
            assert_eq!(kind, "communication", "{said}");
            assert!(found == name || status == 200 && found == "failed", "{status}: {found}: {said}");
            assert!(said.contains(&format!("answered {status}, expected 101")), "{said}");
        }
    }
}
