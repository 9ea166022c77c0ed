//! The admin API is what its document says. Both were written here, so somebody else asks: schemathesis reads the document from
//! the server, makes requests that are as it says and such that are not, and looks whether the answers are those that it promises.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use roomhook_e2e::peers;
use roomhook_e2e::receiver::Receiver;
use roomhook_e2e::server::Setup;
use tokio::process::Command;
use tokio::time::timeout;

use crate::lobby;

const TOKEN: &str = "a-token-of-some-length";
/// The same requests in every run.
const SEED: &str = "20261127";
/// Requests for each operation, beside those at the edges of what the document allows.
const EXAMPLES: &str = "6";
/// It takes half a minute; on a busy machine much longer.
const PATIENCE: Duration = Duration::from_secs(600);

#[tokio::test]
async fn the_admin_api_is_what_its_document_says() -> Result<()> {
    let receiver = Receiver::start().await?;
    let server = Setup {
        webhook_url: receiver.url(),
        of_webhooks: "timeout = \"1s\"".into(),
        sections: format!("[admin]\ntoken = {TOKEN:?}\n"),
        ..Setup::default()
    };
    let server = server.start().await?;
    // So that there is a room and a message to ask about.
    lobby(&server).await?.text("lobby", "ana_k", "hello").await?;

    let document = format!("http://{}/admin/api/openapi.json", server.admin_address());
    // It remembers what it saw in the folder that it runs in.
    let folder = tempfile::tempdir()?;
    let mut schemathesis = Command::new(peers::python()?.with_file_name("schemathesis"));
    schemathesis
        .arg("--config-file")
        .arg(peers::script("schemathesis.toml"))
        .args(["run", &document, "--header", &format!("Authorization: Bearer {TOKEN}")])
        .args(["--seed", SEED, "--max-examples", EXAMPLES, "--generation-database", "none"])
        .args(["--request-timeout", "30", "--warnings", "off", "--no-color", "--continue-on-failure"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = timeout(PATIENCE, schemathesis.output()).await.context("schemathesis does not come to an end")??;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    // It asked, and of everything.
    ensure!(said.contains("Tested: 20"), "{said}");
    receiver.stop().await?;
    Ok(())
}
