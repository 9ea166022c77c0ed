//! Stories about the real server, told through processes of others.

mod imports;

mod apart;
mod bad_calls;
mod changes;
mod crash;
mod disk_fails;
mod disk_full;
mod documented;
mod mirror;
mod outage;
mod owed;
mod power_cuts;
mod realtime;
mod replay_crash;
mod rest_clients;
mod shutdown;
mod tls;
mod usersig;
mod webhook;
mod webhooks_crash;

use anyhow::Result;
use roomhook_e2e::rest::Client;
use roomhook_e2e::server::Server;

/// A connection to a server that knows room `lobby` and sender `ana_k`.
async fn lobby(server: &Server) -> Result<Client> {
    let mut client = server.client().await?;
    client.create_room("lobby").await?;
    client.import("ana_k").await?;
    Ok(client)
}
