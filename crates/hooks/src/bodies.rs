//! Bodies of the `Live.*` webhooks (protocol: webhooks §4). Rare beside messages, so written through serde.

use roomhook_room::{RoomInfo, Statistic, UnixMillis, UserId};
use serde::Serialize;

use crate::plan::Command;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AfterCreateRoom<'a> {
    callback_command: &'static str,
    #[serde(rename = "Operator_Account")]
    operator: &'a str,
    room_info: Created<'a>,
    event_time: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Created<'a> {
    room_id: &'a str,
    room_name: &'a str,
    room_type: &'a str,
    #[serde(rename = "Owner_Account")]
    owner: &'a str,
    max_member_count: u32,
    is_message_disabled: bool,
    custom_info: &'a str,
    is_seat_enabled: bool,
    take_seat_mode: &'a str,
    max_seat_count: u32,
    create_time: u64,
    is_public_visible: bool,
    #[serde(rename = "CoverURL")]
    cover_url: &'a str,
    category: &'a [i64],
}

/// `Live.CallbackAfterCreateRoom`.
pub(crate) fn room_created(room: &str, at: UnixMillis, operator: &UserId, info: &RoomInfo) -> Vec<u8> {
    to_json(&AfterCreateRoom {
        callback_command: Command::AfterCreateRoom.word(),
        operator: operator.as_str(),
        room_info: Created {
            room_id: room,
            room_name: &info.name,
            room_type: &info.room_type,
            owner: info.owner.as_str(),
            max_member_count: info.max_member_count,
            is_message_disabled: info.is_message_disabled,
            custom_info: &info.custom_info,
            is_seat_enabled: info.is_seat_enabled,
            take_seat_mode: &info.take_seat_mode,
            max_seat_count: info.max_seat_count,
            create_time: at.secs(),
            is_public_visible: info.is_public_visible,
            cover_url: &info.cover_url,
            category: &info.category,
        },
        event_time: at.0,
    })
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AfterDestroyRoom<'a> {
    callback_command: &'static str,
    #[serde(rename = "Operator_Account")]
    operator: &'a str,
    room_id: &'a str,
    event_type: &'static str,
    event_time: u64,
    room_info: Destroyed<'a>,
    statistic: Counters,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Destroyed<'a> {
    room_name: &'a str,
    room_type: &'a str,
    #[serde(rename = "Owner_Account")]
    owner: &'a str,
    is_seat_enabled: bool,
    take_seat_mode: &'a str,
    max_member_count: u32,
    max_seat_count: u32,
    category: &'a [i64],
    custom_info: &'a str,
    is_message_disabled: bool,
    #[serde(rename = "CoverURL")]
    cover_url: &'a str,
    activity_status: i64,
    is_public_visible: bool,
    view_count: u64,
    #[serde(rename = "BackgroundURL")]
    background_url: &'a str,
    is_unlimited_room_enabled: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Counters {
    total_viewers: u64,
    total_gifts_sent: u64,
    total_gift_coins: u64,
    total_unique_gift_senders: u64,
    total_likes_received: u64,
}

/// `Live.CallbackAfterDestroyRoom`.
pub(crate) fn room_destroyed(
    room: &str,
    at: UnixMillis,
    operator: &UserId,
    info: &RoomInfo,
    statistic: &Statistic,
) -> Vec<u8> {
    to_json(&AfterDestroyRoom {
        callback_command: Command::AfterDestroyRoom.word(),
        operator: operator.as_str(),
        room_id: room,
        event_type: "DestroyByUser",
        event_time: at.0,
        room_info: Destroyed {
            room_name: &info.name,
            room_type: &info.room_type,
            owner: info.owner.as_str(),
            is_seat_enabled: info.is_seat_enabled,
            take_seat_mode: &info.take_seat_mode,
            max_member_count: info.max_member_count,
            max_seat_count: info.max_seat_count,
            category: &info.category,
            custom_info: &info.custom_info,
            is_message_disabled: info.is_message_disabled,
            cover_url: &info.cover_url,
            activity_status: info.activity_status,
            is_public_visible: info.is_public_visible,
            view_count: statistic.total_viewers,
            background_url: &info.background_url,
            is_unlimited_room_enabled: info.is_unlimited_room_enabled,
        },
        statistic: Counters {
            total_viewers: statistic.total_viewers,
            total_gifts_sent: statistic.total_gifts_sent,
            total_gift_coins: statistic.total_gift_coins,
            total_unique_gift_senders: statistic.total_unique_gift_senders,
            total_likes_received: statistic.total_likes_received,
        },
    })
}

/// Serializing plain structs of strings and numbers into memory has no way to fail.
fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}
