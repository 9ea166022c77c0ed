//! A whole app: the server, and the example backend that keeps its messages in SQLite; both lose power now and then.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use roomhook_e2e::mirror::Mirror;
use roomhook_e2e::server::Setup;
use tokio::time::{Instant, sleep};

use crate::lobby;

const TOKEN: &str = "lantern-9f21";

#[tokio::test]
async fn the_mirror_ends_up_with_every_acknowledged_message_once() -> Result<()> {
    let mut mirror = Mirror::start(TOKEN).await?;
    let setup = Setup {
        token: TOKEN.to_owned(),
        of_webhooks: "retry_first = \"50ms\"\nretry_max = \"500ms\"".to_owned(),
        ..Setup::webhook(mirror.url())
    };
    let mut server = setup.start().await?;
    let mut client = lobby(&server).await?;
    let mut acknowledged = BTreeMap::new();
    for round in 0..4 {
        for number in 0..10 {
            let text = format!("round {round} message {number}");
            let seq = client.text("lobby", "ana_k", &text).await?.seq;
            acknowledged.insert(("lobby".to_owned(), seq), text);
        }
        // Which of the deliveries are done at this moment is anybody's guess; all must be, in the end.
        if round % 2 == 0 {
            mirror.kill_9_and_start_again().await?;
        } else {
            server.kill_9().await?;
            server.start_again().await?;
            client = server.client().await?;
        }
    }

    let deadline = Instant::now() + Duration::from_secs(60);
    let mut rows = mirror.rows().await?;
    while rows.len() < acknowledged.len() && Instant::now() < deadline {
        sleep(Duration::from_millis(100)).await;
        rows = mirror.rows().await?;
    }
    assert_eq!(rows, acknowledged);
    Ok(())
}
