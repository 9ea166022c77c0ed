//! What everybody may read of the directory.

use std::sync::Arc;

use ahash::{AHashMap, RandomState};
use parking_lot::RwLock;
use roomhook_room::{
    AppId, Endpoint, UserId,
    directory::{Account, Event, State},
};
use tokio::sync::watch;

/// Enough that lookups of different users hardly meet at one lock.
const PARTS: usize = 16;

type Accounts = AHashMap<AppId, AHashMap<UserId, Account>>;

/// Durable facts. Locks are held for one lookup or one change, never across an await.
#[derive(Debug)]
pub(super) struct View {
    accounts: [RwLock<Accounts>; PARTS],
    endpoints: watch::Sender<Arc<Vec<Arc<Endpoint>>>>,
    hasher: RandomState,
}

impl View {
    pub(super) fn of(state: &State) -> Self {
        let endpoints = watch::Sender::new(listed(state));
        let view = Self { accounts: Default::default(), endpoints, hasher: RandomState::new() };
        view.put_accounts(state);
        view
    }

    pub(super) fn account(&self, app: AppId, user: &str) -> Option<Account> {
        self.part(user)?.read().get(&app)?.get(user).cloned()
    }

    pub(super) fn endpoints(&self) -> watch::Receiver<Arc<Vec<Arc<Endpoint>>>> {
        self.endpoints.subscribe()
    }

    /// Shows what has become durable.
    pub(super) fn publish<'a>(&self, events: impl IntoIterator<Item = &'a Event>, state: &State) {
        let mut endpoints_changed = false;
        for event in events {
            match event {
                Event::AccountSaved { app, user, account } => self.put_account(*app, user, account),
                Event::EndpointSaved(_) | Event::EndpointDeleted { .. } => endpoints_changed = true,
                // Asked for by nobody but the directory itself.
                Event::FirstValueTaken { .. } => {}
            }
        }
        if endpoints_changed {
            self.endpoints.send_replace(listed(state));
        }
    }

    /// Shows all of a state that was read again. Nothing is ever taken away: what was shown was durable.
    pub(super) fn publish_all(&self, state: &State) {
        self.put_accounts(state);
        self.endpoints.send_replace(listed(state));
    }

    fn put_accounts(&self, state: &State) {
        state.accounts().for_each(|(app, user, account)| self.put_account(app, user, account));
    }

    fn put_account(&self, app: AppId, user: &UserId, account: &Account) {
        if let Some(part) = self.part(user.as_str()) {
            part.write().entry(app).or_default().insert(user.clone(), account.clone());
        }
    }

    fn part(&self, user: &str) -> Option<&RwLock<Accounts>> {
        self.accounts.get(self.hasher.hash_one(user) as usize % PARTS)
    }
}

fn listed(state: &State) -> Arc<Vec<Arc<Endpoint>>> {
    Arc::new(state.endpoints().cloned().collect())
}
