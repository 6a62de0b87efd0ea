//! A service that embeds the engine: an async closure is an operation, a workflow calls it, the journal remembers.
//!
//! `cargo run -p cpd-engine --example embed`

use cpd_connector_api::{Class, Outcome, json};
use cpd_engine::Engine;
use cpd_engine::operation::{Operations, spec};

const WORKFLOW: &str = r#"
document: { dsl: '1.0.3', namespace: shop, name: refund, version: '1.0.0' }
do:
  - refund: { call: billing.refund, with: { order: '${ .order }' } }
  - tell: { set: { message: '${ "order \(.refunded) was refunded" }' } }
"#;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let data = tempfile::tempdir()?;
    let refund = spec("billing.refund", Class::Idempotent, "Refunds an order.");
    let billing = Operations::new("billing").operation(refund, async |request| {
        // The key is the same over all attempts of this effect: hand it to whoever does the work.
        Outcome::succeeded(json!({ "refunded": request.input.get("order"), "key": &*request.key }))
    });
    let engine = Engine::builder(data.path()).connector(billing).open().await?;
    engine.register(WORKFLOW, "refund.yaml").await?;
    let run = engine.start("shop/refund").input(json!({ "order": 17 })).key("order-17").go().await?;
    let end = run.result().await?;
    #[expect(clippy::print_stdout, reason = "an example shows what it does")]
    {
        println!("run {} {}: {end:?}", run.id(), end.status());
    }
    // The same key again: the same run, whatever happened in between.
    let again = engine.start("shop/refund").input(json!({ "order": 17 })).key("order-17").go().await?;
    assert_eq!(again.id(), run.id());
    engine.stop().await?;
    Ok(())
}
