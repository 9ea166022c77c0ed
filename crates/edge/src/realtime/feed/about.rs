//! What a member is told of the room with the answer to its join (protocol: realtime).

use bytes::Bytes;
use roomhook_protocol::rest;
use roomhook_room::{RoomInfo, RoomKey, UserId};
use roomhook_shard::RoomView;

/// `RoomInfo` in the names of the REST API.
pub(super) fn room_json(key: &RoomKey, view: &RoomView) -> Bytes {
    let RoomInfo { room_type, name, owner, cover_url, background_url, custom_info, notice, seat_template, .. } =
        &view.info;
    let info = rest::RoomInfo {
        room_id: key.room.as_str().into(),
        room_name: name.into(),
        room_type: room_type.into(),
        owner_account: owner.as_str().into(),
        create_time: view.created_at.secs(),
        is_seat_enabled: view.info.is_seat_enabled,
        take_seat_mode: (&view.info.take_seat_mode).into(),
        max_seat_count: view.info.max_seat_count,
        max_member_count: view.info.max_member_count,
        is_message_disabled: view.info.is_message_disabled,
        cover_url: cover_url.into(),
        category: (&view.info.category).into(),
        activity_status: view.info.activity_status,
        view_count: view.statistic.total_viewers,
        is_public_visible: view.info.is_public_visible,
        member_count: None,
        online_count: None,
        background_url: Some(background_url.into()),
        notice: Some(notice.into()),
        keep_owner_on_seat: Some(view.info.keep_owner_on_seat),
        seat_template: Some(seat_template.into()),
        custom_info: Some(custom_info.into()),
    };
    // Strings and numbers always serialise.
    serde_json::to_vec(&info).unwrap_or_else(|_| b"{}".to_vec()).into()
}

/// `{"Room":…,"Online":n,"Me":{…}}`.
pub(super) fn subscribe_data(room: &[u8], online: usize, owner: &UserId, me: Option<&UserId>) -> Bytes {
    let role = if me == Some(owner) { "Owner" } else { "Member" };
    let mut out = Vec::with_capacity(room.len() + 80);
    out.extend_from_slice(b"{\"Room\":");
    out.extend_from_slice(room);
    out.extend_from_slice(format!(r#","Online":{online},"Me":{{"Role":"{role}","MutedUntil":0}}}}"#).as_bytes());
    out.into()
}
