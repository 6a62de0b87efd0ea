//! Where definitions may reach, as the binary is delivered and as it is configured.

use super::server::Server;
use super::*;

/// A workflow that calls what its input says.
const CALLING: &str = "document: { dsl: '1.0.3', namespace: test, name: reach-out, version: '1.0.0' }
do:
  - fetch:
      call: http
      with: { method: get, endpoint: '${ .address }' }
";

fn calls(place: &Place, address: &str, environment: &[(&str, &str)]) -> Out {
    place.write("w.yaml", CALLING);
    let input = serde_json::json!({ "address": address }).to_string();
    strict(place, &["run", "w.yaml", "--input", &input], environment)
}

/// The binary without the permission that the other tests have.
fn strict(place: &Place, args: &[&str], environment: &[(&str, &str)]) -> Out {
    let mut command = place.command(args);
    command.env_remove("CPD_EGRESS_ALLOW").env_remove("NO_PROXY").envs(environment.iter().copied());
    finish(command.stdin(Stdio::null()))
}

#[test]
fn where_only_public_addresses_are_open_a_definition_does_not_reach_this_machine_and_is_told_how_it_would() {
    let (place, server) = (Place::new(), Server::start());
    place.write(".cpd/cpd.toml", "[egress]\nreach = \"public\"\n");
    let port = server.url("").rsplit(':').next().unwrap().to_owned();
    for host in ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"] {
        let out = calls(&place, &format!("http://{host}:{port}/hidden"), &[]).exits(3);
        let rule = match host {
            "2130706433" => format!("127.0.0.1:{port}"),
            "[::ffff:127.0.0.1]" => format!("[::ffff:7f00:1]:{port}"),
            _ => format!("{host}:{port}"),
        };
        out.says(&["a loopback address", &format!("add {rule:?} to `allow` of [egress]")]);
    }
    assert_eq!(server.calls(), Vec::<String>::new());
    // As advised, by the environment and by the file.
    let seen = format!("http://localhost:{port}/seen");
    let allow = format!("localhost:{port}");
    calls(&place, &seen, &[("CPD_EGRESS_ALLOW", &allow)]).exits(0).prints(&["/seen"]);
    place.write(".cpd/cpd.toml", format!("[egress]\nreach = \"public\"\nallow = [\"{allow}\"]\n"));
    calls(&place, &seen, &[]).exits(0).prints(&["/seen"]);
    place.write(".cpd/cpd.toml", "[egress]\nreach = \"any\"\ndeny = [\"127.0.0.0/8\"]\n");
    calls(&place, &seen, &[]).exits(3).says(&["`deny` of [egress] names it (\"127.0.0.0/8\")"]);
    assert_eq!(server.calls().len(), 2);
}

#[test]
fn a_wrong_rule_is_refused_before_anything_is_done() {
    let place = Place::new();
    place.write("w.yaml", SUM);
    place.write(".cpd/cpd.toml", "[egress]\nallow = [\"https://a.example\"]\n");
    place.cpd(&["run", "w.yaml"]).exits(1).says(&["`allow` of [egress]", "https://a.example", "expected a name"]);
    place.write(".cpd/cpd.toml", "[egress]\nprivate = \"allow\"\n");
    place.cpd(&["run", "w.yaml"]).exits(1).says(&["`private`", "`reach`"]);
}

#[test]
fn a_document_that_a_definition_names_is_not_loaded_from_this_machine_either() {
    let (place, server) = (Place::new(), Server::start());
    place.write(".cpd/cpd.toml", "[egress]\nreach = \"public\"\n");
    let task = "  - say:\n      call: asyncapi\n      with: { document: { endpoint: 'DOC' }, operation: say, message: { payload: 1 } }\n";
    place.write("w.yaml", workflow("reach-out", &task.replace("DOC", &server.url("/api.json"))));
    let out = strict(&place, &["run", "w.yaml"], &[]).calm().says(&["a loopback address"]);
    assert_ne!(out.code, Some(0));
    assert_eq!(server.calls(), Vec::<String>::new());
}

#[test]
fn a_proxy_of_the_environment_is_no_way_around_the_rules() {
    let (place, server) = (Place::new(), Server::start());
    let proxy = server.url("");
    place.write(".cpd/cpd.toml", "[egress]\nreach = \"public\"\n");
    let through = [("HTTP_PROXY", proxy.as_str()), ("http_proxy", proxy.as_str()), ("NO_PROXY", "")];
    for address in [
        "http://169.254.169.254/latest/meta-data/",
        "http://metadata.google.internal/computeMetadata/v1/",
        "http://10.0.0.1/",
        "http://[::ffff:169.254.169.254]/",
        "http://0x0a000001/",
        // Nobody here knows where the proxy would go.
        "http://no-such-host.invalid/",
    ] {
        calls(&place, address, &through).exits(3).says(&["[egress]"]);
    }
    assert_eq!(server.calls(), Vec::<String>::new());
    // What is listed goes through it, and the proxy itself needs no rule.
    let page = "http://no-such-host.invalid/page";
    let listed = [through[0], through[1], through[2], ("CPD_EGRESS_ALLOW", "no-such-host.invalid")];
    calls(&place, page, &listed).exits(0).prints(&["no-such-host.invalid/page"]);
    assert_eq!(server.calls(), ["GET http://no-such-host.invalid/page"]);
    place.write(".cpd/cpd.toml", "[egress]\nreach = \"public\"\nproxy = \"none\"\n");
    calls(&place, page, &listed).exits(3).says(&["could not connect"]);
    assert_eq!(server.calls().len(), 1, "straight, and not through the proxy");
}

#[test]
fn as_delivered_a_person_reaches_this_machine_but_no_metadata_service() {
    let (place, server) = (Place::new(), Server::start());
    calls(&place, &server.url("/mine"), &[]).exits(0).prints(&["/mine"]);
    calls(&place, "http://169.254.169.254/latest/meta-data/", &[]).exits(3).says(&["[egress]"]);
}
