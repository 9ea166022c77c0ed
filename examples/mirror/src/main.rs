//! An app backend that mirrors room messages into SQLite: the smallest program that keeps everything it acknowledged.
//!
//! ```text
//! cargo run -p roomhook-example-mirror -- --listen 127.0.0.1:9000 --db mirror.sqlite --sdkappid 1400000001 --token lantern-9f21
//! sqlite3 mirror.sqlite 'SELECT room, seq, sender, body FROM message ORDER BY room, msg_time, seq'
//! ```
//!
//! It answers a webhook after SQLite has synced the message to disk, and writes in such a way that a message that comes twice, or
//! late, is there once. That is all that at-least-once delivery asks of a receiver.

mod app;
mod store;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Parser;
use roomhook_receiver::axum::{Shared, router};
use roomhook_receiver::{Config, Limits, Receiver};
use tokio::net::TcpListener;

use crate::app::Mirror;
use crate::store::Store;

/// Mirrors room messages into SQLite.
#[derive(Debug, Parser)]
struct Options {
    /// Where to take webhooks; any path will do.
    #[arg(long, default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    /// The SQLite file; made if missing.
    #[arg(long, default_value = "mirror.sqlite")]
    db: PathBuf,
    /// The app whose webhooks are taken.
    #[arg(long)]
    sdkappid: u32,
    /// The webhook token, as set at the sender.
    #[arg(long, env = "MIRROR_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The Standard Webhooks signing secret (whsec_…), as set at the sender.
    #[arg(long, env = "MIRROR_SIGNING_SECRET", hide_env_values = true)]
    signing_secret: Option<String>,
}

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let options = Options::parse();
    let store = Store::open(&options.db).with_context(|| format!("opening {}", options.db.display()))?;
    let receiver = Shared::new(receiver(&options, &store)?);

    let listener =
        TcpListener::bind(options.listen).await.with_context(|| format!("listening on {}", options.listen))?;
    tracing::info!(address = %listener.local_addr()?, db = %options.db.display(), "mirroring");
    let app = router(receiver, Mirror::new(store));
    axum::serve(listener, app).with_graceful_shutdown(asked_to_stop()).await.context("serving")
}

/// A receiver that knows where the mirror stopped, so that the first message after a restart already shows what was missed.
fn receiver(options: &Options, store: &Store) -> Result<Receiver> {
    let mut config = Config::new(options.sdkappid);
    if let Some(token) = &options.token {
        config = config.token(token);
    }
    if let Some(secret) = &options.signing_secret {
        config = config.signing_secret(secret).context("--signing-secret")?;
    }
    if options.token.is_none() && options.signing_secret.is_none() {
        tracing::warn!(
            "neither --token nor --signing-secret is set: anybody who reaches this port can invent messages"
        );
    }
    let mut receiver = Receiver::new(config);
    for newest in store.newest_per_room(Limits::default().rooms_max)? {
        receiver.resume(&newest.room, newest.seq, newest.msg_time_secs);
    }
    Ok(receiver)
}

async fn asked_to_stop() {
    if let Err(error) = tokio::signal::ctrl_c().await {
        tracing::error!(%error, "cannot listen for ctrl-c; stop the mirror by ending its process");
        std::future::pending::<()>().await;
    }
}
