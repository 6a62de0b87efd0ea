//! Documents, addresses and messages, without a network.

use cpd_connector_api::attachment::Resource;
use cpd_connector_api::{Problem, Value, json};
use proptest::prelude::*;

use super::document::{Direction, Document, Found};
use super::message::{Form, Inbound, Outbound};
use super::payload::{self, Checked};
use super::protocol::Spoken;
use super::server::{Asked, Target, channel_address, choose};

fn resource(text: &str) -> Resource {
    Resource { uri: "https://docs.example/api.yaml".into(), media_type: None, content: text.as_bytes().into() }
}

fn document(text: &str) -> Document {
    Document::read(&resource(text)).unwrap_or_else(|p| panic!("{p}"))
}

const TWO: &str = r"
asyncapi: 2.6.0
info: {title: chat, version: '1'}
defaultContentType: application/json
servers:
  production:
    url: '{environment}.chat.example:{port}/mqtt'
    protocol: mqtts
    variables:
      environment: {default: prod, enum: [prod, test]}
      port: {default: '8883'}
  streams: {url: 'nats://nats.chat.example', protocol: nats}
  log: {url: 'kafka.chat.example:9092', protocol: kafka}
channels:
  rooms/{room}/messages:
    parameters:
      room: {schema: {type: string}, location: $message.payload#/room}
    publish:
      operationId: say
      bindings: {mqtt: {qos: 2}}
      message: {$ref: '#/components/messages/said'}
    subscribe:
      operationId: hear
      message: {oneOf: [{$ref: '#/components/messages/said'}, {contentType: text/plain, payload: {type: string}}]}
  alerts:
    servers: [streams]
    subscribe: {message: {contentType: text/plain}}
  ledger: {servers: [log, streams], publish: {}}
components:
  messages:
    said:
      traits: [{headers: {type: object, properties: {lang: {type: string}}, required: [lang]}}]
      correlationId: {location: $message.header#/trace}
      payload: {$ref: '#/components/schemas/said'}
  schemas:
    said:
      type: object
      x-owner: chat
      required: [room, text]
      properties: {room: {type: string}, text: {type: string, minLength: 1}, at: {$ref: '#/components/schemas/at'}}
    at: {type: integer}
";

const THREE: &str = r##"{
  "asyncapi": "3.0.0",
  "servers": {
    "main": {"host": "broker.example:{port}", "protocol": "nats", "variables": {"port": {"default": "4333"}}},
    "web": {"host": "api.example", "pathname": "/v1/", "protocol": "https"},
    "five": {"$ref": "#/components/servers/five"}
  },
  "channels": {
    "greetings": {
      "address": "greetings.{who}", "servers": [{"$ref": "#/servers/main"}, {"$ref": "#/servers/five"}],
      "parameters": {"who": {"default": "everyone", "enum": ["everyone", "you"]}},
      "messages": {"greeting": {"$ref": "#/components/messages/greeting"}, "other": {"payload": true}}
    },
    "later": {"address": null},
    "loop": {"$ref": "#/channels/pool"},
    "pool": {"$ref": "#/channels/loop"},
    "hooks": {"address": "/hooks/{id}", "parameters": {"id": {"location": "$message.header#/hook"}}}
  },
  "operations": {
    "greet": {"action": "receive", "channel": {"$ref": "#/channels/greetings"}, "messages": [{"$ref": "#/channels/greetings/messages/greeting"}]},
    "hear": {"action": "send", "channel": {"$ref": "#/channels/greetings"}},
    "hook": {"action": "receive", "channel": {"$ref": "#/channels/hooks"}, "traits": [{"bindings": {"http": {"method": "PUT"}}}]},
    "lost": {"action": "send", "channel": {"$ref": "#/channels/nowhere"}},
    "away": {"action": "send", "channel": {"$ref": "https://elsewhere.example/#/channels/x"}},
    "round": {"action": "send", "channel": {"$ref": "#/channels/loop"}},
    "late": {"action": "send", "channel": {"$ref": "#/channels/later"}}
  },
  "components": {
    "servers": {"five": {"host": "[::1]:1999", "protocol": "mqtt", "protocolVersion": "5.0"}},
    "messages": {"greeting": {"payload": {"schemaFormat": "application/vnd.apache.avro;version=1.9.0", "schema": {}}}}
  }
}"##;

fn found<'a>(document: &'a Document, name: &str, direction: Direction) -> Result<Found<'a>, Problem> {
    let operation = document.find(None, Some(name), direction);
    operation.or_else(|first| document.find(Some(name), None, direction).map_err(|_| first))
}

fn target(document: &Document, name: &str, direction: Direction, asked: Asked<'_>) -> Result<Target, Problem> {
    choose(document, &found(document, name, direction)?, asked)
}

#[test]
fn version_two_is_the_clients_view_by_channel_or_by_operation() {
    let two = document(TWO);
    let said = two.find(Some("rooms/{room}/messages"), None, Direction::Publish).unwrap();
    assert_eq!(two.binding(said.operation, "mqtt").and_then(|b| b.get("qos")), Some(&json!(2)));
    assert_eq!(said.messages.len(), 1);
    let heard = two.find(None, Some("hear"), Direction::Subscribe).unwrap();
    assert_eq!((heard.messages.len(), heard.address.as_str()), (2, "rooms/{room}/messages"));
    let problem = two.find(None, Some("hear"), Direction::Publish).unwrap_err().to_string();
    assert!(problem.contains("\"hear\" is a `subscribe`, and `message` asks for a `publish`"), "{problem}");
    let problem = two.find(Some("alerts"), None, Direction::Publish).unwrap_err().to_string();
    assert!(problem.contains("has no operation `publish`, which `message` asks for"), "{problem}");
    let problem = two.find(Some("alert"), None, Direction::Subscribe).unwrap_err();
    assert!(problem.to_string().contains("expected one of \"alerts\""), "{problem}");
    assert!(problem.kind.ends_with("/configuration"));
}

#[test]
fn version_three_finds_channels_through_operations_and_by_name_or_address() {
    let three = document(THREE);
    let greet = found(&three, "greet", Direction::Publish).unwrap();
    assert_eq!((greet.action, greet.messages.len(), greet.address.as_str()), (Some("receive"), 1, "greetings.{who}"));
    assert_eq!(found(&three, "hear", Direction::Subscribe).unwrap().messages.len(), 2, "all those of the channel");
    for name in ["greetings", "greetings.{who}"] {
        assert!(three.find(Some(name), None, Direction::Publish).is_ok(), "{name}");
    }
    for (name, said) in [
        ("gret", "expected one of \"greet\""),
        ("lost", "`$ref: #/channels/nowhere` points to nothing"),
        ("away", "points to another document"),
        ("round", "goes in circles"),
        ("late", "has no `address`"),
    ] {
        let problem = three.find(None, Some(name), Direction::Publish).unwrap_err();
        assert!(problem.to_string().contains(said), "{problem}");
        assert!(problem.kind.ends_with("/configuration"), "{problem}");
    }
}

#[test]
fn a_document_that_is_none_is_refused_with_what_was_found() {
    for (text, said) in [
        ("openapi: 3.0.0", "found no `asyncapi`"),
        ("asyncapi: 1.2.0", "found `asyncapi: 1.2.0`"),
        ("asyncapi: [", "line 1"),
        ("{\"asyncapi\": \"3.0.0\"", "line 1"),
        ("", "api.yaml"),
    ] {
        let problem = Document::read(&resource(text)).unwrap_err();
        assert!(problem.to_string().contains(said), "{text:?}: {problem}");
        assert!(problem.kind.ends_with("/configuration"));
    }
}

#[test]
fn the_server_is_the_one_that_was_asked_for_or_the_first_of_the_channel() {
    let two = document(TWO);
    let ask = |asked| target(&two, "say", Direction::Publish, asked);
    let first = ask(Asked::default()).unwrap();
    assert_eq!((first.shown().as_str(), first.path.as_str()), ("mqtts://prod.chat.example:8883", "/mqtt"));
    let variables = json!({"environment": "test", "port": 1});
    let test = ask(Asked { name: Some("production"), variables: Some(&variables), ..Asked::default() }).unwrap();
    assert_eq!(test.shown(), "mqtts://test.chat.example:1");
    let nats = ask(Asked { protocol: Some("nats"), ..Asked::default() }).unwrap();
    assert_eq!(nats.shown(), "nats://nats.chat.example:4222");
    let variables = json!({"environment": "prud"});
    for (asked, said) in [
        (Asked { variables: Some(&variables), name: Some("production"), protocol: None }, "expected one of \"prod\""),
        (Asked { name: Some("prod"), ..Asked::default() }, "found no server \"prod\""),
        (Asked { protocol: Some("http"), ..Asked::default() }, "no server with the protocol \"http\""),
        (Asked { protocol: Some("kafka"), ..Asked::default() }, "\"kafka\", which is not built into"),
        (Asked { name: Some("log"), ..Asked::default() }, "\"kafka\", which is not built into"),
    ] {
        let problem = ask(asked).unwrap_err();
        assert!(problem.to_string().contains(said), "{problem}");
        assert!(problem.kind.ends_with("/configuration"), "{problem}");
    }
    let problem = target(&two, "ledger", Direction::Publish, Asked::default());
    let other = target(&two, "alerts", Direction::Subscribe, Asked { name: Some("log"), ..Asked::default() });
    assert!(problem.is_ok_and(|t| t.server == "streams"), "the order is the document's servers'");
    assert!(other.unwrap_err().to_string().contains("is not available at the server \"log\""));
}

#[test]
fn servers_of_version_three_have_hosts_paths_and_versions() {
    let three = document(THREE);
    let by = |name| target(&three, "greet", Direction::Publish, Asked { name: Some(name), ..Asked::default() });
    assert_eq!(by("main").unwrap().shown(), "nats://broker.example:4333");
    let five = by("five").unwrap();
    assert_eq!((five.spoken, five.host.as_str(), five.shown().as_str()), (Spoken::Mqtt5, "::1", "mqtt://[::1]:1999"));
    let hook = target(&three, "hook", Direction::Publish, Asked { name: Some("web"), ..Asked::default() }).unwrap();
    assert_eq!(hook.url("/hooks/a%2Fb").unwrap().as_str(), "https://api.example/v1/hooks/a%2Fb");
    let credentials =
        "asyncapi: 3.0.0\nservers: {a: {host: 'bob:hunter2@h', protocol: nats}}\nchannels: {c: {address: x}}";
    let document = document(credentials);
    let problem = target(&document, "c", Direction::Publish, Asked::default()).unwrap_err().to_string();
    assert!(problem.contains("`authentication`") && !problem.contains("hunter2"), "{problem}");
}

#[test]
fn parameters_come_from_the_message_or_a_default_and_else_stand_for_anything() {
    let (two, three) = (document(TWO), document(THREE));
    let room = found(&two, "say", Direction::Publish).unwrap();
    let address = |spoken, direction, sent: Option<&Value>| channel_address(&two, &room, spoken, direction, sent);
    let message = json!({"payload": {"room": "blue"}, "headers": {}});
    let publish = Direction::Publish;
    assert_eq!(address(Spoken::Mqtt3, publish, Some(&message)).unwrap(), "rooms/blue/messages");
    assert_eq!(address(Spoken::Mqtt5, Direction::Subscribe, None).unwrap(), "rooms/+/messages");
    let problem = address(Spoken::Redis, Direction::Subscribe, None).unwrap_err().to_string();
    assert!(problem.contains("the parameter \"room\"") && problem.contains("has no value"), "{problem}");
    for bad in ["a/b", "+", "#", "", "a\nb"] {
        let message = json!({"payload": {"room": bad}});
        let problem = address(Spoken::Mqtt3, publish, Some(&message)).unwrap_err();
        assert!(problem.kind.ends_with("/validation"), "{problem}");
    }
    let odd = json!({"payload": {"room": "a/b c"}});
    assert_eq!(address(Spoken::Http, publish, Some(&odd)).unwrap(), "rooms/a%2Fb%20c/messages");
    let greet = found(&three, "greet", publish).unwrap();
    assert_eq!(channel_address(&three, &greet, Spoken::Nats, publish, None).unwrap(), "greetings.everyone");
}

#[test]
fn a_message_is_held_against_the_documents_schema() {
    let (two, three) = (document(TWO), document(THREE));
    let said = found(&two, "say", Direction::Publish).unwrap();
    let check = |message: Value| payload::check(&two, &said, &message);
    let good = json!({"payload": {"room": "blue", "text": "hi", "at": 1}, "headers": {"lang": "en"}});
    assert_eq!(check(good), Ok(Checked::Fits));
    for (bad, what) in [
        (json!({"payload": {"room": "blue"}, "headers": {"lang": "en"}}), "text"),
        (json!({"payload": {"room": "blue", "text": "hi", "at": "noon"}, "headers": {"lang": "en"}}), "/at"),
        (json!({"payload": {"room": "blue", "text": "hi"}}), "lang"),
    ] {
        let problem = check(bad).unwrap_err();
        assert!(problem.kind.ends_with("/validation") && problem.to_string().contains(what), "{problem}");
    }
    let greet = found(&three, "greet", Direction::Publish).unwrap();
    let Ok(Checked::NotChecked(why)) = payload::check(&three, &greet, &json!({"payload": 1})) else { panic!() };
    assert!(why.contains("avro"), "{why}");
}

#[test]
fn a_schema_that_goes_in_circles_is_not_checked_and_said_so() {
    let text = "asyncapi: 3.0.0\nchannels: {c: {address: x, messages: {m: {payload: {$ref: '#/components/schemas/tree'}}}}}\n\
        components: {schemas: {tree: {type: object, properties: {left: {$ref: '#/components/schemas/tree'}}}}}";
    let document = document(text);
    let found = document.find(Some("c"), None, Direction::Publish).unwrap();
    let checked = payload::check(&document, &found, &json!({"payload": 1})).unwrap();
    assert_eq!(checked.said(), "not checked: the schema of its payload refers to itself");
}

#[test]
fn payloads_travel_as_their_content_type_says() {
    let bytes = |payload: Value, kind: Option<&str>| {
        let form = Form { content_type: kind.map(str::to_owned), correlation: None };
        let message = json!({"payload": payload, "headers": {"n": 1, "none": null}});
        Outbound::of(&message, &form).map(|out| {
            assert_eq!(out.headers, [("n".to_owned(), "1".to_owned())]);
            String::from_utf8(out.payload).unwrap()
        })
    };
    assert_eq!(bytes(json!({"a": 1}), None).unwrap(), r#"{"a":1}"#);
    assert_eq!(bytes(json!("text"), Some("application/json")).unwrap(), r#""text""#);
    assert_eq!(bytes(json!("text"), Some("text/plain")).unwrap(), "text");
    assert_eq!(bytes(json!(7), Some("text/plain")).unwrap(), "7");
    assert_eq!(bytes(json!("<x/>"), Some("application/xml")).unwrap(), "<x/>");
    let problem = bytes(json!({"a": 1}), Some("application/xml")).unwrap_err();
    assert!(problem.kind.ends_with("/validation") && problem.to_string().contains("application/xml"), "{problem}");
    for headers in [json!({"a b": 1}), json!({"a:": 1}), json!({"": 1}), json!({"a": "x\r\ny: z"}), json!({"a": []})] {
        let message = json!({"payload": 1, "headers": headers});
        assert!(Outbound::of(&message, &Form::default()).is_err(), "{message}");
    }
}

#[test]
fn what_comes_in_is_what_it_says_or_what_it_can_be() {
    let read = |payload: &[u8], kind: Option<&str>| {
        let headers = vec![("trace".to_owned(), "t-1".to_owned()), ("a".into(), "1".into()), ("a".into(), "2".into())];
        let form = Form { content_type: None, correlation: Some("$message.header#/trace".into()) };
        let inbound =
            Inbound { payload: payload.to_vec(), content_type: kind.map(str::to_owned), headers, ..Inbound::default() };
        inbound.value(&form)
    };
    let whole = json!({"payload": {"a": 1}, "headers": {"trace": "t-1", "a": "1, 2"}, "correlationId": "t-1"});
    assert_eq!(read(br#"{"a": 1}"#, None), Ok(whole));
    let payload = |bytes: &[u8], kind| read(bytes, kind).map(|m| m.get("payload").cloned().unwrap());
    assert_eq!(payload(b"plain", None), Ok(json!("plain")));
    assert_eq!(payload(b"7", Some("text/plain")), Ok(json!("7")));
    assert_eq!(payload(b"\xff\x00", None), Ok(json!("/wA=")));
    assert_eq!(payload(b"", None), Ok(Value::Null));
    assert!(payload(b"{", Some("application/json")).unwrap_err().contains("expected JSON"));
}

#[test]
fn the_form_of_messages_is_the_documents_unless_they_differ() {
    let (two, three) = (document(TWO), document(THREE));
    let form = |document: &Document, name, direction| Form::of(document, &found(document, name, direction).unwrap());
    let said = form(&two, "say", Direction::Publish);
    assert_eq!(said.content_type.as_deref(), Some("application/json"));
    assert_eq!(said.correlation.as_deref(), Some("$message.header#/trace"));
    assert_eq!(form(&two, "hear", Direction::Subscribe).content_type, None, "JSON and text");
    assert_eq!(form(&two, "alerts", Direction::Subscribe).content_type.as_deref(), Some("text/plain"));
    assert_eq!(form(&three, "greet", Direction::Publish), Form::default());
}

proptest! {
    #[test]
    fn no_document_makes_it_panic(text in "(asyncapi: [23].0.0\n)?([a-z$#/{}\\[\\]:, \n-]{0,80}|channels: \\{a: \\{address: '[{}a-z.]{0,9}'\\}\\}\n)*") {
        let Ok(document) = Document::read(&resource(&text)) else { return Ok(()) };
        for direction in [Direction::Publish, Direction::Subscribe] {
            let Ok(found) = document.find(Some("a"), None, direction) else { continue };
            let _ = choose(&document, &found, Asked::default());
            let _ = channel_address(&document, &found, Spoken::Nats, direction, None);
            let _ = payload::check(&document, &found, &json!({"payload": 1}));
        }
    }
}
