//! `cpd serve`: the daemon.

use std::net::SocketAddr;

use anyhow::Context;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Global, style};
use crate::exit::Exit;
use crate::serve::Listening;

/// `cpd serve`
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to listen, instead of `listen` of [server] in the configuration; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
}

pub(crate) fn serve(global: &Global, args: &Args) -> anyhow::Result<Exit> {
    let mut config = global.config()?;
    if let Some(listen) = args.listen {
        config.server.listen = listen;
    }
    super::runtime()?.block_on(async {
        // Before anything is opened: a signal that comes meanwhile ends it in order, too.
        let mut terminate = signal(SignalKind::terminate()).context("wait for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("wait for SIGINT")?;
        let mut hangup = signal(SignalKind::hangup()).context("wait for SIGHUP")?;
        let listening = Listening::open(&global.data, &config).await?;
        let scheme = if listening.is_tls() { "https" } else { "http" };
        let recovered = listening.engine().recovered().clone();
        style::line(&format!("{scheme}://{}", listening.address()))?;
        style::say(&format!(
            "Serving {} with {}, {} taken up at once. SIGTERM ends it, SIGHUP reads the rules of [auth] and the files of [tls] again.",
            global.data.display(),
            style::count(recovered.open_runs as u64, "open run"),
            recovered.resumed_runs
        ));
        let reload = listening.reloader();
        let stop = CancellationToken::new();
        // Without a supervisor there is nobody to tell.
        sd_notify::notify(&[NotifyState::Ready]).ok();
        let mut serving = std::pin::pin!(listening.serve(stop.clone()));
        loop {
            tokio::select! {
                served = &mut serving => {
                    served?;
                    style::say("Stopped in order.");
                    return Ok(Exit::Done);
                }
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hangup.recv() => {
                    match global.config().and_then(|config| reload(&config)) {
                        Ok(()) => style::say("The rules of [auth] and the files of [tls] were read again."),
                        Err(error) => style::say(&format!("Nothing was changed: {error:#}")),
                    }
                    continue;
                }
            }
            sd_notify::notify(&[NotifyState::Stopping]).ok();
            stop.cancel();
        }
    })
}
