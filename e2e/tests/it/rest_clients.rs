//! REST clients that nobody here wrote, moved over by changing the host name, over HTTPS.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use roomhook_e2e::ADMIN;
use roomhook_e2e::backend::{Backend, Package};
use roomhook_e2e::binary::project;
use roomhook_e2e::receiver::{Options, Receiver};
use roomhook_e2e::server::{Server, Setup};
use roomhook_e2e::tls::Certificate;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A server with HTTPS and the folder of its certificate.
struct Https {
    server: Server,
    folder: TempDir,
}

impl Https {
    async fn start(setup: Setup) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let tls = Some(Certificate::make()?.write(folder.path())?);
        Ok(Self { server: Setup { tls, ..setup }.start().await?, folder })
    }

    fn backend(&self, package: Package) -> Result<Backend> {
        Backend::start(package, self.server.address(), &self.folder.path().join("cert.pem"))
    }
}

fn room(id: &str) -> Value {
    json!({"RoomInfo": {"RoomId": id, "RoomType": "Live", "RoomName": id}})
}

/// The status of each account that was asked for.
fn statuses(answer: &Value) -> Vec<&str> {
    let items = answer["ResultItem"].as_array();
    items.into_iter().flatten().filter_map(|item| item["AccountStatus"].as_str()).collect()
}

#[tokio::test]
async fn accounts_are_imported_and_found_by_the_methods_of_clients_from_pypi() -> Result<()> {
    let https = Https::start(Setup::default()).await?;
    let mut new = https.backend(Package::TencentcloudIm)?;
    new.ok("account_import", json!(["ana_k", "Ana", "https://img.example.com/ana.png"])).await?;
    let many = new.ok("multiaccount_import", json!([["ben", "cho", "bad id\n"]])).await?;
    assert_eq!(many["FailAccounts"], json!(["bad id\n"]));
    let mut old = https.backend(Package::Timsdk)?;
    old.ok("account_import", json!(["dov", "Dov"])).await?;
    old.ok("multiaccount_import", json!([["eli"]])).await?;

    let found = new.ok("account_check", json!([["ana_k", "ben", "cho", "dov", "eli", "nobody"]])).await?;
    let all = ["Imported", "Imported", "Imported", "Imported", "Imported", "NotImported"];
    assert_eq!(statuses(&found), all, "{found}");
    Ok(())
}

#[tokio::test]
async fn messages_are_sent_by_the_methods_of_clients_from_pypi() -> Result<()> {
    let mut receiver = Receiver::start().await?;
    let https = Https::start(Setup::webhook(receiver.url())).await?;
    let (mut new, mut old) = (https.backend(Package::TencentcloudIm)?, https.backend(Package::Timsdk)?);
    old.ok("post", json!(["live_engine_http_srv/create_room", room("lobby")])).await?;
    new.ok("account_import", json!(["ana_k", "Ana", ""])).await?;

    let sent = new.ok("send_group_msg", json!(["lobby", "hello 你好", "ana_k"])).await?;
    assert_eq!(sent["MsgSeq"], 1, "{sent}");
    let told = receiver.next().await?;
    let text = &told.body["MsgBody"][0]["MsgContent"]["Text"];
    assert_eq!((text, &told.body["From_Account"]), (&json!("hello 你好"), &json!("ana_k")));

    // It chooses one Random when it is loaded and sends it with every message.
    let say = |text: &str| json!(["lobby", [{"MsgType": "TIMTextElem", "MsgContent": {"Text": text}}]]);
    for (seq, text) in [(2, "one"), (3, "another"), (4, "and another")] {
        let sent = old.ok("send_group_msg", say(text)).await?;
        assert_eq!(sent["MsgSeq"], seq, "{text:?} is a message of its own: {sent}");
        assert_eq!(receiver.next().await?.body["MsgBody"][0]["MsgContent"]["Text"], text);
    }
    let again = old.ok("send_group_msg", say("one")).await?;
    assert_eq!(again["MsgSeq"], 2, "the same message is sent once: {again}");
    Ok(())
}

/// Every command that is served, in an order in which each one is accepted.
fn every_call(hook: &str) -> Vec<(&'static str, Value)> {
    let text = json!({"RoomId": "lobby", "Sender_Account": "ana_k", "TextContent": "hi"});
    let custom = json!({"RoomId": "lobby", "Sender_Account": "ana_k", "BusinessId": "coupon", "Data": "{}"});
    let elements = json!([{"MsgType": "TIMFaceElem", "MsgContent": {"Index": 6, "Data": "abc"}}]);
    let group = json!({"GroupId": "lobby", "From_Account": "ana_k", "Random": 7, "MsgBody": elements});
    let commands = ["Group.CallbackAfterSendMsg"];
    vec![
        ("im_open_login_svc/account_import", json!({"UserID": "ana_k", "Nick": "Ana"})),
        ("im_open_login_svc/multiaccount_import", json!({"Accounts": ["ben"]})),
        ("im_open_login_svc/account_check", json!({"CheckItem": [{"UserID": "ana_k"}]})),
        ("live_config/set_callback", json!({"Url": hook, "CallbackCommandList": commands})),
        ("live_config/update_callback", json!({"Url": hook, "CallbackCommandList": commands})),
        ("live_config/set_callback_token", json!({"Token": "lantern-9f21", "IsTokenEnable": true})),
        ("live_config/get_callback_token", json!({})),
        ("live_config/get_callback", json!({})),
        ("live_engine_http_srv/create_room", room("lobby")),
        ("live_engine_http_srv/get_room_info", json!({"RoomId": "lobby"})),
        ("live_engine_http_srv/send_text_msg", text),
        ("live_engine_http_srv/send_custom_msg", custom),
        ("group_open_http_svc/send_group_msg", group),
        ("live_engine_http_srv/destroy_room", json!({"RoomId": "lobby"})),
        ("live_config/delete_callback_token", json!({})),
        ("live_config/delete_callback", json!({})),
    ]
}

#[tokio::test]
async fn every_call_that_is_served_is_accepted_from_python_and_from_node() -> Result<()> {
    for package in [Package::Timsdk, Package::Node] {
        let mut receiver = Receiver::start_with(Options { token: "lantern-9f21".into(), ..Options::default() }).await?;
        let https = Https::start(Setup::default()).await?;
        let mut backend = https.backend(package)?;
        for (path, body) in every_call(&receiver.url()) {
            let answer = backend.ok("post", json!([path, body])).await?;
            match path {
                "live_config/get_callback" => assert_eq!(answer["Response"]["Url"], json!(receiver.url())),
                "live_config/get_callback_token" => assert_eq!(answer["Response"]["Token"], "lantern-9f21"),
                "live_engine_http_srv/get_room_info" => {
                    assert_eq!(answer["Response"]["RoomInfo"]["Owner_Account"], ADMIN, "{answer}");
                }
                "group_open_http_svc/send_group_msg" => {
                    // Before the webhook is taken away again.
                    let told = receiver.take(3).await?;
                    ensure!(told.iter().all(|seen| seen.sign_holds), "each webhook is signed with the token");
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// What `docs/rest.md` lists as served: `service/command`.
fn served() -> Result<BTreeSet<String>> {
    let text = std::fs::read_to_string(project().join("docs/rest.md"))?;
    let table =
        text.split("## Served").nth(1).and_then(|rest| rest.split("\n## ").next()).context("no such section")?;
    let mut found = BTreeSet::new();
    for line in table.lines().filter(|line| line.starts_with("| `")) {
        let mut names = line.split('`').skip(1).step_by(2);
        let service = names.next().context("a row without a service")?;
        found.extend(names.map(|command| format!("{service}/{command}")));
    }
    Ok(found)
}

#[test]
fn no_call_that_is_served_is_left_out_here() -> Result<()> {
    let made: BTreeSet<_> = every_call("").into_iter().map(|(path, _)| path.to_owned()).collect();
    assert_eq!(made, served()?, "every_call() and the table of docs/rest.md list the same");
    Ok(())
}
