//! The ready file: how a server started with port 0 tells its parent (a bench, a test, a script) where it listens.

use std::{net::SocketAddr, path::Path};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::app::App;

/// Written as JSON, once, when the server takes requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ready {
    pub(crate) listen: SocketAddr,
    pub(crate) admin_listen: SocketAddr,
    pub(crate) pid: u32,
}

impl Ready {
    /// Of a server whose sockets are bound; it answers from [`App::run`] on, and queues connections until then.
    pub(crate) fn of(app: &App) -> anyhow::Result<Self> {
        let (listen, admin_listen) = app.addresses()?;
        Ok(Self { listen, admin_listen, pid: std::process::id() })
    }

    /// Writes the file so that a reader sees all of it or nothing.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let draft = path.with_extension("draft");
        std::fs::write(&draft, serde_json::to_vec(self)?).with_context(|| format!("write {}", draft.display()))?;
        std::fs::rename(&draft, path).with_context(|| format!("write {}", path.display()))
    }

    /// `None` as long as the file does not exist.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Option<Self>> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).with_context(|| format!("read {}", path.display()))?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }
}
