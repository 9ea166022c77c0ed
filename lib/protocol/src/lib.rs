//! The wire of Tencent RTC Live / Tencent Cloud Chat, server side: REST bodies, webhooks, `UserSig`, signatures.
//!
//! This crate does no I/O, reads no clock and draws no randomness: time and random numbers are arguments. It panics on no
//! input. Names are those of the protocol; "protocol: webhooks §1.2" and the like refer to the protocol notes of roomhook.
//!
//! | module | what it knows |
//! |---|---|
//! | [`codes`] | every error code, once |
//! | [`usersig`] | making and checking login tickets |
//! | [`sign`] | the token signature in a webhook's query |
//! | [`standard_webhooks`] | the signature of a webhook's body |
//! | [`message`] | `MsgBody` and `CloudCustomData`: checks and packaging |
//! | [`rest`] | bodies of REST calls and their payloads |
//! | [`envelope`] | answers of REST calls |
//! | [`webhook`] | command words, URLs, bodies and answers of webhooks |

pub mod codes;

pub mod sign;
pub mod standard_webhooks;
pub mod usersig;

pub mod message;

pub mod envelope;
pub mod rest;

pub mod webhook;

mod json;

/// The examples of the README are run as tests too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
