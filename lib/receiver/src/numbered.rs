//! What the tracker needs to know of an event, taken out of its body.

use std::borrow::Cow;

use roomhook_protocol::webhook::{CommandWord, Event, EventError};

use crate::error::Error;
use crate::request::Query;
use crate::tracker::MessageKey;

/// Reads the body, which must be of the command that the query names.
pub(crate) fn parse(query: &Query<'_>, body: &[u8]) -> Result<Event, Error> {
    let event = Event::parse(body)
        .map_err(|error| Error::BadBody { command: query.command.to_string(), reason: without_content(&error) })?;
    if event.command() != query.command {
        return Err(Error::OtherCommand { query: query.command.to_string(), body: event.command().to_owned() });
    }
    Ok(event)
}

/// serde's texts can quote the value that did not fit, which may be what somebody wrote in a room: those are replaced by the position.
fn without_content(error: &EventError) -> String {
    match error {
        EventError::Json(error) => {
            let text = error.to_string();
            let position = format!("line {} column {}", error.line(), error.column());
            match error.classify() {
                serde_json::error::Category::Data if !text.starts_with("missing field") => {
                    format!("a member has another type than documented, at {position}")
                }
                _ => text,
            }
        }
        other => other.to_string(),
    }
}

/// What says which message an event is about, if it is about a numbered one.
pub(crate) struct Key<'a> {
    room: &'a str,
    seq: u64,
    id: Cow<'a, str>,
    time_secs: u64,
}

impl Key<'_> {
    pub(crate) fn borrow(&self) -> MessageKey<'_> {
        MessageKey { room: self.room, seq: self.seq, id: &self.id, time_secs: self.time_secs }
    }
}

/// The key of a message that was sent. Other events carry no `MsgSeq` of their own: a recall names numbers of others, and before a
/// message is sent it has none.
pub(crate) fn key(event: &Event) -> Option<Key<'_>> {
    let Event::AfterSendMsg(sent) = event else { return None };
    let id = match &sent.msg_id {
        Some(id) => Cow::Borrowed(id.as_str()),
        // The oldest documents have no MsgId. These are what it is made of.
        None => Cow::Owned(format!("{}-{}-{}", sent.from_account, sent.msg_time, sent.random)),
    };
    Some(Key { room: &sent.group_id, seq: sent.msg_seq, id, time_secs: sent.msg_time })
}

/// The room whose numbers end with this event.
pub(crate) fn dissolved_room(event: &Event) -> Option<&str> {
    match event {
        Event::AfterDestroyRoom(_) => event.room_id(),
        _ => None,
    }
}

/// Whether the sender waits for a verdict. Such an event is asked about once and never repeated; taking one for a repeat would answer
/// "allowed" without asking the app.
pub(crate) fn is_question(event: &Event) -> bool {
    CommandWord::parse(event.command()).is_some_and(CommandWord::is_before)
}
