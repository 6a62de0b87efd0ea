//! The suite passes a good connector and finds each fault of a bad one.

use std::collections::BTreeMap;
use std::sync::Mutex;

use tokio::sync::watch;

use super::*;
use crate::Standard;
use crate::guard::within;

/// What is wrong with the connector, if anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
    RepeatsEffects,
    IgnoresCancel,
    TakesGarbage,
    TellsSecret,
    DeniesWhatHappened,
    OpenSchema,
}

/// Adds one to a counter that stands for the outside.
struct Counter {
    fault: Fault,
    effects: Mutex<BTreeMap<String, usize>>,
    silent: watch::Sender<bool>,
}

impl Connector for Counter {
    fn name(&self) -> &str {
        "counter"
    }

    fn operations(&self) -> Vec<OperationSpec> {
        let open = self.fault == Fault::OpenSchema;
        vec![OperationSpec {
            name: "counter.add".into(),
            version: "1.0.0".into(),
            class: Class::Idempotent,
            reconciles: true,
            summary: "Adds one.".into(),
            input: json!({"type": "object", "additionalProperties": open, "required": ["by"], "properties": {"by": {"type": "integer"}}}),
            output: json!({"type": "integer"}),
        }]
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            let refuse = |what: &str| Outcome::Refused(Problem::standard(Standard::Validation, what));
            if &*request.operation != "counter.add" {
                return refuse("found an operation that is not offered");
            }
            let misfits = schema::check(&self.operations()[0].input, &request.input);
            if !misfits.is_empty() && self.fault != Fault::TakesGarbage {
                return refuse(&format!("`with` does not fit: {}", misfits[0]));
            }
            let speaks = async {
                let mut silent = self.silent.subscribe();
                silent.wait_for(|silent| !silent).await.map(|_| ()).ok()
            };
            if self.fault == Fault::IgnoresCancel {
                speaks.await;
            } else if let Err(why) = within(&request, &SystemClock, speaks).await {
                return Outcome::failed(why.problem("while adding"));
            }
            let mut effects = self.effects.lock().unwrap();
            let count = effects.entry(request.wire_key()).or_default();
            if *count == 0 || self.fault == Fault::RepeatsEffects {
                *count += 1;
            }
            let evidence = (self.fault == Fault::TellsSecret).then(|| json!({"header": "Bearer hunter2"}));
            Outcome::Succeeded(crate::Success { output: Value::from(1_i64), evidence })
        })
    }

    fn reconcile(&self, request: Request) -> BoxFuture<'_, Reconciled> {
        let happened = self.effects.lock().unwrap().contains_key(&request.wire_key());
        Box::pin(async move {
            match happened && self.fault != Fault::DeniesWhatHappened {
                true => Reconciled::Happened(Outcome::succeeded(1_i64)),
                false => Reconciled::NotHappened,
            }
        })
    }
}

async fn breaches(fault: Fault) -> Vec<String> {
    let counter = Counter { fault, effects: Mutex::default(), silent: watch::Sender::new(false) };
    let silent = counter.silent.clone();
    let report = run(Kit {
        connector: &counter,
        samples: vec![Sample::new("counter.add", json!({"by": 1})).with_effects(1)],
        probe: &|key| counter.effects.lock().unwrap().get(key).copied().unwrap_or(0),
        silence: &move |on| {
            silent.send_replace(on);
            Box::pin(async {})
        },
        secrets: vec!["hunter2".into()],
        patience: Duration::from_millis(700),
    })
    .await;
    assert!(report.checks > 30, "{report}");
    report.breaches.iter().map(Breach::to_string).collect()
}

#[tokio::test]
async fn a_good_connector_passes() {
    assert_eq!(breaches(Fault::None).await, Vec::<String>::new());
}

#[tokio::test]
async fn each_fault_is_found() {
    for (fault, said) in [
        (Fault::RepeatsEffects, "same key again: 2 effects, expected 1"),
        (Fault::IgnoresCancel, "does not end when it is cancelled"),
        (Fault::TakesGarbage, "expected a refusal with a useful problem"),
        (Fault::TellsSecret, "shows secret number 0"),
        (Fault::DeniesWhatHappened, "expected that it happened"),
        (Fault::OpenSchema, "additionalProperties must be false"),
    ] {
        let found = breaches(fault).await;
        assert!(found.iter().any(|b| b.contains(said)), "{fault:?}: {found:?}");
    }
}
