//! Configuring the app's webhook: `v4/live_config/*` (protocol: rest §3).

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

use super::check::{Checks, Invalid, Problem};
use crate::{
    codes::Family,
    webhook::{CommandWord, check_url},
};

const LIVE: Checks = Checks(Family::Live);

/// The body of calls that have nothing to say: `get_callback`, `delete_callback` and the like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nothing {}

/// `set_callback` and `update_callback`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SetCallback<'a> {
    /// `Url`.
    #[serde(borrow)]
    pub url: Cow<'a, str>,
    /// `CallbackCommandList`: words of any family (`Group.`, `Live.`, `Mic.`, `Follow.`).
    #[serde(borrow)]
    pub callback_command_list: Vec<Cow<'a, str>>,
}

impl SetCallback<'_> {
    /// # Errors
    /// When the URL is not of the accepted form ([`check_url`]) or a command word is not known.
    pub fn check(&self) -> Result<(), Invalid> {
        check_url(&self.url).map_err(|error| LIVE.invalid("Url", error.into()))?;
        let field = "CallbackCommandList";
        LIVE.count(field, self.callback_command_list.len(), 4 * CommandWord::ALL.len())?;
        if self.callback_command_list.iter().all(|word| CommandWord::parse(word).is_some()) {
            return Ok(());
        }
        Err(LIVE.invalid(field, Problem::NotOneOf("the known command words")))
    }
}

/// Payload of `get_callback`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetCallbackPayload {
    /// `Url`.
    pub url: String,
    /// `CallbackCommandList`.
    pub callback_command_list: Vec<String>,
}

/// `set_callback_token`: both are required the first time; later an absent one stays as it was.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SetCallbackToken<'a> {
    /// `Token`.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Cow<'a, str>>,
    /// `IsTokenEnable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_token_enable: Option<bool>,
}

impl SetCallbackToken<'_> {
    /// # Errors
    /// When the token does not have 1 to 128 characters.
    pub fn check(&self) -> Result<(), Invalid> {
        let Some(token) = &self.token else { return Ok(()) };
        match token.chars().count() {
            1..=128 => Ok(()),
            len => Err(LIVE.invalid("Token", Problem::CharacterCount { len, max: 128 })),
        }
    }
}

impl fmt::Debug for SetCallbackToken<'_> {
    /// Secrets stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SetCallbackToken([redacted], enable: {:?})", self.is_token_enable)
    }
}

/// Payload of `get_callback_token`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TokenPayload {
    /// `Token`.
    pub token: String,
    /// `IsTokenEnable`.
    pub is_token_enable: bool,
}

impl fmt::Debug for TokenPayload {
    /// Secrets stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenPayload([redacted], enable: {})", self.is_token_enable)
    }
}
