//! Operations made of async closures, for services that embed the engine.
//!
//! ```
//! use cpd_engine::operation::{Operations, spec};
//! use cpd_connector_api::{Class, Outcome, json};
//!
//! let billing = Operations::new("billing")
//!     .operation(spec("billing.refund", Class::Idempotent, "Refunds an order."), async |request| {
//!         Outcome::succeeded(json!({ "refunded": request.input }))
//!     });
//! ```

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use cpd_connector_api::{BoxFuture, Class, Connector, OperationSpec, Outcome, Problem, Request, Standard};
use cpd_core::Value;

type Call = Arc<dyn Fn(Request) -> BoxFuture<'static, Outcome> + Send + Sync>;

/// A connector whose operations are async closures.
pub struct Operations {
    name: String,
    operations: BTreeMap<Arc<str>, (OperationSpec, Call)>,
}

/// The specification of an operation of version 1.0.0 that accepts any input.
pub fn spec(name: &str, class: Class, summary: &str) -> OperationSpec {
    OperationSpec {
        name: Arc::from(name),
        version: Arc::from("1.0.0"),
        class,
        reconciles: false,
        summary: Arc::from(summary),
        input: Value::Null,
        output: Value::Null,
    }
}

impl Operations {
    /// A connector of that name, with no operations yet.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), operations: BTreeMap::new() }
    }

    /// Adds an operation; its name begins with the connector's.
    ///
    /// # Panics
    /// If the name does not begin with the connector's name and a dot.
    #[must_use]
    pub fn operation<F, Fut>(mut self, spec: OperationSpec, call: F) -> Self
    where
        F: Fn(Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        let fits = spec.name.strip_prefix(&self.name).is_some_and(|rest| rest.starts_with('.'));
        assert!(fits, "operation {} must be named {}.something", spec.name, self.name);
        let call: Call = Arc::new(move |request| Box::pin(call(request)));
        self.operations.insert(spec.name.clone(), (spec, call));
        self
    }
}

impl Connector for Operations {
    fn name(&self) -> &str {
        &self.name
    }

    fn operations(&self) -> Vec<OperationSpec> {
        self.operations.values().map(|(spec, _)| spec.clone()).collect()
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Outcome> {
        match self.operations.get(&request.operation) {
            Some((_, call)) => call(request),
            None => {
                let detail = format!("connector {} has no operation {}", self.name, request.operation);
                let problem = Problem::standard(Standard::Configuration, detail);
                Box::pin(async move { Outcome::Refused(problem) })
            }
        }
    }
}
