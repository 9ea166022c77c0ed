//! UserSigs as connection tokens: good, renewed, expired, somebody else's.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use roomhook_e2e::sdk::{Flavour, Options, Sdk};
use roomhook_e2e::server::Setup;
use roomhook_e2e::{KEY, SDKAPPID, rest};
use roomhook_protocol::usersig::{self, Mint};
use serde_json::Value;

use crate::lobby;

fn now_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn token(user: &str, key: &str, made_at_secs: u64, expire_secs: u64) -> String {
    usersig::mint(&Mint { sdkappid: SDKAPPID, key, userid: user, expire_secs, now_secs: made_at_secs, userbuf: None })
}

/// Long enough to be accepted on a busy machine if it is made when a client asks for it, and not before an interpreter starts.
fn short(user: &str) -> String {
    token(user, KEY, now_secs(), 5)
}

fn expired(user: &str) -> String {
    token(user, KEY, now_secs() - 100, 50)
}

async fn start(flavour: Flavour, server: SocketAddr, token: String, ask_for_tokens: bool) -> Result<Sdk> {
    let mut client = Sdk::start(flavour, server, Options { token, ask_for_tokens, ..Options::default() }).await?;
    client.connect().await?;
    Ok(client)
}

/// A client whose token is about to end; it will ask for another.
async fn connected_for_a_while(flavour: Flavour, server: SocketAddr) -> Result<Sdk> {
    let mut client = start(flavour, server, String::new(), true).await?;
    client.give_token(Some(short(&flavour.user()))).await?;
    client.event("connected").await?;
    Ok(client)
}

/// It is told that it is over, and it does not try again.
async fn gave_up(client: &mut Sdk, code: u64) -> Result<()> {
    let end = client.event("disconnected").await?;
    assert_eq!(end["code"], code, "{}: {end}", client.flavour());
    let tries = client.untaken("connecting");
    assert_eq!(tries.len(), 1, "{}: {tries:?}", client.flavour());
    Ok(())
}

/// What SDKs say when there is no token for the user.
const UNAUTHORIZED: u64 = 1;

#[tokio::test]
async fn a_connection_outlives_its_tokens_as_long_as_there_are_fresh_ones() -> Result<()> {
    const FRESH_TOKENS: usize = 3;
    let server = Setup::default().start().await?;
    lobby(&server).await?;
    let address = server.address();
    let stories = Flavour::ALL.map(|flavour| {
        tokio::spawn(async move {
            let mut member = start(flavour, address, String::new(), true).await?;
            // Each is asked for when the one before it ends, which only its acceptance can have told the SDK.
            for _ in 0..FRESH_TOKENS {
                member.give_token(Some(short(&flavour.user()))).await?;
            }
            member.give_token(Some(rest::usersig_of(&flavour.user()))).await?;
            let joined = member.join("lobby").await?;
            assert_eq!(joined["was_recovering"], false, "{flavour}");
            assert_eq!(member.untaken("connecting").len(), 1, "{flavour}: it was one connection all the time");
            assert_eq!(member.untaken("disconnected"), Vec::<Value>::new(), "{flavour}");
            anyhow::Ok(())
        })
    });
    for story in stories {
        story.await??;
    }
    Ok(())
}

#[tokio::test]
async fn whoever_gets_no_fresh_token_ends_as_unauthorized() -> Result<()> {
    let server = Setup::default().start().await?;
    let address = server.address();
    let stories = Flavour::ALL.map(|flavour| {
        tokio::spawn(async move {
            let mut client = connected_for_a_while(flavour, address).await?;
            client.give_token(None).await?;
            gave_up(&mut client, UNAUTHORIZED).await
        })
    });
    for story in stories {
        story.await??;
    }
    Ok(())
}

#[tokio::test]
async fn an_expired_token_gives_up_unless_there_is_a_fresh_one() -> Result<()> {
    let server = Setup::default().start().await?;
    for flavour in Flavour::ALL {
        let user = flavour.user();
        gave_up(&mut start(flavour, server.address(), expired(&user), false).await?, UNAUTHORIZED).await?;

        let mut client = start(flavour, server.address(), expired(&user), true).await?;
        client.give_token(Some(rest::usersig_of(&user))).await?;
        client.event("connected").await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_token_that_is_not_ours_gives_up_for_good() -> Result<()> {
    const INVALID_TOKEN: u64 = 3500;
    let server = Setup::default().start().await?;
    let another_key = "0".repeat(64);
    for flavour in Flavour::ALL {
        let user = flavour.user();
        let good = rest::usersig_of(&user);
        for bad in [token(&user, &another_key, now_secs(), 3600), good[..good.len() / 2].to_owned(), "hello".to_owned()]
        {
            // Even with a function that would give another one: the server said that trying again is pointless.
            gave_up(&mut start(flavour, server.address(), bad, true).await?, INVALID_TOKEN).await?;
        }
        let mut client = connected_for_a_while(flavour, server.address()).await?;
        client.give_token(Some(rest::usersig_of("somebody_else"))).await?;
        gave_up(&mut client, INVALID_TOKEN).await?;
    }
    Ok(())
}
