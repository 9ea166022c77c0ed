//! A page in Chromium: what a person types there, everybody reads, and the other way round.

use anyhow::{Result, ensure};
use roomhook_e2e::receiver::Receiver;
use roomhook_e2e::rest;
use roomhook_e2e::sdk::{Flavour, Options, Sdk};
use roomhook_e2e::server::{Setup, free_address};
use serde_json::json;

use crate::lobby;

#[tokio::test]
async fn a_page_in_a_browser_joins_talks_and_comes_back_after_a_restart() -> Result<()> {
    let page = free_address()?;
    let mut receiver = Receiver::start().await?;
    let setup =
        Setup { sections: format!("[realtime]\norigins = [\"http://{page}\"]"), ..Setup::webhook(receiver.url()) };
    let mut server = setup.start().await?;
    let mut backend = lobby(&server).await?;
    let options = Options { token: rest::usersig_of("ben"), page: Some(page), ..Options::default() };
    let mut browser = Sdk::start(Flavour::Browser, server.address(), options).await?;
    browser.connect().await?;
    assert_eq!(browser.event("connected").await?["transport"], "websocket");
    browser.join("lobby").await?;

    backend.text("lobby", "ana_k", "hello, page").await?;
    assert_eq!(browser.publication().await?.text(), "hello, page");
    browser.must("say", json!({"text": "hello, <b>world</b> 你好"})).await?;
    let own = browser.publication().await?;
    assert_eq!((own.offset, own.text()), (2, "hello, <b>world</b> 你好"));
    let told = receiver.take(2).await?;
    assert_eq!((told[1].param("OptPlatform"), &told[1].body["From_Account"]), (Some("Web"), &json!("ben")));

    ensure!(server.terminate().await?.success());
    server.start_again().await?;
    let mut backend = server.client().await?;
    backend.text("lobby", "ana_k", "you were away").await?;
    assert_eq!(browser.publication().await?.text(), "you were away");
    let read = browser.must("heard", json!({})).await?;
    assert_eq!(read, json!(["1 ana_k: hello, page", "2 ben: hello, <b>world</b> 你好", "3 ana_k: you were away"]));
    Ok(())
}

#[tokio::test]
async fn a_page_of_another_origin_does_not_get_in() -> Result<()> {
    let page = free_address()?;
    let setup = Setup { sections: "[realtime]\norigins = [\"https://www.example.com\"]".into(), ..Setup::default() };
    let server = setup.start().await?;
    lobby(&server).await?;
    let options = Options { token: rest::usersig_of("ben"), page: Some(page), ..Options::default() };
    let mut browser = Sdk::start(Flavour::Browser, server.address(), options).await?;
    browser.connect().await?;
    // The SDK sees a transport that does not open, and tries again and again.
    for _ in 0..2 {
        assert_eq!(browser.event("error").await?["type"], "transport");
    }
    assert_eq!(browser.untaken("connected").len(), 0);
    Ok(())
}
