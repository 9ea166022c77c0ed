//! SIGTERM: what was acknowledged stays, what is in flight is answered, exit 0.

use std::time::Duration;

use anyhow::Result;
use roomhook_e2e::receiver::Receiver;
use roomhook_e2e::server::Setup;
use tokio::time::Instant;

use crate::lobby;

/// The server's own deadline is 10 s; a loaded test machine gets a little more.
const DEADLINE: Duration = Duration::from_secs(15);

#[tokio::test]
async fn an_idle_server_ends_at_once_with_exit_0() -> Result<()> {
    let mut server = Setup::default().start().await?;
    let idle = server.client().await?;
    let begin = Instant::now();
    let status = server.terminate().await?;
    assert_eq!(status.code(), Some(0), "{}", server.log());
    assert!(begin.elapsed() < DEADLINE, "it took {:?}", begin.elapsed());
    drop(idle);
    Ok(())
}

#[tokio::test]
async fn a_server_under_load_ends_with_exit_0_and_keeps_what_it_acknowledged() -> Result<()> {
    let mut receiver = Receiver::start().await?;
    let mut server = Setup::webhook(receiver.url()).start().await?;
    let mut client = lobby(&server).await?;
    let load = tokio::spawn(async move {
        let mut acknowledged = 0;
        while let Ok(receipt) = client.text("lobby", "ana_k", "still there?").await {
            assert_eq!(receipt.seq, acknowledged + 1);
            acknowledged = receipt.seq;
        }
        acknowledged
    });
    receiver.take(20).await?;
    let begin = Instant::now();
    server.signal_term()?;
    assert_eq!(server.ended().await?.code(), Some(0), "{}", server.log());
    assert!(begin.elapsed() < DEADLINE, "it took {:?}", begin.elapsed());
    let acknowledged = load.await?;

    server.start_again().await?;
    let next = server.client().await?.text("lobby", "ana_k", "I am back").await?.seq;
    assert!(next > acknowledged, "{next} was given before: {acknowledged} were acknowledged");
    let mut seqs = std::collections::BTreeSet::from_iter(1..=20);
    receiver.until(Instant::now() + DEADLINE, |seen| seqs.insert(seen.seq()) && seen.seq() == next).await?;
    assert_eq!(seqs.len() as u64, next, "each reached the receiver");
    Ok(())
}
