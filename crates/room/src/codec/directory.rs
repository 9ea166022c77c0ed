//! Records and rows of the directory.

use std::sync::Arc;

use bytes::Bytes;

use super::{CodecError, convert, encode_versioned, versioned, wire};
use crate::{
    directory::{Account, Event},
    endpoint::EndpointId,
    ids::AppId,
};

/// The payload of one directory record: all events of one command. A row holds the same with one event.
#[must_use]
pub fn encode_directory_record(events: &[Event]) -> Bytes {
    encode_versioned(&wire::DirectoryRecord { events: events.iter().map(wire::DirectoryEvent::from).collect() })
}

/// Reads [`encode_directory_record`] back.
///
/// # Errors
/// [`CodecError`]; never panics, whatever the bytes are.
pub fn decode_directory_record(payload: &Bytes) -> Result<Vec<Event>, CodecError> {
    let record: wire::DirectoryRecord = versioned(payload.clone())?;
    record.events.into_iter().map(Event::try_from).collect()
}

impl From<&Event> for wire::DirectoryEvent {
    fn from(event: &Event) -> Self {
        let kind = match event {
            Event::AccountSaved { app, user, account } => wire::DirectoryEventKind::AccountSaved(wire::AccountSaved {
                app: app.0,
                user: user.as_str().into(),
                number: account.number,
                nick: (*account.nick).into(),
                face_url: (*account.face_url).into(),
            }),
            Event::EndpointSaved(endpoint) => wire::DirectoryEventKind::EndpointSaved(Box::new((&**endpoint).into())),
            Event::EndpointDeleted { app, id, generation } => {
                wire::DirectoryEventKind::EndpointDeleted(wire::EndpointDeleted {
                    app: app.0,
                    id: id.0.clone(),
                    generation: *generation,
                })
            }
            Event::FirstValueTaken { app, digest } => {
                let digest = digest.map_or(Bytes::new(), |digest| Bytes::copy_from_slice(&digest));
                wire::DirectoryEventKind::FirstValueTaken(wire::FirstValueTaken { app: app.0, digest })
            }
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<wire::DirectoryEvent> for Event {
    type Error = CodecError;

    fn try_from(event: wire::DirectoryEvent) -> Result<Self, CodecError> {
        Ok(match event.kind.ok_or(CodecError::UnknownEvent)? {
            wire::DirectoryEventKind::AccountSaved(saved) => Self::AccountSaved {
                app: AppId(saved.app),
                user: convert::user(&saved.user, "user")?,
                account: Account { number: saved.number, nick: shared(saved.nick), face_url: shared(saved.face_url) },
            },
            wire::DirectoryEventKind::EndpointSaved(endpoint) => Self::EndpointSaved(Arc::new((*endpoint).try_into()?)),
            wire::DirectoryEventKind::EndpointDeleted(deleted) => Self::EndpointDeleted {
                app: AppId(deleted.app),
                id: EndpointId(deleted.id),
                generation: deleted.generation,
            },
            wire::DirectoryEventKind::FirstValueTaken(taken) => Self::FirstValueTaken {
                app: AppId(taken.app),
                digest: match &*taken.digest {
                    [] => None,
                    digest => Some(digest.try_into().map_err(|_| CodecError::Field("digest"))?),
                },
            },
        })
    }
}

/// Most accounts have no profile: all empty texts share one allocation.
fn shared(text: String) -> Arc<str> {
    if text.is_empty() { Arc::default() } else { text.into() }
}
