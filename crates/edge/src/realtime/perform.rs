//! What a session asks its shell to do: everything that waits for somebody else.

use std::{future::Future, net::IpAddr, pin::Pin, sync::Arc};

use roomhook_centrifuge::{Error, codes};
use roomhook_protocol::{
    message::MessageError,
    usersig::{self, UserSigError},
};
use roomhook_room::{AppId, Origin, Receipt, Reject, RoomId, RoomKey, UserId};
use roomhook_shard::{ExecuteError, ImportAccount};
use tokio::sync::oneshot;

use super::{
    Hub,
    conn::Conn,
    feed::{Ask, Waiter},
    session::{Action, Denied, HistoryQuery, Identity, Join, MessageInput, Outcome, Says, Sent, bad_request},
};
use crate::{
    apps::App,
    listener::Peer,
    publish::{self, Outgoing, PublishError, Published},
};

/// What the shell knows of its client beside what the client said.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) ip: IpAddr,
    /// Holds the connection's place under the listener's limit.
    pub(crate) _peer: Option<Peer>,
}

/// Begins an action. Its future may be dropped: a message that was on its way may still be sent.
pub(crate) fn start(
    hub: &Arc<Hub>,
    conn: &Arc<Conn>,
    client: &Client,
    action: Action,
) -> Pin<Box<dyn Future<Output = Outcome> + Send>> {
    let (hub, conn, ip) = (Arc::clone(hub), Arc::clone(conn), client.ip);
    match action {
        Action::Authenticate { token, known } => {
            Box::pin(async move { Outcome::Identified(authenticate(&hub, &conn, &token, known).await) })
        }
        Action::Join(join) => Box::pin(async move { Outcome::Joined(enter(&hub, conn, join).await) }),
        Action::Leave { room } => Box::pin(async move { Outcome::Left(leave(&hub, &conn, &room).await) }),
        Action::Send { room, platform, input } => Box::pin(async move {
            let origin = Origin { platform, client_ip: ip, client: Some(conn.client_id()) };
            Outcome::Sent(send(&hub, &conn, room, origin, &input).await)
        }),
        Action::Members { room } => Box::pin(async move {
            Outcome::Answered(Box::new(ask(&hub, &conn, &room, |key, reply| Ask::Members { key, reply }).await))
        }),
        Action::Count { room } => Box::pin(async move {
            Outcome::Answered(Box::new(ask(&hub, &conn, &room, |key, reply| Ask::Count { key, reply }).await))
        }),
        Action::History { id, room, query } => {
            Box::pin(async move { Outcome::Encoded(history(&hub, &conn, &room, id, query).await) })
        }
    }
}

// === who ===

/// Verifies a token. The first one also takes the user's place under the limit, and makes the user an account.
async fn authenticate(
    hub: &Hub,
    conn: &Arc<Conn>,
    token: &str,
    known: Option<(AppId, UserId)>,
) -> Result<Identity, Denied> {
    let (app, identity) = verify(hub, token)?;
    if let Some(known) = known {
        return if known == (identity.app, identity.user.clone()) {
            Ok(identity)
        } else {
            Err(Denied::Invalid("invalid token: it is of another user".into()))
        };
    }
    conn.identify(identity.app, identity.user.clone());
    hub.users.add(conn, hub.config.connections_per_user_max)?;
    if hub.services.directory.account(app.id, identity.user.as_str()).is_none() {
        let account = ImportAccount { user: identity.user.clone(), nick: None, face_url: None };
        let import = hub.services.directory.import(app.id, vec![account]);
        match tokio::time::timeout(hub.config.answer_within, import).await {
            Ok(Ok(_imported)) => {}
            Ok(Err(error)) => {
                tracing::debug!(%error, "a user's account could not be made");
                return Err(Denied::Unavailable);
            }
            // It may still be made; the client comes back and finds it.
            Err(_late) => return Err(Denied::Unavailable),
        }
    }
    Ok(identity)
}

fn verify(hub: &Hub, token: &str) -> Result<(Arc<App>, Identity), Denied> {
    let invalid = |error: UserSigError| match error {
        UserSigError::Expired => Denied::Expired,
        error => Denied::Invalid(format!("invalid token: {error}")),
    };
    let claims = usersig::decode(token).map_err(invalid)?;
    let app = u32::try_from(claims.sdkappid).ok().and_then(|id| hub.services.apps.get(AppId(id)));
    let app = app.ok_or_else(|| Denied::Invalid("invalid token: its app is not served here".into()))?;
    let user = UserId::new(&claims.identifier).map_err(|error| Denied::Invalid(format!("invalid token: {error}")))?;
    let now = hub.services.now();
    let expires_at = hub.services.authenticator.user(&app, user.as_str(), token, now).map_err(invalid)?;
    if app.disabled {
        return Err(Denied::AppDisabled);
    }
    let expires_in = std::time::Duration::from_millis(expires_at.saturating_mul(1000).saturating_sub(now.0));
    Ok((Arc::clone(&app), Identity { app: app.id, user, expires_in }))
}

fn key(conn: &Conn, room: &RoomId) -> Result<RoomKey, Error> {
    let app = conn.app().ok_or_else(|| Error::from(codes::error::INTERNAL))?;
    Ok(RoomKey { app, room: room.clone() })
}

// === rooms ===

/// Asks the feed of a room. One that does not answer in time: the client had better try again than wait.
async fn ask<T>(
    hub: &Hub,
    conn: &Conn,
    room: &RoomId,
    question: impl FnOnce(RoomKey, oneshot::Sender<Result<T, Error>>) -> Ask,
) -> Result<T, Error> {
    let key = key(conn, room)?;
    let (reply, answer) = oneshot::channel();
    hub.feeds.ask(&key, question(key.clone(), reply), answer, hub.config.answer_within).await
}

async fn enter(hub: &Hub, conn: Arc<Conn>, join: Join) -> Result<(), Error> {
    let room = join.room.clone();
    let waiter = |done| Waiter { conn: Arc::clone(&conn), join, done };
    ask(hub, &conn, &room, |key, done| Ask::Join { key, waiter: waiter(done) }).await
}

async fn leave(hub: &Hub, conn: &Conn, room: &RoomId) -> Result<(), Error> {
    let key = key(conn, room)?;
    let told = hub.feeds.tell(&key, Ask::Leave { key: key.clone(), conn: conn.id() });
    match tokio::time::timeout(hub.config.answer_within, told).await {
        // An error means that the feeds stopped, and all rooms with them.
        Ok(_told) => Ok(()),
        Err(_late) => Err(codes::error::TOO_MANY_REQUESTS.into()),
    }
}

async fn history(hub: &Hub, conn: &Arc<Conn>, room: &RoomId, id: u32, query: HistoryQuery) -> Result<Vec<u8>, Error> {
    let asker = Arc::clone(conn);
    ask(hub, conn, room, |key, reply| Ask::History { key, conn: asker, id, query, reply }).await
}

// === messages ===

/// The same way as a message by REST, from here on.
async fn send(hub: &Hub, conn: &Conn, room: RoomId, origin: Origin, input: &MessageInput) -> Result<Sent, Error> {
    let app = conn.app().and_then(|app| hub.services.apps.get(app)).filter(|app| !app.disabled);
    let (Some(app), Some(user)) = (app, conn.user()) else {
        return Err(codes::error::PERMISSION_DENIED.into());
    };
    let custom_data = input.custom_data.as_str();
    let outgoing = Outgoing {
        room,
        from: user.clone(),
        operator: user.clone(),
        origin,
        random: input.random,
        priority: input.priority,
        says: match &input.says {
            Says::Body(raw) => publish::Says::Body { raw, custom_data },
            Says::Text(text) => publish::Says::Text { text, custom_data },
        },
        forbid_before_hook: false,
        forbid_after_hook: false,
    };
    match hub.services.publisher.send(&app, outgoing, hub.services.now()).await {
        Ok(Published::Answered(Receipt::Sent(sent) | Receipt::Repeated(sent))) => {
            Ok(Sent { msg_id: Some(sent.msg_id), seq: sent.seq, at: sent.at })
        }
        Ok(Published::Discarded { at }) => Ok(Sent { msg_id: None, seq: roomhook_room::MsgSeq(0), at }),
        Ok(Published::Answered(Receipt::Dropped { .. })) => Err(codes::error::TOO_MANY_REQUESTS.into()),
        Ok(Published::Answered(_)) => Err(codes::error::INTERNAL.into()),
        Err(error) => Err(refusal(&error)),
    }
}

/// Why a message was not sent, in the codes of the contract.
fn refusal(error: &PublishError) -> Error {
    let app_error = |code: u32, message: String| Error { code, message, temporary: false };
    match error {
        PublishError::Message(error @ MessageError::TooLong { .. }) => app_error(1413, error.to_string()),
        PublishError::Message(error) => bad_request(error),
        PublishError::SenderMissing => codes::error::PERMISSION_DENIED.into(),
        PublishError::Refused { info, .. } if info.is_empty() => app_error(1406, "refused by the app".into()),
        PublishError::Refused { info, .. } => app_error(1406, info.clone()),
        PublishError::Engine(ExecuteError::Rejected(reject)) => match reject {
            Reject::RoomMissing => codes::error::UNKNOWN_CHANNEL.into(),
            Reject::MessagesDisabled => app_error(1403, reject.to_string()),
            Reject::TooLong { .. } => app_error(1413, reject.to_string()),
            Reject::RoomExists | Reject::RoomExistsOwned => codes::error::INTERNAL.into(),
        },
        PublishError::Engine(ExecuteError::Busy) => codes::error::TOO_MANY_REQUESTS.into(),
        PublishError::Engine(ExecuteError::Unavailable(_)) => codes::error::INTERNAL.into(),
        PublishError::Engine(ExecuteError::Unknown(_)) | PublishError::Late => {
            let code = codes::error::INTERNAL;
            let message = "no answer in time: repeat with the same Random to learn the outcome".to_owned();
            Error { code: code.code, message, temporary: true }
        }
    }
}
