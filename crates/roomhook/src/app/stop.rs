//! When to stop: the first SIGTERM or SIGINT asks for it, the second insists.

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

/// Both signals as one.
#[derive(Debug)]
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Cancel safe.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A value to hand to everything that must stop. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Stop(watch::Receiver<bool>);

/// Stops what was given a [`Stop`], from inside the program.
#[derive(Debug)]
pub(crate) struct Stopper(watch::Sender<bool>);

impl Stopper {
    pub(crate) fn stop(&self) {
        self.0.send_replace(true);
    }
}

/// A pair for use without signals: `demo`, tests.
pub(crate) fn by_hand() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(false);
    (Stopper(sender), Stop(receiver))
}

impl Stop {
    /// Follows the signals of this process. A second signal ends the process at once, with 130 as shells expect.
    ///
    /// # Errors
    /// When the signals cannot be listened to.
    pub(crate) fn on_signals() -> std::io::Result<Self> {
        let mut signals =
            Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };
        let (sender, receiver) = watch::channel(false);
        // Detached: it has no end but that of the process, and nothing to report.
        tokio::spawn(async move {
            signals.next().await;
            tracing::info!("asked to stop; a second signal ends at once");
            sender.send_replace(true);
            signals.next().await;
            tracing::warn!("a second signal: ending at once");
            std::process::exit(130);
        });
        Ok(Self(receiver))
    }

    pub(crate) fn is_stopping(&self) -> bool {
        *self.0.borrow()
    }

    /// Resolves when it is time to stop. Cancel safe.
    pub(crate) async fn wait(mut self) {
        // An error means that whoever could say stop is gone: stop as well.
        let _or_gone = self.0.wait_for(|stopping| *stopping).await;
    }
}
