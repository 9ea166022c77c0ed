//! App-wide facts: accounts, webhook endpoints, and which value of the configuration was taken. Decided and folded like a room, but there is one for all apps.
//!
//! Each event says the whole new value of one thing, so the newest event of each thing is the state: that is what
//! [`Event::row_key`] is for.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use bytes::Bytes;

use crate::{
    endpoint::{Endpoint, EndpointId, Positions},
    ids::{AppId, UnixMillis, UserId},
};

/// The first account number: just above 2^57, where the vendor's lie (protocol: messages §4).
pub const ACCOUNT_NUMBER_FIRST: u64 = (1 << 57) + 1;

/// An imported account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Stable for the account's life, unique over all apps of this server; the first part of `MsgId`.
    pub number: u64,
    pub nick: Arc<str>,
    pub face_url: Arc<str>,
}

/// One account of `account_import`. `None` leaves the field as it is (empty for a new account).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportAccount {
    pub user: UserId,
    pub nick: Option<String>,
    pub face_url: Option<String>,
}

/// What the configuration says about an app's webhook. It is a first value: taken once, and whatever is changed afterwards
/// wins over it until somebody edits it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstValue {
    /// Of the value as it was written; it holds secrets, so it is not kept itself.
    pub digest: Digest,
    /// What the app's endpoint is to be.
    pub endpoint: Endpoint,
}

/// SHA-256.
pub type Digest = [u8; 32];

/// Something asked of the directory. Nothing of it can be refused: the door has checked the form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Import {
        app: AppId,
        accounts: Vec<ImportAccount>,
    },
    /// Creates or replaces. `generation`, `created_at`, `begins` and `past` are the directory's to choose, and
    /// `start` holds from the creation on; what the caller put there is ignored.
    PutEndpoint(Box<Endpoint>),
    DeleteEndpoint {
        app: AppId,
        id: EndpointId,
    },
    /// Takes the configuration's value if it is not the one that was taken last, and remembers it in the same record: a start
    /// that dies takes it as a whole or not at all. `None`: the configuration says nothing, and writing a value again takes it.
    TakeFirstValue {
        app: AppId,
        value: Option<Box<FirstValue>>,
    },
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    AccountSaved {
        app: AppId,
        user: UserId,
        account: Account,
    },
    EndpointSaved(Arc<Endpoint>),
    EndpointDeleted {
        app: AppId,
        id: EndpointId,
        generation: u64,
    },
    /// `None`: the one taken before is forgotten.
    FirstValueTaken {
        app: AppId,
        digest: Option<Digest>,
    },
}

impl Event {
    /// Names the thing that changed: two events with the same key are about the same thing, and the later one holds.
    #[must_use]
    pub fn row_key(&self) -> Bytes {
        let (kind, app, id) = match self {
            Self::AccountSaved { app, user, .. } => (b'a', app, user.as_str()),
            Self::EndpointSaved(endpoint) => (b'e', &endpoint.app, endpoint.id.0.as_str()),
            Self::EndpointDeleted { app, id, .. } => (b'e', app, id.0.as_str()),
            Self::FirstValueTaken { app, .. } => (b'f', app, ""),
        };
        let mut key = Vec::with_capacity(5 + id.len());
        key.push(kind);
        key.extend_from_slice(&app.0.to_be_bytes());
        key.extend_from_slice(id.as_bytes());
        key.into()
    }
}

/// All accounts, endpoints and first values: the fold of the directory's events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    accounts: HashMap<AppId, HashMap<UserId, Account>>,
    endpoints: BTreeMap<(AppId, EndpointId), Slot>,
    first_values: BTreeMap<AppId, Digest>,
    next_number: u64,
}

/// An endpoint, or the memory of one: a namesake must not inherit its cursors.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Slot {
    Present(Arc<Endpoint>),
    Deleted { generation: u64 },
}

impl Default for State {
    fn default() -> Self {
        Self {
            accounts: HashMap::new(),
            endpoints: BTreeMap::new(),
            first_values: BTreeMap::new(),
            next_number: ACCOUNT_NUMBER_FIRST,
        }
    }
}

impl State {
    #[must_use]
    pub fn account(&self, app: AppId, user: &str) -> Option<&Account> {
        self.accounts.get(&app)?.get(user)
    }

    #[must_use]
    pub fn endpoint(&self, app: AppId, id: &EndpointId) -> Option<&Arc<Endpoint>> {
        match self.endpoints.get(&(app, id.clone()))? {
            Slot::Present(endpoint) => Some(endpoint),
            Slot::Deleted { .. } => None,
        }
    }

    /// All endpoints, by app and id.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.endpoints.values().filter_map(|slot| match slot {
            Slot::Present(endpoint) => Some(endpoint),
            Slot::Deleted { .. } => None,
        })
    }

    /// All accounts, in no order.
    pub fn accounts(&self) -> impl Iterator<Item = (AppId, &UserId, &Account)> {
        self.accounts.iter().flat_map(|(app, users)| users.iter().map(|(user, account)| (*app, user, account)))
    }
}

/// What changes when `command` meets `state` at `now`, with the shards' logs ending at `ends`. No events: nothing changes
/// (or there was nothing to delete).
#[must_use]
pub fn decide(state: &State, command: Command, now: UnixMillis, ends: &Positions) -> Vec<Event> {
    match command {
        Command::Import { app, accounts } => decide_import(state, app, accounts),
        Command::PutEndpoint(endpoint) => decide_endpoint(state, *endpoint, now, ends),
        Command::DeleteEndpoint { app, id } => match state.endpoint(app, &id) {
            Some(endpoint) => vec![Event::EndpointDeleted { app, generation: endpoint.generation, id }],
            None => Vec::new(),
        },
        Command::TakeFirstValue { app, value } => {
            let digest = value.as_ref().map(|value| value.digest);
            if state.first_values.get(&app) == digest.as_ref() {
                return Vec::new();
            }
            let mut events = value.map_or(Vec::new(), |value| decide_endpoint(state, value.endpoint, now, ends));
            events.push(Event::FirstValueTaken { app, digest });
            events
        }
    }
}

fn decide_endpoint(state: &State, mut endpoint: Endpoint, now: UnixMillis, ends: &Positions) -> Vec<Event> {
    let key = (endpoint.app, endpoint.id.clone());
    let present = state.endpoints.get(&key);
    (endpoint.generation, endpoint.created_at, endpoint.begins) = match present {
        None => (1, now, ends.clone()),
        Some(Slot::Present(present)) => (present.generation, present.created_at, present.begins.clone()),
        Some(Slot::Deleted { generation }) => (generation + 1, now, ends.clone()),
    };
    if let Some(Slot::Present(present)) = present {
        // Where it began is a fact, which nobody can change later.
        endpoint.start = present.start;
        endpoint.past = present.past_until(&endpoint, ends);
    } else {
        endpoint.past = Vec::new();
    }
    match present {
        Some(Slot::Present(present)) if **present == endpoint => Vec::new(),
        _ => vec![Event::EndpointSaved(Arc::new(endpoint))],
    }
}

fn decide_import(state: &State, app: AppId, accounts: Vec<ImportAccount>) -> Vec<Event> {
    let mut saved: BTreeMap<UserId, Account> = BTreeMap::new();
    let mut next_number = state.next_number;
    for ImportAccount { user, nick, face_url } in accounts {
        let known = saved.get(&user).or_else(|| state.account(app, user.as_str()));
        let mut account = known.cloned().unwrap_or_else(|| {
            let number = next_number;
            next_number += 1;
            Account { number, nick: Arc::default(), face_url: Arc::default() }
        });
        account.nick = nick.map_or(account.nick, Into::into);
        account.face_url = face_url.map_or(account.face_url, Into::into);
        saved.insert(user, account);
    }
    saved.retain(|user, account| state.account(app, user.as_str()) != Some(account));
    saved.into_iter().map(|(user, account)| Event::AccountSaved { app, user, account }).collect()
}

/// What happened. Total, and twice is the same as once.
pub fn fold(state: &mut State, event: &Event) {
    match event {
        Event::AccountSaved { app, user, account } => {
            state.next_number = state.next_number.max(account.number.saturating_add(1));
            state.accounts.entry(*app).or_default().insert(user.clone(), account.clone());
        }
        Event::EndpointSaved(endpoint) => {
            state.endpoints.insert((endpoint.app, endpoint.id.clone()), Slot::Present(Arc::clone(endpoint)));
        }
        Event::EndpointDeleted { app, id, generation } => {
            state.endpoints.insert((*app, id.clone()), Slot::Deleted { generation: *generation });
        }
        Event::FirstValueTaken { app, digest: Some(digest) } => _ = state.first_values.insert(*app, *digest),
        Event::FirstValueTaken { app, digest: None } => _ = state.first_values.remove(app),
    }
}
