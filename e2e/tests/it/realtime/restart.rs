//! The server goes away under its clients: they come back by themselves, and each message reached each of them once, in order.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use roomhook_e2e::rest::Client;
use roomhook_e2e::sdk::Sdk;
use roomhook_e2e::server::Setup;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::members_of;
use crate::lobby;

/// Less than what a client that comes back gets at once.
const SENT_AFTER_A_START: usize = 100;

/// What was acknowledged: texts by number.
type Book = BTreeMap<u64, String>;

/// Sends one message after the other until the server is gone.
fn send_until_it_breaks(mut client: Client, label: String) -> JoinHandle<Book> {
    tokio::spawn(async move {
        let mut book = Book::new();
        for number in 0_u64.. {
            let text = format!("{label}, {number}");
            let Ok(receipt) = client.text("lobby", "ana_k", &text).await else { break };
            book.insert(receipt.seq, text);
        }
        book
    })
}

/// What a member has heard since it first joined.
struct Ears {
    member: Sdk,
    heard: Vec<String>,
}

impl Ears {
    /// Listens until number `last`.
    async fn listen(&mut self, last: u64) -> Result<()> {
        while (self.heard.len() as u64) < last {
            let said = self.member.publication().await?;
            let expected = self.heard.len() as u64 + 1;
            ensure!(said.offset == expected, "{}: heard {} instead of {expected}", self.member.flavour(), said.offset);
            self.heard.push(said.text().to_owned());
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_or_stopped_comes_back_to_clients_that_missed_nothing() -> Result<()> {
    let mut server = Setup::default().start().await?;
    lobby(&server).await?;
    let mut ears: Vec<Ears> = members_of("lobby", server.address())
        .await?
        .into_iter()
        .map(|member| Ears { member, heard: Vec::new() })
        .collect();
    let mut acknowledged = Book::new();
    for round in ["killed", "stopped", "killed again", "stopped again"] {
        let sending = send_until_it_breaks(server.client().await?, format!("before it is {round}"));
        let so_far = acknowledged.last_key_value().map_or(0, |(seq, _)| *seq);
        for ears in &mut ears {
            ears.listen(so_far + 20).await?;
        }
        if round.starts_with("killed") {
            server.kill_9().await?;
        } else {
            ensure!(server.terminate().await?.success());
        }
        acknowledged.extend(sending.await?);
        server.start_again().await?;
        let mut backend = server.client().await?;
        for number in 0..SENT_AFTER_A_START {
            let text = format!("after it was {round}, {number}");
            acknowledged.insert(backend.text("lobby", "ana_k", &text).await?.seq, text);
        }
        let (last, _) = acknowledged.last_key_value().context("nothing was acknowledged")?;
        for ears in &mut ears {
            ears.listen(*last).await?;
            let back = ears.member.event("subscribed").await?;
            let flavour = ears.member.flavour();
            assert_eq!(
                (&back["was_recovering"], &back["recovered"]),
                (&json!(true), &json!(true)),
                "{flavour}: {back}"
            );
        }
    }
    let last = server.client().await?.text("lobby", "ana_k", "the last one").await?.seq;
    for Ears { member, heard } in &mut ears {
        let flavour = member.flavour();
        for (seq, text) in &acknowledged {
            assert_eq!(heard.get(*seq as usize - 1), Some(text), "{flavour}: message {seq}");
        }
        let next = member.publication().await?;
        assert_eq!((next.offset, next.text()), (last, "the last one"), "{flavour}: nothing comes twice");
        let ends = member.untaken("connecting");
        assert!(ends.iter().any(|end| end["code"] == 3001), "{flavour}: a stop says so: {ends:?}");
        assert_eq!(member.untaken("disconnected"), Vec::<Value>::new(), "{flavour}");
    }
    Ok(())
}
