//! Accounts: `im_open_login_svc/account_import`, `multiaccount_import`, `account_check` (protocol: rest §6).

use roomhook_protocol::rest::{
    AccountCheck, AccountChecked, AccountImport, AccountImported, AccountStatus, MultiAccountImport,
    MultiAccountPayload, Nothing,
};
use roomhook_room::UserId;
use roomhook_shard::ImportAccount;

use super::{Call, answer::Outcome};

pub(super) async fn import(call: &Call<'_>) -> Outcome<Nothing> {
    let request: AccountImport<'_> = call.parse()?;
    request.check()?;
    let user = call.user_or_caller(Some(request.user_id()?))?;
    call.engine(call.services.directory.import(call.caller.app.id, vec![account(user, request)])).await?;
    Ok(None)
}

fn account(user: UserId, request: AccountImport<'_>) -> ImportAccount {
    ImportAccount {
        user,
        nick: request.nick.map(|nick| nick.into_owned()),
        face_url: request.face_url.map(|url| url.into_owned()),
    }
}

/// Imports what can be imported and lists what cannot: one bad row does not spoil the batch.
pub(super) async fn import_many(call: &Call<'_>) -> Outcome<MultiAccountPayload> {
    let request: MultiAccountImport<'_> = call.parse()?;
    request.check()?;
    let (mut accounts, mut fail_accounts) = (Vec::new(), Vec::new());
    for row in request.rows() {
        let id = row.user_id()?;
        match UserId::new(id) {
            Ok(user) if row.check().is_ok() => accounts.push(account(user, row)),
            _ => fail_accounts.push(id.to_owned()),
        }
    }
    if !accounts.is_empty() {
        call.engine(call.services.directory.import(call.caller.app.id, accounts)).await?;
    }
    Ok(Some(MultiAccountPayload { fail_accounts }))
}

pub(super) fn check(call: &Call<'_>) -> Outcome<AccountChecked> {
    let request: AccountCheck<'_> = call.parse()?;
    request.check()?;
    let look_up = |id: &str| {
        if call.is_account(id) { AccountStatus::Imported } else { AccountStatus::NotImported }
    };
    let result_item = request.check_item.into_iter().map(|item| AccountImported {
        account_status: look_up(&item.user_id),
        user_id: item.user_id.into_owned(),
        result_code: 0,
        result_info: String::new(),
    });
    Ok(Some(AccountChecked { result_item: result_item.collect() }))
}
