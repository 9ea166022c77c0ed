//! Accounts: `v4/im_open_login_svc/*` (protocol: rest §6).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::check::{Checks, Invalid, Problem};
use crate::codes::{self, Family};

const ACCOUNT: Checks = Checks(Family::Account);

/// The most accounts of one batch call.
pub const ACCOUNTS_MAX: usize = 100;

/// `account_import`: importing an account that exists updates the profile fields that are given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountImport<'a> {
    /// `UserID`.
    #[serde(rename = "UserID", borrow)]
    pub user_id: Cow<'a, str>,
    /// `Nick`.
    #[serde(rename = "Nick", borrow, default, skip_serializing_if = "Option::is_none")]
    pub nick: Option<Cow<'a, str>>,
    /// `FaceUrl`.
    #[serde(rename = "FaceUrl", borrow, default, skip_serializing_if = "Option::is_none")]
    pub face_url: Option<Cow<'a, str>>,
}

impl AccountImport<'_> {
    /// # Errors
    /// 70402 when the id is malformed, 40601 when a profile value is longer than 500 bytes.
    pub fn check(&self) -> Result<(), Invalid> {
        ACCOUNT.user_id("UserID", &self.user_id)?;
        for (field, value) in [("Nick", &self.nick), ("FaceUrl", &self.face_url)] {
            let value = value.as_deref().unwrap_or_default();
            let too_long = |invalid| Invalid { code: codes::PROFILE_VALUE_TOO_LONG, ..invalid };
            ACCOUNT.bytes(field, value, 500).map_err(too_long)?;
        }
        Ok(())
    }
}

/// `multiaccount_import`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MultiAccountImport<'a> {
    /// `Accounts`.
    #[serde(rename = "Accounts", borrow)]
    pub accounts: Vec<Cow<'a, str>>,
}

impl MultiAccountImport<'_> {
    /// Checks the call as a whole; single ids are sorted by [`MultiAccountImport::is_good`].
    ///
    /// # Errors
    /// 70402 when there is none or are more than [`ACCOUNTS_MAX`].
    pub fn check(&self) -> Result<(), Invalid> {
        batch("Accounts", self.accounts.len())
    }

    /// Whether an id can be imported; those that cannot are listed in `FailAccounts`.
    #[must_use]
    pub fn is_good(id: &str) -> bool {
        ACCOUNT.user_id("Accounts", id).is_ok()
    }
}

/// Payload of [`MultiAccountImport`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MultiAccountPayload {
    /// `FailAccounts`.
    #[serde(rename = "FailAccounts")]
    pub fail_accounts: Vec<String>,
}

/// `account_check`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountCheck<'a> {
    /// `CheckItem`.
    #[serde(rename = "CheckItem", borrow)]
    pub check_item: Vec<CheckItem<'a>>,
}

impl AccountCheck<'_> {
    /// # Errors
    /// 70402 when there is none or are more than [`ACCOUNTS_MAX`].
    pub fn check(&self) -> Result<(), Invalid> {
        batch("CheckItem", self.check_item.len())
    }
}

/// One account that [`AccountCheck`] asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckItem<'a> {
    /// `UserID`.
    #[serde(rename = "UserID", borrow)]
    pub user_id: Cow<'a, str>,
}

/// Payload of [`AccountCheck`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountChecked {
    /// `ResultItem`.
    #[serde(rename = "ResultItem")]
    pub result_item: Vec<AccountImported>,
}

/// One row of [`AccountChecked`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountImported {
    /// `UserID`.
    #[serde(rename = "UserID")]
    pub user_id: String,
    /// `ResultCode`.
    #[serde(rename = "ResultCode")]
    pub result_code: i32,
    /// `ResultInfo`.
    #[serde(rename = "ResultInfo")]
    pub result_info: String,
    /// `AccountStatus`.
    #[serde(rename = "AccountStatus")]
    pub account_status: AccountStatus,
}

/// Whether an account is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountStatus {
    /// It is.
    Imported,
    /// It is not.
    NotImported,
}

fn batch(field: &'static str, len: usize) -> Result<(), Invalid> {
    if len == 0 {
        return Err(ACCOUNT.invalid(field, Problem::Empty));
    }
    ACCOUNT.count(field, len, ACCOUNTS_MAX)
}
