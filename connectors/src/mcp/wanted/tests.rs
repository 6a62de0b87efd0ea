use cpd_connector_api::CancellationToken;

use super::*;

fn read(with: Value) -> Result<Wanted, Problem> {
    let request = Request {
        operation: "mcp.call".into(),
        version: "1.0.0".into(),
        run: "r".into(),
        workflow: "w".into(),
        task: "/do/0/t".into(),
        attempt: 1,
        key: "r/t".into(),
        deadline: None,
        input: with,
        resources: Default::default(),
        conditions: Default::default(),
        cancel: CancellationToken::new(),
    };
    Wanted::read(&request, &spec(), &mut Guarded::default())
}

fn refusal(with: Value) -> String {
    match read(with) {
        Ok(_) => panic!("expected a refusal"),
        Err(problem) => problem.detail.unwrap().to_string(),
    }
}

fn http() -> Value {
    json!({"http": {"endpoint": "https://tools.example/mcp"}})
}

#[test]
fn a_tools_call_carries_the_key_and_keeps_the_authors_meta() {
    let parameters = json!({"name": "echo", "arguments": {"a": 1}, "_meta": {"mine": true}});
    let wanted = read(json!({"method": "tools/call", "parameters": parameters, "transport": http()})).unwrap();
    assert_eq!(wanted.parameters.get("_meta"), Some(&json!({"mine": true, "cpd/idempotencyKey": "r/t"})));
    let sent = Value::from_serialize(&wanted.rpc).unwrap();
    assert_eq!(sent.get("params").and_then(|p| p.get("_meta")), wanted.parameters.get("_meta"), "{sent}");
    assert_eq!(sent.get("params").and_then(|p| p.get("arguments")), Some(&json!({"a": 1})));
    assert_eq!((wanted.class, wanted.version.as_str()), (Class::AtMostOnce, "2025-06-18"));
}

#[test]
fn parameters_that_the_method_does_not_have_are_refused_before_anything_is_sent() {
    let text = refusal(json!({"method": "tools/call", "parameters": {"arguments": {}}, "transport": http()}));
    assert!(text.contains("`parameters`") && text.contains("`name`"), "{text}");
    let text = refusal(json!({"method": "tools/list", "parameters": "all", "transport": http()}));
    assert!(text.contains("/parameters") && text.contains("object"), "{text}");
    let text = refusal(json!({"method": "tools/delete", "transport": http()}));
    assert!(text.contains("tools/list"), "{text}");
}

#[test]
fn a_transport_is_one_of_two() {
    let both = json!({"http": {"endpoint": "https://x.example"}, "stdio": {"command": "x"}});
    assert!(refusal(json!({"method": "tools/list", "transport": both})).contains("/transport"));
    assert!(refusal(json!({"method": "tools/list", "transport": {}})).contains("/transport"));
    let text = refusal(json!({"method": "tools/list", "transport": {"http": {"endpoint": "tools"}}}));
    assert!(text.contains("transport.http.endpoint") && text.contains("https://host/path"), "{text}");
}

#[test]
fn headers_of_the_protocol_cannot_be_given() {
    let transport = json!({"http": {"endpoint": "https://x.example", "headers": {"Mcp-Session-Id": "1"}}});
    assert!(refusal(json!({"method": "tools/list", "transport": transport})).contains("set by the protocol"));
}

#[test]
fn what_decides_which_program_runs_cannot_be_given_in_the_environment() {
    for name in ["PATH", "LD_PRELOAD", "DYLD_INSERT_LIBRARIES", "a=b", ""] {
        let environment = Value::from([(name, Value::from("/tmp/evil"))]);
        let transport = json!({"stdio": {"command": "x", "environment": environment}});
        let text = refusal(json!({"method": "tools/list", "transport": transport}));
        assert!(text.contains("`environment`") && !text.contains("/tmp/evil"), "{name}: {text}");
    }
}

#[test]
fn a_timeout_is_a_duration_of_the_language() {
    let wanted = |timeout: Value| read(json!({"method": "tools/list", "transport": http(), "timeout": timeout}));
    assert_eq!(wanted(json!("PT5S")).unwrap().timeout, Some(Duration::from_secs(5)));
    assert_eq!(wanted(json!({"minutes": 1})).unwrap().timeout, Some(Duration::from_secs(60)));
    assert!(wanted(json!("5")).is_err());
}

#[test]
fn a_program_must_have_been_allowed_by_the_name_that_the_definition_gives() {
    let program = |command: &str| Program { command: command.into(), arguments: vec![], environment: vec![] };
    let allowed = ["npx".to_owned()];
    assert!(program("npx").allowed(&allowed).is_ok());
    for other in ["/tmp/npx", "npx ", "npm"] {
        let text = program(other).allowed(&allowed).unwrap_err().detail.unwrap().to_string();
        assert!(text.contains("only npx are allowed") && text.contains("`allow_stdio`"), "{text}");
    }
    assert!(program("npx").allowed(&[]).unwrap_err().detail.unwrap().contains("no command is allowed"));
}
