//! The webhook of the configuration file is a first value: what `live_config/*` changes at run time wins, also over a
//! restart, until somebody edits the file.
//!
//! To tell an edited file from one that was applied long ago, a digest of what was applied last is kept beside the
//! store. Deleting that file makes the configuration win once more.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use roomhook_room::{AppId, Endpoint, EndpointId, Token};
use roomhook_shard::Directory;
use serde::{Deserialize, Serialize};

use crate::config::{App, Config, EventTime, Webhook};

/// Applies what is new in the configuration, and remembers it.
///
/// # Errors
/// When the memory of what was applied cannot be read or written, or the directory refuses.
pub(crate) async fn apply(config: &Config, directory: &Directory) -> anyhow::Result<()> {
    let file = file_of(&config.storage.path);
    let before =
        Applied::read(&file).with_context(|| format!("read {}; delete it to apply the file anew", file.display()))?;
    let mut applied = before.clone();
    for app in &config.app {
        let id = AppId(app.sdkappid);
        if let Some(webhook) = applied.news(app) {
            let there = directory.endpoint(id, &EndpointId(EndpointId::DEFAULT.to_owned()));
            directory.put_endpoint(endpoint(id, webhook, there.as_deref())).await?;
            tracing::info!(sdkappid = app.sdkappid, "applied the webhook of the configuration");
        }
        applied.note(app);
    }
    if applied != before {
        applied.write(&file).with_context(|| format!("write {}", file.display()))?;
    }
    Ok(())
}

/// Which value of the file was applied last, by SDKAppID. Digests, because the values hold secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Applied(BTreeMap<u32, String>);

/// Where a store keeps it.
pub(crate) fn file_of(store: &Path) -> PathBuf {
    store.join("webhooks-applied.json")
}

impl Applied {
    /// What was applied to this store; nothing, if it is new.
    ///
    /// # Errors
    /// When the file is there but cannot be read: guessing might undo somebody's change.
    pub(crate) fn read(file: &Path) -> io::Result<Self> {
        match std::fs::read(file) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// # Errors
    /// As the file system says.
    pub(crate) fn write(&self, file: &Path) -> io::Result<()> {
        let draft = file.with_extension("draft");
        std::fs::write(&draft, serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(draft, file)
    }

    /// The webhook to apply for this app now, if its value in the file is not the one applied last. Call
    /// [`Applied::note`] once it was applied.
    pub(crate) fn news<'a>(&self, app: &'a App) -> Option<&'a Webhook> {
        app.webhook.as_ref().filter(|webhook| self.0.get(&app.sdkappid) != Some(&digest(webhook)))
    }

    /// Remembers the app's value as applied. An app without a value is forgotten: writing the block again applies it.
    pub(crate) fn note(&mut self, app: &App) {
        match &app.webhook {
            Some(webhook) => self.0.insert(app.sdkappid, digest(webhook)),
            None => self.0.remove(&app.sdkappid),
        };
    }
}

fn digest(webhook: &Webhook) -> String {
    let text = serde_json::to_vec(webhook).unwrap_or_default();
    let digest = ring::digest::digest(&ring::digest::SHA256, &text);
    digest.as_ref().iter().fold(String::with_capacity(64), |hex, byte| hex + &format!("{byte:02x}"))
}

/// The default endpoint with the file's value. What the file cannot say stays as it was.
pub(crate) fn endpoint(app: AppId, webhook: &Webhook, before: Option<&Endpoint>) -> Endpoint {
    let before = before.cloned().unwrap_or_else(|| Endpoint::new(app, EndpointId(EndpointId::DEFAULT.to_owned())));
    let secret = Some(webhook.signing_secret.expose().to_owned()).filter(|secret| !secret.is_empty());
    let token = Some(webhook.token.expose().to_owned()).filter(|token| !token.is_empty());
    Endpoint {
        url: webhook.url.clone(),
        commands: webhook.commands.clone(),
        token: token.map(|value| Token { value, enabled: true }),
        signing_secrets: secret.into_iter().collect(),
        event_time_as_string: webhook.event_time == EventTime::String,
        ..before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn app(url: &str) -> App {
        let webhook = Webhook {
            url: url.to_owned(),
            commands: vec!["Group.CallbackAfterSendMsg".to_owned()],
            token: Secret::new("hush"),
            signing_secret: Secret::default(),
            event_time: EventTime::Number,
        };
        App { sdkappid: 7, key: Secret::new("k"), admins: Vec::new(), disabled: false, webhook: Some(webhook) }
    }

    #[test]
    fn the_file_wins_once_for_each_edit() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = file_of(folder.path());
        let mut applied = Applied::read(&file).expect("a new store has none");
        assert!(applied.news(&app("http://a")).is_some(), "the first start applies");
        applied.note(&app("http://a"));
        applied.write(&file).expect("write");

        let mut applied = Applied::read(&file).expect("read back");
        assert!(applied.news(&app("http://a")).is_none(), "a restart leaves what live_config changed");
        assert!(applied.news(&app("http://b")).is_some(), "an edited file wins again");
        applied.note(&app("http://b"));
        assert!(applied.news(&app("http://b")).is_none());
        let text = std::fs::read_to_string(&file).expect("the file");
        assert!(!text.contains("hush"), "secrets are kept as digests only");
    }

    #[test]
    fn a_torn_file_stops_instead_of_guessing() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = file_of(folder.path());
        std::fs::write(&file, "{\"7\":").expect("write");
        assert!(Applied::read(&file).is_err());
    }

    #[test]
    fn what_the_file_cannot_say_stays_as_it_was() {
        let webhook = app("http://a").webhook.expect("a webhook");
        let mut first = endpoint(AppId(7), &webhook, None);
        assert_eq!(first.token.as_ref().map(|token| token.enabled), Some(true));
        first.room_prefix = "vip-".to_owned();
        first.generation = 3;
        let second = endpoint(AppId(7), &Webhook { url: "http://b".to_owned(), ..webhook }, Some(&first));
        assert_eq!((second.url.as_str(), second.room_prefix.as_str(), second.generation), ("http://b", "vip-", 3));
    }
}
