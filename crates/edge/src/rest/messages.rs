//! Sending messages: `live_engine_http_srv/send_text_msg`, `send_custom_msg` (protocol: rest §2) and
//! `group_open_http_svc/send_group_msg` (protocol: rest §7).

use roomhook_protocol::envelope::Failure;
use roomhook_protocol::rest::{
    DROPPED_BY_RATE, ForbidCallback, MsgPriority, SendCustomMsg, SendGroupMsg, SendPayload, SendTextMsg,
};
use roomhook_room::{Origin, Platform, Priority, Receipt};

use super::{Call, answer::Outcome};
use crate::publish::{Outgoing, Published, Says};

pub(super) async fn send_text_msg(call: &Call<'_>) -> Outcome<SendPayload> {
    let request: SendTextMsg<'_> = call.parse()?;
    request.check()?;
    let says =
        Says::Text { text: &request.text_content, custom_data: request.extension_info.as_deref().unwrap_or_default() };
    send(call, &request.room_id, Some(&request.sender_account), live(says)).await
}

pub(super) async fn send_custom_msg(call: &Call<'_>) -> Outcome<SendPayload> {
    let request: SendCustomMsg<'_> = call.parse()?;
    request.check()?;
    let says = Says::Custom { business_id: &request.business_id, data: &request.data };
    send(call, &request.room_id, request.sender_account.as_deref(), live(says)).await
}

pub(super) async fn send_group_msg(call: &Call<'_>) -> Outcome<SendPayload> {
    let request: SendGroupMsg<'_> = call.parse()?;
    request.check()?;
    let message = Message {
        says: Says::Body {
            raw: request.msg_body.get(),
            custom_data: request.cloud_custom_data.as_deref().unwrap_or_default(),
        },
        random: request.random,
        priority: priority(request.msg_priority.unwrap_or_default()),
        forbid_before_hook: request.forbids(ForbidCallback::BeforeSendMsg),
        forbid_after_hook: request.forbids(ForbidCallback::AfterSendMsg),
    };
    send(call, &request.group_id, request.from_account.as_deref(), message).await
}

/// What the three APIs have in common beside room and sender.
struct Message<'a> {
    says: Says<'a>,
    random: Option<u32>,
    priority: Priority,
    forbid_before_hook: bool,
    forbid_after_hook: bool,
}

/// The Live APIs have no `Random`, no priority and no switches.
fn live(says: Says<'_>) -> Message<'_> {
    Message { says, random: None, priority: Priority::Normal, forbid_before_hook: false, forbid_after_hook: false }
}

fn priority(of: MsgPriority) -> Priority {
    match of {
        MsgPriority::High => Priority::High,
        MsgPriority::Normal => Priority::Normal,
        MsgPriority::Low => Priority::Low,
    }
}

async fn send(
    call: &Call<'_>,
    room: &str,
    from: Option<&str>,
    message: Message<'_>,
) -> Result<Option<SendPayload>, Failure> {
    let outgoing = Outgoing {
        room: call.room(room)?,
        from: call.user_or_caller(from)?,
        operator: call.caller.user.clone(),
        origin: Origin { platform: Platform::RestApi, client_ip: call.client_ip, client: None },
        random: message.random,
        priority: message.priority,
        says: message.says,
        forbid_before_hook: message.forbid_before_hook,
        forbid_after_hook: message.forbid_after_hook,
    };
    let published = call.services.publisher.send(&call.caller.app, outgoing, call.now).await;
    let published = published.map_err(|error| call.codes().publish(error))?;
    let (at, seq, dropped) = match published {
        Published::Answered(Receipt::Sent(sent) | Receipt::Repeated(sent)) => (sent.at, sent.seq.0, ""),
        Published::Answered(Receipt::Dropped { at }) => (at, 0, DROPPED_BY_RATE),
        Published::Discarded { at } => (at, 0, ""),
        Published::Answered(Receipt::Created | Receipt::Destroyed(_)) => return Err(call.codes().misfit()),
    };
    Ok(Some(SendPayload { msg_time: at.secs(), msg_seq: seq, msg_drop_reason: dropped.into() }))
}
