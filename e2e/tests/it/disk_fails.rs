//! A write to the disk fails once, the server is restarted as documented, and later the power fails.

use anyhow::{Result, ensure};
use roomhook_e2e::faulty_disk::FaultyDisk;
use roomhook_e2e::server::Setup;
use serde_json::json;

use crate::lobby;
use crate::owed::setting;

const REFUSED: &str = "the disk takes everything but this";

/// After the failure the kernel shows what the disk never got. A start that believed it acknowledged more behind it, and the power
/// cut took all of that, without a word.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stderr, reason = "that nothing was tried must be in the output")]
async fn what_was_acknowledged_after_a_failed_write_and_a_restart_survives_a_power_cut() -> Result<()> {
    if let Some(lacking) = FaultyDisk::lacking() {
        eprintln!("SKIPPED: this machine lacks {lacking} for a disk that fails");
        return Ok(());
    }
    for _ in 0..setting("ROOMHOOK_E2E_FAULT_ROUNDS", 2)? {
        round().await?;
    }
    Ok(())
}

async fn round() -> Result<()> {
    let mut disk = FaultyDisk::make().await?;
    let of_storage = "shards = 1\nfree_bytes_min = \"16MiB\"".to_owned();
    let mut server = Setup { store: Some(disk.folder().join("store")), of_storage, ..Setup::default() }.start().await?;
    let mut client = lobby(&server).await?;
    for number in 0..20 {
        client.text("lobby", "ana_k", &format!("before {number}")).await?;
    }

    // Several pages long: the first ones are not written again with what comes next.
    disk.refuse(REFUSED);
    let text = format!("{REFUSED} {}", "x".repeat(10_000));
    let message = json!({"RoomId": "lobby", "Sender_Account": "ana_k", "TextContent": text});
    let answer = client.call("live_engine_http_srv/send_text_msg", &message).await?;
    ensure!(answer["ErrorCode"] != 0, "acknowledged, and the disk has not got it: {answer}");
    ensure!(disk.work_again() > 0, "no write failed, so nothing was tested");
    server.terminate().await?;

    server.start_again().await?;
    let mut client = server.client().await?;
    let mut last = 0;
    for number in 0..20 {
        last = client.text("lobby", "ana_k", &format!("after {number}")).await?.seq;
    }
    server.kill_9().await?;
    disk.power_cut().await?;

    server.start_again().await?;
    let next = server.client().await?.text("lobby", "ana_k", "after the power cut").await?.seq;
    ensure!(next == last + 1, "{last} was acknowledged, and the next message has number {next}");
    server.kill_9().await
}
