//! Between events and their wire form.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;

use super::{CodecError, wire};
use crate::{
    command::{RoomInfo, Statistic},
    event::Event,
    ids::{Incarnation, MsgSeq, UnixMillis, UserId},
    message::{ClientId, ContentHash, Draft, Message, MsgId, Origin, Platform, Priority},
};

impl From<&Event> for wire::Event {
    fn from(event: &Event) -> Self {
        let kind = match event {
            Event::RoomCreated { at, operator, incarnation, info } => {
                wire::EventKind::RoomCreated(Box::new(wire::RoomCreated {
                    at_ms: at.0,
                    operator: operator.as_str().into(),
                    incarnation: incarnation.as_str().into(),
                    info: Some(info.into()),
                }))
            }
            Event::RoomDestroyed { at, operator, info, statistic } => {
                wire::EventKind::RoomDestroyed(Box::new(wire::RoomDestroyed {
                    at_ms: at.0,
                    operator: operator.as_str().into(),
                    info: Some(info.into()),
                    statistic: Some((*statistic).into()),
                }))
            }
            Event::MessageSent(message) => wire::EventKind::MessageSent(message.into()),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<wire::Event> for Event {
    type Error = CodecError;

    fn try_from(event: wire::Event) -> Result<Self, CodecError> {
        Ok(match event.kind.ok_or(CodecError::UnknownEvent)? {
            wire::EventKind::RoomCreated(created) => Self::RoomCreated {
                at: UnixMillis(created.at_ms),
                operator: user(&created.operator, "operator")?,
                incarnation: incarnation(&created.incarnation)?,
                info: created.info.ok_or(CodecError::Field("info"))?.try_into()?,
            },
            wire::EventKind::RoomDestroyed(destroyed) => Self::RoomDestroyed {
                at: UnixMillis(destroyed.at_ms),
                operator: user(&destroyed.operator, "operator")?,
                info: destroyed.info.ok_or(CodecError::Field("info"))?.try_into()?,
                statistic: destroyed.statistic.unwrap_or_default().into(),
            },
            wire::EventKind::MessageSent(message) => Self::MessageSent(message.try_into()?),
        })
    }
}

impl From<&Message> for wire::MessageSent {
    fn from(message: &Message) -> Self {
        let Message { seq, at, room_type, draft } = message;
        let Draft { from, operator, origin, random, content, msg_id, priority, body, custom_data, forbid_after_hook } =
            draft;
        let (client_ip4, ip6) = match origin.client_ip {
            IpAddr::V4(ip) => (Some(ip.to_bits()), 0),
            IpAddr::V6(ip) => (None, ip.to_bits()),
        };
        let id_bytes = |id: &UserId| Bytes::copy_from_slice(id.as_str().as_bytes());
        Self {
            seq: seq.0,
            at_ms: at.0,
            from: id_bytes(from),
            operator: if operator == from { Bytes::new() } else { id_bytes(operator) },
            platform: platform_number(origin.platform),
            client_ip4,
            random: *random,
            msg_id_account: msg_id.account,
            msg_id_secs: msg_id.secs,
            msg_id_random: msg_id.random,
            priority: match priority {
                Priority::Low => 0,
                Priority::Normal => 1,
                Priority::High => 2,
            },
            body: body.clone(),
            custom_data: custom_data.clone(),
            forbid_after_hook: *forbid_after_hook,
            client_ip6_high: (ip6 >> 64) as u64,
            client_ip6_low: ip6 as u64,
            room_type: room_type.clone(),
            client_high: origin.client.map(|ClientId(bits)| (bits >> 64) as u64),
            client_low: origin.client.map_or(0, |ClientId(bits)| bits as u64),
            content: content.map(|hash| hash.0),
        }
    }
}

impl TryFrom<wire::MessageSent> for Message {
    type Error = CodecError;

    fn try_from(sent: wire::MessageSent) -> Result<Self, CodecError> {
        let text = |bytes, field| std::str::from_utf8(bytes).map_err(|_| CodecError::Field(field));
        let from = user(text(&sent.from, "from")?, "from")?;
        let operator = match &*sent.operator {
            [] => from.clone(),
            bytes => user(text(bytes, "operator")?, "operator")?,
        };
        let client_ip = match sent.client_ip4 {
            Some(ip) => IpAddr::V4(Ipv4Addr::from_bits(ip)),
            None => {
                Ipv6Addr::from_bits(u128::from(sent.client_ip6_high) << 64 | u128::from(sent.client_ip6_low)).into()
            }
        };
        let low = u128::from(sent.client_low);
        let client = sent.client_high.map(|high| ClientId(u128::from(high) << 64 | low));
        let draft = Draft {
            from,
            operator,
            origin: Origin { platform: platform(sent.platform)?, client_ip, client },
            random: sent.random,
            content: sent.content.map(ContentHash),
            msg_id: MsgId { account: sent.msg_id_account, secs: sent.msg_id_secs, random: sent.msg_id_random },
            priority: match sent.priority {
                0 => Priority::Low,
                1 => Priority::Normal,
                2 => Priority::High,
                _ => return Err(CodecError::Field("priority")),
            },
            body: sent.body,
            custom_data: sent.custom_data,
            forbid_after_hook: sent.forbid_after_hook,
        };
        Ok(Self { seq: MsgSeq(sent.seq), at: UnixMillis(sent.at_ms), room_type: sent.room_type, draft })
    }
}

impl From<&RoomInfo> for wire::RoomInfo {
    fn from(info: &RoomInfo) -> Self {
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
            is_unlimited_room_enabled,
            keep_owner_on_seat,
            max_seat_count,
            max_member_count,
            activity_status,
            category,
        } = info.clone();
        Self {
            room_type,
            name,
            owner: owner.as_str().into(),
            cover_url,
            background_url,
            custom_info,
            notice,
            seat_template,
            take_seat_mode,
            is_message_disabled,
            is_seat_enabled,
            is_public_visible,
            is_unlimited_room_enabled,
            keep_owner_on_seat,
            max_seat_count,
            max_member_count,
            activity_status,
            category,
        }
    }
}

impl TryFrom<wire::RoomInfo> for RoomInfo {
    type Error = CodecError;

    fn try_from(info: wire::RoomInfo) -> Result<Self, CodecError> {
        Ok(Self {
            room_type: info.room_type,
            name: info.name,
            owner: user(&info.owner, "owner")?,
            cover_url: info.cover_url,
            background_url: info.background_url,
            custom_info: info.custom_info,
            notice: info.notice,
            seat_template: info.seat_template,
            take_seat_mode: info.take_seat_mode,
            is_message_disabled: info.is_message_disabled,
            is_seat_enabled: info.is_seat_enabled,
            is_public_visible: info.is_public_visible,
            is_unlimited_room_enabled: info.is_unlimited_room_enabled,
            keep_owner_on_seat: info.keep_owner_on_seat,
            max_seat_count: info.max_seat_count,
            max_member_count: info.max_member_count,
            activity_status: info.activity_status,
            category: info.category,
        })
    }
}

impl From<Statistic> for wire::Statistic {
    fn from(statistic: Statistic) -> Self {
        let Statistic {
            total_viewers,
            total_gifts_sent,
            total_gift_coins,
            total_unique_gift_senders,
            total_likes_received,
            total_messages,
        } = statistic;
        Self {
            total_viewers,
            total_gifts_sent,
            total_gift_coins,
            total_unique_gift_senders,
            total_likes_received,
            total_messages,
        }
    }
}

impl From<wire::Statistic> for Statistic {
    fn from(statistic: wire::Statistic) -> Self {
        Self {
            total_viewers: statistic.total_viewers,
            total_gifts_sent: statistic.total_gifts_sent,
            total_gift_coins: statistic.total_gift_coins,
            total_unique_gift_senders: statistic.total_unique_gift_senders,
            total_likes_received: statistic.total_likes_received,
            total_messages: statistic.total_messages,
        }
    }
}

pub(super) fn user(text: &str, field: &'static str) -> Result<UserId, CodecError> {
    UserId::new(text).map_err(|_| CodecError::Field(field))
}

pub(super) fn incarnation(text: &str) -> Result<Incarnation, CodecError> {
    Incarnation::parse(text).ok_or(CodecError::Field("incarnation"))
}

fn platform_number(platform: Platform) -> u32 {
    match platform {
        Platform::Unknown => 0,
        Platform::RestApi => 1,
        Platform::Web => 2,
        Platform::Android => 3,
        Platform::Ios => 4,
        Platform::Windows => 5,
        Platform::Mac => 6,
        Platform::Ipad => 7,
    }
}

fn platform(number: u32) -> Result<Platform, CodecError> {
    Ok(match number {
        0 => Platform::Unknown,
        1 => Platform::RestApi,
        2 => Platform::Web,
        3 => Platform::Android,
        4 => Platform::Ios,
        5 => Platform::Windows,
        6 => Platform::Mac,
        7 => Platform::Ipad,
        _ => return Err(CodecError::Field("platform")),
    })
}
