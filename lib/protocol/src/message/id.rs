//! The parts of a `MsgId`.

use std::{fmt, str::FromStr};

use crate::json;

/// `<sender number>-<client seconds>-<random>` (protocol: messages §4). Receivers should treat a `MsgId` as opaque; this is
/// for tools and tests.
///
/// ```
/// use roomhook_protocol::message::MsgIdParts;
/// let parts: MsgIdParts = "144115289000012345-1767225663-2874610953".parse()?;
/// assert_eq!((parts.secs, parts.random), (1_767_225_663, 2_874_610_953));
/// assert_eq!(parts.to_string(), "144115289000012345-1767225663-2874610953");
/// # Ok::<(), roomhook_protocol::message::MsgIdError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MsgIdParts {
    /// The sender's internal number; ours and the vendor's lie above 2^57.
    pub account: u64,
    /// Unix seconds at which the client made the message.
    pub secs: u64,
    /// The message's `Random`.
    pub random: u32,
}

impl fmt::Display for MsgIdParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.account, self.secs, self.random)
    }
}

impl FromStr for MsgIdParts {
    type Err = MsgIdError;

    fn from_str(text: &str) -> Result<Self, MsgIdError> {
        let mut parts = text.split('-').map(json::plain_decimal);
        let mut next = || parts.next().flatten().ok_or(MsgIdError);
        let (account, secs, random) = (next()?, next()?, next()?);
        let random = u32::try_from(random).map_err(|_| MsgIdError)?;
        if parts.next().is_some() { Err(MsgIdError) } else { Ok(Self { account, secs, random }) }
    }
}

/// A `MsgId` that does not have the three known parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("MsgId is not <number>-<seconds>-<random>")]
pub struct MsgIdError;
