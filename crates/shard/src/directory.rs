//! Accounts and endpoints: app-wide facts with a log, an owner and a view of their own.

mod fold;
mod owner;
mod supervisor;
mod view;

use std::sync::Arc;

use roomhook_log::{Expect, Log, LogId};
use roomhook_room::{AppId, Endpoint, EndpointId, directory::Command};
use tokio::{
    sync::{Mutex, OwnedMutexGuard, mpsc, watch},
    task::JoinSet,
};
use tracing::Instrument as _;

use self::{
    fold::Opened,
    owner::{Request, weight_of},
    supervisor::supervise,
    view::View,
};
use crate::{
    error::{ExecuteError, StartError},
    inbox::Inbox,
    life::Deps,
    reign::Take,
    replay::Reader,
    supervisor::Health,
};

pub use roomhook_room::directory::{Account, FirstValue, ImportAccount};

/// What doors and webhooks know of the directory. Cheap to clone; shows durable facts only.
#[derive(Clone, Debug)]
pub struct Directory {
    inbox: Inbox<Request>,
    view: Arc<View>,
    health: Arc<Health>,
    /// Held by whoever changes an endpoint.
    turns: Arc<Mutex<()>>,
}

/// The right to change endpoints, held by one caller at a time: what it reads stays true until its change is made.
///
/// The right goes along with the change and comes back when that was answered. So whoever is next sees it, also when the caller
/// gave up waiting for the answer meanwhile.
#[derive(Debug)]
pub struct Turn {
    directory: Directory,
    held: OwnedMutexGuard<()>,
}

impl Turn {
    /// As [`Directory::endpoint`].
    #[must_use]
    pub fn endpoint(&self, app: AppId, id: &EndpointId) -> Option<Arc<Endpoint>> {
        self.directory.endpoint(app, id)
    }

    /// As [`Directory::put_endpoint`].
    ///
    /// # Errors
    /// As [`Directory::import`].
    pub async fn put(self, endpoint: Endpoint) -> Result<(), ExecuteError> {
        self.directory.execute(Command::PutEndpoint(Box::new(endpoint)), Some(self.held)).await.map(drop)
    }

    /// Takes the configuration's value for an app's webhook, unless it is the one that was taken last; `None` forgets that one.
    /// Whether anything changed. What is taken is remembered in the same record.
    ///
    /// # Errors
    /// As [`Directory::put_endpoint`].
    pub async fn take_first_value(self, app: AppId, value: Option<FirstValue>) -> Result<bool, ExecuteError> {
        let command = Command::TakeFirstValue { app, value: value.map(Box::new) };
        self.directory.execute(command, Some(self.held)).await
    }

    /// As [`Directory::delete_endpoint`].
    ///
    /// # Errors
    /// As [`Directory::import`].
    pub async fn delete(self, app: AppId, id: EndpointId) -> Result<bool, ExecuteError> {
        self.directory.execute(Command::DeleteEndpoint { app, id }, Some(self.held)).await
    }
}

impl Directory {
    /// The account of a user, if it was imported. Called per message: no waiting, and nothing is copied but pointers.
    #[must_use]
    pub fn account(&self, app: AppId, user: &str) -> Option<Account> {
        self.view.account(app, user)
    }

    #[must_use]
    pub fn endpoint(&self, app: AppId, id: &EndpointId) -> Option<Arc<Endpoint>> {
        self.view.endpoints().borrow().iter().find(|one| one.app == app && one.id == *id).cloned()
    }

    /// All endpoints, and every change of them once it is durable.
    #[must_use]
    pub fn endpoints(&self) -> watch::Receiver<Arc<Vec<Arc<Endpoint>>>> {
        self.view.endpoints()
    }

    /// Imports accounts. Those that exist keep their number and get the profile fields that are given. Durable when it
    /// returns; repeating it changes nothing.
    ///
    /// # Errors
    /// [`ExecuteError`], never `Rejected`. A call that is dropped may still happen.
    pub async fn import(&self, app: AppId, accounts: Vec<ImportAccount>) -> Result<(), ExecuteError> {
        self.execute(Command::Import { app, accounts }, None).await.map(drop)
    }

    /// Waits for the right to change endpoints. Whoever changes one by what it was takes it before looking.
    pub async fn turn(&self) -> Turn {
        Turn { directory: self.clone(), held: Arc::clone(&self.turns).lock_owned().await }
    }

    /// Creates or replaces an endpoint. `generation`, `created_at`, `begins` and `past` are set by the directory.
    /// When it returns, every message that is sent from then on is owed by it, and none that was answered before the
    /// call is, whatever the clock does and whenever the process dies.
    ///
    /// # Errors
    /// As [`Directory::import`]; also [`ExecuteError::Unavailable`] when a shard's log cannot be asked where it ends.
    pub async fn put_endpoint(&self, endpoint: Endpoint) -> Result<(), ExecuteError> {
        self.turn().await.put(endpoint).await
    }

    /// Deletes an endpoint; false when there was none.
    ///
    /// # Errors
    /// As [`Directory::import`].
    pub async fn delete_endpoint(&self, app: AppId, id: EndpointId) -> Result<bool, ExecuteError> {
        self.turn().await.delete(app, id).await
    }

    /// Whether anything changed. `turn` ends with the answer.
    async fn execute(&self, command: Command, turn: Option<OwnedMutexGuard<()>>) -> Result<bool, ExecuteError> {
        self.health.check_open()?;
        let weight = weight_of(&command);
        self.inbox.ask(weight, |reply| Request { command, reply, turn }).await
    }
}

/// The directory's log, claimed and folded, not yet running.
pub(crate) struct Ready {
    deps: Deps,
    opened: Opened,
}

/// Claims the directory's log and folds it.
///
/// # Errors
/// [`StartError`].
pub(crate) async fn open(deps: Deps) -> Result<Ready, StartError> {
    let opened = fold::open(&deps, Expect::Anyone).await?;
    deps.metrics.replayed.set(opened.folded.replayed as i64);
    Ok(Ready { deps, opened })
}

/// The endpoints of a store that nobody serves, read without claiming it.
///
/// # Errors
/// When the log or its rows cannot be read.
pub async fn stored_endpoints(store: Arc<dyn Log>) -> Result<Vec<Arc<Endpoint>>, StartError> {
    let log = LogId::DIRECTORY;
    let end = store.end(log).await.map_err(|source| StartError::Read { log, source })?;
    let folded = fold::fold_up_to(&Reader { store, log }, end).await?;
    Ok(folded.state.endpoints().cloned().collect())
}

impl Ready {
    /// Starts the owner.
    pub(crate) fn run(self, takes: mpsc::Receiver<Take>, tasks: &mut JoinSet<()>) -> (Directory, Arc<Health>) {
        let Self { deps, opened } = self;
        let (inbox, requests) = Inbox::new(&deps.config, &deps.metrics);
        let view = Arc::new(View::of(&opened.folded.state));
        let health = Arc::clone(&deps.health);
        let directory =
            Directory { inbox, view: Arc::clone(&view), health: Arc::clone(&health), turns: Arc::default() };
        tasks.spawn(supervise(deps, view, requests, takes, opened).instrument(tracing::info_span!("directory")));
        (directory, health)
    }
}
