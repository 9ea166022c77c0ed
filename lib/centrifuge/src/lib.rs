//! Codec of the Centrifuge bidirectional client protocol (version 2), JSON and Protobuf. No I/O.
//!
//! One WebSocket message carries one or more protocol messages, all in one direction: [`Command`]s from the client,
//! [`Reply`]s from the server (answers, pushes and pings alike). JSON joins them with line feeds, Protobuf puts a
//! varint length before each.
//!
//! * [`Commands`] reads a client's frame, command by command, within [`Limits`]; [`Replies`] reads a server's frame.
//! * [`Format::write_command`] and [`Format::write_reply`] append one message to a frame.
//! * [`EncodedPublication`] is a publication push built once per format, to be shared by all receivers, whose
//!   publication can be spliced into a subscribe or history reply ([`Format::write_subscribe_reply`]).
//! * [`codes`] lists the documented error, unsubscribe and disconnect codes and what SDKs do when they get them.
//!
//! Payloads (`data`, `conn_info`, `chan_info`) are bytes in both formats. **In JSON they are embedded as they are**, so
//! they must be JSON text without line feeds: what [`Commands`] returns from JSON always is; what comes from Protobuf
//! must be passed through [`raw::minify`] first.
//!
//! ```
//! use roomhook_centrifuge::{Commands, Format, Limits, Publication, PublishResult, Reply, ReplyBody, Request};
//!
//! // A JSON client joins a room and says hello, in one frame.
//! let frame = b"{\"subscribe\":{\"channel\":\"room:1\"},\"id\":2}\n{\"id\":3,\"publish\":{\"channel\":\"room:1\",\"data\":{\"hi\": 1}}}";
//! let commands: Vec<_> = Commands::new(Format::Json, &frame[..], &Limits::default())?.collect::<Result<_, _>>()?;
//! assert!(matches!(&commands[0].request, Some(Request::Subscribe(s)) if s.channel == "room:1"));
//! let Some(Request::Publish(publish)) = &commands[1].request else { panic!("not a publish") };
//! assert_eq!(publish.data, r#"{"hi":1}"#); // minified
//!
//! // The answer, as a Protobuf client would get it.
//! let mut out = Vec::new();
//! Format::Protobuf.write_reply(&mut out, &Reply::to(3, ReplyBody::Publish(PublishResult {})));
//! assert_eq!(out, [4, 8, 3, 0x42, 0]);
//! # Ok::<(), roomhook_centrifuge::FrameError>(())
//! ```
//!
//! Left out: `dict` of the connect result (whole-frame dictionary compression), which no published SDK asks for.

mod frame;

mod command;
mod reply;
mod types;

mod encoded;
mod json;

pub mod codes;
pub mod raw;

pub use command::{Command, Request};
pub use encoded::EncodedPublication;
pub use frame::{Commands, Format, FrameError, Limits, Replies};
pub use reply::{Push, PushBody, Reply, ReplyBody};
pub use types::{
    ClientInfo, ConnectPush, ConnectRequest, ConnectResult, DisconnectPush, Error, FilterNode, HistoryRequest,
    HistoryResult, Join, Leave, MessagePush, PingRequest, PingResult, PresenceRequest, PresenceResult,
    PresenceStatsRequest, PresenceStatsResult, Publication, PublishRequest, PublishResult, RefreshPush, RefreshRequest,
    RefreshResult, RpcRequest, RpcResult, SendRequest, ServerSubscription, StreamPosition, SubRefreshRequest,
    SubRefreshResult, SubscribePush, SubscribeRequest, SubscribeResult, UnsubscribePush, UnsubscribeRequest,
    UnsubscribeResult,
};
