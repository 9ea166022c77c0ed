//! Frames: several messages in one WebSocket message (protocol: realtime §2).

use bytes::{Buf, Bytes};
use prost::Message;

use crate::{
    command::{Command, Request},
    json,
    raw::{self, TooDeep},
    reply::Reply,
};

/// How a connection encodes its messages; fixed for its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// WebSocket text frames.
    #[default]
    Json,
    /// WebSocket binary frames.
    Protobuf,
}

impl Format {
    /// The WebSocket subprotocol that asks for this format. For JSON, offering none is more usual.
    #[must_use]
    pub const fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => "centrifuge-json",
            Self::Protobuf => "centrifuge-protobuf",
        }
    }

    /// What stands between two messages of a frame.
    #[must_use]
    pub const fn separator(self) -> &'static [u8] {
        match self {
            Self::Json => b"\n",
            Self::Protobuf => b"",
        }
    }

    /// A frame with the empty message in it: the server's ping and the client's pong.
    #[must_use]
    pub const fn ping(self) -> &'static [u8] {
        match self {
            Self::Json => b"{}",
            Self::Protobuf => &[0],
        }
    }

    /// Appends one message, without [`Format::separator`].
    pub fn write_command(self, out: &mut Vec<u8>, command: &Command) {
        match self {
            Self::Json => json::message(out, command),
            Self::Protobuf => write_delimited(out, command),
        }
    }

    /// Appends one message, without [`Format::separator`].
    pub fn write_reply(self, out: &mut Vec<u8>, reply: &Reply) {
        match self {
            Self::Json => json::message(out, reply),
            Self::Protobuf => write_delimited(out, reply),
        }
    }
}

fn write_delimited(out: &mut Vec<u8>, message: &impl Message) {
    prost::encoding::encode_varint(message.encoded_len() as u64, out);
    message.encode_raw(out);
}

/// How much a frame may ask of its reader. All memory taken is proportional to the frame's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub frame_bytes_max: usize,
    /// Commands (pongs included) in one frame.
    pub frame_commands_max: usize,
    /// Bytes of a channel name. A longer one can be left all the same.
    pub channel_bytes_max: usize,
    /// Nesting of a JSON command, payload included. (Protobuf messages are limited to 100 by the decoder.)
    pub depth_max: usize,
}

impl Default for Limits {
    /// The reference server's: 64 KiB frames, channel names of 255 bytes; and 256 commands, 64 levels.
    fn default() -> Self {
        Self { frame_bytes_max: 64 * 1024, frame_commands_max: 256, channel_bytes_max: 255, depth_max: 64 }
    }
}

/// Why a frame, or one command of it, was refused. Holds nothing the client sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("frame is empty")]
    Empty,
    #[error("frame is {len} bytes long, at most {max} are allowed")]
    TooLarge { len: usize, max: usize },
    #[error("frame holds more than {max} commands")]
    TooManyCommands { max: usize },
    #[error("command is nested more than {max} levels deep")]
    TooDeep { max: usize },
    #[error("frame is not UTF-8")]
    Utf8,
    #[error("not the JSON of a message, at byte {column}")]
    Json { column: usize },
    #[error("not the protobuf of a message")]
    Protobuf,
    #[error("channel name of command {id} is longer than {max} bytes")]
    ChannelTooLong { id: u32, max: usize },
}

impl FrameError {
    /// The command to answer with error 107 while the rest of the frame stands; `None` when the frame is beyond
    /// repair and the connection should be closed with 3501.
    #[must_use]
    pub fn answerable(&self) -> Option<u32> {
        match self {
            Self::ChannelTooLong { id, .. } => Some(*id),
            _ => None,
        }
    }

    /// Only the place is kept: the parser's own message may quote a token.
    #[expect(clippy::needless_pass_by_value, reason = "it is what map_err hands over")]
    pub(crate) fn json(error: serde_json::Error) -> Self {
        Self::Json { column: error.column() }
    }
}

/// Splits a frame into messages; after an error there is nothing more.
#[derive(Debug)]
struct Messages {
    format: Format,
    rest: Bytes,
}

impl Messages {
    fn new(format: Format, frame: Bytes, frame_bytes_max: usize) -> Result<Self, FrameError> {
        if frame.len() > frame_bytes_max {
            return Err(FrameError::TooLarge { len: frame.len(), max: frame_bytes_max });
        }
        let blank = format == Format::Json && frame.iter().all(u8::is_ascii_whitespace);
        if frame.is_empty() || blank {
            return Err(FrameError::Empty);
        }
        Ok(Self { format, rest: frame })
    }

    fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        match self.format {
            Format::Json => Ok(self.next_line()),
            Format::Protobuf => self.next_delimited(),
        }
    }

    /// The next line that is not blank.
    fn next_line(&mut self) -> Option<Bytes> {
        while self.rest.has_remaining() {
            let end = self.rest.iter().position(|&byte| byte == b'\n').unwrap_or(self.rest.len());
            let line = self.rest.split_to(end);
            if self.rest.has_remaining() {
                self.rest.advance(1);
            }
            if !line.iter().all(u8::is_ascii_whitespace) {
                return Some(line);
            }
        }
        None
    }

    fn next_delimited(&mut self) -> Result<Option<Bytes>, FrameError> {
        if !self.rest.has_remaining() {
            return Ok(None);
        }
        let len = prost::encoding::decode_varint(&mut self.rest).map_err(|_| FrameError::Protobuf)?;
        match usize::try_from(len) {
            Ok(len) if len <= self.rest.len() => Ok(Some(self.rest.split_to(len))),
            _ => Err(FrameError::Protobuf),
        }
    }

    fn stop(&mut self) {
        self.rest.clear();
    }
}

fn utf8(text: &[u8]) -> Result<&str, FrameError> {
    std::str::from_utf8(text).map_err(|_| FrameError::Utf8)
}

/// The commands of a client's frame, decoded one at a time, so that what follows a refused connect is never looked at.
///
/// After an error that is not [`FrameError::answerable`] there is nothing more.
#[derive(Debug)]
pub struct Commands {
    messages: Messages,
    limits: Limits,
    left: usize,
}

impl Commands {
    /// # Errors
    /// When the frame is empty or too large.
    pub fn new(format: Format, frame: impl Into<Bytes>, limits: &Limits) -> Result<Self, FrameError> {
        let messages = Messages::new(format, frame.into(), limits.frame_bytes_max)?;
        Ok(Self { messages, limits: *limits, left: limits.frame_commands_max })
    }

    fn decode(&mut self) -> Result<Option<Command>, FrameError> {
        let Some(message) = self.messages.next()? else { return Ok(None) };
        self.left =
            self.left.checked_sub(1).ok_or(FrameError::TooManyCommands { max: self.limits.frame_commands_max })?;
        let command = match self.messages.format {
            Format::Json => {
                let max = self.limits.depth_max;
                raw::check_depth(&message, max).map_err(|TooDeep| FrameError::TooDeep { max })?;
                Command::from_json(utf8(&message)?)?
            }
            Format::Protobuf => Command::decode(message).map_err(|_| FrameError::Protobuf)?,
        };
        let channel = match &command.request {
            // Nobody is in a channel of that name, so leaving it is done; an error would make SDKs reconnect.
            Some(Request::Unsubscribe(_)) | None => None,
            Some(request) => request.channel(),
        };
        let max = self.limits.channel_bytes_max;
        if channel.is_some_and(|channel| channel.len() > max) {
            return Err(FrameError::ChannelTooLong { id: command.id, max });
        }
        Ok(Some(command))
    }
}

impl Iterator for Commands {
    type Item = Result<Command, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.decode();
        if next.as_ref().is_err_and(|error| error.answerable().is_none()) {
            self.messages.stop();
        }
        next.transpose()
    }
}

/// The replies of a server's frame, for clients. After an error there is nothing more.
#[derive(Debug)]
pub struct Replies {
    messages: Messages,
}

impl Replies {
    /// # Errors
    /// When the frame is empty or longer than `frame_bytes_max`.
    pub fn new(format: Format, frame: impl Into<Bytes>, frame_bytes_max: usize) -> Result<Self, FrameError> {
        Ok(Self { messages: Messages::new(format, frame.into(), frame_bytes_max)? })
    }

    fn decode(&mut self) -> Result<Option<Reply>, FrameError> {
        let Some(message) = self.messages.next()? else { return Ok(None) };
        match self.messages.format {
            Format::Json => Reply::from_json(utf8(&message)?).map(Some),
            Format::Protobuf => Reply::decode(message).map(Some).map_err(|_| FrameError::Protobuf),
        }
    }
}

impl Iterator for Replies {
    type Item = Result<Reply, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.decode();
        if next.is_err() {
            self.messages.stop();
        }
        next.transpose()
    }
}
