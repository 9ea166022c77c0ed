//! Rooms: create, destroy, look at (protocol: rest §4).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::check::{Checks, Invalid, Problem};
use crate::codes::Family;

const LIVE: Checks = Checks(Family::Live);

const SEAT_TEMPLATES: &[&str] = &[
    "VideoDynamicGrid9Seats",
    "VideoDynamicFloat7Seats",
    "VideoFixedGrid9Seats",
    "VideoFixedFloat7Seats",
    "VideoLandscape4Seats",
    // So the vendor's own manager spells it.
    "VideoLandscape4Seat",
    "AudioSalon",
    "Karaoke",
];

/// `v4/live_engine_http_srv/create_room`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateRoom<'a> {
    /// `RoomInfo`.
    #[serde(rename = "RoomInfo", borrow)]
    pub room_info: NewRoom<'a>,
}

impl CreateRoom<'_> {
    /// # Errors
    /// When a field is outside the documented limits.
    pub fn check(&self) -> Result<(), Invalid> {
        self.room_info.check()
    }
}

/// `RoomInfo` of [`CreateRoom`]. Lengths are in bytes of UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct NewRoom<'a> {
    /// `RoomId`.
    #[serde(borrow)]
    pub room_id: Cow<'a, str>,
    /// `RoomType`: `Live`.
    #[serde(borrow)]
    pub room_type: Cow<'a, str>,
    /// `Owner_Account`: the caller when absent.
    #[serde(rename = "Owner_Account", borrow, default, skip_serializing_if = "Option::is_none")]
    pub owner_account: Option<Cow<'a, str>>,
    /// `RoomName`: at most 100 bytes; `RoomId` when absent.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub room_name: Option<Cow<'a, str>>,
    /// `SeatTemplate`.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub seat_template: Option<Cow<'a, str>>,
    /// `TakeSeatMode`: `FreeToTake` (default) or `ApplyToTake`.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub take_seat_mode: Option<Cow<'a, str>>,
    /// `CoverURL`: at most 200 bytes.
    #[serde(rename = "CoverURL", borrow, default, skip_serializing_if = "Option::is_none")]
    pub cover_url: Option<Cow<'a, str>>,
    /// `BackgroundURL`: at most 200 bytes.
    #[serde(rename = "BackgroundURL", borrow, default, skip_serializing_if = "Option::is_none")]
    pub background_url: Option<Cow<'a, str>>,
    /// `CustomInfo`: in no table of this API, but in the webhook about it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub custom_info: Option<Cow<'a, str>>,
    /// `Notice`: at most 100 bytes.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<Cow<'a, str>>,
    /// `IsMessageDisabled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_message_disabled: Option<bool>,
    /// `Category`: at most 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Vec<i64>>,
    /// `IsPublicVisible`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_public_visible: Option<bool>,
    /// `ActivityStatus`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity_status: Option<i64>,
    /// `MaxSeatCount`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_seat_count: Option<u32>,
    /// `MaxMemberCount`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_member_count: Option<u32>,
    /// `IsSeatEnabled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_seat_enabled: Option<bool>,
    /// `IsUnlimitedRoomEnabled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_unlimited_room_enabled: Option<bool>,
    /// `KeepOwnerOnSeat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_owner_on_seat: Option<bool>,
    /// `SeatLayoutTemplateId`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seat_layout_template_id: Option<i64>,
}

impl NewRoom<'_> {
    fn check(&self) -> Result<(), Invalid> {
        LIVE.room_id("RoomId", &self.room_id)?;
        LIVE.one_of("RoomType", &self.room_type, &["Live"], "Live")?;
        if let Some(owner) = &self.owner_account {
            LIVE.user_id("Owner_Account", owner)?;
        }
        let texts = [
            ("RoomName", &self.room_name, 100),
            ("CoverURL", &self.cover_url, 200),
            ("BackgroundURL", &self.background_url, 200),
            ("CustomInfo", &self.custom_info, 500),
            ("Notice", &self.notice, 100),
        ];
        for (field, text, max) in texts {
            LIVE.bytes(field, text.as_deref().unwrap_or_default(), max)?;
        }
        LIVE.count("Category", self.category.as_deref().map_or(0, <[_]>::len), 3)?;
        if let Some(template) = &self.seat_template {
            LIVE.one_of("SeatTemplate", template, SEAT_TEMPLATES, "the documented seat templates")?;
        }
        if let Some(mode) = &self.take_seat_mode {
            LIVE.one_of("TakeSeatMode", mode, &["FreeToTake", "ApplyToTake"], "FreeToTake, ApplyToTake")?;
        }
        Ok(())
    }
}

impl Checks {
    fn one_of(self, field: &'static str, text: &str, known: &[&str], shown: &'static str) -> Result<(), Invalid> {
        if known.contains(&text) { Ok(()) } else { Err(self.invalid(field, Problem::NotOneOf(shown))) }
    }
}

/// `v4/live_engine_http_srv/destroy_room`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestroyRoom<'a> {
    /// `RoomId`.
    #[serde(rename = "RoomId", borrow)]
    pub room_id: Cow<'a, str>,
}

impl DestroyRoom<'_> {
    /// # Errors
    /// When the id is malformed.
    pub fn check(&self) -> Result<(), Invalid> {
        LIVE.room_id("RoomId", &self.room_id)
    }
}

/// Payload of [`DestroyRoom`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatisticPayload {
    /// `Statistic`.
    #[serde(rename = "Statistic")]
    pub statistic: Statistic,
}

/// Counters of a room's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Statistic {
    /// `TotalViewers`: counts entries: a user who enters twice counts twice.
    pub total_viewers: u64,
    /// `TotalGiftsSent`.
    pub total_gifts_sent: u64,
    /// `TotalGiftCoins`.
    pub total_gift_coins: u64,
    /// `TotalUniqueGiftSenders`.
    pub total_unique_gift_senders: u64,
    /// `TotalLikesReceived`.
    pub total_likes_received: u64,
}

/// `v4/live_engine_http_srv/get_room_info`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetRoomInfo<'a> {
    /// `RoomId`.
    #[serde(rename = "RoomId", borrow)]
    pub room_id: Cow<'a, str>,
}

impl GetRoomInfo<'_> {
    /// # Errors
    /// When the id is malformed.
    pub fn check(&self) -> Result<(), Invalid> {
        LIVE.room_id("RoomId", &self.room_id)
    }
}

/// Payload of [`GetRoomInfo`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomInfoPayload<'a> {
    /// `RoomInfo`.
    #[serde(rename = "RoomInfo", borrow)]
    pub room_info: RoomInfo<'a>,
}

/// `RoomInfo` of [`RoomInfoPayload`]: the documented fields, then those that the vendor's own tool also reads (left out
/// when `None`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RoomInfo<'a> {
    /// `RoomId`.
    #[serde(borrow)]
    pub room_id: Cow<'a, str>,
    /// `RoomName`.
    #[serde(borrow)]
    pub room_name: Cow<'a, str>,
    /// `RoomType`.
    #[serde(borrow)]
    pub room_type: Cow<'a, str>,
    /// `Owner_Account`.
    #[serde(rename = "Owner_Account", borrow)]
    pub owner_account: Cow<'a, str>,
    /// `CreateTime`: Unix seconds.
    pub create_time: u64,
    /// `IsSeatEnabled`.
    pub is_seat_enabled: bool,
    /// `TakeSeatMode`.
    #[serde(borrow)]
    pub take_seat_mode: Cow<'a, str>,
    /// `MaxSeatCount`.
    pub max_seat_count: u32,
    /// `MaxMemberCount`.
    pub max_member_count: u32,
    /// `IsMessageDisabled`.
    pub is_message_disabled: bool,
    /// `CoverURL`.
    #[serde(rename = "CoverURL", borrow)]
    pub cover_url: Cow<'a, str>,
    /// `Category`.
    pub category: Cow<'a, [i64]>,
    /// `ActivityStatus`.
    pub activity_status: i64,
    /// `ViewCount`.
    pub view_count: u64,
    /// `IsPublicVisible`.
    pub is_public_visible: bool,
    /// `MemberCount`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member_count: Option<u64>,
    /// `OnlineCount`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub online_count: Option<u64>,
    /// `BackgroundURL`.
    #[serde(rename = "BackgroundURL", borrow, skip_serializing_if = "Option::is_none")]
    pub background_url: Option<Cow<'a, str>>,
    /// `Notice`.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub notice: Option<Cow<'a, str>>,
    /// `KeepOwnerOnSeat`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_owner_on_seat: Option<bool>,
    /// `SeatTemplate`.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub seat_template: Option<Cow<'a, str>>,
    /// `CustomInfo`.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub custom_info: Option<Cow<'a, str>>,
}
