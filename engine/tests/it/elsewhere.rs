//! Documents that definitions refer to: loaded once, kept in the journal, the same for every run of a version.

use std::collections::BTreeMap;
use std::sync::Arc;

use cpd_connector_api::attachment::{Loader, Planned, Resource, Wanted};
use cpd_connector_api::{BoxFuture, Class, Connector, OperationSpec, Outcome, Problem, Request, Standard};
use cpd_core::{Value, json};
use cpd_engine::operation::spec;
use cpd_engine::view::View;
use cpd_engine::{Engine, Error, replay};
use parking_lot::Mutex;

use crate::support::{World, builder, output, workflow};

/// A network of documents that change.
#[derive(Default)]
struct Net {
    documents: Mutex<BTreeMap<String, String>>,
    loads: Mutex<Vec<String>>,
}

impl Net {
    fn put(&self, uri: &str, text: &str) {
        self.documents.lock().insert(uri.to_owned(), text.to_owned());
    }
}

impl Loader for Net {
    fn load<'a>(&'a self, wanted: &'a Wanted, _from: &'a str) -> BoxFuture<'a, Result<Resource, Problem>> {
        self.loads.lock().push(wanted.uri.to_string());
        let found = self.documents.lock().get(&*wanted.uri).cloned();
        Box::pin(async move {
            let gone = || Problem::standard(Standard::Communication, format!("GET {} answered 404", wanted.uri));
            let content = found.ok_or_else(gone)?.into_bytes().into();
            Ok(Resource { uri: wanted.uri.clone(), media_type: Some("text/plain".into()), content })
        })
    }
}

/// `openapi.call`: gives back what it was handed.
struct Shows;

impl Connector for Shows {
    fn name(&self) -> &str {
        "openapi"
    }
    fn operations(&self) -> Vec<OperationSpec> {
        vec![spec("openapi.call", Class::AtMostOnce, "Shows its document.")]
    }
    fn examine(&self, planned: &Planned<'_>) -> Result<Option<Class>, Problem> {
        let id = planned.with.get("operationId").and_then(Value::as_str);
        let unknown = || Problem::standard(Standard::Configuration, "there is no such operation");
        id.filter(|id| id.starts_with("get")).map(|_| Some(Class::Safe)).ok_or_else(unknown)
    }
    fn call(&self, request: Request) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            let uri = request.input.get("document").and_then(|d| d.get("endpoint")).and_then(Value::as_str);
            let document = request.resources.get(uri.unwrap_or_default());
            match document.and_then(|d| d.text()) {
                Ok(text) => Outcome::succeeded(json!({ "text": text })),
                Err(problem) => Outcome::Refused(problem),
            }
        })
    }
}

const BODY: &str = "do:
  - f: { call: https://t.example/f.yaml, with: { n: 20 } }
  - api: { call: openapi, with: { document: { endpoint: https://t.example/api.json }, operationId: getIt }, output: { as: '${ . + $input }' } }";

async fn engine(data: &std::path::Path, net: &Arc<Net>) -> Engine {
    let world = Arc::new(World::default());
    builder(data, &world).connector(Shows).loader(net.clone()).open().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_uses_what_was_loaded_when_its_definition_was_registered() {
    let (dir, net) = (tempfile::tempdir().unwrap(), Arc::new(Net::default()));
    net.put("https://t.example/f.yaml", "set: { n: '${ .n + 1 }' }");
    net.put("https://t.example/api.json", "first");
    let first = engine(dir.path(), &net).await;
    first.register(&workflow("w", "1.0.0", BODY), "w.yaml").await.unwrap();
    let run = first.start("w").go().await.unwrap();
    assert_eq!(output(&run).await, json!({ "text": "first", "n": 21 }));
    first.stop().await.unwrap();

    // The documents change, then go: the version that is registered stays what it is.
    net.documents.lock().clear();
    let loads = net.loads.lock().len();
    let again = engine(dir.path(), &net).await;
    let run = again.start("w").go().await.unwrap();
    assert_eq!(output(&run).await, json!({ "text": "first", "n": 21 }));
    assert_eq!(net.loads.lock().len(), loads, "a run loads nothing");
    again.stop().await.unwrap();

    // Nor does a replay, here or from a bundle.
    let view = View::open(dir.path()).unwrap();
    let history = view.history(run.id()).unwrap();
    assert!(replay::replay(&history, None, |_| {}).unwrap().divergence.is_none());
    let bundle = cpd_engine::History::from_bundle(&history.to_bundle()).unwrap();
    assert!(replay::replay(&bundle, None, |_| {}).unwrap().divergence.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_that_changes_makes_another_registration_of_the_same_source() {
    let (dir, net) = (tempfile::tempdir().unwrap(), Arc::new(Net::default()));
    net.put("https://t.example/f.yaml", "set: { n: 1 }");
    net.put("https://t.example/api.json", "first");
    let engine = engine(dir.path(), &net).await;
    let source = workflow("w", "1.0.0", BODY);
    let one = engine.register(&source, "w.yaml").await.unwrap();
    assert!(engine.register(&source, "w.yaml").await.unwrap().unchanged);
    net.put("https://t.example/api.json", "second");
    let two = engine.register(&source, "w.yaml").await.unwrap();
    assert!(!two.unchanged && one.digest != two.digest);
    assert_eq!(output(&engine.start("w").go().await.unwrap()).await, json!({ "text": "second", "n": 1 }));
    engine.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_loaded_or_never_work_is_refused_at_registration() {
    let (dir, net) = (tempfile::tempdir().unwrap(), Arc::new(Net::default()));
    net.put("https://t.example/f.yaml", "set: { n: 1 }");
    let engine = engine(dir.path(), &net).await;
    let refused = |error: Error| match error {
        Error::Invalid { diagnostics, .. } => diagnostics.iter().map(|d| d.message.clone()).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let error = engine.register(&workflow("w", "1.0.0", BODY), "w.yaml").await.unwrap_err();
    assert_eq!(refused(error), ["GET https://t.example/api.json answered 404"]);
    net.put("https://t.example/api.json", "there");
    let wrong = workflow("w", "1.0.0", &BODY.replace("getIt", "fetchIt"));
    let error = engine.register(&wrong, "w.yaml").await.unwrap_err();
    assert_eq!(refused(error), ["`openapi.call`: there is no such operation"]);
    engine.register(&workflow("w", "1.0.0", BODY), "w.yaml").await.unwrap();
    engine.stop().await.unwrap();
}
