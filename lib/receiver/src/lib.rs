//! For app backends: take the webhooks of roomhook or of Tencent RTC Live / Chat. Verify them, read them into types, drop repeats, and
//! learn which messages of a room are missing.
//!
//! The core ([`Receiver`]) does no I/O and reads no clock: it works behind any HTTP library. With the feature `axum` there is a ready
//! router in [`axum`].
//!
//! ```
//! use roomhook_receiver::{Config, Error, Event, Receiver, Request};
//!
//! let mut receiver = Receiver::new(Config::new(1_400_555_012).token("lantern-9f21"));
//!
//! // A request as your HTTP library gives it to you: query, headers, body.
//! let query = "SdkAppid=1400555012&CallbackCommand=Group.CallbackAfterSendMsg&contenttype=json&ClientIP=203.0.113.24&OptPlatform=Web\
//!     &Sign=32737a5c76449e88fd643090f61d848c64b887704d38f5e6a4b392f0b5252a6a&RequestTime=1767225663";
//! let body = br#"{"CallbackCommand":"Group.CallbackAfterSendMsg","GroupId":"room-7","Type":"Live","From_Account":"ana_k",
//!     "Operator_Account":"ana_k","Random":7,"MsgId":"144115188075855873-1767225663-7","MsgSeq":318,"MsgTime":1767225663,
//!     "MsgBody":[{"MsgType":"TIMTextElem","MsgContent":{"Text":"does it ship today?"}}],"CloudCustomData":"",
//!     "EventTime":1767225663418}"#;
//! let request = Request::new(query, body).header("webhook-id", "msg_2b7");
//! let now = 1_767_225_664_000; // Unix milliseconds
//!
//! let received = receiver.begin(&request, now)?; // genuine, readable; on an error answer error.status()
//! if !received.is_repeat() {
//!     if let Event::AfterSendMsg(message) = received.event() {
//!         assert_eq!((message.msg_seq, message.msg_body[0].text()), (318, Some("does it ship today?")));
//!         // Store it, durably.
//!     }
//!     for notice in receiver.commit(&received, now) { // only now it counts as handled
//!         println!("{notice:?}"); // gaps that opened or were filled, rooms that started anew
//!     }
//! }
//! // Answer 200 and Answer::OK_JSON.
//!
//! // An hour later the same request is refused, whoever sends it.
//! assert!(matches!(receiver.begin(&request, now + 3_600_000), Err(Error::Stale(_))));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it promises, and what it does not
//!
//! * Nothing is called a repeat unless this very message was committed by this receiver. Memory is bounded ([`Limits`]) and empty after a
//!   restart, so a repeat can get through: the app must store idempotently. Room, `MsgSeq` **and** `MsgId` together are the key to
//!   store by, since a room that was dissolved and made again counts from 1 again (see `examples/mirror`).
//! * A gap in `MsgSeq` is reported when it opens and when it is filled. It can mean "comes later" (set aside by the sender while it
//!   retries), "was parked", or, with Tencent's own service, a number used by a notice.
//! * `Sign` proves that the sender knows the token, and nothing about the body. If anybody else can reach the URL, use a signing secret
//!   ([`Config::signing_secret`]) or TLS with client certificates.

mod receiver;

mod config;
mod error;
mod request;

mod gaps;
mod numbered;
mod tracker;
mod verify;

#[cfg(feature = "axum")]
pub mod axum;

pub use config::Config;
pub use error::Error;
pub use receiver::{Delivery, Received, Receiver, UnixMillis};
pub use request::Request;
pub use tracker::{Forgotten, Limits, Notice, OpenGap, Standing};

pub use roomhook_protocol::sign::Stale;
pub use roomhook_protocol::standard_webhooks::{SecretError, VerifyError};
pub use roomhook_protocol::webhook::{Answer, Event, event};

#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
