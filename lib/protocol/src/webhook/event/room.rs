//! Events about rooms (protocol: webhooks §4).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::EventTime;

macro_rules! room_events {
    ($($(#[$doc:meta])* $name:ident { $($(#[$attr:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
            #[serde(rename_all = "PascalCase")]
            pub struct $name {
                $($(#[$attr])* pub $field: $type,)*
                /// Members that are not known here.
                #[serde(flatten)]
                pub other: Map<String, Value>,
            }
        )*
    };
}

room_events! {
    /// `Live.CallbackAfterCreateRoom`.
    AfterCreateRoom {
        /// `Operator_Account`.
        #[serde(rename = "Operator_Account")]
        operator_account: String,
        /// `RoomInfo`.
        room_info: RoomInfo,
        /// `EventTime`: absent in the page's sample.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        event_time: Option<EventTime>,
    }

    /// `Live.CallbackAfterDestroyRoom`.
    AfterDestroyRoom {
        /// `Operator_Account`.
        #[serde(rename = "Operator_Account")]
        operator_account: String,
        /// `RoomId`.
        room_id: String,
        /// `EventType`: `DestroyByUser` or `DestroyBySystem`.
        event_type: String,
        /// `EventTime`.
        event_time: EventTime,
        /// `RoomInfo`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        room_info: Option<RoomInfo>,
        /// `Statistic`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        statistic: Option<Statistic>,
    }

    /// `Live.CallbackAfterUpdateRoomInfo`. Whether only changed members are there depends on the sender.
    AfterUpdateRoomInfo {
        /// `Operator_Account`.
        #[serde(rename = "Operator_Account")]
        operator_account: String,
        /// `RoomInfo`.
        room_info: RoomInfo,
        /// `EventTime`.
        event_time: EventTime,
    }

    /// `Live.CallbackAfterMemberStateChanged`.
    AfterMemberStateChanged {
        /// `RoomId`.
        room_id: String,
        /// `EventType`: `Online` or `Offline`.
        event_type: String,
        /// `EventCause`: `Enter`, `Leave`, `HeartbeatInterrupt`, `HeartbeatRecover`.
        event_cause: String,
        /// `MemberList`.
        member_list: Vec<Member>,
        /// `EventTime`.
        event_time: EventTime,
    }

    /// One member of [`AfterMemberStateChanged`].
    Member {
        /// `Member_Account`.
        #[serde(rename = "Member_Account")]
        member_account: String,
    }

    /// `Live.CallbackAfterChangeOwner`.
    AfterChangeOwner {
        /// `RoomId`.
        room_id: String,
        /// `EventTime`.
        event_time: EventTime,
        /// `Operator_Account`.
        #[serde(rename = "Operator_Account")]
        operator_account: String,
        /// `CurrentOwner_Account`.
        #[serde(rename = "CurrentOwner_Account")]
        current_owner_account: String,
        /// `OriginalOwner_Account`.
        #[serde(rename = "OriginalOwner_Account")]
        original_owner_account: String,
    }

    /// `Live.CallbackAfterModifyAdmin`.
    AfterModifyAdmin {
        /// `RoomId`.
        room_id: String,
        /// `EventTime`.
        event_time: EventTime,
        /// `Operator_Account`.
        #[serde(rename = "Operator_Account")]
        operator_account: String,
        /// `Admin_Account`.
        #[serde(rename = "Admin_Account")]
        admin_account: Vec<String>,
        /// `opType`: `add` or `delete`. The lower-case `o` is the vendor's; the REST API's spelling is read too.
        #[serde(rename = "opType", alias = "OpType")]
        op_type: String,
    }

    /// `Live.CallbackAfterSetMetadata`.
    AfterSetMetadata {
        /// `Operator_Account`.
        #[serde(rename = "Operator_Account")]
        operator_account: String,
        /// `RoomId`.
        room_id: String,
        /// `Metadata`.
        metadata: Vec<Metadata>,
        /// `EventTime`.
        event_time: EventTime,
    }

    /// One pair of [`AfterSetMetadata`].
    Metadata {
        /// `Key`.
        key: String,
        /// `Value`.
        value: String,
    }

    /// `Live.CallbackAfterDelMetadata`.
    AfterDelMetadata {
        /// `Operator_Account`.
        #[serde(rename = "Operator_Account")]
        operator_account: String,
        /// `RoomId`.
        room_id: String,
        /// `Keys`.
        keys: Vec<String>,
        /// `EventTime`.
        event_time: EventTime,
    }

    /// Counters of a room's life, in [`AfterDestroyRoom`].
    #[derive(Default)]
    Statistic {
        /// `TotalViewers`: counts entries: a user who enters twice counts twice.
        #[serde(default)]
        total_viewers: u64,
        /// `TotalGiftsSent`.
        #[serde(default)]
        total_gifts_sent: u64,
        /// `TotalGiftCoins`.
        #[serde(default)]
        total_gift_coins: u64,
        /// `TotalUniqueGiftSenders`.
        #[serde(default)]
        total_unique_gift_senders: u64,
        /// `TotalLikesReceived`.
        #[serde(default)]
        total_likes_received: u64,
    }

    /// `RoomInfo` in the events that have one; which members are there differs between them.
    #[derive(Default)]
    RoomInfo {
        /// `RoomId`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        room_id: Option<String>,
        /// `RoomName`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        room_name: Option<String>,
        /// `RoomType`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        room_type: Option<String>,
        /// `Owner_Account`.
        #[serde(rename = "Owner_Account", default, skip_serializing_if = "Option::is_none")]
        owner_account: Option<String>,
        /// `MaxMemberCount`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_member_count: Option<u64>,
        /// `IsMessageDisabled`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        is_message_disabled: Option<bool>,
        /// `CustomInfo`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        custom_info: Option<String>,
        /// `IsSeatEnabled`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        is_seat_enabled: Option<bool>,
        /// `TakeSeatMode`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        take_seat_mode: Option<String>,
        /// `MaxSeatCount`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_seat_count: Option<u64>,
        /// `CreateTime`: Unix seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        create_time: Option<u64>,
        /// `IsPublicVisible`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        is_public_visible: Option<bool>,
        /// `CoverURL`.
        #[serde(rename = "CoverURL", default, skip_serializing_if = "Option::is_none")]
        cover_url: Option<String>,
        /// `BackgroundURL`.
        #[serde(rename = "BackgroundURL", default, skip_serializing_if = "Option::is_none")]
        background_url: Option<String>,
        /// `Category`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        category: Option<Vec<i64>>,
        /// `ActivityStatus`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        activity_status: Option<i64>,
        /// `ViewCount`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        view_count: Option<u64>,
        /// `IsUnlimitedRoomEnabled`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        is_unlimited_room_enabled: Option<bool>,
    }
}
