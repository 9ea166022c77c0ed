//! Clients: SDKs that nobody here wrote, against the real server.

mod asking;
mod browser;
mod hostile;
mod presence;
mod restart;
mod slow;
mod talk;
mod tokens;

use std::net::SocketAddr;

use anyhow::Result;
use roomhook_e2e::sdk::{Flavour, Sdk};

/// One member of `room` of each flavour, each a user of its own.
async fn members_of(room: &str, server: SocketAddr) -> Result<Vec<Sdk>> {
    let starting = Flavour::ALL.map(|flavour| tokio::spawn(Sdk::connected(flavour, server, flavour.user())));
    let mut members = Vec::new();
    for started in starting {
        let mut member = started.await??;
        member.join(room).await?;
        members.push(member);
    }
    Ok(members)
}
