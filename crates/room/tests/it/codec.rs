//! Bytes: what goes in comes out, and nothing that comes in panics.

use std::net::IpAddr;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use roomhook_room::{
    AppId, ClientId, CodecError, ContentHash, Draft, Endpoint, EndpointId, Event, GateFailure, Incarnation, Message,
    MsgId, MsgSeq, Order, Origin, PastSwitches, Platform, Positions, Priority, RetryProfile, Room, RoomInfo, Start,
    Statistic, Token, UnixMillis, UserId, decode_directory_record, decode_record, encode_record, encode_record_into,
};

use crate::world::{draft, info, user};

fn user_id() -> impl Strategy<Value = UserId> {
    "[a-zA-Z0-9_.@ äé✓]{1,10}".prop_map(|text| UserId::new(&text).unwrap())
}

fn room_info() -> impl Strategy<Value = RoomInfo> {
    (user_id(), any::<[bool; 5]>(), any::<(u32, u32, i64)>(), any::<Vec<i64>>(), any::<[String; 8]>()).prop_map(
        |(owner, switches, numbers, category, texts)| {
            let [room_type, name, cover_url, background_url, custom_info, notice, seat_template, take_seat_mode] =
                texts;
            RoomInfo {
                room_type,
                name,
                owner,
                cover_url,
                background_url,
                custom_info,
                notice,
                seat_template,
                take_seat_mode,
                is_message_disabled: switches[0],
                is_seat_enabled: switches[1],
                is_public_visible: switches[2],
                is_unlimited_room_enabled: switches[3],
                keep_owner_on_seat: switches[4],
                max_seat_count: numbers.0,
                max_member_count: numbers.1,
                activity_status: numbers.2,
                category,
            }
        },
    )
}

fn platform() -> impl Strategy<Value = Platform> {
    use Platform::{Android, Ios, Ipad, Mac, RestApi, Unknown, Web, Windows};
    prop::sample::select(vec![RestApi, Web, Android, Ios, Windows, Mac, Ipad, Unknown])
}

fn message() -> impl Strategy<Value = Message> {
    let client = prop::option::of(any::<u128>().prop_map(ClientId));
    let origin = (platform(), any::<IpAddr>(), client).prop_map(|(platform, client_ip, client)| Origin {
        platform,
        client_ip,
        client,
    });
    let priority = prop::sample::select(vec![Priority::Low, Priority::Normal, Priority::High]);
    let bytes = || any::<Vec<u8>>().prop_map(Bytes::from);
    let msg_id = any::<(u64, u64, u32)>().prop_map(|(account, secs, random)| MsgId { account, secs, random });
    let room_type = prop_oneof![Just(String::new()), "[A-Za-z]{1,12}"];
    let ids = (user_id(), user_id(), any::<bool>(), room_type);
    (ids, origin, any::<(u64, u64, u32, Option<u64>, bool)>(), msg_id, priority, bytes(), bytes()).prop_map(
        |((from, operator, same, room_type), origin, numbers, msg_id, priority, body, custom_data)| {
            let (seq, at, random, content, forbid_after_hook) = numbers;
            let content = content.map(ContentHash);
            let operator = if same { from.clone() } else { operator };
            let draft = Draft {
                from,
                operator,
                origin,
                random,
                content,
                msg_id,
                priority,
                body,
                custom_data,
                forbid_after_hook,
            };
            Message { seq: MsgSeq(seq), at: UnixMillis(at), room_type, draft }
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    let statistic = any::<[u64; 6]>().prop_map(|n| Statistic {
        total_viewers: n[0],
        total_gifts_sent: n[1],
        total_gift_coins: n[2],
        total_unique_gift_senders: n[3],
        total_likes_received: n[4],
        total_messages: n[5],
    });
    prop_oneof![
        (any::<u64>(), user_id(), any::<u64>(), room_info()).prop_map(|(at, operator, bits, info)| {
            let incarnation = Incarnation::from_random(bits);
            Event::RoomCreated { at: UnixMillis(at), operator, incarnation, info }
        }),
        (any::<u64>(), user_id(), room_info(), statistic).prop_map(|(at, operator, info, statistic)| {
            Event::RoomDestroyed { at: UnixMillis(at), operator, info, statistic }
        }),
        message().prop_map(Event::MessageSent),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_encoded_is_what_is_decoded(events in prop::collection::vec(event(), 0..5)) {
        prop_assert_eq!(decode_record(&encode_record(&events)).unwrap(), events);
    }

    #[test]
    fn garbage_is_an_error_and_never_a_panic(garbage in any::<Vec<u8>>(), version in prop::bool::ANY) {
        let mut bytes = garbage;
        if version {
            bytes.insert(0, 1);
        }
        let _ = Room::from_snapshot(&bytes);
        let _ = Endpoint::decode(&bytes);
        let bytes = Bytes::from(bytes);
        let _ = decode_record(&bytes);
        let _ = decode_directory_record(&bytes);
    }

    #[test]
    fn damaged_records_are_an_error_and_never_a_panic(
        events in prop::collection::vec(event(), 1..3), at in any::<prop::sample::Index>(), bit in 0..8_u8, cut in any::<bool>(),
    ) {
        let mut bytes = encode_record(&events).to_vec();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] ^= 1 << bit }
        let _ = decode_record(&bytes.into());
    }
}

#[test]
fn bodies_are_slices_of_the_record() {
    let body = "x".repeat(1000);
    let event = Event::MessageSent(Message {
        seq: MsgSeq(1),
        at: UnixMillis(5),
        room_type: String::new(),
        draft: draft("bob", 1, &body),
    });
    let record = encode_record(&[event]);
    let [Event::MessageSent(message)] = &decode_record(&record).unwrap()[..] else { panic!("one message") };
    let (record, body) = (record.as_ptr_range(), message.draft.body.as_ptr_range());
    assert!(record.start <= body.start && body.end <= record.end);
}

#[test]
fn records_of_a_batch_share_one_buffer() {
    let mut buffer = BytesMut::with_capacity(4096);
    let start = buffer.as_ptr();
    let event = Event::MessageSent(Message {
        seq: MsgSeq(1),
        at: UnixMillis(5),
        room_type: String::new(),
        draft: draft("bob", 1, "[]"),
    });
    let records = [&event, &event].map(|event| encode_record_into(std::slice::from_ref(event), &mut buffer));
    assert_eq!(records[0].as_ptr(), start);
    assert_eq!(records[1].as_ptr(), start.wrapping_add(records[0].len()));
    assert_eq!(records[0], encode_record(std::slice::from_ref(&event)));
}

#[test]
fn a_snapshot_with_a_number_that_no_room_reaches_is_refused() {
    let mut world = crate::world::World::new();
    world.run(crate::world::create("ann", 1)).unwrap();
    let snapshot = world.room.to_snapshot();
    // The room as a whole is field 1 of its snapshot; what is said last of a field in it holds, and field 4 is the number.
    let of_top = |varint: &[u8]| {
        let life = [&snapshot[4..], &[0x20], varint].concat();
        let mut bytes = vec![1, 0x0a, 0x80 | (life.len() & 0x7f) as u8, (life.len() >> 7) as u8];
        bytes.extend(life);
        Room::from_snapshot(&bytes).map(|room| room.top())
    };
    assert_eq!(of_top(&[5]), Ok(MsgSeq(5)));
    assert_eq!(of_top(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]), Err(CodecError::Field("top")));
}

#[test]
fn newer_formats_are_refused_by_name() {
    assert_eq!(decode_record(&Bytes::new()), Err(CodecError::Empty));
    assert_eq!(decode_record(&Bytes::from_static(&[2, 0])), Err(CodecError::UnknownVersion { found: 2 }));
    // One event whose only field has number 60: a kind this release does not know.
    let unknown_kind = Bytes::from_static(&[1, 0x0a, 4, 0xe2, 0x03, 1, 0]);
    assert_eq!(decode_record(&unknown_kind), Err(CodecError::UnknownEvent));
    assert_eq!(Room::from_snapshot(&[7]), Err(CodecError::UnknownVersion { found: 7 }));
}

/// A change of these bytes is a change of the store's format: make it on purpose, and raise the version once there are stores to lose.
#[test]
fn the_bytes_of_a_record_are_these() {
    let created = Event::RoomCreated {
        at: UnixMillis(1_700_000_000_000),
        operator: user("administrator"),
        incarnation: Incarnation::from_random(42),
        info: info("ann"),
    };
    let mut draft = draft("bob", 7, "[]");
    draft.origin.client = Some(ClientId(0xc1));
    let message = Message { seq: MsgSeq(1), at: UnixMillis(1_700_000_000_123), room_type: String::new(), draft };
    let events = [created, Event::MessageSent(message)];
    let record = encode_record(&events);
    let hex: String = record.iter().map(|byte| format!("{byte:02x}")).collect();
    insta::assert_snapshot!(hex);
    assert_eq!(decode_record(&record).unwrap(), events);
}

#[test]
fn an_endpoint_survives_with_all_its_fields() {
    let endpoint = Endpoint {
        app: AppId(1_400_000_001),
        id: EndpointId("default".into()),
        url: "http://127.0.0.1:9/hook".into(),
        commands: vec!["Group.CallbackAfterSendMsg".into()],
        token: Some(Token { value: "secret".into(), enabled: true }),
        signing_secrets: vec!["whsec_AAAA".into()],
        room_prefix: "live-".into(),
        event_time_as_string: true,
        extra_fields: true,
        order: Some(Order::None),
        retry: Some(RetryProfile::Tencent),
        timeout_ms: Some(0),
        concurrency: Some(3),
        extra_roots_pem: "roots".into(),
        client_cert_pem: "cert".into(),
        client_key_pem: "key".into(),
        gate_failure: Some(GateFailure::Drop),
        gate_shadow: Some(true),
        paused: true,
        start: Start::Time(12),
        generation: 4,
        created_at: UnixMillis(77),
        begins: Positions(vec![1, 2, 3]),
        past: vec![PastSwitches {
            until: Positions(vec![5, 0, 9]),
            has_url: true,
            commands: vec!["Group.CallbackBeforeSendMsg".into()],
            room_prefix: "old-".into(),
        }],
    };
    assert_eq!(Endpoint::decode(&endpoint.encode()).unwrap(), endpoint);
    assert!(!format!("{endpoint:?}").contains("secret\""), "secrets stay out of logs");
}

#[test]
fn messages_tell_the_type_of_their_room_and_live_rooms_cost_nothing() {
    let sent = |room_type: &str| {
        let mut world = crate::world::World::new();
        let mut create = crate::world::create("ann", 1);
        if let roomhook_room::Command::Create(create) = &mut create {
            create.info.room_type = room_type.into();
        }
        world.run(create).unwrap();
        world.run(roomhook_room::Command::Send(draft("bob", 7, "[]"))).unwrap();
        let record = encode_record(&world.past[1..]);
        let [Event::MessageSent(message)] = &decode_record(&record).unwrap()[..] else { panic!("one message") };
        (message.room_type().to_owned(), record.len())
    };
    let (live, live_len) = sent("Live");
    let (chat, chat_len) = sent("AVChatRoom");
    assert_eq!((live.as_str(), chat.as_str()), ("Live", "AVChatRoom"));
    assert_eq!(chat_len, live_len + "AVChatRoom".len() + 3);
}
