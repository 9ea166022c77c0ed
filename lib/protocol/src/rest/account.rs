//! Accounts: `v4/im_open_login_svc/*` (protocol: rest §6).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::check::{Checks, Invalid, Problem};
use crate::{
    codes::{self, Family},
    json::null_is_absent,
};

const ACCOUNT: Checks = Checks(Family::Account);

/// The most accounts of one batch call.
pub const ACCOUNTS_MAX: usize = 100;

/// `account_import`, and one row of `AccountList` in [`MultiAccountImport`]: importing an account that exists updates the
/// profile fields that are given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountImport<'a> {
    /// `UserID`; read it with [`AccountImport::user_id`].
    #[serde(rename = "UserID", borrow, default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<Cow<'a, str>>,
    /// `Identifier`: the older name of `UserID`, which more than half of the known callers send.
    #[serde(rename = "Identifier", borrow, default, skip_serializing_if = "Option::is_none")]
    pub identifier: Option<Cow<'a, str>>,
    /// `Nick`.
    #[serde(rename = "Nick", borrow, default, skip_serializing_if = "Option::is_none")]
    pub nick: Option<Cow<'a, str>>,
    /// `FaceUrl`.
    #[serde(rename = "FaceUrl", borrow, default, skip_serializing_if = "Option::is_none")]
    pub face_url: Option<Cow<'a, str>>,
}

impl AccountImport<'_> {
    /// # Errors
    /// 70402 when there is no id, or `UserID` and `Identifier` say different ones.
    pub fn user_id(&self) -> Result<&str, Invalid> {
        match (self.user_id.as_deref(), self.identifier.as_deref()) {
            (Some(id), Some(other)) if id != other => Err(ACCOUNT.invalid("Identifier", Problem::Differs("UserID"))),
            (Some(id), _) | (None, Some(id)) => Ok(id),
            (None, None) => Err(ACCOUNT.invalid("UserID", Problem::Missing)),
        }
    }

    /// # Errors
    /// 70402 when the id is missing or malformed, 40601 when a profile value is longer than 500 bytes.
    pub fn check(&self) -> Result<(), Invalid> {
        ACCOUNT.user_id("UserID", self.user_id()?)?;
        for (field, value) in [("Nick", &self.nick), ("FaceUrl", &self.face_url)] {
            let value = value.as_deref().unwrap_or_default();
            let too_long = |invalid| Invalid { code: codes::PROFILE_VALUE_TOO_LONG, ..invalid };
            ACCOUNT.bytes(field, value, 500).map_err(too_long)?;
        }
        Ok(())
    }
}

/// `multiaccount_import`. Either list may be left out; when both are there, the accounts of both are imported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MultiAccountImport<'a> {
    /// `Accounts`: the older form, ids alone.
    #[serde(
        rename = "Accounts",
        borrow,
        default,
        deserialize_with = "null_is_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub accounts: Vec<Cow<'a, str>>,
    /// `AccountList`: the present form, with profiles.
    #[serde(
        rename = "AccountList",
        borrow,
        default,
        deserialize_with = "null_is_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub account_list: Vec<AccountImport<'a>>,
}

impl<'a> MultiAccountImport<'a> {
    /// Checks the call as a whole; rows are sorted into those that can be imported and those that cannot by
    /// [`MultiAccountImport::rows`].
    ///
    /// # Errors
    /// 70402 when there is no account, are more than [`ACCOUNTS_MAX`], or a row has no id or two that differ: then it cannot be
    /// listed as failed either.
    pub fn check(&self) -> Result<(), Invalid> {
        let field = if self.account_list.is_empty() { "Accounts" } else { "AccountList" };
        batch(field, self.accounts.len().saturating_add(self.account_list.len()))?;
        self.account_list.iter().try_for_each(|row| row.user_id().map(drop))
    }

    /// All accounts of the call, `Accounts` first. A row whose [`AccountImport::check`] fails is listed in `FailAccounts`.
    pub fn rows(self) -> impl Iterator<Item = AccountImport<'a>> {
        let bare = |id| AccountImport { user_id: Some(id), ..AccountImport::default() };
        self.accounts.into_iter().map(bare).chain(self.account_list)
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
