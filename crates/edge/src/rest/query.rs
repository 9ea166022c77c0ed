//! The query of a call (protocol: rest §1), read without copying what needs no decoding.
//!
//! Where the documents are silent, we chose: members that are not known are ignored whatever they hold; a known one that
//! is there twice, or whose percent-encoding or UTF-8 is broken, makes the URL unreadable (60002), because two readers
//! of it might disagree on who is calling. `random` may be missing, since nothing depends on it, but when it is there it
//! must be an integer (of any size and sign: real callers send both). `contenttype` may say anything.

use std::borrow::Cow;

use crate::auth::Credentials;

/// Why a query cannot be read; answered 60002.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum QueryError {
    #[error("query parameter {0} is given twice")]
    Twice(&'static str),
    #[error("query parameter {0} is not percent-encoded UTF-8")]
    Encoding(&'static str),
    #[error("query parameter random is not an integer")]
    Random,
}

/// The known parameters of a query.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Query<'a> {
    sdkappid: Option<Cow<'a, str>>,
    identifier: Option<Cow<'a, str>>,
    usersig: Option<Cow<'a, str>>,
    random: Option<Cow<'a, str>>,
    contenttype: Option<Cow<'a, str>>,
}

impl std::fmt::Debug for Query<'_> {
    /// A UserSig is as good as a password until it expires.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Query")
            .field("sdkappid", &self.sdkappid)
            .field("identifier", &self.identifier)
            .finish_non_exhaustive()
    }
}

impl<'a> Query<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, QueryError> {
        let mut query = Self::default();
        for pair in text.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            // A name that cannot be decoded is none that we know.
            let Some(name) = decode(name) else { continue };
            let Some((name, slot)) = query.slot(&name) else { continue };
            let value = decode(value).ok_or(QueryError::Encoding(name))?;
            if slot.replace(value).is_some() {
                return Err(QueryError::Twice(name));
            }
        }
        match query.random.as_deref() {
            Some(random) if !is_integer(random) => Err(QueryError::Random),
            _ => Ok(query),
        }
    }

    pub(super) fn credentials(&self) -> Credentials<'_> {
        Credentials {
            sdkappid: self.sdkappid.as_deref(),
            identifier: self.identifier.as_deref(),
            usersig: self.usersig.as_deref(),
        }
    }

    fn slot(&mut self, name: &str) -> Option<(&'static str, &mut Option<Cow<'a, str>>)> {
        match name {
            "sdkappid" => Some(("sdkappid", &mut self.sdkappid)),
            "identifier" => Some(("identifier", &mut self.identifier)),
            "usersig" => Some(("usersig", &mut self.usersig)),
            "random" => Some(("random", &mut self.random)),
            "contenttype" => Some(("contenttype", &mut self.contenttype)),
            _ => None,
        }
    }
}

fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.len() <= 20 && digits.bytes().all(|b| b.is_ascii_digit())
}

/// Form decoding: `%XX` and `+` for a space. `None` when an escape is broken or the result is no UTF-8.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.bytes().any(|b| b == b'%' || b == b'+') {
        return Some(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            plain => plain,
        });
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| value.try_into().ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> (Option<String>, Option<String>, Option<String>) {
        let query = Query::parse(text).unwrap();
        let credentials = query.credentials();
        (
            credentials.sdkappid.map(str::to_owned),
            credentials.identifier.map(str::to_owned),
            credentials.usersig.map(str::to_owned),
        )
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn a_usual_query_is_read() {
        let text = "sdkappid=1400000001&identifier=administrator&usersig=eJ*-_&random=4294967295&contenttype=json";
        assert_eq!(parsed(text), (some("1400000001"), some("administrator"), some("eJ*-_")));
        assert_eq!(parsed(""), (None, None, None));
        assert_eq!(parsed("identifier=&usersig"), (None, some(""), some("")));
    }

    #[test]
    fn unknown_members_are_ignored_even_when_broken_or_repeated() {
        assert_eq!(parsed("v=%zz&v=1&%ff=2&SdkAppId=9&&=&sdkappid=7"), (some("7"), None, None));
    }

    #[test]
    fn values_are_form_decoded() {
        assert_eq!(parsed("identifier=%E4%B8%BB+%2b%41").1, some("主 +A"));
        assert_eq!(parsed("%73dkappid=7").0, some("7"));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (text, error) in [
            ("sdkappid=1&sdkappid=1", QueryError::Twice("sdkappid")),
            ("usersig=a&identifier=b&%75sersig=c", QueryError::Twice("usersig")),
            ("identifier=%ff", QueryError::Encoding("identifier")),
            ("identifier=%4", QueryError::Encoding("identifier")),
            ("usersig=%+1", QueryError::Encoding("usersig")),
            ("contenttype=%", QueryError::Encoding("contenttype")),
            ("random=abc", QueryError::Random),
            ("random=", QueryError::Random),
            ("random=1.5", QueryError::Random),
        ] {
            assert_eq!(Query::parse(text), Err(error), "{text}");
        }
        assert!(Query::parse("random=-123").is_ok());
        assert!(Query::parse("random=99999999999").is_ok());
    }

    fn encode(text: &str) -> String {
        text.bytes().map(|byte| format!("%{byte:02X}")).collect()
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_but_never_panics(text in ".*") {
            let _ = Query::parse(&text);
        }

        #[test]
        fn what_was_encoded_is_read_back(user in ".*", sig in ".*", junk in "[a-z]{0,3}=[^&]*") {
            let text = format!("x{junk}&usersig={}&identifier={}", encode(&sig), encode(&user));
            prop_assert_eq!(parsed(&text), (None, Some(user), Some(sig)));
        }
    }
}
