//! All wiring, from top to bottom, and nothing else: what there is, in the order it starts, and how it stops.

pub(crate) mod first_value;
pub(crate) mod limits;
mod operators;
mod readiness;
mod settings;
pub(crate) mod stop;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use prometheus_client::registry::Registry;
use roomhook_edge::{
    Doors, Entropy, Services, admin,
    apps::Apps,
    auth::Authenticator,
    listener::{Listener, Tls, TlsError, TlsFiles},
    publish::{self, Publisher},
    realtime::Realtime,
    rest::Rest,
    telemetry::{AuthMetrics, ListenerMetrics, RestMetrics},
};
use roomhook_hooks::Hooks;
use roomhook_log_disk::DiskLog;
use roomhook_shard::Shards;

pub(crate) use settings::{disk as disk_settings, inbox_bytes, realtime as realtime_settings};

use crate::{
    config::{self, Config},
    control,
    gate::Gate,
    telemetry,
};
use operators::Operators;
use readiness::Readiness;
use stop::Stop;

/// A whole server, started but not yet serving: its sockets queue connections, its store is open and replayed.
pub(crate) struct App {
    public: Listener,
    operators: Operators,
    disk: Arc<DiskLog>,
    shards: Shards,
    hooks: Hooks,
    realtime: Realtime,
    doors: Doors,
    admin_api: axum::Router,
    registry: Registry,
    shutdown_deadline: Duration,
}

impl App {
    /// Builds everything that the configuration says.
    ///
    /// # Errors
    /// When a port is taken, a certificate is no good, or the store cannot be opened; nothing is left running then.
    pub(crate) async fn build(config: &Config) -> anyhow::Result<Self> {
        let mut registry = telemetry::registry();
        let clock = settings::clock();

        // Sockets first: a port that is taken is told before the store is touched.
        let public = bind("server.listen", config.server.listen, settings::public_listener(config)?, &mut registry)?;
        let admin =
            bind("server.admin_listen", config.server.admin_listen, settings::admin_listener(config), &mut registry)?;
        let operators = Operators::start(admin)?;

        let mut disk_config = settings::disk(config);
        disk_config.on_reading = operators.on_reading();
        let disk = tokio::task::spawn_blocking(move || DiskLog::open(disk_config))
            .await
            .context("opening the store panicked")?
            .with_context(|| format!("open the store in {}", config.storage.path.display()))?;
        // Parts that do not name the program in their metrics get its name in front.
        let metrics = registry.sub_registry_with_prefix("roomhook");
        disk.register(metrics);
        let shards =
            roomhook_shard::start(disk.clone(), disk.shards(), settings::shards(config), clock.clone(), metrics)
                .await
                .context("start the shards")?;

        first_value::apply(config, &shards.directory).await.context("apply the webhooks of the configuration")?;
        let hooks = roomhook_hooks::start(
            disk.clone(),
            disk.clone(),
            shards.ownership.watch(),
            disk.shards(),
            shards.directory.endpoints(),
            settings::hooks(config)?,
            clock.clone(),
            metrics,
        );
        // A ready server shows the numbers of each endpoint.
        hooks.started().await;

        let apps = Arc::new(Apps::new(settings::apps(config)?)?);
        let cache = settings::usersig_cache(config);
        let authenticator = Authenticator::new(Arc::clone(&apps), cache, AuthMetrics::register(&mut registry));
        let (router, directory, entropy) =
            (shards.router.clone(), shards.directory.clone(), Entropy::of_this_process());
        let (limits, rest) = (settings::messages(config), settings::rest(config));
        let gate = roomhook_hooks::gate::Gate::new(
            directory.endpoints(),
            settings::hooks(config)?,
            settings::gate(config),
            clock.clone(),
            &mut registry,
        );
        let before_send: Arc<dyn publish::Gate> = Arc::new(Gate(gate.clone()));
        let publisher = Publisher::new(
            router.clone(),
            directory.clone(),
            Some(before_send),
            limits,
            entropy.clone(),
            rest.backend_timeout,
        );
        let services =
            Services { router, directory, apps, authenticator: Arc::new(authenticator), publisher, clock, entropy };
        let control = control::joined(hooks.handle.clone(), gate);
        let admin_api = admin::api::router(services.clone(), control, config.admin.token.expose());
        let realtime = Realtime::start(services.clone(), settings::realtime(config), &mut registry);
        let realtime = realtime.await.context("start realtime")?;
        let rest = Rest::new(services, rest, RestMetrics::register(&mut registry));
        let doors = Doors::new(Arc::new(rest), realtime.router());
        let shutdown_deadline = config.server.shutdown_deadline.0;
        Ok(Self { public, operators, disk, shards, hooks, realtime, doors, admin_api, registry, shutdown_deadline })
    }

    /// Where it listens: the public address and the private one.
    pub(crate) fn addresses(&self) -> anyhow::Result<(SocketAddr, SocketAddr)> {
        Ok((self.public.local_addr()?, self.operators.addr))
    }

    /// Serves until it is told to stop, then finishes what is in flight, saves the cursors and closes the store, all
    /// within the configured deadline.
    ///
    /// Not cancel safe: dropping the future leaves the store to its recovery.
    pub(crate) async fn run(self, stop: Stop) -> anyhow::Result<()> {
        let (listen, admin_listen) = self.addresses()?;
        let Self { public, operators, disk, shards, hooks, realtime, doors, admin_api, registry, shutdown_deadline } =
            self;
        tracing::info!(%listen, %admin_listen, "serving");

        let readiness = Readiness { router: shards.router.clone(), disk: disk.clone(), stop: stop.clone() };
        let whole = admin::router(admin::State { registry: Arc::new(registry), readiness: Arc::new(readiness) });
        operators.door.open(whole.merge(admin_api));

        let deadline = stop.clone();
        let served = async {
            // Clients are told to come back while requests in work finish.
            let told = stop.clone();
            let goodbye = async {
                told.wait().await;
                realtime.shutdown().await;
            };
            let (drained, ()) = tokio::join!(public.serve(doors, stop.wait()), goodbye);
            tracing::info!(connections_cut = drained.cut, "no more requests");
            hooks.shutdown(settings::share_of_webhooks(shutdown_deadline)).await;
            shards.shutdown().await;
            disk.shutdown().await;
            operators.stop().await;
        };
        tokio::select! {
            () = served => tracing::info!("stopped"),
            () = async { deadline.wait().await; tokio::time::sleep(shutdown_deadline).await } => {
                tracing::warn!(?shutdown_deadline, "not all was finished in time; what was acknowledged is safe");
            }
        }
        Ok(())
    }
}

fn bind(
    key: &'static str,
    addr: SocketAddr,
    config: roomhook_edge::listener::Config,
    registry: &mut Registry,
) -> anyhow::Result<Listener> {
    let metrics = ListenerMetrics::register(registry, if key == "server.listen" { "public" } else { "admin" });
    Listener::bind(addr, config, metrics).with_context(|| format!("listen on {addr} ({key})"))
}

/// Loads certificate and key.
///
/// # Errors
/// When they cannot be used.
pub(crate) fn tls(files: &config::Tls) -> Result<Tls, TlsError> {
    Tls::load(TlsFiles { cert: files.cert.clone(), key: files.key.clone() })
}
