//! App backends that call the REST API with clients that others wrote (`peers/rest.py`, `peers/rest.js`), over HTTPS.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::{ADMIN, KEY, SDKAPPID, peers};

/// How long an interpreter's start with a call may take. Generous: it is only ever used up by a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Package {
    /// PyPI `timsdk`: methods for accounts and groups, and `post` for everything.
    Timsdk,
    /// PyPI `tencentcloud-sdk-python-im`: methods for accounts and groups.
    TencentcloudIm,
    /// Node.js's own `fetch`: `post`.
    Node,
}

impl Package {
    fn command(self) -> Result<Command> {
        let python = |package: &str| -> Result<Command> {
            let mut command = Command::new(peers::python()?);
            command.arg(peers::script("rest.py")).arg(package);
            Ok(command)
        };
        match self {
            Self::Timsdk => python("timsdk"),
            Self::TencentcloudIm => python("tencentcloud_im"),
            Self::Node => {
                let mut command = Command::new(peers::node()?);
                command.arg(peers::script("rest.js")).arg(peers::packages()?);
                Ok(command)
            }
        }
    }
}

/// A running backend, the app's admin. Ends when dropped.
#[derive(Debug)]
pub struct Backend {
    package: Package,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Backend {
    /// Starts one that calls the server at `server` and trusts the certificate in this file.
    ///
    /// # Errors
    /// If the interpreter does not start.
    pub fn start(package: Package, server: SocketAddr, certificate: &Path) -> Result<Self> {
        let mut child = package
            .command()?
            .args([&format!("https://{server}"), &SDKAPPID.to_string(), KEY, ADMIN])
            .env("REQUESTS_CA_BUNDLE", certificate)
            .env("NODE_EXTRA_CA_CERTS", certificate)
            .env("NO_PROXY", "*")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {package:?}"))?;
        let orders = child.stdin.take().context("the backend has no input")?;
        let answers = BufReader::new(child.stdout.take().context("the backend has no output")?).lines();
        Ok(Self { package, orders, answers, _child: child })
    }

    /// Calls one of the client's methods and gives the answer as the client gave it.
    ///
    /// # Errors
    /// If the client fails or does not answer; what it said then is on standard error.
    pub async fn call(&mut self, method: &str, args: Value) -> Result<Value> {
        let order = format!("{}\n", json!({"method": method, "args": args}));
        self.orders.write_all(order.as_bytes()).await?;
        self.orders.flush().await?;
        let answer = timeout(PATIENCE, self.answers.next_line()).await;
        let answer = answer.with_context(|| format!("{:?} does not answer {method}", self.package))??;
        let answer = answer.with_context(|| format!("{:?} failed in {method} {args}", self.package))?;
        serde_json::from_str(&answer).with_context(|| format!("{:?} answers {answer}", self.package))
    }

    /// Calls and insists on success.
    ///
    /// # Errors
    /// If the server refuses, besides the errors of [`Backend::call`].
    pub async fn ok(&mut self, method: &str, args: Value) -> Result<Value> {
        let answer = self.call(method, args.clone()).await?;
        let accepted = answer["ErrorCode"] == 0 && answer["ActionStatus"] == "OK";
        ensure!(accepted, "{method} {args} of {:?} was refused: {answer}", self.package);
        Ok(answer)
    }
}
