//! One client's conversation, as a state machine without I/O: commands and results in, replies and actions out, time as
//! an argument (a duration since some fixed moment).
//!
//! The shell around it decodes frames, hands in one command at a time, performs what [`Step::Do`] asks for, hands the
//! [`Outcome`] back, and sends [`Session::take_output`]. While an action is underway it hands in no command: that keeps
//! a client's commands in order and makes a client that sends faster than we answer wait on its own socket.

mod bucket;
mod connect;
mod data;
mod room;
mod timers;

use std::{borrow::Cow, sync::Arc, time::Duration};

use roomhook_centrifuge::{
    Command, Error, Format, FrameError, PublishResult, Reply, ReplyBody, Request, RpcResult,
    codes::{self, DisconnectCode},
};
use roomhook_room::{AppId, ClientId, MsgId, MsgSeq, Platform, RoomId, UnixMillis, UserId};

pub(crate) use bucket::{Bucket, Verdict};
use timers::Timers;

pub(crate) use connect::user_channel;
pub(crate) use data::{MessageInput, Says, bad_request};
pub(crate) use room::{HistoryQuery, Join, JoinNo, Joined, Resume, room_channel};

/// What holds for all sessions of a server.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Told to clients in the connect reply.
    pub(crate) version: String,
    pub(crate) ping_every: Duration,
    /// How long a client may take to answer a ping.
    pub(crate) pong_within: Duration,
    /// How long a client may take to connect after the upgrade.
    pub(crate) connect_within: Duration,
    /// How long a connection outlives its token, for a refresh to arrive.
    pub(crate) expiry_grace: Duration,
    pub(crate) rooms_max: usize,
    pub(crate) commands_per_s: u32,
    pub(crate) commands_burst: u32,
}

/// A user of an app who proved to be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) app: AppId,
    pub(crate) user: UserId,
    /// For how long the token is good; above zero.
    pub(crate) expires_in: Duration,
}

/// Why a token was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// It was good once: the SDK fetches a fresh one.
    Expired,
    /// It never was, or is of another app or user: the SDK gives up, with this reason.
    Invalid(String),
    AppDisabled,
    /// The user has as many connections as are allowed.
    TooManyConnections,
    /// Not the client's fault; it should try again.
    Unavailable,
}

/// A message that was sent, or that its sender is to believe was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// `None`: the app's backend discarded it, which its sender is not told.
    pub(crate) msg_id: Option<MsgId>,
    pub(crate) seq: MsgSeq,
    pub(crate) at: UnixMillis,
}

/// What the shell is to do next.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    /// Hand in the next command.
    Next,
    /// Do this, then call [`Session::finish`].
    Do(Action),
    /// Send a ping, ahead of everything.
    Ping,
    /// Send what is in the output, then close.
    Close(Goodbye),
}

/// How a connection ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Goodbye {
    pub(crate) code: u16,
    pub(crate) reason: Cow<'static, str>,
}

impl From<DisconnectCode> for Goodbye {
    fn from(code: DisconnectCode) -> Self {
        Self { code: code.code, reason: Cow::Borrowed(code.reason) }
    }
}

/// What only the shell can do.
#[derive(Debug, PartialEq)]
pub(crate) enum Action {
    /// Verify a token; for the first one (`known` is `None`) also take the user's place and account. → `Identified`
    Authenticate { token: String, known: Option<(AppId, UserId)> },
    /// Join a room and answer the command: the reply must come before the room's first message. → `Joined`
    Join(Join),
    /// Leave a room. The client is told already. → `Left`
    Leave { room: RoomId },
    /// Send a message. → `Sent`
    Send { room: RoomId, platform: Platform, input: MessageInput },
    /// Who is in the room. → `Answered`
    Members { room: RoomId },
    /// How many are in the room. → `Answered`
    Count { room: RoomId },
    /// Older messages. The answer is already encoded. → `Encoded`
    History { id: u32, room: RoomId, query: HistoryQuery },
}

/// What came of an [`Action`].
#[derive(Debug)]
pub(crate) enum Outcome {
    Identified(Result<Identity, Denied>),
    /// The reply is on its way if this is `Ok`.
    Joined(Result<(), Error>),
    /// `Err`: the room does not know yet.
    Left(Result<(), Error>),
    Sent(Result<Sent, Error>),
    Answered(Box<Result<ReplyBody, Error>>),
    /// A whole reply, without separator.
    Encoded(Result<Vec<u8>, Error>),
}

#[derive(Debug)]
enum Phase {
    /// Before the connect command.
    Fresh,
    Ready {
        app: AppId,
        user: UserId,
        platform: Platform,
    },
    /// Connect was answered with an error, or the connection is closing: nothing is executed any more.
    Over,
}

/// What waits for an [`Outcome`].
#[derive(Debug)]
enum Pending {
    Connect {
        id: u32,
        platform: Platform,
    },
    Refresh {
        id: u32,
    },
    /// `over`: the membership ended before we heard that it began.
    Join {
        id: u32,
        room: RoomId,
        no: JoinNo,
        over: bool,
    },
    /// Answered already.
    Leave {
        room: RoomId,
    },
    Publish {
        id: u32,
    },
    Rpc {
        id: u32,
    },
    Ask {
        id: u32,
    },
}

#[derive(Debug)]
pub(crate) struct Session {
    settings: Arc<Settings>,
    format: Format,
    /// Told to the client and shown to others as its connection.
    client_id: ClientId,
    phase: Phase,
    pending: Option<Pending>,
    /// Rooms joined; few, so a list is smaller and faster than a map.
    rooms: Vec<Joined>,
    /// Joins asked for so far.
    joins: u64,
    bucket: Bucket,
    timers: Timers,
    output: Vec<u8>,
    /// Codes of error replies, to be counted.
    errors: Vec<u32>,
}

impl Session {
    /// `random` staggers the first ping, so that clients that came together are not pinged together.
    pub(crate) fn new(
        settings: Arc<Settings>,
        format: Format,
        client_id: ClientId,
        random: u64,
        now: Duration,
    ) -> Self {
        let bucket = Bucket::new(settings.commands_per_s, settings.commands_burst, now);
        let timers = Timers::new(&settings, random, now);
        Self {
            settings,
            format,
            client_id,
            phase: Phase::Fresh,
            pending: None,
            rooms: Vec::new(),
            joins: 0,
            bucket,
            timers,
            output: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// Replies to be sent as one WebSocket message; `None` when there are none.
    pub(crate) fn take_output(&mut self) -> Option<Vec<u8>> {
        (!self.output.is_empty()).then(|| std::mem::take(&mut self.output))
    }

    /// Codes of the error replies since the last call.
    pub(crate) fn take_errors(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.errors)
    }

    /// Whether an [`Outcome`] is awaited.
    pub(crate) fn is_busy(&self) -> bool {
        self.pending.is_some()
    }

    /// The rooms joined.
    pub(crate) fn rooms(&self) -> &[Joined] {
        &self.rooms
    }

    /// A sign of life: whatever the client sends answers a ping.
    pub(crate) fn handle_traffic(&mut self) {
        self.timers.answered();
    }

    /// The room whose join has no answer yet, or that is not left yet.
    pub(crate) fn room_in_between(&self) -> Option<&RoomId> {
        match &self.pending {
            Some(Pending::Join { room, .. } | Pending::Leave { room }) => Some(room),
            _ => None,
        }
    }

    /// When [`Session::handle_time`] wants to be called.
    pub(crate) fn deadline(&self) -> Duration {
        self.timers.next()
    }

    pub(crate) fn handle_time(&mut self, now: Duration) -> Step {
        let connected = matches!(self.phase, Phase::Ready { .. });
        self.timers.handle(&self.settings, connected, self.is_busy(), now)
    }

    /// One command, or what was wrong with it.
    pub(crate) fn handle(&mut self, command: Result<Command, FrameError>, now: Duration) -> Step {
        // In the connection's own task: what it ends is this connection.
        assert!(!self.is_busy(), "commands are handed in one at a time");
        if matches!(self.phase, Phase::Over) {
            return Step::Next;
        }
        let command = match command {
            Ok(command) => command,
            Err(error) => {
                return match error.answerable() {
                    Some(id) if id > 0 => self.refuse(id, bad_request(&error)),
                    _ => self.close(codes::disconnect::BAD_REQUEST),
                };
            }
        };
        let Command { id, request } = command;
        let Some(request) = request else {
            return match id {
                0 => Step::Next, // a pong
                id => self.refuse(id, codes::error::METHOD_NOT_FOUND),
            };
        };
        if id == 0 && !matches!(request, Request::Send(_)) {
            return self.close(codes::disconnect::BAD_REQUEST);
        }
        match (self.bucket.take(now), &request) {
            (Verdict::Flood, _) => self.close(codes::disconnect::TOO_MANY_REQUESTS),
            // An unsubscribe must not fail, or SDKs reconnect, which costs us more.
            (Verdict::Go, _) | (Verdict::Slow, Request::Unsubscribe(_)) => self.dispatch(id, request),
            (Verdict::Slow, _) => self.refuse(id, codes::error::TOO_MANY_REQUESTS),
        }
    }

    fn dispatch(&mut self, id: u32, request: Request) -> Step {
        match (&self.phase, request) {
            (Phase::Fresh, Request::Connect(connect)) => self.connect(id, connect),
            (Phase::Fresh | Phase::Over, _) | (_, Request::Connect(_)) => self.close(codes::disconnect::BAD_REQUEST),
            (_, Request::Subscribe(subscribe)) => self.subscribe(id, &subscribe),
            (_, Request::Unsubscribe(unsubscribe)) => self.unsubscribe(id, &unsubscribe.channel),
            (Phase::Ready { platform, .. }, Request::Publish(publish)) => {
                let platform = *platform;
                self.publish(id, platform, &publish)
            }
            (Phase::Ready { platform, .. }, Request::Rpc(rpc)) => {
                let platform = *platform;
                self.rpc(id, platform, &rpc)
            }
            (_, Request::Presence(presence)) => self.ask(id, &presence.channel, |room| Action::Members { room }),
            (_, Request::PresenceStats(stats)) => self.ask(id, &stats.channel, |room| Action::Count { room }),
            (_, Request::History(history)) => self.history(id, &history),
            (_, Request::Refresh(refresh)) => self.refresh(id, refresh.token),
            (_, Request::Send(_)) => self.close(codes::disconnect::NOT_AVAILABLE),
            (_, Request::Ping(_) | Request::SubRefresh(_)) => self.refuse(id, codes::error::NOT_AVAILABLE),
        }
    }

    /// Takes the result of the action that was asked for.
    pub(crate) fn finish(&mut self, outcome: Outcome, now: Duration) -> Step {
        let Some(pending) = self.pending.take() else { return Step::Next };
        match (pending, outcome) {
            (Pending::Connect { id, platform }, Outcome::Identified(result)) => {
                self.connected(id, platform, result, now)
            }
            (Pending::Refresh { id }, Outcome::Identified(result)) => self.refreshed(id, result, now),
            (Pending::Join { over: true, .. }, Outcome::Joined(Ok(()))) => Step::Next,
            (Pending::Join { room, no, .. }, Outcome::Joined(Ok(()))) => {
                self.rooms.push(Joined { room, no });
                Step::Next
            }
            (Pending::Leave { .. }, Outcome::Left(Ok(()))) => Step::Next,
            (leave @ Pending::Leave { .. }, Outcome::Left(Err(_))) => {
                // A connection that goes on could join again before it has left; its end waits for as long as it takes.
                self.pending = Some(leave);
                self.close(codes::disconnect::INTERNAL)
            }
            (Pending::Publish { id }, Outcome::Sent(Ok(_))) => self.reply(id, ReplyBody::Publish(PublishResult {})),
            (Pending::Rpc { id }, Outcome::Sent(Ok(sent))) => {
                self.reply(id, ReplyBody::Rpc(RpcResult { data: data::sent_json(&sent) }))
            }
            (Pending::Ask { id }, Outcome::Answered(answer)) => match *answer {
                Ok(body) => self.reply(id, body),
                Err(error) => self.refuse(id, error),
            },
            (Pending::Ask { .. }, Outcome::Encoded(Ok(reply))) => {
                self.append(|out| out.extend_from_slice(&reply));
                Step::Next
            }
            (
                Pending::Join { id, .. } | Pending::Publish { id } | Pending::Rpc { id } | Pending::Ask { id },
                Outcome::Joined(Err(error)) | Outcome::Sent(Err(error)) | Outcome::Encoded(Err(error)),
            ) => self.refuse(id, error),
            // The shell answered another question than was asked.
            (_, _) => self.close(codes::disconnect::INTERNAL),
        }
    }

    /// A room ended this membership, and told the client so. It may be one that the client has given up itself, or of which
    /// we have not heard yet that it began.
    pub(crate) fn handle_removal(&mut self, ended: JoinNo) {
        self.rooms.retain(|joined| joined.no != ended);
        if let Some(Pending::Join { no, over, .. }) = &mut self.pending {
            *over |= *no == ended;
        }
    }

    // === output ===

    fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if !self.output.is_empty() {
            self.output.extend_from_slice(self.format.separator());
        }
        write(&mut self.output);
    }

    fn reply(&mut self, id: u32, body: ReplyBody) -> Step {
        let format = self.format;
        self.append(|out| format.write_reply(out, &Reply::to(id, body)));
        Step::Next
    }

    fn refuse(&mut self, id: u32, error: impl Into<Error>) -> Step {
        // `send` has no id and no answer.
        if id == 0 {
            return Step::Next;
        }
        let error = error.into();
        self.errors.push(error.code);
        self.reply(id, ReplyBody::Error(error))
    }

    fn close(&mut self, goodbye: impl Into<Goodbye>) -> Step {
        self.phase = Phase::Over;
        Step::Close(goodbye.into())
    }
}

#[cfg(test)]
mod tests;
