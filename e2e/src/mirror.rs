//! `examples/mirror` as an operator runs it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Duration, Instant, sleep};

use crate::{SDKAPPID, binary, peers, server};

/// A running mirror with a database of its own. Killed when dropped.
#[derive(Debug)]
pub struct Mirror {
    child: Child,
    folder: TempDir,
    address: SocketAddr,
    token: String,
}

impl Mirror {
    /// Starts one that demands this token.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start(token: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("roomhook-mirror-").tempdir()?;
        let address = server::free_address()?;
        let child = spawn(address, &folder.path().join("mirror.sqlite"), token)?;
        let mut mirror = Self { child, folder, address, token: token.to_owned() };
        mirror.ready().await?;
        Ok(mirror)
    }

    /// Its webhook URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Power off, and on again.
    ///
    /// # Errors
    /// If it does not start again.
    pub async fn kill_9_and_start_again(&mut self) -> Result<()> {
        self.child.kill().await?;
        self.child = spawn(self.address, &self.database(), &self.token)?;
        self.ready().await
    }

    /// What is in its database: text by room and number.
    ///
    /// # Errors
    /// If the database cannot be read, or holds one number twice.
    pub async fn rows(&self) -> Result<BTreeMap<(String, u64), String>> {
        let output = Command::new(peers::python()?).arg(peers::script("rows.py")).arg(self.database()).output().await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let rows: Vec<(String, u64, String)> = serde_json::from_slice(&output.stdout)?;
        let count = rows.len();
        let map: BTreeMap<_, _> = rows.into_iter().map(|(room, seq, text)| ((room, seq), text)).collect();
        ensure!(map.len() == count, "a number is there twice");
        Ok(map)
    }

    fn database(&self) -> PathBuf {
        self.folder.path().join("mirror.sqlite")
    }

    async fn ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(self.address).await.is_err() {
            ensure!(self.child.try_wait()?.is_none(), "the mirror ended");
            ensure!(Instant::now() < deadline, "the mirror does not listen");
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

fn spawn(address: SocketAddr, database: &std::path::Path, token: &str) -> Result<Child> {
    let mut command = Command::new(binary::mirror()?);
    command.arg("--listen").arg(address.to_string()).arg("--db").arg(database);
    command.arg("--sdkappid").arg(SDKAPPID.to_string()).arg("--token").arg(token);
    command.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn().context("starting the mirror")
}
