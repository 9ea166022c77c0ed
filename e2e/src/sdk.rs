//! Centrifuge SDKs from npm and PyPI (`peers/realtime.js`, `peers/realtime.py`, pages of `peers/browser.js`) as a test sees them.
//!
//! Each runs outside of the test's process and does what it is told; what it tells is kept in order, event by event.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::{browser, peers, rest};

/// How long a test waits for what must come. Generous: it is only ever used up by a failure.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Which SDK, in which format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// npm `centrifuge`.
    JsJson,
    /// npm `centrifuge/build/protobuf`.
    JsProtobuf,
    /// PyPI `centrifuge-python`.
    PythonJson,
    /// PyPI `centrifuge-python` with `use_protobuf`.
    PythonProtobuf,
    /// npm `centrifuge`'s bundle in a page in Chromium. It knows `connect`, `subscribe`, `say`, `heard` only.
    Browser,
}

impl Flavour {
    /// All that run without a browser.
    pub const ALL: [Self; 4] = [Self::JsJson, Self::JsProtobuf, Self::PythonJson, Self::PythonProtobuf];

    fn is_protobuf(self) -> bool {
        matches!(self, Self::JsProtobuf | Self::PythonProtobuf)
    }

    /// A user of this SDK: `ana_of_JsJson`.
    #[must_use]
    pub fn user(self) -> String {
        format!("ana_of_{self}")
    }

    fn is_python(self) -> bool {
        matches!(self, Self::PythonJson | Self::PythonProtobuf)
    }

    /// The process of a client that is not a page.
    fn command(self) -> Result<Command> {
        let mut command = Command::new(if self.is_python() { peers::python()? } else { peers::node()? });
        if self.is_python() {
            command.arg(peers::script("realtime.py"));
        } else {
            command.arg(peers::script("realtime.js")).arg(peers::packages()?);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        Ok(command)
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// How a client connects.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The token; empty: it is asked for.
    pub token: String,
    /// Whether the SDK has a function that gives it tokens: [`Sdk::give_token`] is what that function gives.
    pub ask_for_tokens: bool,
    /// The connect data.
    pub data: Option<Value>,
    /// Where a browser's page comes from; nobody listens there yet.
    pub page: Option<SocketAddr>,
}

/// What the server answered a call with, if it did not grant it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The protocol's error code.
    pub code: u64,
    /// Its text.
    pub message: String,
}

/// A publication as the SDK gave it to its app.
#[derive(Debug, Clone, PartialEq)]
pub struct Publication {
    /// 0 if it has none.
    pub offset: u64,
    /// Payload.
    pub data: Value,
    /// `info.user`, if there is an `info`.
    pub user: Option<String>,
    /// `info.client`, if there is an `info`: empty for what no client published.
    pub client: Option<String>,
}

impl Publication {
    fn from(line: &Value) -> Result<Self> {
        let offset = line["offset"].as_u64().with_context(|| format!("no offset in {line}"))?;
        let text = |name: &str| line[name].as_str().map(str::to_owned);
        Ok(Self { offset, data: line["data"].clone(), user: text("user"), client: text("client") })
    }

    /// The text of its only element.
    #[must_use]
    pub fn text(&self) -> &str {
        self.data["MsgBody"][0]["MsgContent"]["Text"].as_str().unwrap_or_default()
    }
}

/// A client: a process of its own, which ends when this is dropped, or a page in the browser that all pages share.
#[derive(Debug)]
pub struct Sdk {
    flavour: Flavour,
    orders: Box<dyn Orders>,
    told: mpsc::UnboundedReceiver<Value>,
    events: HashMap<String, VecDeque<Value>>,
    answers: HashMap<u64, Value>,
    asked: u64,
    _child: Option<Child>,
}

/// Where commands are written to.
trait Orders: AsyncWrite + Send + Unpin + fmt::Debug {}
impl<T: AsyncWrite + Send + Unpin + fmt::Debug> Orders for T {}

impl Sdk {
    /// Starts a client of `user` that connects at once with a good token, and waits until it is connected.
    ///
    /// # Errors
    /// If it cannot be started or does not get in.
    pub async fn connected(flavour: Flavour, server: SocketAddr, user: impl AsRef<str>) -> Result<Self> {
        let options = Options { token: rest::usersig_of(user.as_ref()), ..Options::default() };
        let mut client = Self::start(flavour, server, options).await?;
        client.connect().await?;
        client.event("connected").await?;
        Ok(client)
    }

    /// Starts a client that does not connect yet.
    ///
    /// # Errors
    /// If the interpreter does not start.
    pub async fn start(flavour: Flavour, server: SocketAddr, options: Options) -> Result<Self> {
        let mut how = json!({
            "url": format!("ws://{server}/connection/websocket"),
            "protobuf": flavour.is_protobuf(),
            "token": options.token,
            "ask_for_tokens": options.ask_for_tokens,
            "data": options.data,
        });
        let mut client = if flavour == Flavour::Browser {
            how["page"] = json!(options.page.context("a browser needs the address of its page")?.port());
            let (output, input) = browser::connect().await?.into_split();
            Self::over(flavour, input, output, None)
        } else {
            let mut child = flavour.command()?.spawn().with_context(|| format!("starting {flavour}"))?;
            let input = child.stdin.take().context("the client has no input")?;
            let output = child.stdout.take().context("the client has no output")?;
            Self::over(flavour, input, output, Some(child))
        };
        write(&mut client.orders, &how).await?;
        if flavour == Flavour::Browser {
            client.event_within("opened", browser::START_PATIENCE).await?;
        }
        Ok(client)
    }

    fn over(
        flavour: Flavour,
        input: impl Orders + 'static,
        output: impl AsyncRead + Send + Unpin + 'static,
        child: Option<Child>,
    ) -> Self {
        let mut lines = BufReader::new(output).lines();
        // Unbounded on purpose: a test client must never slow the SDK down, and a test's traffic is finite.
        let (tell, told) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let Ok(line) = serde_json::from_str(&line) else { break };
                if tell.send(line).is_err() {
                    break;
                }
            }
        });
        let (events, answers) = Default::default();
        Self { flavour, orders: Box::new(input), told, events, answers, asked: 0, _child: child }
    }

    /// Which SDK it is.
    #[must_use]
    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// Tells the SDK to do something and waits for how it went.
    ///
    /// # Errors
    /// If the process is gone or does not answer.
    pub async fn ask(&mut self, what: &str, with: Value) -> Result<Result<Value, Refusal>> {
        let id = self.order(what, with).await?;
        self.answer(id).await
    }

    /// Tells the SDK to do something; [`Sdk::answer`] has how it went.
    ///
    /// # Errors
    /// If the process is gone.
    pub async fn order(&mut self, what: &str, mut with: Value) -> Result<u64> {
        self.asked += 1;
        with["id"] = json!(self.asked);
        with["do"] = json!(what);
        write(&mut self.orders, &with).await.with_context(|| format!("{} is gone", self.flavour))?;
        Ok(self.asked)
    }

    /// How an order went.
    ///
    /// # Errors
    /// If the process is gone or does not answer.
    pub async fn answer(&mut self, id: u64) -> Result<Result<Value, Refusal>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = self.answers.remove(&id) {
                let error = &answer["error"];
                return Ok(match error["code"].as_u64() {
                    Some(code) => {
                        Err(Refusal { code, message: error["message"].as_str().unwrap_or_default().to_owned() })
                    }
                    None => Ok(answer["ok"].clone()),
                });
            }
            self.read_one(deadline).await?;
        }
    }

    /// As [`Sdk::ask`], for what must be granted.
    ///
    /// # Errors
    /// If it is refused.
    pub async fn must(&mut self, what: &str, with: Value) -> Result<Value> {
        match self.ask(what, with.clone()).await? {
            Ok(answer) => Ok(answer),
            Err(refusal) => bail!("{}: {what} {with} was refused: {refusal:?}", self.flavour),
        }
    }

    /// As [`Sdk::ask`], for what must be refused.
    ///
    /// # Errors
    /// If it is granted.
    pub async fn refused(&mut self, what: &str, with: Value) -> Result<Refusal> {
        match self.ask(what, with.clone()).await? {
            Err(refusal) => Ok(refusal),
            Ok(answer) => bail!("{}: {what} {with} was granted: {answer}", self.flavour),
        }
    }

    /// Connects; what comes of it is an event.
    ///
    /// # Errors
    /// As [`Sdk::must`].
    pub async fn connect(&mut self) -> Result<()> {
        self.must("connect", json!({})).await.map(drop)
    }

    /// Subscribes a room and waits until it is joined. Gives the `subscribed` event.
    ///
    /// # Errors
    /// If that does not happen.
    pub async fn join(&mut self, room: &str) -> Result<Value> {
        self.must("subscribe", json!({"channel": channel(room)})).await?;
        self.event("subscribed").await
    }

    /// What the function gives that the SDK asks for tokens; `None`: there is none for this user.
    ///
    /// # Errors
    /// As [`Sdk::must`].
    pub async fn give_token(&mut self, token: Option<String>) -> Result<()> {
        self.event("token_wanted").await?;
        self.must("give_token", json!({"token": token})).await.map(drop)
    }

    /// The next event of this name that was not taken yet, whatever other events came before it.
    ///
    /// # Errors
    /// If none comes within [`PATIENCE`].
    pub async fn event(&mut self, name: &str) -> Result<Value> {
        self.event_within(name, PATIENCE).await
    }

    async fn event_within(&mut self, name: &str, patience: Duration) -> Result<Value> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(event) = self.events.get_mut(name).and_then(VecDeque::pop_front) {
                return Ok(event);
            }
            self.read_one(deadline)
                .await
                .with_context(|| format!("waiting for {name:?}; untaken: {:?}", self.events))?;
        }
    }

    /// Events of this name that have come and were not taken; does not wait.
    pub fn untaken(&mut self, name: &str) -> Vec<Value> {
        while let Ok(line) = self.told.try_recv() {
            self.sort(line);
        }
        self.events.remove(name).unwrap_or_default().into()
    }

    /// The next publication of any room.
    ///
    /// # Errors
    /// As [`Sdk::event`].
    pub async fn publication(&mut self) -> Result<Publication> {
        Publication::from(&self.event("publication").await?)
    }

    /// The next publications.
    ///
    /// # Errors
    /// As [`Sdk::event`].
    pub async fn publications(&mut self, count: usize) -> Result<Vec<Publication>> {
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            let next = self.publication().await;
            taken.push(next.with_context(|| format!("{} of {count} publications came", taken.len()))?);
        }
        Ok(taken)
    }

    /// What a `history` call gives.
    ///
    /// # Errors
    /// As [`Sdk::must`].
    pub async fn history(&mut self, room: &str, mut with: Value) -> Result<Vec<Publication>> {
        with["channel"] = json!(channel(room));
        let answer = self.must("history", with).await?;
        answer["publications"].as_array().context("no publications")?.iter().map(Publication::from).collect()
    }

    async fn read_one(&mut self, deadline: Instant) -> Result<()> {
        match timeout_at(deadline, self.told.recv()).await {
            Ok(Some(line)) => self.sort(line),
            Ok(None) => bail!("{} ended", self.flavour),
            Err(_) => bail!("{} tells nothing in time", self.flavour),
        }
        Ok(())
    }

    fn sort(&mut self, line: Value) {
        if let Some(id) = line["answer"].as_u64() {
            self.answers.insert(id, line);
        } else if let Some(name) = line["event"].as_str() {
            self.events.entry(name.to_owned()).or_default().push_back(line);
        }
    }
}

/// The channel of a room.
#[must_use]
pub fn channel(room: &str) -> String {
    format!("room:{room}")
}

async fn write(orders: &mut (impl AsyncWrite + Unpin), line: &Value) -> Result<()> {
    let line = format!("{line}\n");
    ensure!(!line.trim_end().contains('\n'), "one line each");
    orders.write_all(line.as_bytes()).await?;
    orders.flush().await.context("writing")
}
