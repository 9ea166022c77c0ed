//! A `roomhook serve` process with a folder of its own.

use std::collections::{HashSet, VecDeque};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use hyper::{Method, StatusCode};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::binary::roomhook;
use crate::rest::Client;
use crate::{ADMIN, KEY, SDKAPPID};

/// How long a start or an end may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The last lines of the log that a failing test shows.
const LOG_LINES_MAX: usize = 200;

/// What goes into `roomhook.toml`.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// The webhook URL; none if empty.
    pub webhook_url: String,
    /// Commands switched on; `Group.CallbackAfterSendMsg` if empty.
    pub commands: Vec<&'static str>,
    /// The webhook token; none if empty.
    pub token: String,
    /// Certificate and key files.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Where the store is; in the server's own folder if not said.
    pub store: Option<PathBuf>,
    /// `storage.durability`; `fsync` if empty.
    pub durability: &'static str,
    /// Words before the command, such as those that enter the place where the store can be seen.
    pub enter: Vec<String>,
    /// More lines of `[storage]`.
    pub of_storage: String,
    /// More lines of `[app.webhook]`.
    pub of_webhook: String,
    /// More lines of `[webhooks]`.
    pub of_webhooks: String,
    /// More sections.
    pub sections: String,
}

/// A running server. Killed when dropped; a test that fails shows its log.
#[derive(Debug)]
pub struct Server {
    child: Child,
    folder: TempDir,
    enter: Vec<String>,
    listen: SocketAddr,
    admin: SocketAddr,
    log: Log,
}

type Log = Arc<Mutex<VecDeque<String>>>;

impl Setup {
    /// A server that sends its webhooks to `url`.
    #[must_use]
    pub fn webhook(url: impl Into<String>) -> Self {
        Self { webhook_url: url.into(), ..Self::default() }
    }

    /// Starts the server and waits until it is ready.
    ///
    /// # Errors
    /// If it ends or is not ready in time; the text holds its log.
    pub async fn start(&self) -> Result<Server> {
        let folder = tempfile::Builder::new().prefix("roomhook-e2e-").tempdir()?;
        let (listen, admin) = (free_address()?, free_address()?);
        let file = folder.path().join("roomhook.toml");
        std::fs::write(&file, self.toml(folder.path(), listen, admin))?;
        let (child, log) = spawn(&file, &self.enter)?;
        let mut server = Server { child, folder, enter: self.enter.clone(), listen, admin, log };
        server.ready().await?;
        Ok(server)
    }

    /// Says something else to a server that is down, for its next start.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn rewrite(&self, server: &Server) -> Result<()> {
        let text = self.toml(server.folder.path(), server.listen, server.admin);
        std::fs::write(server.folder.path().join("roomhook.toml"), text).context("writing the configuration")
    }

    fn toml(&self, folder: &Path, listen: SocketAddr, admin: SocketAddr) -> String {
        let mut text = format!("[server]\nlisten = \"{listen}\"\nadmin_listen = \"{admin}\"\n");
        if let Some((cert, key)) = &self.tls {
            let _ = writeln!(text, "tls = {{ cert = {cert:?}, key = {key:?} }}");
        }
        let store = self.store.clone().unwrap_or_else(|| folder.join("data"));
        let durability = if self.durability.is_empty() { "fsync" } else { self.durability };
        let _ = write!(text, "\n[storage]\npath = {store:?}\ndurability = {durability:?}\n{}\n", self.of_storage);
        let _ = write!(text, "\n[[app]]\nsdkappid = {SDKAPPID}\nkey = \"{KEY}\"\nadmins = [\"{ADMIN}\"]\n");
        if !self.webhook_url.is_empty() {
            let commands = if self.commands.is_empty() { &["Group.CallbackAfterSendMsg"][..] } else { &self.commands };
            let _ = write!(text, "\n[app.webhook]\nurl = {:?}\ncommands = {commands:?}\n", self.webhook_url);
            if !self.token.is_empty() {
                let _ = writeln!(text, "token = {:?}", self.token);
            }
            let _ = writeln!(text, "{}", self.of_webhook);
        }
        let _ = write!(text, "\n[webhooks]\nallow = [\"127.0.0.0/8\"]\n{}\n{}\n", self.of_webhooks, self.sections);
        text
    }
}

impl Server {
    /// The address of the REST API.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listen
    }

    /// The address of `/metrics`, `/healthz`, `/readyz`.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// A REST connection as the app's admin.
    ///
    /// # Errors
    /// If the server does not accept.
    pub async fn client(&self) -> Result<Client> {
        Client::connect(self.listen).await
    }

    /// A REST connection as the admin of an app with the tests' key.
    ///
    /// # Errors
    /// As [`Server::client`].
    pub async fn client_of(&self, sdkappid: u32) -> Result<Client> {
        Ok(Client::connect(self.listen).await?.of_app(sdkappid))
    }

    /// Power off: SIGKILL, no chance to tidy up.
    ///
    /// # Errors
    /// If the process cannot be killed.
    pub async fn kill_9(&mut self) -> Result<()> {
        self.child.kill().await.context("killing the server")
    }

    /// Starts the server again on the same folder and addresses, after [`Server::kill_9`] or [`Server::terminate`].
    ///
    /// # Errors
    /// As [`Setup::start`].
    pub async fn start_again(&mut self) -> Result<()> {
        self.start_to_fail()?;
        self.ready().await
    }

    /// As [`Server::start_again`], for a server that has a reason not to be ready: waits until it gives one.
    ///
    /// # Errors
    /// As [`Setup::start`].
    pub async fn start_again_unready(&mut self) -> Result<String> {
        self.start_to_fail()?;
        self.answers_readiness(StatusCode::SERVICE_UNAVAILABLE).await
    }

    /// Starts the process and waits for nothing.
    ///
    /// # Errors
    /// If it cannot be started at all.
    pub fn start_to_fail(&mut self) -> Result<()> {
        (self.child, self.log) = spawn(&self.folder.path().join("roomhook.toml"), &self.enter)?;
        Ok(())
    }

    /// The next start is in another place: see [`Setup::enter`].
    pub fn will_enter(&mut self, enter: Vec<String>) {
        self.enter = enter;
    }

    /// The process id.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn id(&self) -> Result<Pid> {
        let id = self.child.id().context("the server has ended already")?;
        Ok(Pid::from_raw(i32::try_from(id)?))
    }

    /// Asks the server to end (SIGTERM) and waits for it.
    ///
    /// # Errors
    /// If it does not end in time.
    pub async fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal_term()?;
        self.ended().await
    }

    /// Sends SIGTERM and returns at once.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn signal_term(&self) -> Result<()> {
        kill(self.id()?, Signal::SIGTERM).context("sending SIGTERM")
    }

    /// Waits until the process has ended.
    ///
    /// # Errors
    /// If it does not end in time.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        timeout(PATIENCE, self.child.wait())
            .await
            .with_context(|| format!("the server does not end:\n{}", self.log()))?
            .context("waiting")
    }

    /// The last lines that the server wrote.
    #[must_use]
    pub fn log(&self) -> String {
        let lines = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().fold(String::new(), |text, line| text + line + "\n")
    }

    /// GET on the private listener.
    ///
    /// # Errors
    /// If nobody answers.
    pub async fn admin_get(&self, path: &str) -> Result<(StatusCode, String)> {
        let (status, body) = Client::connect(self.admin).await?.send(Method::GET, path, bytes::Bytes::new()).await?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    async fn ready(&mut self) -> Result<()> {
        self.answers_readiness(StatusCode::OK).await.map(drop)
    }

    /// Waits until `/readyz` of a server that has started answers with this status; gives what it says.
    ///
    /// # Errors
    /// If the process ends instead, or does not answer so in time.
    pub async fn answers_readiness(&mut self, wanted: StatusCode) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended with {status} instead of answering {wanted}:\n{}", self.log());
            }
            let seen = self.admin_get("/readyz").await;
            match &seen {
                // While its store is being opened it is not ready either, but that is not what is asked.
                Ok((status, text)) if *status == wanted && !text.contains("\"part\":\"store\"") => {
                    return Ok(text.clone());
                }
                _ if Instant::now() > deadline => {
                    bail!("/readyz does not answer {wanted} but {seen:?}:\n{}", self.log())
                }
                // Polling is all that an operator's probe can do as well.
                _ => sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

impl Drop for Server {
    #[expect(clippy::print_stderr, reason = "a failed test shows it; nothing else to read")]
    fn drop(&mut self) {
        // The test runner swallows this unless the test fails.
        eprintln!("--- log of the server at {} ---\n{}---", self.listen, self.log());
    }
}

fn spawn(config: &Path, enter: &[String]) -> Result<(Child, Log)> {
    let program = roomhook()?;
    let mut command = match enter {
        [] => Command::new(program),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
    };
    command.arg("serve").arg("--config").arg(config);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("starting roomhook serve")?;
    let log = Log::default();
    collect(child.stdout.take().context("no standard output")?, &log);
    collect(child.stderr.take().context("no standard error")?, &log);
    Ok((child, log))
}

/// Keeps the last lines of a pipe until the process closes it.
fn collect(pipe: impl AsyncRead + Unpin + Send + 'static, log: &Log) {
    let log = Arc::clone(log);
    tokio::spawn(async move {
        let mut lines = BufReader::new(pipe).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let mut kept = log.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() == LOG_LINES_MAX {
                kept.pop_front();
            }
            kept.push_back(line);
        }
    });
}

/// An address that nobody listens on, different each time within this process. Another process could take it before the server does;
/// the server then says so and the test fails with that text.
///
/// # Errors
/// If no port is free.
pub fn free_address() -> Result<SocketAddr> {
    static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);
    loop {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        if GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(address.port()) {
            return Ok(address);
        }
    }
}
