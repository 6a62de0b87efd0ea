//! Documents that definitions refer to: over HTTP with every limit, and as files that never lead out of their directory.

use std::path::Path;

use cpd_connector_api::attachment::Resource;
use cpd_connector_api::{Problem, Value, json};
use cpd_connectors::authentication::Authenticator;
use cpd_connectors::http::resource::{BYTES_MAX, load};
use cpd_connectors::http::{HttpClient, HttpConfig};

use crate::server::{Reply, Server};
use crate::support::*;

async fn loaded(base: Option<&Path>, endpoint: &Value) -> Result<Resource, Problem> {
    loaded_by(&client(HttpConfig::default()), base, endpoint).await
}

async fn loaded_by(http: &HttpClient, base: Option<&Path>, endpoint: &Value) -> Result<Resource, Problem> {
    load(http, &Authenticator::new(http.clone(), secrets()), base, endpoint).await
}

#[tokio::test]
async fn a_document_comes_over_http_with_its_media_type_and_credentials() {
    let server = Server::start(|asked| match (asked.path.as_str(), asked.header("authorization")) {
        ("/open", None) => Reply::new(200, "application/yaml", "openapi: 3.1.0"),
        ("/moved", None) => Reply::redirect(302, "/open"),
        ("/guarded", Some("Bearer s3cret-token-value")) => Reply::json(200, &json!({"openapi": "3.1.0"})),
        (_, sent) => Reply::json(401, &json!({"found": sent})),
    })
    .await;
    for path in ["/open", "/moved"] {
        let uri = server.url(path);
        let resource = loaded(None, &json!(format!("{uri}#/a/part"))).await.unwrap();
        assert_eq!(&*resource.uri, format!("{uri}#/a/part"), "as the definition writes it");
        assert_eq!(resource.media_type.as_deref(), Some("application/yaml"));
        assert_eq!(resource.text().unwrap(), "openapi: 3.1.0");
    }
    let asked = &server.asked()[0];
    assert_eq!((asked.method.as_str(), asked.header("idempotency-key")), ("GET", None));
    let guarded = |policy: Value| json!({"uri": server.url("/guarded"), "authentication": policy});
    let resource = loaded(None, &guarded(json!({"bearer": {"use": "token"}}))).await.unwrap();
    assert_eq!(resource.text().unwrap(), r#"{"openapi":"3.1.0"}"#);
    let problem = loaded(None, &guarded(json!({"bearer": {"token": "other-secret"}}))).await.unwrap_err();
    assert_eq!(problem.status, 401);
    assert!(
        problem.kind.ends_with("/communication") && !format!("{problem:?}").contains("other-secret"),
        "{problem:?}"
    );
    let problem = loaded(None, &guarded(json!({"bearer": {"use": "gone"}}))).await.unwrap_err();
    assert_eq!(problem.status, 403);
}

#[tokio::test]
async fn a_document_that_is_too_large_is_not_taken() {
    let server = Server::start(|_| Reply::new(200, "text/plain", vec![b'x'; 1 << 20]).chunked(9)).await;
    let whole = json!(server.url("/"));
    let problem = loaded(None, &whole).await.unwrap_err();
    assert!(detail(&problem).contains("expected at most 8388608"), "{problem}");
    // However much else the client may take.
    let large = client(HttpConfig { answer_bytes_max: 64 << 20, ..HttpConfig::default() });
    let problem = loaded_by(&large, None, &whole).await.unwrap_err();
    assert!(detail(&problem).contains("found 9437184 bytes, expected at most 8388608"), "{problem}");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("large"), vec![b'x'; BYTES_MAX + 1]).unwrap();
    std::fs::write(dir.path().join("fits"), vec![b'x'; BYTES_MAX]).unwrap();
    let problem = loaded(Some(dir.path()), &json!("large")).await.unwrap_err();
    assert!(detail(&problem).contains("found more than 8388608 bytes"), "{problem}");
    assert_eq!(loaded(Some(dir.path()), &json!("fits")).await.unwrap().content.len(), BYTES_MAX);
}

#[tokio::test]
async fn files_are_read_below_their_directory_and_nowhere_else() {
    let outer = tempfile::tempdir().unwrap();
    let base = outer.path().join("base");
    std::fs::create_dir_all(base.join("inner")).unwrap();
    std::fs::write(outer.path().join("outside.yaml"), "secret").unwrap();
    std::fs::write(base.join("inner/a b.yaml"), "found").unwrap();
    std::os::unix::fs::symlink("inner/a b.yaml", base.join("link")).unwrap();
    std::os::unix::fs::symlink(outer.path().join("outside.yaml"), base.join("escape")).unwrap();
    std::os::unix::fs::symlink(outer.path(), base.join("up")).unwrap();
    let absolute = base.join("inner/a b.yaml").display().to_string();
    let as_uri = format!("file://{}", absolute.replace(' ', "%20"));
    let on_this_machine = format!("file://localhost{}", absolute.replace(' ', "%20"));
    for good in ["inner/a b.yaml", "./inner/a b.yaml", "link", &absolute, &as_uri, &on_this_machine] {
        let resource = loaded(Some(&base), &json!(good)).await.unwrap_or_else(|p| panic!("{good}: {p}"));
        assert_eq!((&*resource.uri, resource.text().unwrap()), (good, "found"));
    }
    let outside = outer.path().join("outside.yaml").display().to_string();
    let outside_uri = format!("file://{outside}");
    for (bad, said) in [
        ("../outside.yaml", "found a path with `..`"),
        ("inner/../../outside.yaml", "found a path with `..`"),
        ("gone/../inner/a b.yaml", "found a path with `..`"),
        ("escape", "found a file outside of"),
        ("up/outside.yaml", "found a file outside of"),
        (&*outside, "found a file outside of"),
        (&*outside_uri, "found a file outside of"),
        ("/no/such/file", "found a file outside of"),
        ("file://server/share/x", "a file of another machine"),
        ("inner", "found no regular file"),
        ("gone.yaml", "No such file"),
        ("ftp://host/x", "expected http, https or file"),
        ("", "expected an address"),
    ] {
        let problem = loaded(Some(&base), &json!(bad)).await.unwrap_err();
        assert!(problem.kind.ends_with("/configuration"), "{bad}: {problem}");
        assert!(detail(&problem).contains(said), "{bad}: {problem}");
    }
    let problem = loaded(None, &json!("inner/a b.yaml")).await.unwrap_err();
    assert!(detail(&problem).contains("no directory for files is set"), "{problem}");
    let credentials = json!({"uri": "link", "authentication": {"bearer": {"token": "hunter2x"}}});
    let problem = loaded(Some(&base), &credentials).await.unwrap_err();
    assert!(detail(&problem).contains("found `authentication` for a file"), "{problem}");
    for bad in [json!({"url": "x"}), json!(3), json!({"authentication": {}}), json!(null)] {
        let problem = loaded(Some(&base), &bad).await.unwrap_err();
        assert!(detail(&problem).contains("`endpoint`"), "{problem}");
    }
}
