//! Changes of the webhook by REST hold from the next message on.

use anyhow::Result;
use roomhook_e2e::receiver::{Options, Receiver};
use roomhook_e2e::server::Setup;
use serde_json::{Value, json};

use crate::lobby;

const AFTER_SEND: &str = "Group.CallbackAfterSendMsg";

fn callback(url: &str, commands: &[&str]) -> Value {
    json!({"Url": url, "CallbackCommandList": commands})
}

#[tokio::test]
async fn url_and_switches_take_effect_at_once() -> Result<()> {
    let (mut east, mut west) = (Receiver::start().await?, Receiver::start().await?);
    let mut server = Setup::default().start().await?;
    let mut client = lobby(&server).await?;
    client.text("lobby", "ana_k", "1: nobody listens yet").await?;

    client.ok("live_config/set_callback", &callback(&east.url(), &[AFTER_SEND])).await?;
    client.text("lobby", "ana_k", "2: east").await?;
    assert_eq!(east.next().await?.seq(), 2);

    client.ok("live_config/update_callback", &callback(&west.url(), &[AFTER_SEND])).await?;
    client.text("lobby", "ana_k", "3: west").await?;
    assert_eq!(west.next().await?.seq(), 3);

    client.ok("live_config/update_callback", &callback(&west.url(), &["Live.CallbackAfterCreateRoom"])).await?;
    client.text("lobby", "ana_k", "4: switched off").await?;
    client.ok("live_config/update_callback", &callback(&west.url(), &[AFTER_SEND])).await?;
    client.text("lobby", "ana_k", "5: west again").await?;
    assert_eq!(west.next().await?.seq(), 5);

    client.ok("live_config/delete_callback", &json!({})).await?;
    client.text("lobby", "ana_k", "6: deleted").await?;
    client.ok("live_config/set_callback", &callback(&east.url(), &[AFTER_SEND])).await?;
    client.text("lobby", "ana_k", "7: east").await?;
    assert_eq!(east.next().await?.seq(), 7);

    assert!(server.terminate().await?.success());
    assert_eq!((east.stop().await?.len(), west.stop().await?.len()), (0, 0), "nothing else was told to anybody");
    Ok(())
}

#[tokio::test]
async fn a_token_signs_from_the_next_webhook_on_and_outlives_a_restart() -> Result<()> {
    let mut receiver = Receiver::start_with(Options { token: "lantern-9f21".to_owned(), ..Options::default() }).await?;
    let mut server = Setup::webhook(receiver.url()).start().await?;
    let mut client = lobby(&server).await?;
    client.text("lobby", "ana_k", "unsigned").await?;
    assert_eq!(receiver.next().await?.param("Sign"), None);

    client.ok("live_config/set_callback_token", &json!({"Token": "lantern-9f21", "IsTokenEnable": true})).await?;
    client.text("lobby", "ana_k", "signed").await?;
    assert!(receiver.next().await?.sign_holds);

    assert!(server.terminate().await?.success());
    server.start_again().await?;
    let mut client = server.client().await?;
    let told = client.ok("live_config/get_callback_token", &json!({})).await?;
    assert_eq!(told["Response"], json!({"Token": "lantern-9f21", "IsTokenEnable": true}));
    client.text("lobby", "ana_k", "signed still").await?;
    assert!(receiver.next().await?.sign_holds);
    Ok(())
}

#[tokio::test]
async fn what_was_changed_by_rest_is_not_undone_by_the_file_at_the_next_start() -> Result<()> {
    let (of_file, mut of_rest) = (Receiver::start().await?, Receiver::start().await?);
    let mut server = Setup::webhook(of_file.url()).start().await?;
    let mut client = lobby(&server).await?;
    client.ok("live_config/update_callback", &callback(&of_rest.url(), &[AFTER_SEND])).await?;
    assert!(server.terminate().await?.success());

    server.start_again().await?;
    server.client().await?.text("lobby", "ana_k", "hi").await?;
    assert_eq!(of_rest.next().await?.seq(), 1);
    assert!(of_file.stop().await?.is_empty());
    Ok(())
}
