//! The webhook of the configuration file is a first value: what `live_config/*` changes at run time wins, also over a
//! restart, until somebody edits the file.
//!
//! Which value was taken last is a fact of the directory, written in the same record as the change: so it is as durable as the
//! change, and the same for whoever reads the directory.

use roomhook_room::{AppId, Endpoint, EndpointId, Token};
use roomhook_shard::{Directory, ExecuteError, FirstValue};

use crate::config::{Config, EventTime, Webhook};

/// Applies what is new in the configuration, and remembers it.
///
/// # Errors
/// When the directory cannot take it.
pub(crate) async fn apply(config: &Config, directory: &Directory) -> Result<(), ExecuteError> {
    for app in &config.app {
        let id = AppId(app.sdkappid);
        let turn = directory.turn().await;
        let there = turn.endpoint(id, &EndpointId(EndpointId::DEFAULT.to_owned()));
        let value = app.webhook.as_ref();
        let value = value
            .map(|webhook| FirstValue { digest: digest(webhook), endpoint: endpoint(id, webhook, there.as_deref()) });
        if turn.take_first_value(id, value).await? {
            match app.webhook {
                Some(_) => tracing::info!(sdkappid = app.sdkappid, "applied the webhook of the configuration"),
                None => tracing::info!(sdkappid = app.sdkappid, "the configuration says nothing about the webhook now"),
            }
        }
    }
    Ok(())
}

fn digest(webhook: &Webhook) -> [u8; 32] {
    let text = serde_json::to_vec(webhook).unwrap_or_default();
    let digest = ring::digest::digest(&ring::digest::SHA256, &text);
    std::array::from_fn(|at| digest.as_ref().get(at).copied().unwrap_or_default())
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
    use crate::config::{App, Secret};

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
