//! Webhooks, server → app backend: command words, URLs, bodies, answers (protocol: webhooks).
//!
//! Sending side: [`callback_url`], [`AfterSendMsg`], [`BeforeSendMsg`], [`SendMsgException`], [`Answer`], [`Verdict`].
//! Receiving side: [`Event`] and [`event`].

mod answer;
mod body;
mod command;
pub mod event;
mod url;

pub use answer::{Answer, AnswerError, Verdict};
pub use body::{AfterSendMsg, BeforeSendMsg, SendMsgException, Style};
pub use command::CommandWord;
pub use event::{Event, EventError, EventTime};
pub use url::{Platform, Query, URL_BYTES_MAX, UrlError, callback_url, check_url};
