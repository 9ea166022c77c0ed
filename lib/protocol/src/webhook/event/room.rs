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
        #[serde(rename = "Operator_Account")]
        operator_account: String,
        room_info: RoomInfo,
        /// Absent in the page's sample.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        event_time: Option<EventTime>,
    }

    /// `Live.CallbackAfterDestroyRoom`.
    AfterDestroyRoom {
        #[serde(rename = "Operator_Account")]
        operator_account: String,
        room_id: String,
        /// `DestroyByUser` or `DestroyBySystem`.
        event_type: String,
        event_time: EventTime,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        room_info: Option<RoomInfo>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        statistic: Option<Statistic>,
    }

    /// `Live.CallbackAfterUpdateRoomInfo`. Whether only changed members are there depends on the sender.
    AfterUpdateRoomInfo {
        #[serde(rename = "Operator_Account")]
        operator_account: String,
        room_info: RoomInfo,
        event_time: EventTime,
    }

    /// `Live.CallbackAfterMemberStateChanged`.
    AfterMemberStateChanged {
        room_id: String,
        /// `Online` or `Offline`.
        event_type: String,
        /// `Enter`, `Leave`, `HeartbeatInterrupt`, `HeartbeatRecover`.
        event_cause: String,
        member_list: Vec<Member>,
        event_time: EventTime,
    }

    /// One member of [`AfterMemberStateChanged`].
    Member {
        #[serde(rename = "Member_Account")]
        member_account: String,
    }

    /// `Live.CallbackAfterChangeOwner`.
    AfterChangeOwner {
        room_id: String,
        event_time: EventTime,
        #[serde(rename = "Operator_Account")]
        operator_account: String,
        #[serde(rename = "CurrentOwner_Account")]
        current_owner_account: String,
        #[serde(rename = "OriginalOwner_Account")]
        original_owner_account: String,
    }

    /// `Live.CallbackAfterModifyAdmin`.
    AfterModifyAdmin {
        room_id: String,
        event_time: EventTime,
        #[serde(rename = "Operator_Account")]
        operator_account: String,
        #[serde(rename = "Admin_Account")]
        admin_account: Vec<String>,
        /// `add` or `delete`. The lower-case `o` is the vendor's; the REST API's spelling is read too.
        #[serde(rename = "opType", alias = "OpType")]
        op_type: String,
    }

    /// `Live.CallbackAfterSetMetadata`.
    AfterSetMetadata {
        #[serde(rename = "Operator_Account")]
        operator_account: String,
        room_id: String,
        metadata: Vec<Metadata>,
        event_time: EventTime,
    }

    /// One pair of [`AfterSetMetadata`].
    Metadata {
        key: String,
        value: String,
    }

    /// `Live.CallbackAfterDelMetadata`.
    AfterDelMetadata {
        #[serde(rename = "Operator_Account")]
        operator_account: String,
        room_id: String,
        keys: Vec<String>,
        event_time: EventTime,
    }

    /// Counters of a room's life, in [`AfterDestroyRoom`].
    #[derive(Default)]
    Statistic {
        /// Counts entries: a user who enters twice counts twice.
        #[serde(default)]
        total_viewers: u64,
        #[serde(default)]
        total_gifts_sent: u64,
        #[serde(default)]
        total_gift_coins: u64,
        #[serde(default)]
        total_unique_gift_senders: u64,
        #[serde(default)]
        total_likes_received: u64,
    }

    /// `RoomInfo` in the events that have one; which members are there differs between them.
    #[derive(Default)]
    RoomInfo {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        room_id: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        room_name: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        room_type: Option<String>,
        #[serde(rename = "Owner_Account", default, skip_serializing_if = "Option::is_none")]
        owner_account: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_member_count: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        is_message_disabled: Option<bool>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        custom_info: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        is_seat_enabled: Option<bool>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        take_seat_mode: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_seat_count: Option<u64>,
        /// Unix seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        create_time: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        is_public_visible: Option<bool>,
        #[serde(rename = "CoverURL", default, skip_serializing_if = "Option::is_none")]
        cover_url: Option<String>,
        #[serde(rename = "BackgroundURL", default, skip_serializing_if = "Option::is_none")]
        background_url: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        category: Option<Vec<i64>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        activity_status: Option<i64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        view_count: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        is_unlimited_room_enabled: Option<bool>,
    }
}
