//! `roomhook dev`: a ready server to build against, with an inspector for its webhooks.

use std::{
    io::Write as _,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;

use super::{
    inspector::{Expect, Inspector},
    listen::shown,
    rest::{Admin, usersig_now},
};
use crate::{
    app::{App, limits, stop::Stop},
    config,
    out::say,
    telemetry,
};

/// Run a server for development, ready to call
///
/// One app (SDKAppID 1400000001, admin "administrator") with a key made at the first start. Prints the key, a UserSig
/// and calls to copy, and shows each webhook as it arrives at a receiver of its own.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Address of the server
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Address for /metrics, /healthz and /readyz
    #[arg(long, default_value = "127.0.0.1:9090")]
    admin_listen: SocketAddr,
    /// Address of the built-in webhook receiver
    #[arg(long, default_value = "127.0.0.1:8081")]
    inspector: SocketAddr,
    /// Folder of the store and the key
    #[arg(long, default_value = ".roomhook-dev", value_name = "DIR")]
    data: PathBuf,
    /// Send webhooks to this URL instead of the built-in receiver
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
}

const SDKAPPID: u32 = 1_400_000_001;
const ADMIN: &str = "administrator";

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    std::fs::create_dir_all(&args.data).with_context(|| format!("make {}", args.data.display()))?;
    let key = own_key(&args.data.join("dev-key"))?;
    let stop = Stop::on_signals()?;
    let inspector =
        Inspector::bind(args.inspector, Expect::default()).await.context("choose another with --inspector")?;
    let own_url = format!("http://{}/", inspector.addr()?);
    let config = configuration(&args, &key, args.webhook.as_deref().unwrap_or(&own_url))?;
    telemetry::init(&config.log)?;
    limits::raise_open_files();
    limits::file_size_is_an_error();
    let app = App::build(&config).await?;
    let (listen, admin_listen) = app.addresses()?;
    introduce(listen, admin_listen, &key, &args, &own_url);
    let inspecting = inspector.serve(|seen| say!("{}\n", shown(&seen)), stop.clone());
    let (served, inspected) = tokio::join!(app.run(stop), inspecting);
    served?;
    inspected?;
    Ok(ExitCode::SUCCESS)
}

/// The key of this store, made at random when there is none.
fn own_key(file: &Path) -> anyhow::Result<String> {
    match std::fs::read_to_string(file) {
        Ok(key) => Ok(key.trim().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("draw a key: {error}"))?;
            let key = bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
            let mut options = std::fs::OpenOptions::new();
            let mut created = options.write(true).create_new(true).mode(0o600).open(file).context("store the key")?;
            created.write_all(key.as_bytes()).context("store the key")?;
            Ok(key)
        }
        Err(error) => Err(error).with_context(|| format!("read {}", file.display())),
    }
}

/// The same road as `serve`: a file over the defaults. The environment is left out, so that what is printed is true.
fn configuration(args: &Args, key: &str, webhook: &str) -> anyhow::Result<config::Config> {
    let mut file = tempfile::NamedTempFile::new().context("write the configuration")?;
    let Args { listen, admin_listen, data, .. } = args;
    write!(
        file,
        "[server]\nlisten = \"{listen}\"\nadmin_listen = \"{admin_listen}\"\n[storage]\npath = {:?}\n\
         [[app]]\nsdkappid = {SDKAPPID}\nkey = {key:?}\nadmins = [{ADMIN:?}]\n[app.webhook]\nurl = {webhook:?}\n\
         [webhooks]\nallow = [\"127.0.0.0/8\", \"::1\", \"10.0.0.0/8\", \"172.16.0.0/12\", \"192.168.0.0/16\"]\n\
         [log]\nlevel = \"warn\"\n",
        data.join("store"),
    )?;
    Ok(config::load(Some(file.path()), [])?)
}

fn introduce(listen: SocketAddr, admin_listen: SocketAddr, key: &str, args: &Args, own_url: &str) {
    let usersig = usersig_now(SDKAPPID, key, ADMIN, 7 * 86_400);
    let admin = Admin { sdkappid: SDKAPPID, userid: ADMIN.to_owned(), usersig: usersig.clone() };
    let curl =
        |command: &str, body: &str| format!("curl -s 'http://{listen}{}&random=1' -d '{body}'", admin.path(command));
    let create =
        r#"{"RoomInfo":{"RoomId":"lobby","RoomType":"Live","RoomName":"Lobby","Owner_Account":"administrator"}}"#;
    let send = r#"{"RoomId":"lobby","Sender_Account":"administrator","TextContent":"hello"}"#;
    say!("roomhook for development, store in {}", args.data.display());
    say!("  REST        http://{listen}/v4/...");
    say!("  operators   http://{admin_listen}/metrics  /healthz  /readyz");
    say!("  webhooks    {}", args.webhook.as_deref().unwrap_or(own_url));
    say!("  SDKAppID    {SDKAPPID}");
    say!("  key         {key}");
    say!("  admin       {ADMIN}");
    say!("  UserSig     {usersig}\n");
    say!("make a room:\n  {}\n", curl("live_engine_http_srv/create_room", create));
    say!("send a message:\n  {}\n", curl("live_engine_http_srv/send_text_msg", send));
    match &args.webhook {
        None => say!("webhooks appear below; Ctrl-C stops\n"),
        Some(url) => say!(
            "webhooks go to {url}; `roomhook webhooks --admin http://{admin_listen} show` tells how they fare; Ctrl-C stops\n"
        ),
    }
}
