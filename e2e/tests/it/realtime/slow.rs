//! A client that does not keep up: it is cut and told so, and gets everything it missed when it is back; nobody waits for it.

use anyhow::{Result, ensure};
use roomhook_e2e::sdk::{Flavour, Sdk};
use roomhook_e2e::server::Setup;
use serde_json::json;

use crate::lobby;

/// What is said while the client does not read.
const FILLER_BYTES: usize = 8_000;

#[tokio::test]
async fn a_client_that_stops_reading_for_a_while_is_cut_and_misses_nothing() -> Result<()> {
    for flavour in [Flavour::JsJson, Flavour::JsProtobuf] {
        // A client that is stuck answers no pings, and on a busy machine it takes minutes to say so much.
        let sections = "[realtime]\nping_every = \"10m\"".to_owned();
        let server = Setup { sections, ..Setup::default() }.start().await?;
        let mut backend = lobby(&server).await?;
        let mut stuck = Sdk::connected(flavour, server.address(), "stuck").await?;
        let mut quick = Sdk::connected(Flavour::PythonJson, server.address(), "quick").await?;
        for member in [&mut stuck, &mut quick] {
            member.join("lobby").await?;
            member.event("connecting").await?;
        }
        stuck.must("pause", json!({})).await?;

        let cut = "roomhook_realtime_closes_total{code=\"3008\"} 1";
        let filler = "x".repeat(FILLER_BYTES);
        let mut last = 0;
        while !server.admin_get("/metrics").await?.1.contains(cut) {
            for _ in 0..10 {
                last = backend.text("lobby", "ana_k", &filler).await?.seq;
                ensure!(quick.publication().await?.offset == last, "somebody else has to wait");
            }
            ensure!(last < 10_000, "80 MB wait somewhere");
        }
        stuck.must("resume", json!({})).await?;
        let why = stuck.event("connecting").await?;
        assert_eq!((&why["code"], &why["reason"]), (&json!(3008), &json!("slow")), "{flavour}");
        let back = stuck.event("subscribed").await?;
        assert_eq!((&back["was_recovering"], &back["recovered"]), (&json!(true), &json!(true)), "{flavour}: {back}");

        last = backend.text("lobby", "ana_k", "the last one").await?.seq;
        for expected in 1..=last {
            let heard = stuck.publication().await?;
            assert_eq!(heard.offset, expected, "{flavour}");
            assert_eq!(heard.text().len(), if expected == last { 12 } else { FILLER_BYTES }, "{flavour}");
        }
    }
    Ok(())
}
