//! `roomhook demo`: the main job in one go, checked at each step.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinSet};

use roomhook_centrifuge::Format;

use super::{
    bench::{load::Target, process::Server},
    client::Client,
    inspector::{Expect, Inspector, Outcome, Seen},
    listen::shown,
    rest::{Admin, Caller, usersig_now},
};
use crate::{app::stop, out::say};

/// Run the main job once, from a message sent to its webhook received, and check every step
///
/// Starts a server on free ports with a fresh store, a webhook receiver and two clients in a room. Sends messages by REST
/// and by client, and compares what the clients and the receiver get with what was sent. Exits with 0 only if all
/// matched.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

const SDKAPPID: u32 = 1_400_000_001;
const KEY: &str = "demo-key-not-a-secret";
const TOKEN: &str = "demo-token";
/// `whsec_` and base64 of 24 bytes.
const SIGNING_SECRET: &str = "whsec_ZGVtbyBzZWNyZXQsIG5vdCBhIHJlYWwh";
const ROOM: &str = "demo-lobby";
/// A webhook that takes longer counts as missing.
const WEBHOOK_DEADLINE: Duration = Duration::from_secs(10);

pub(crate) async fn run(_args: Args) -> anyhow::Result<ExitCode> {
    let folder = tempfile::tempdir().context("make a temporary folder")?;
    let expect = Expect {
        sdkappid: Some(SDKAPPID),
        token: Some(TOKEN.to_owned()),
        signing_secret: Some(SIGNING_SECRET.to_owned()),
    };
    let inspector = Inspector::bind(([127, 0, 0, 1], 0).into(), expect).await?;
    let hook = inspector.addr()?;
    // The sender of a webhook waits for this channel at most as long as its own timeout.
    let (seen, webhooks) = mpsc::channel(64);
    let (stopper, stop) = stop::by_hand();
    let mut receiver = JoinSet::new();
    receiver.spawn(inspector.serve(move |one| drop(seen.try_send(one)), stop));

    let server = Server::start(folder.path(), &config(folder.path(), hook)).await?;
    say!("server    http://{}  (fresh store, fsync on)", server.ready.listen);
    say!(
        "clients   ws://{}/connection/websocket  (Centrifuge protocol: ann in JSON, bob in Protobuf)",
        server.ready.listen
    );
    say!("receiver  http://{hook}/hook  (checks Sign and the body's signature)\n");
    let told = Story::begin(&server, webhooks).await?.tell().await;
    stopper.stop();
    let stopped = server.stop().await;
    while let Some(ended) = receiver.join_next().await {
        ended.context("the receiver failed")??;
    }
    let sent = told?;
    stopped?;
    say!(
        "\nall matched: {sent} messages, {sent} webhooks, each signed, in order, none too many; \
         both clients got all {sent} too"
    );
    Ok(ExitCode::SUCCESS)
}

fn config(folder: &std::path::Path, hook: std::net::SocketAddr) -> String {
    let store = folder.join("data");
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n\
         [storage]\npath = {store:?}\n\
         [[app]]\nsdkappid = {SDKAPPID}\nkey = {KEY:?}\nadmins = [\"administrator\"]\n\
         [app.webhook]\nurl = \"http://{hook}/hook\"\ntoken = {TOKEN:?}\nsigning_secret = {SIGNING_SECRET:?}\n\
         [webhooks]\nallow = [\"127.0.0.0/8\"]\n[log]\nlevel = \"warn\"\n"
    )
}

/// What is sent and what must come of it.
struct Story {
    caller: Caller,
    target: Target,
    /// Members of the room.
    clients: Vec<(&'static str, Client)>,
    webhooks: mpsc::Receiver<Seen>,
    /// Messages acknowledged so far.
    sent: u64,
}

impl Story {
    async fn begin(server: &Server, webhooks: mpsc::Receiver<Seen>) -> anyhow::Result<Self> {
        let target = Target { addr: server.ready.listen, host: server.ready.listen.to_string() };
        let caller = Caller::connect(target.clone(), Admin::sign(SDKAPPID, KEY, "administrator")).await?;
        Ok(Self { caller, target, clients: Vec::new(), webhooks, sent: 0 })
    }

    /// Returns how many messages were sent.
    async fn tell(mut self) -> anyhow::Result<u64> {
        let accounts = json!({ "Accounts": ["ann", "bob"] });
        self.caller.must("im_open_login_svc/multiaccount_import", &accounts).await?;
        say!("-> imported ann and bob");
        let room =
            json!({ "RoomInfo": { "RoomId": ROOM, "RoomType": "Live", "RoomName": "Demo", "Owner_Account": "ann" } });
        self.caller.must("live_engine_http_srv/create_room", &room).await?;
        say!("-> created room {ROOM}");
        self.join("ann", Format::Json, "Web").await?;
        self.join("bob", Format::Protobuf, "iOS").await?;
        say!("");

        let text = json!({ "RoomId": ROOM, "Sender_Account": "ann", "TextContent": "welcome, everybody" });
        let body = json!([{ "MsgType": "TIMTextElem", "MsgContent": { "Text": "welcome, everybody" } }]);
        self.live("send_text_msg", text, "ann", body).await?;

        let custom =
            json!({ "RoomId": ROOM, "Sender_Account": "ann", "BusinessId": "coupon", "Data": "{\"left\":35}" });
        let data = r#"{"BusinessId":"coupon","Data":"{\"left\":35}"}"#;
        let body = json!([{ "MsgType": "TIMCustomElem", "MsgContent": { "Data": data } }]);
        self.live("send_custom_msg", custom, "ann", body).await?;

        let group = json!({
            "GroupId": ROOM, "From_Account": "bob", "Random": 42, "CloudCustomData": "{\"badge\":\"lv12\"}",
            "MsgBody": [{ "MsgType": "TIMTextElem", "MsgContent": { "Text": "does it ship today?" } }],
        });
        let first = self.group(&group).await?;
        self.repeat(&group, first).await?;
        self.refused().await?;

        self.by_client("ann", "Web", "hello from a browser").await?;
        self.by_client("bob", "iOS", "hello from a phone").await?;

        let text = json!({ "RoomId": ROOM, "Sender_Account": "bob", "TextContent": "bye" });
        let body = json!([{ "MsgType": "TIMTextElem", "MsgContent": { "Text": "bye" } }]);
        // Order holds within a room, so this webhook coming next shows that the two calls before it sent none.
        self.live("send_text_msg", text, "bob", body).await?;
        Ok(self.sent)
    }

    /// A message over a Live API, and its webhook.
    async fn live(&mut self, api: &str, request: Value, from: &str, body: Value) -> anyhow::Result<()> {
        let answer = self.caller.must(&format!("live_engine_http_srv/{api}"), &request).await?;
        let answer = &answer["Response"];
        say!("-> {api} as {from}: acknowledged, MsgSeq {}", answer["MsgSeq"]);
        self.webhook(
            answer,
            &[("From_Account", json!(from)), ("MsgBody", body), ("CloudCustomData", json!(""))],
            "RESTAPI",
        )
        .await
    }

    /// A message over the Chat API, and its webhook; returns its `MsgSeq`.
    async fn group(&mut self, request: &Value) -> anyhow::Result<Value> {
        let answer = self.caller.must("group_open_http_svc/send_group_msg", request).await?;
        say!("-> send_group_msg as bob: acknowledged, MsgSeq {}", answer["MsgSeq"]);
        let same = ["From_Account", "MsgBody", "CloudCustomData", "Random"].map(|name| (name, request[name].clone()));
        self.webhook(&answer, &same, "RESTAPI").await?;
        Ok(answer["MsgSeq"].clone())
    }

    /// A client connects with a UserSig and joins the room.
    async fn join(&mut self, user: &'static str, format: Format, platform: &str) -> anyhow::Result<()> {
        let number = self.clients.len();
        let mut client =
            Client::open(&self.target, format, number).await.with_context(|| format!("{user} connects"))?;
        let usersig = usersig_now(SDKAPPID, KEY, user, 3600);
        let data = json!({ "OptPlatform": platform }).to_string();
        client.connect(&usersig, &data).await.with_context(|| format!("{user} connects"))?;
        let joined = client.join(ROOM).await.with_context(|| format!("{user} joins"))?;
        let room: Value = serde_json::from_slice(&joined.data).context("the room's state is no JSON")?;
        say!("-> client {user} ({platform}) joined; online: {}", room["Online"]);
        self.clients.push((user, client));
        Ok(())
    }

    /// A message by a client, and its webhook.
    async fn by_client(&mut self, user: &str, platform: &str, text: &str) -> anyhow::Result<()> {
        let body = json!([{ "MsgType": "TIMTextElem", "MsgContent": { "Text": text } }]);
        let data = json!({ "RoomId": ROOM, "MsgBody": body, "Random": self.sent + 1 }).to_string();
        let sender = self.clients.iter_mut().find(|(name, _)| *name == user);
        let (_, client) = sender.with_context(|| format!("{user} is not connected"))?;
        let answer = client.rpc("room.send", &data).await.with_context(|| format!("{user} sends"))?;
        let answer: Value = serde_json::from_slice(&answer).context("the answer is no JSON")?;
        say!("-> client {user} ({platform}) sent: acknowledged, MsgSeq {}", answer["MsgSeq"]);
        let same = [
            ("From_Account", json!(user)),
            ("Operator_Account", json!(user)),
            ("MsgId", answer["MsgId"].clone()),
            ("MsgBody", body),
        ];
        self.webhook(&answer, &same, platform).await
    }

    /// What every member of the room must get next.
    async fn heard(&mut self, due: &[(&str, Value)]) -> anyhow::Result<()> {
        for (name, client) in &mut self.clients {
            let (_, publication) = client.message().await.with_context(|| format!("{name} listens"))?;
            ensure!(
                publication.offset == self.sent,
                "{name} must get message {}, but got {}",
                self.sent,
                publication.offset
            );
            let data: Value = serde_json::from_slice(&publication.data).context("a message is no JSON")?;
            for (field, value) in due {
                ensure!(data[*field] == *value, "{name} must get {field} {value}, but got {}", data[*field]);
            }
        }
        let names: Vec<_> = self.clients.iter().map(|(name, _)| *name).collect();
        say!("<- clients {} got it\n", names.join(" and "));
        Ok(())
    }

    async fn repeat(&mut self, request: &Value, first: Value) -> anyhow::Result<()> {
        let answer = self.caller.must("group_open_http_svc/send_group_msg", request).await?;
        ensure!(answer["MsgSeq"] == first, "a repeat must get the first answer, MsgSeq {first}, but got {answer}");
        say!("-> the same again (same Random): same answer, MsgSeq {first}; no second webhook is due\n");
        Ok(())
    }

    async fn refused(&mut self) -> anyhow::Result<()> {
        let request = json!({ "RoomId": "no-such-room", "Sender_Account": "ann", "TextContent": "hello?" });
        let answer = self.caller.call("live_engine_http_srv/send_text_msg", &request).await?;
        ensure!(answer["ErrorCode"] != 0, "a message to a room that does not exist was accepted: {answer}");
        say!(
            "-> a message to a room that does not exist: refused with {}, {}; no webhook is due\n",
            answer["ErrorCode"],
            answer["ErrorInfo"]
        );
        Ok(())
    }

    /// Waits for the next webhook and compares it with the answer and with what was sent; then the same for clients.
    async fn webhook(&mut self, answer: &Value, same: &[(&str, Value)], platform: &str) -> anyhow::Result<()> {
        self.sent += 1;
        ensure!(answer["MsgSeq"] == self.sent, "MsgSeq must be {}, but the answer is {answer}", self.sent);
        let next = tokio::time::timeout(WEBHOOK_DEADLINE, self.webhooks.recv()).await;
        let seen = next.context("no webhook came")?.context("the receiver ended")?;
        say!("{}", shown(&seen));
        let Outcome::New(received) = &seen.outcome else { anyhow::bail!("the webhook is not genuine or came twice") };
        let told = received.delivery().platform.as_deref();
        ensure!(told == Some(platform), "OptPlatform must be {platform}, but is {told:?}");
        let body: Value = serde_json::from_slice(&seen.body).context("the webhook's body is no JSON")?;
        let mut due = vec![
            ("CallbackCommand", json!("Group.CallbackAfterSendMsg")),
            ("GroupId", json!(ROOM)),
            ("Type", json!("Live")),
            ("MsgSeq", answer["MsgSeq"].clone()),
            ("MsgTime", answer["MsgTime"].clone()),
        ];
        due.extend(same.iter().cloned());
        if !same.iter().any(|(name, _)| *name == "Operator_Account") {
            due.push(("Operator_Account", json!("administrator")));
        }
        for (name, value) in due {
            ensure!(body[name] == value, "{name} of the webhook must be {value}, but is {}", body[name]);
        }
        let fields = body.as_object().map_or(0, serde_json::Map::len);
        ensure!(fields == 12, "the webhook must have the 12 documented fields, but has {fields}");
        let in_both: Vec<_> = ["MsgSeq", "MsgTime", "From_Account", "MsgBody", "MsgId", "CloudCustomData"]
            .map(|name| (name, body[name].clone()))
            .into();
        self.heard(&in_both).await
    }
}
