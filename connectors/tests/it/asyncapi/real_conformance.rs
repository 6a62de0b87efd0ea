//! The conformance suite over NATS and MQTT, with real brokers.
//!
//! Between the connector and a broker stands a gate. It counts what goes by, which is how effects are seen; and it can be closed:
//! then the broker still greets, and is not heard any more from where the call begins in earnest.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cpd_connector_api::conformance::{Kit, run};
use cpd_connector_api::{BoxFuture, json};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::broker::Broker;
use super::conformance::{pinned, samples};
use super::*;

/// What went by a gate, and whether it is closed.
#[derive(Default)]
struct Gate {
    closed: AtomicBool,
    passed: Mutex<Vec<u8>>,
}

impl Gate {
    /// Lets connections through to a port. `earnest` is what a client says when its greeting is over.
    async fn before(port: u16, earnest: &'static [&'static [u8]]) -> (u16, Arc<Self>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let gate = Arc::new(Self::default());
        let shared = gate.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                tokio::spawn(shared.clone().through(near, far, earnest));
            }
        });
        (own, gate)
    }

    async fn through(self: Arc<Self>, near: TcpStream, far: TcpStream, earnest: &'static [&'static [u8]]) {
        let ((mut near_in, mut near_out), (mut far_in, mut far_out)) = (near.into_split(), far.into_split());
        let shut = AtomicBool::new(false);
        let there = async {
            let mut piece = vec![0; 65_536];
            while let Ok(n) = near_in.read(&mut piece).await {
                let said = &piece[..n];
                let begins = earnest.iter().any(|w| said.windows(w.len()).any(|s| s == *w));
                if begins && self.closed.load(Ordering::SeqCst) {
                    shut.store(true, Ordering::SeqCst);
                }
                if !shut.load(Ordering::SeqCst) {
                    self.passed.lock().extend(said);
                    if n == 0 || far_out.write_all(said).await.is_err() {
                        return;
                    }
                } else if n == 0 {
                    return;
                }
            }
        };
        let back = async {
            let mut piece = vec![0; 65_536];
            while let Ok(n) = far_in.read(&mut piece).await {
                if n == 0 {
                    return;
                }
                if !shut.load(Ordering::SeqCst) && near_out.write_all(&piece[..n]).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = there => {}
            () = back => {}
        }
    }

    fn count(&self, what: &str) -> usize {
        let (passed, what) = (self.passed.lock(), what.as_bytes());
        passed.windows(what.len()).filter(|w| *w == what).count()
    }
}

async fn conforms(protocol: &str, port: u16, earnest: &'static [&'static [u8]]) {
    let (port, gate) = Gate::before(port, earnest).await;
    let api = Api::new(protocol, port, "conformance");
    let closing = gate.clone();
    let report = run(Kit {
        connector: &pinned(&api),
        samples: samples(&json!({"basic": {"use": "login"}}), json!({"for": {"milliseconds": 20}})),
        probe: &|key| gate.count(key),
        silence: &move |on: bool| -> BoxFuture<'static, ()> {
            closing.closed.store(on, Ordering::SeqCst);
            Box::pin(async {})
        },
        secrets: vec!["hunter2x".into()],
        patience: Duration::from_secs(10),
    })
    .await;
    assert!(report.breaches.is_empty(), "{report}");
    assert!(report.checks > 50, "{report}");
}

#[tokio::test]
async fn it_conforms_over_nats() {
    let Some(broker) = Broker::nats("authorization { user: somebody, password: hunter2x }").await else { return };
    conforms("nats", broker.port, &[b"HPUB ", b"SUB "]).await;
}

#[tokio::test]
async fn it_conforms_over_mqtt() {
    let Some(broker) = Broker::mosquitto("allow_anonymous true", &[]).await else { return };
    conforms("mqtt5", broker.port, &[b"conformance"]).await;
}
