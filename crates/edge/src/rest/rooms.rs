//! Rooms: `live_engine_http_srv/create_room`, `destroy_room`, `get_room_info` (protocol: rest §4).

use roomhook_protocol::{
    codes,
    envelope::Failure,
    rest::{self, CreateRoom, DestroyRoom, GetRoomInfo, NewRoom, Nothing, RoomInfoPayload, StatisticPayload},
};
use roomhook_room::{Command, Incarnation, Receipt, RoomInfo, UserId};
use roomhook_shard::RoomView;

use super::{Call, answer::Outcome};

/// Ids that start like this are the vendor's own to give (protocol: messages §2).
const RESERVED_PREFIX: &str = "@TGS#";

pub(super) async fn create(call: &Call<'_>) -> Outcome<Nothing> {
    let request: CreateRoom<'_> = call.parse()?;
    request.check()?;
    let room = &request.room_info;
    if room.room_id.starts_with(RESERVED_PREFIX) {
        return Err(Failure::new(codes::LIVE_BAD_PARAMETER, "RoomId must not start with @TGS#"));
    }
    let owner = call.user_or_caller(room.owner_account.as_deref())?;
    if !call.is_account(owner.as_str()) {
        return Err(call.codes().account_missing("Owner_Account"));
    }
    let create = roomhook_room::CreateRoom {
        operator: call.caller.user.clone(),
        info: info_of(room, owner),
        incarnation: Incarnation::from_random(call.services.entropy.draw()),
    };
    let key = call.room_key(&room.room_id)?;
    call.engine(call.services.router.execute(key, Command::Create(create))).await?;
    Ok(None)
}

pub(super) async fn destroy(call: &Call<'_>) -> Outcome<StatisticPayload> {
    let request: DestroyRoom<'_> = call.parse()?;
    request.check()?;
    let command = Command::Destroy { operator: call.caller.user.clone() };
    let receipt = call.engine(call.services.router.execute(call.room_key(&request.room_id)?, command)).await?;
    let Receipt::Destroyed(statistic) = receipt else { return Err(call.codes().misfit()) };
    Ok(Some(StatisticPayload {
        statistic: rest::Statistic {
            total_viewers: statistic.total_viewers,
            total_gifts_sent: statistic.total_gifts_sent,
            total_gift_coins: statistic.total_gift_coins,
            total_unique_gift_senders: statistic.total_unique_gift_senders,
            total_likes_received: statistic.total_likes_received,
        },
    }))
}

/// A room as it was looked up; its payload borrows from it.
pub(super) struct Info {
    room_id: String,
    view: RoomView,
}

pub(super) async fn info(call: &Call<'_>) -> Result<Info, Failure> {
    let request: GetRoomInfo<'_> = call.parse()?;
    request.check()?;
    let view = call.engine(call.services.router.view(call.room_key(&request.room_id)?)).await?;
    let view = view.ok_or_else(|| Failure::of(codes::ROOM_MISSING))?;
    Ok(Info { room_id: request.room_id.into_owned(), view })
}

impl Info {
    pub(super) fn payload(&self) -> RoomInfoPayload<'_> {
        let RoomInfo {
            room_type,
            name,
            owner,
            cover_url,
            background_url,
            custom_info,
            notice,
            seat_template,
            take_seat_mode,
            is_message_disabled,
            is_seat_enabled,
            is_public_visible,
            is_unlimited_room_enabled: _,
            keep_owner_on_seat,
            max_seat_count,
            max_member_count,
            activity_status,
            category,
        } = &self.view.info;
        RoomInfoPayload {
            room_info: rest::RoomInfo {
                room_id: self.room_id.as_str().into(),
                room_name: name.into(),
                room_type: room_type.into(),
                owner_account: owner.as_str().into(),
                create_time: self.view.created_at.secs(),
                is_seat_enabled: *is_seat_enabled,
                take_seat_mode: take_seat_mode.into(),
                max_seat_count: *max_seat_count,
                max_member_count: *max_member_count,
                is_message_disabled: *is_message_disabled,
                cover_url: cover_url.into(),
                category: category.as_slice().into(),
                activity_status: *activity_status,
                view_count: self.view.statistic.total_viewers,
                is_public_visible: *is_public_visible,
                member_count: None,
                online_count: None,
                background_url: Some(background_url.into()),
                notice: Some(notice.into()),
                keep_owner_on_seat: Some(*keep_owner_on_seat),
                seat_template: Some(seat_template.into()),
                custom_info: Some(custom_info.into()),
            },
        }
    }
}

/// The room that a request describes, with defaults for what it leaves out: those of protocol: rest §4, and where that has
/// none, what the vendor's own client tools assume (visible, with seats, as many as the template's name says).
fn info_of(room: &NewRoom<'_>, owner: UserId) -> RoomInfo {
    let text = |value: &Option<std::borrow::Cow<'_, str>>| value.as_deref().unwrap_or_default().to_owned();
    let seat_template = text(&room.seat_template);
    RoomInfo {
        room_type: room.room_type.as_ref().to_owned(),
        name: room.room_name.as_deref().unwrap_or(&room.room_id).to_owned(),
        owner,
        cover_url: text(&room.cover_url),
        background_url: text(&room.background_url),
        custom_info: text(&room.custom_info),
        notice: text(&room.notice),
        take_seat_mode: room.take_seat_mode.as_deref().unwrap_or("FreeToTake").to_owned(),
        is_message_disabled: room.is_message_disabled.unwrap_or(false),
        is_seat_enabled: room.is_seat_enabled.unwrap_or(true),
        is_public_visible: room.is_public_visible.unwrap_or(true),
        is_unlimited_room_enabled: room.is_unlimited_room_enabled.unwrap_or(false),
        keep_owner_on_seat: room.keep_owner_on_seat.unwrap_or(false),
        max_seat_count: room.max_seat_count.unwrap_or_else(|| seats_of(&seat_template)),
        max_member_count: room.max_member_count.unwrap_or(0),
        activity_status: room.activity_status.unwrap_or(0),
        category: room.category.clone().unwrap_or_default(),
        seat_template,
    }
}

/// `VideoDynamicGrid9Seats` has 9 seats. Templates without a number have none of their own.
fn seats_of(template: &str) -> u32 {
    let number: String = template.chars().filter(char::is_ascii_digit).collect();
    number.parse().unwrap_or(0)
}
