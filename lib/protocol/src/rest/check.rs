//! What a field's JSON type cannot say, as typed errors.

use crate::{
    codes::{self, Family},
    envelope::Failure,
};

/// A field that is not acceptable. Turns into a [`Failure`] with the code of the API's family.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct Invalid {
    /// The field's name on the wire.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: Problem,
    /// The code to answer with.
    pub code: i32,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    #[error("is missing")]
    Missing,
    #[error("must not be empty")]
    Empty,
    /// Two names of the same thing say different things.
    #[error("says something else than {0}")]
    Differs(&'static str),
    #[error("is {len} bytes long, at most {max} are allowed")]
    TooLong { len: usize, max: usize },
    #[error("has {len} items, at most {max} are allowed")]
    TooMany { len: usize, max: usize },
    #[error("has {len} characters, 1 to {max} are allowed")]
    CharacterCount { len: usize, max: usize },
    #[error("holds a character that is not allowed")]
    Character,
    #[error("must be one of {0}")]
    NotOneOf(&'static str),
    #[error("{0}")]
    Url(#[from] crate::webhook::UrlError),
    #[error("is not possible in live rooms")]
    Unsupported,
}

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Self {
        Self::new(invalid.code, invalid.to_string())
    }
}

/// Checks of one family of APIs.
#[derive(Clone, Copy)]
pub(crate) struct Checks(pub(crate) Family);

impl Checks {
    pub(crate) const fn invalid(self, field: &'static str, problem: Problem) -> Invalid {
        Invalid { field, problem, code: self.0.bad_parameter() }
    }

    pub(crate) fn not_empty(self, field: &'static str, text: &str) -> Result<(), Invalid> {
        if text.is_empty() { Err(self.invalid(field, Problem::Empty)) } else { Ok(()) }
    }

    pub(crate) fn bytes(self, field: &'static str, text: &str, max: usize) -> Result<(), Invalid> {
        let len = text.len();
        if len > max { Err(self.invalid(field, Problem::TooLong { len, max })) } else { Ok(()) }
    }

    pub(crate) fn count(self, field: &'static str, len: usize, max: usize) -> Result<(), Invalid> {
        if len > max { Err(self.invalid(field, Problem::TooMany { len, max })) } else { Ok(()) }
    }

    /// `RoomId` or `GroupId`: 1 to 48 bytes of printable ASCII.
    pub(crate) fn room_id(self, field: &'static str, id: &str) -> Result<(), Invalid> {
        let code = match self.0 {
            Family::Group => codes::GROUP_ID_MALFORMED,
            family => family.bad_parameter(),
        };
        let checked = self.not_empty(field, id).and_then(|()| self.bytes(field, id, 48));
        let checked = checked.and_then(|()| {
            let printable = id.bytes().all(|byte| (0x20..=0x7e).contains(&byte));
            if printable { Ok(()) } else { Err(self.invalid(field, Problem::Character)) }
        });
        checked.map_err(|invalid| Invalid { code, ..invalid })
    }

    /// A user id: 1 to 32 bytes without control characters.
    pub(crate) fn user_id(self, field: &'static str, id: &str) -> Result<(), Invalid> {
        self.not_empty(field, id)?;
        self.bytes(field, id, 32)?;
        if id.chars().any(char::is_control) { Err(self.invalid(field, Problem::Character)) } else { Ok(()) }
    }
}
