//! What the fuzz target `rest_body` runs, and an ordinary test besides. Included by both.

use bytes::Bytes;
use roomhook_protocol::{
    codes::{self, Family},
    message::{Content, Limits, MessageError, MsgBody},
    rest::{
        self, AccountCheck, AccountImport, CreateRoom, DestroyRoom, GetRoomInfo, Invalid, MultiAccountImport, Nothing,
        SendCustomMsg, SendGroupMsg, SendTextMsg, SetCallback, SetCallbackToken,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The body of a call, any bytes. The first one says of which.
pub(crate) fn body(data: &[u8]) {
    let Some((&call, body)) = data.split_first() else { return };
    match call % 11 {
        0 => run(body, Family::Live, |call: &SendTextMsg<'_>| {
            said(&call.content(&Limits::default()));
            call.check()
        }),
        1 => run(body, Family::Live, |call: &SendCustomMsg<'_>| {
            said(&call.content(&Limits::default()));
            call.check()
        }),
        2 => run(body, Family::Group, |call: &SendGroupMsg<'_>| {
            group_message(call);
            call.check()
        }),
        3 => run(body, Family::Live, CreateRoom::check),
        4 => run(body, Family::Live, DestroyRoom::check),
        5 => run(body, Family::Live, GetRoomInfo::check),
        6 => run(body, Family::Account, AccountImport::check),
        7 => run(body, Family::Account, |call: &MultiAccountImport<'_>| {
            let good = call.clone().rows().filter(|row| row.check().is_ok()).count();
            assert!(good <= call.accounts.len() + call.account_list.len());
            call.check()
        }),
        8 => run(body, Family::Account, AccountCheck::check),
        9 => {
            run(body, Family::Live, SetCallback::check);
            run(body, Family::Live, SetCallbackToken::check);
        }
        _ => run(body, Family::Live, |Nothing {}| Ok(())),
    }
}

/// Reads a body. What was understood is read again from what a client would write; what was not has one of the documented codes.
fn run<'a, T: Deserialize<'a> + Serialize>(
    body: &'a [u8],
    family: Family,
    check: impl FnOnce(&T) -> Result<(), Invalid>,
) {
    match rest::parse::<T>(body, family) {
        Ok(call) => {
            let refused = check(&call).err();
            assert!(refused.is_none_or(|invalid| codes::text(invalid.code).is_some()));
            is_stable(&call, family);
        }
        Err(failure) => {
            let is_json = std::str::from_utf8(body).is_ok_and(|text| serde_json::from_str::<Value>(text).is_ok());
            let code =
                if is_json || body.trim_ascii().is_empty() { family.bad_parameter() } else { codes::JSON_MALFORMED };
            // What nests too deep is JSON all the same.
            assert!(failure.code == code || failure.code == codes::JSON_MALFORMED, "{failure}");
            assert!(!failure.info.is_empty() && failure.info.len() <= 210, "{failure}");
        }
    }
}

fn is_stable<T: Serialize>(call: &T, family: Family) {
    let written = serde_json::to_vec(call).expect("writes itself");
    let value: Value = rest::parse(&written, family).expect("own spelling");
    assert_eq!(serde_json::to_value(call).expect("writes itself"), value);
}

fn group_message(call: &SendGroupMsg<'_>) {
    let (raw, limits) = (call.msg_body.get(), Limits::default());
    let custom_data = call.cloud_custom_data.as_deref().unwrap_or_default();
    let content = call.content(&limits);
    said(&content);
    if let Ok(content) = content {
        let same = serde_json::from_slice::<Value>(&content.body).expect("JSON");
        assert_eq!(serde_json::from_str::<Value>(raw).expect("JSON"), same, "only the spelling changed");
        assert_eq!(serde_json::from_slice::<String>(&content.custom_data).expect("a string"), custom_data);
    }
    let attempted = Content::attempted(raw, custom_data, &limits);
    assert!(serde_json::from_slice::<Vec<Value>>(&attempted.body).is_ok());
}

/// A body that was accepted is within the limit, and is its own shortest spelling.
fn said(content: &Result<Content, MessageError>) {
    let Ok(Content { body, custom_data }) = content else { return };
    assert!(body.len() + custom_data.len() <= Limits::default().size_bytes_max);
    assert_eq!(MsgBody::check_bytes(body, &Limits::default()).as_ref(), Ok::<&Bytes, _>(body));
}
