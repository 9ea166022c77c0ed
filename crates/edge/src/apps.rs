//! The apps of this server, as the configuration names them.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
};

use arc_swap::ArcSwap;
use roomhook_room::{AppId, UserId};

/// A tenant.
#[derive(Clone, PartialEq, Eq)]
pub struct App {
    pub id: AppId,
    /// The secret key of UserSigs; its UTF-8 bytes are the HMAC key (protocol: usersig §1).
    pub key: Arc<str>,
    /// Who may call the REST API. Admins are accounts without being imported.
    pub admins: HashSet<UserId>,
    /// A disabled app keeps its data; its calls are answered 60016.
    pub disabled: bool,
}

impl fmt::Debug for App {
    /// The key stays out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("id", &self.id)
            .field("admins", &self.admins)
            .field("disabled", &self.disabled)
            .finish_non_exhaustive()
    }
}

/// Why a list of apps cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppsError {
    #[error("app {0} is configured twice")]
    Twice(AppId),
    #[error("app {0} has an empty key: nothing signed with it would be worth anything")]
    NoKey(AppId),
}

/// All apps. Replaced as a whole when the configuration is read again; readers never wait.
#[derive(Debug)]
pub struct Apps(ArcSwap<HashMap<AppId, Arc<App>, ahash::RandomState>>);

impl Apps {
    /// # Errors
    /// When two apps have the same id or a key is empty.
    pub fn new(apps: Vec<App>) -> Result<Self, AppsError> {
        Ok(Self(ArcSwap::from_pointee(index(apps)?)))
    }

    /// Takes a new list over. Requests in work finish with the app they looked up; signatures made with a key that
    /// changed are refused from the next request on.
    ///
    /// # Errors
    /// As [`Apps::new`]; the old list stays.
    pub fn replace(&self, apps: Vec<App>) -> Result<(), AppsError> {
        self.0.store(Arc::new(index(apps)?));
        Ok(())
    }

    pub fn get(&self, id: AppId) -> Option<Arc<App>> {
        self.0.load().get(&id).cloned()
    }

    /// All of them, in no order.
    pub fn all(&self) -> Vec<Arc<App>> {
        self.0.load().values().cloned().collect()
    }
}

fn index(apps: Vec<App>) -> Result<HashMap<AppId, Arc<App>, ahash::RandomState>, AppsError> {
    let mut by_id = HashMap::with_capacity_and_hasher(apps.len(), ahash::RandomState::new());
    for app in apps {
        let id = app.id;
        if app.key.is_empty() {
            return Err(AppsError::NoKey(id));
        }
        if by_id.insert(id, Arc::new(app)).is_some() {
            return Err(AppsError::Twice(id));
        }
    }
    Ok(by_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(id: u32, key: &str) -> App {
        App { id: AppId(id), key: key.into(), admins: HashSet::new(), disabled: false }
    }

    #[test]
    fn a_list_that_contradicts_itself_is_refused_and_the_old_one_stays() {
        let apps = Apps::new(vec![app(1, "k")]).unwrap();
        assert_eq!(apps.replace(vec![app(2, "a"), app(2, "b")]), Err(AppsError::Twice(AppId(2))));
        assert_eq!(apps.replace(vec![app(2, "")]), Err(AppsError::NoKey(AppId(2))));
        assert!(apps.get(AppId(1)).is_some());
        assert!(apps.get(AppId(2)).is_none());
    }

    #[test]
    fn keys_are_not_printed() {
        assert!(!format!("{:?}", Apps::new(vec![app(1, "hunter2")]).unwrap()).contains("hunter2"));
    }
}
