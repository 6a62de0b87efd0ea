//! `cpd sandbox`: a loopback server that answers as Atlas and as a language model.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use cpd_connectors::sandbox::{self, Config};
use cpd_core::json;

use super::{Global, style};
use crate::exit::Exit;

/// `cpd sandbox`
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The port on 127.0.0.1; 0 picks a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Keep the state in FILE, so that it survives the sandbox.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// How long a training takes, in seconds.
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS")]
    training: f64,
}

pub(crate) fn sandbox(global: &Global, args: &Args) -> anyhow::Result<Exit> {
    let training = Duration::try_from_secs_f64(args.training).context("read --training as seconds")?;
    super::runtime()?.block_on(async {
        let config = Config { port: args.port, state: args.state.clone(), training, ..Config::default() };
        let sandbox = sandbox::serve(config).await?;
        let url = sandbox.url();
        if global.json {
            style::line(&json!({ "url": *url, "mlflow": *url, "training": format!("{url}/training") }).to_json())?;
        } else {
            style::line(&format!("This is a sandbox: nothing here is real. It listens on {url}"))?;
            style::line(&format!("  export CPD_ATLAS_MLFLOW_URL={url} CPD_ATLAS_TRAINING_URL={url}/training"))?;
            let address = url.trim_start_matches("http://");
            style::line(&format!("  export CPD_EGRESS_ALLOW={address}   # for definitions that call it by address"))?;
            style::say("Ctrl-C ends it.");
        }
        tokio::signal::ctrl_c().await.context("wait for Ctrl-C")?;
        sandbox.shutdown().await;
        Ok(Exit::Done)
    })
}
