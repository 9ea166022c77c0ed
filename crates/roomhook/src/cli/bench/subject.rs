//! The server under load: one of our own in another process, or one that runs somewhere.

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;

use roomhook_log_disk::DiskLog;

use super::{
    load::Target,
    process::{Probe, Server},
};
use crate::cli::{
    doctor::disk::fdatasync_median,
    rest::{Admin, usersig_now},
};

/// A server that runs already.
#[derive(Debug, clap::Args)]
pub(super) struct Elsewhere {
    /// Load a running server instead, e.g. http://127.0.0.1:8080
    #[arg(long, requires = "sdkappid", requires = "key")]
    url: Option<String>,
    /// SDKAppID of an app of that server
    #[arg(long, requires = "url")]
    sdkappid: Option<u32>,
    /// The app's secret key
    #[arg(long, requires = "url", env = "ROOMHOOK_BENCH_KEY", hide_env_values = true)]
    key: Option<String>,
    /// An admin account of that app
    #[arg(long, default_value = "administrator")]
    admin: String,
    /// Process id of that server, for its CPU and memory
    #[arg(long, requires = "url")]
    server_pid: Option<u32>,
}

/// How a server of our own is set up.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// Where its store lies; `None`: a temporary folder.
    pub(super) data: Option<PathBuf>,
    /// `storage.durability`.
    pub(super) durability: String,
    /// `server.worker_threads`.
    pub(super) threads: u16,
    /// Below `[[app]]`: `[app.webhook]` and other sections.
    pub(super) more: String,
}

/// The server to load, and whether it is ours to stop.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) target: Target,
    pub(super) admin: Admin,
    /// Signs for the users of the load.
    key: String,
    pub(super) probe: Option<Probe>,
    /// Where our own server tells its metrics.
    pub(super) metrics: Option<Target>,
    own: Option<Server>,
    store: Option<PathBuf>,
    /// One small write with `fdatasync` where the store of our own server lies.
    pub(super) fdatasync: Option<Duration>,
    _folder: Option<tempfile::TempDir>,
}

impl Subject {
    /// # Errors
    /// When there is no such server, or ours does not start.
    pub(super) async fn prepare(elsewhere: &Elsewhere, own: Own) -> anyhow::Result<Self> {
        if let (Some(url), Some(sdkappid), Some(key)) = (&elsewhere.url, elsewhere.sdkappid, &elsewhere.key) {
            return Ok(Self {
                target: Target::resolve(url).await?,
                admin: Admin::sign(sdkappid, key, &elsewhere.admin),
                key: key.clone(),
                probe: elsewhere.server_pid.map(|pid| Probe { pid }),
                metrics: None,
                own: None,
                store: None,
                fdatasync: None,
                _folder: None,
            });
        }
        Self::start(&elsewhere.admin, own).await
    }

    /// Starts a server of our own.
    pub(super) async fn start(admin: &str, own: Own) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("make a temporary folder")?;
        let store = match &own.data {
            Some(path) => std::path::absolute(path)?,
            None => folder.path().join("data"),
        };
        let (sdkappid, key) = (1_400_000_001, "a key for a bench, not a secret");
        let config = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nworker_threads = {}\n\
             [storage]\npath = {store:?}\ndurability = {:?}\n[log]\nlevel = \"warn\"\n\
             [[app]]\nsdkappid = {sdkappid}\nkey = {key:?}\nadmins = [{admin:?}]\n{}",
            own.threads, own.durability, own.more,
        );
        let fdatasync = fdatasync_median(store.parent().unwrap_or(&store)).ok();
        let server = Server::start(folder.path(), &config).await?;
        Ok(Self {
            target: Target::at(server.ready.listen),
            metrics: Some(Target::at(server.ready.admin_listen)),
            admin: Admin::sign(sdkappid, key, admin),
            key: key.to_owned(),
            probe: Some(Probe { pid: server.pid() }),
            own: Some(server),
            store: Some(store),
            fdatasync,
            _folder: Some(folder),
        })
    }

    /// Whether it is a server of this bench, with nothing else in it.
    pub(super) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// The same server, asked by another of its apps. Stops nothing.
    pub(super) fn of_another_app(&self, sdkappid: u32, key: &str) -> Self {
        Self {
            target: self.target.clone(),
            metrics: self.metrics.clone(),
            admin: Admin::sign(sdkappid, key, &self.admin.userid),
            key: key.to_owned(),
            probe: self.probe,
            own: None,
            store: None,
            fdatasync: None,
            _folder: None,
        }
    }

    /// Megabytes that the store of our own server takes on the disk.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn store_mb(&self) -> anyhow::Result<Option<f64>> {
        let Some(store) = &self.store else { return Ok(None) };
        Ok(Some(DiskLog::inspect(store)?.bytes as f64 / 1e6))
    }

    /// What a client of this user connects with.
    pub(super) fn usersig(&self, user: &str) -> String {
        usersig_now(self.admin.sdkappid, &self.key, user, 86_400)
    }

    /// Stops the server if it is ours; returns how long its start took.
    pub(super) async fn stop(&mut self) -> anyhow::Result<Option<Duration>> {
        let Some(server) = self.own.take() else { return Ok(None) };
        let started_in = server.started_in;
        server.stop().await?;
        Ok(Some(started_in))
    }
}
