//! `roomhook demo`: the main job in one go, checked at each step.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    bench::{load::Target, process::Server},
    inspector::{Expect, Inspector, Outcome, Seen},
    listen::shown,
    rest::{Admin, Caller},
};
use crate::{app::stop, out::say};

/// Run the main job once, from a message sent to its webhook received, and check every step
///
/// Starts a server on free ports with a fresh store and a webhook receiver, sends messages by REST, and compares each
/// webhook with what was sent. Exits with 0 only if all matched.
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
    say!("receiver  http://{hook}/hook  (checks Sign and the body's signature)\n");
    let told = Story::begin(&server, webhooks).await?.tell().await;
    stopper.stop();
    let stopped = server.stop().await;
    while let Some(ended) = receiver.join_next().await {
        ended.context("the receiver failed")??;
    }
    let sent = told?;
    stopped?;
    say!("\nall matched: {sent} messages, {sent} webhooks, each signed, in order, none too many");
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
    webhooks: mpsc::Receiver<Seen>,
    /// Messages acknowledged so far.
    sent: u64,
}

impl Story {
    async fn begin(server: &Server, webhooks: mpsc::Receiver<Seen>) -> anyhow::Result<Self> {
        let target = Target { addr: server.ready.listen, host: server.ready.listen.to_string() };
        let caller = Caller::connect(target, Admin::sign(SDKAPPID, KEY, "administrator")).await?;
        Ok(Self { caller, webhooks, sent: 0 })
    }

    /// Returns how many messages were sent.
    async fn tell(mut self) -> anyhow::Result<u64> {
        let accounts = json!({ "Accounts": ["ann", "bob"] });
        self.caller.must("im_open_login_svc/multiaccount_import", &accounts).await?;
        say!("-> imported ann and bob");
        let room =
            json!({ "RoomInfo": { "RoomId": ROOM, "RoomType": "Live", "RoomName": "Demo", "Owner_Account": "ann" } });
        self.caller.must("live_engine_http_srv/create_room", &room).await?;
        say!("-> created room {ROOM}\n");

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
        self.webhook(answer, &[("From_Account", json!(from)), ("MsgBody", body), ("CloudCustomData", json!(""))]).await
    }

    /// A message over the Chat API, and its webhook; returns its `MsgSeq`.
    async fn group(&mut self, request: &Value) -> anyhow::Result<Value> {
        let answer = self.caller.must("group_open_http_svc/send_group_msg", request).await?;
        say!("-> send_group_msg as bob: acknowledged, MsgSeq {}", answer["MsgSeq"]);
        let same = ["From_Account", "MsgBody", "CloudCustomData", "Random"].map(|name| (name, request[name].clone()));
        self.webhook(&answer, &same).await?;
        Ok(answer["MsgSeq"].clone())
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

    /// Waits for the next webhook and compares it with the answer and with what was sent.
    async fn webhook(&mut self, answer: &Value, same: &[(&str, Value)]) -> anyhow::Result<()> {
        self.sent += 1;
        ensure!(answer["MsgSeq"] == self.sent, "MsgSeq must be {}, but the answer is {answer}", self.sent);
        let next = tokio::time::timeout(WEBHOOK_DEADLINE, self.webhooks.recv()).await;
        let seen = next.context("no webhook came")?.context("the receiver ended")?;
        say!("{}\n", shown(&seen));
        ensure!(matches!(seen.outcome, Outcome::New(_)), "the webhook is not genuine or came twice");
        let body: Value = serde_json::from_slice(&seen.body).context("the webhook's body is no JSON")?;
        let mut due = vec![
            ("CallbackCommand", json!("Group.CallbackAfterSendMsg")),
            ("GroupId", json!(ROOM)),
            ("Type", json!("Live")),
            ("Operator_Account", json!("administrator")),
            ("MsgSeq", answer["MsgSeq"].clone()),
            ("MsgTime", answer["MsgTime"].clone()),
        ];
        due.extend(same.iter().cloned());
        for (name, value) in due {
            ensure!(body[name] == value, "{name} of the webhook must be {value}, but is {}", body[name]);
        }
        let fields = body.as_object().map_or(0, serde_json::Map::len);
        ensure!(fields == 12, "the webhook must have the 12 documented fields, but has {fields}");
        Ok(())
    }
}
