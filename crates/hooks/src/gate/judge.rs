//! From an answer to a decision. Pure.

use roomhook_protocol::{
    codes,
    message::{Content, Limits, MessageError},
    webhook::{Answer, Verdict},
};
use roomhook_room::Draft;

use super::Decision;
use crate::http::{Report, SendError};

/// Why the gate could not decide. The endpoint's policy says what becomes of the message (protocol: webhooks §1.4).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Send(#[from] SendError),
    #[error("the moderator answered {0}")]
    Status(u16),
    #[error(
        "the answer lacks ActionStatus, ErrorInfo (may be empty) or a whole ErrorCode, or is no JSON object at all"
    )]
    Malformed,
    /// It allowed the message, but what it put in its place is none.
    #[error("the replacement cannot be sent: {0}")]
    Replacement(MessageError),
    /// Too many messages of the app wait already, or this one waited too long.
    #[error("too many messages wait for the moderator")]
    Overloaded,
}

impl Failure {
    /// A word for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Send(error) => error.kind(),
            Self::Status(_) => "status",
            Self::Malformed => "malformed",
            Self::Replacement(_) => "replacement",
            Self::Overloaded => "overloaded",
        }
    }
}

/// What a moderator said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    pub decision: Decision,
    /// An `ErrorCode` that no document explains; it counts as a refusal.
    pub undocumented: Option<i32>,
}

impl Judged {
    /// A word for metrics.
    pub fn kind(&self) -> &'static str {
        match (&self.decision, self.undocumented) {
            (_, Some(_)) => "undocumented",
            (Decision::Allow, _) => "allow",
            (Decision::Replace { .. }, _) => "replace",
            (Decision::Discard, _) => "discard",
            (Decision::Refuse { .. }, _) => "refuse",
        }
    }
}

/// Reads an answer to the question about `draft`.
pub(crate) fn judge(report: &Report, draft: &Draft, limits: &Limits) -> Result<Judged, Failure> {
    let status = report.result.clone()?;
    if status != 200 {
        return Err(Failure::Status(status));
    }
    let answer = Answer::parse(&report.head).map_err(|_| Failure::Malformed)?;
    let decision = match answer.verdict() {
        Verdict::Allow => Decision::Allow,
        Verdict::Discard => Decision::Discard,
        Verdict::Refuse { code, info } => Decision::Refuse { code, info: short(info).into() },
        replace @ Verdict::Replace { .. } => {
            let sent = Content { body: draft.body.clone(), custom_data: draft.custom_data.clone() };
            let Content { body, custom_data } = replace.apply(sent, limits).map_err(Failure::Replacement)?;
            Decision::Replace { body, custom_data }
        }
    };
    Ok(Judged { decision, undocumented: answer.is_undocumented().then_some(answer.error_code) })
}

/// `ErrorInfo` for a sender: a sentence, not a page.
const INFO_BYTES_MAX: usize = 1_024;

fn short(info: &str) -> &str {
    info.get(..info.floor_char_boundary(INFO_BYTES_MAX)).unwrap_or_default()
}

/// What becomes of an undecided message under the policy "drop".
pub(super) fn dropped() -> Decision {
    let code = codes::WEBHOOK_FAILED;
    Decision::Refuse { code, info: codes::text(code).unwrap_or_default().into() }
}
