//! HTTPS on the same port, with a certificate that can be changed while the server runs.

use std::time::Duration;

use anyhow::Result;
use roomhook_e2e::rest::Client;
use roomhook_e2e::server::Setup;
use roomhook_e2e::tls::Certificate;
use tokio::time::{Instant, sleep};

#[tokio::test]
async fn a_new_certificate_is_served_without_a_restart() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (old, new) = (Certificate::make()?, Certificate::make()?);
    let server = Setup { tls: Some(old.write(folder.path())?), ..Setup::default() }.start().await?;

    let mut before = Client::over(old.connect(server.address()).await?).await?;
    before.create_room("lobby").await?;
    assert!(new.connect(server.address()).await.is_err(), "only the certificate that is there can be served");

    new.write(folder.path())?;
    let deadline = Instant::now() + Duration::from_secs(30);
    let stream = loop {
        match new.connect(server.address()).await {
            Ok(stream) => break stream,
            // The server looks at its files every few seconds; there is nothing to wait for but that.
            Err(_) if Instant::now() < deadline => sleep(Duration::from_millis(100)).await,
            Err(error) => return Err(error.context("the new certificate is not served")),
        }
    };
    Client::over(stream).await?.create_room("attic").await?;
    before.create_room("cellar").await?; // an open connection keeps working
    assert!(old.connect(server.address()).await.is_err(), "the old certificate is gone");
    Ok(())
}
