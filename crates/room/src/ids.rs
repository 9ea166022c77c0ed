//! Ids, positions and times. Newtypes, so that two numbers cannot be swapped by accident.

use std::{borrow::Borrow, fmt, sync::Arc};

/// A tenant, by its `SDKAppID`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AppId(pub u32);

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The longest room id, in bytes (protocol: Chat document 33529).
pub const ROOM_ID_BYTES_MAX: usize = 48;
/// The longest user id, in bytes (protocol: Chat document 34953).
pub const USER_ID_BYTES_MAX: usize = 32;

/// Why a string is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("id is empty")]
    Empty,
    #[error("id is {len} bytes long, at most {max} are allowed")]
    TooLong { len: usize, max: usize },
    #[error("id holds a character that is not allowed")]
    Character,
}

/// `RoomId` = `GroupId`: 1 to 48 bytes of printable ASCII (0x20 to 0x7e). Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomId(Arc<str>);

impl RoomId {
    /// # Errors
    /// When the text is empty, too long or holds anything but printable ASCII.
    pub fn new(text: &str) -> Result<Self, IdError> {
        check_len(text, ROOM_ID_BYTES_MAX)?;
        if text.bytes().all(|b| (0x20..=0x7e).contains(&b)) { Ok(Self(text.into())) } else { Err(IdError::Character) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A user of an app: 1 to 32 bytes of UTF-8 without control characters. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(Arc<str>);

impl UserId {
    /// # Errors
    /// When the text is empty, too long or holds a control character.
    pub fn new(text: &str) -> Result<Self, IdError> {
        check_len(text, USER_ID_BYTES_MAX)?;
        if text.chars().any(char::is_control) { Err(IdError::Character) } else { Ok(Self(text.into())) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check_len(text: &str, max: usize) -> Result<(), IdError> {
    match text.len() {
        0 => Err(IdError::Empty),
        len if len > max => Err(IdError::TooLong { len, max }),
        _ => Ok(()),
    }
}

macro_rules! text_id {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}
text_id!(RoomId);
text_id!(UserId);

/// A room of an app: what commands are addressed to and what the log is keyed by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomKey {
    pub app: AppId,
    pub room: RoomId,
}

impl fmt::Display for RoomKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.app, self.room)
    }
}

impl RoomKey {
    /// The log key of this room: big-endian app id, then the room id's bytes.
    pub fn to_bytes(&self) -> bytes::Bytes {
        let mut key = Vec::with_capacity(4 + self.room.0.len());
        key.extend_from_slice(&self.app.0.to_be_bytes());
        key.extend_from_slice(self.room.0.as_bytes());
        key.into()
    }

    /// Reads [`RoomKey::to_bytes`] back; `None` when the bytes are no room key.
    pub fn from_bytes(key: &[u8]) -> Option<Self> {
        let (app, room) = key.split_at_checked(4)?;
        let app = AppId(u32::from_be_bytes(app.try_into().ok()?));
        Some(Self { app, room: RoomId::new(std::str::from_utf8(room).ok()?).ok()? })
    }

    /// A hash that never changes between releases, machines or runs (FNV-1a, 64 bits): it decides the
    /// shard of a room, and the shard decides where its log lies.
    pub fn stable_hash(&self) -> u64 {
        let bytes = self.app.0.to_be_bytes().into_iter().chain(self.room.0.bytes());
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
    }
}

/// Number of a message in its room: dense, from 1, also the Centrifuge stream offset. Below 2^53.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MsgSeq(pub u64);

impl MsgSeq {
    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for MsgSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Milliseconds since 1970-01-01 UTC. Handed in by shells: this crate reads no clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// Whole seconds, as `MsgTime` wants them.
    #[must_use]
    pub const fn secs(self) -> u64 {
        self.0 / 1000
    }
}

/// The Centrifuge `epoch` of a room: eight random lower-case letters, drawn when the room is created.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Incarnation([u8; 8]);

impl Incarnation {
    /// Makes one from 64 random bits that the caller drew.
    #[must_use]
    pub fn from_random(mut bits: u64) -> Self {
        let mut letters = [0; 8];
        for letter in &mut letters {
            *letter = b'a' + (bits % 26) as u8;
            bits /= 26;
        }
        Self(letters)
    }

    /// The name of the same life after its log lost its end `losses` times: numbers of messages are used again then, so it must be
    /// another one. Different for each number of losses.
    #[must_use]
    pub fn after(self, losses: u32) -> Self {
        /// No factor in common with 26^8, so that every step leads to a number of its own.
        const STEP: u64 = 98_765_432_101;
        const ALL: u64 = 26_u64.pow(8);
        let number = self.0.iter().rev().fold(0, |number, letter| number * 26 + u64::from(letter - b'a'));
        let moved = u128::from(number) + u128::from(losses) * u128::from(STEP);
        Self::from_random(u64::try_from(moved % u128::from(ALL)).unwrap_or_default())
    }

    /// Reads back what [`Incarnation::as_str`] gave.
    pub fn parse(text: &str) -> Option<Self> {
        let letters: [u8; 8] = text.as_bytes().try_into().ok()?;
        letters.iter().all(u8::is_ascii_lowercase).then_some(Self(letters))
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_life_has_another_name_after_each_loss() {
        for bits in [0, 7, u64::MAX] {
            let drawn = Incarnation::from_random(bits);
            assert_eq!(drawn.after(0), drawn);
            let names: HashSet<_> = (0..10_000).chain([u32::MAX - 1, u32::MAX]).map(|n| drawn.after(n)).collect();
            assert_eq!(names.len(), 10_002);
            assert_eq!(Incarnation::parse(drawn.after(3).as_str()), Some(drawn.after(3)));
        }
    }
}
