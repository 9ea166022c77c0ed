//! Bodies of REST calls and payloads of their answers (protocol: rest §2–§7).
//!
//! Requests borrow from the body they are read from. Each has a `check()` for what its JSON types cannot say: lengths, counts,
//! known words. Members that are not known are ignored, because real SDKs send some.
//!
//! ```
//! use roomhook_protocol::{codes::Family, rest::{self, SendTextMsg}};
//!
//! let body = br#"{"RoomId":"room-7","Sender_Account":"ana_k","TextContent":"hello","FromSomeSdk":1}"#;
//! let call: SendTextMsg<'_> = rest::parse(body, Family::Live)?;
//! call.check()?;
//! assert_eq!(call.text_content, "hello");
//!
//! let wrong = rest::parse::<SendTextMsg<'_>>(br#"{"RoomId":7}"#, Family::Live).unwrap_err();
//! assert_eq!(wrong.code, 100_002);
//! let broken = rest::parse::<SendTextMsg<'_>>(br#"{"RoomId":"room-7"#, Family::Live).unwrap_err();
//! assert_eq!(broken.code, 60_003);
//! # Ok::<(), roomhook_protocol::envelope::Failure>(())
//! ```

mod account;
mod check;
mod config;
mod parse;
mod room;
mod send;

pub use account::{
    ACCOUNTS_MAX, AccountCheck, AccountChecked, AccountImport, AccountImported, AccountStatus, CheckItem,
    MultiAccountImport, MultiAccountPayload,
};
pub use check::{Invalid, Problem};
pub use config::{GetCallbackPayload, Nothing, SetCallback, SetCallbackToken, TokenPayload};
pub use parse::{DEPTH_MAX, parse};
pub use room::{CreateRoom, DestroyRoom, GetRoomInfo, NewRoom, RoomInfo, RoomInfoPayload, Statistic, StatisticPayload};
pub use send::{DROPPED_BY_RATE, ForbidCallback, MsgPriority, SendCustomMsg, SendGroupMsg, SendPayload, SendTextMsg};
