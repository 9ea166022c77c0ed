//! What is sent to many, built once per format: whole WebSocket frames, shared by all receivers.

use std::ops::Range;

use bytes::Bytes;
use roomhook_centrifuge::{Format, Publication, Reply};
use roomhook_room::Message;

use super::ws::{self, Opcode};

/// The WebSocket opcode of a format's messages.
pub(crate) const fn opcode(format: Format) -> Opcode {
    match format {
        Format::Json => Opcode::Text,
        Format::Protobuf => Opcode::Binary,
    }
}

/// A frame with the empty message.
pub(crate) fn ping(format: Format) -> Bytes {
    ws::frame(opcode(format), format.ping())
}

/// A frame, or several, in both formats.
#[derive(Clone, Debug)]
pub(crate) struct Frames {
    json: Bytes,
    protobuf: Bytes,
}

impl Frames {
    pub(crate) fn of(reply: &Reply) -> Self {
        let frame = |format: Format| ws::frame_of(opcode(format), |out| format.write_reply(out, reply)).0;
        Self { json: frame(Format::Json), protobuf: frame(Format::Protobuf) }
    }

    pub(crate) fn get(&self, format: Format) -> &Bytes {
        match format {
            Format::Json => &self.json,
            Format::Protobuf => &self.protobuf,
        }
    }

    /// All frames of these messages, one after the other, so that a receiver costs one write.
    pub(crate) fn joined(messages: &[std::sync::Arc<Encoded>]) -> Self {
        if let [one] = messages {
            return Self { json: one.json.frame.clone(), protobuf: one.protobuf.frame.clone() };
        }
        let join = |format: Format| -> Bytes {
            let mut out = Vec::with_capacity(messages.iter().map(|message| message.shared(format).frame.len()).sum());
            messages.iter().for_each(|message| out.extend_from_slice(&message.shared(format).frame));
            out.into()
        };
        Self { json: join(Format::Json), protobuf: join(Format::Protobuf) }
    }
}

/// A room's message as its members get it, and as those that come back get it inside a reply.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) seq: u64,
    json: Shared,
    protobuf: Shared,
}

#[derive(Debug)]
struct Shared {
    frame: Bytes,
    /// Where in the frame the publication itself lies.
    element: Range<usize>,
}

impl Encoded {
    pub(crate) fn new(channel: &str, message: &Message) -> Self {
        let data = message_json(message);
        let publication = Publication { data, offset: message.seq.0, ..Publication::default() };
        let shared = |format: Format| {
            let mut element = 0..0;
            let mut payload_at = 0;
            let (frame, start) = ws::frame_of(opcode(format), |out| {
                payload_at = out.len();
                element = format.write_publication_push(out, channel, &publication);
            });
            let place = |at: usize| at - payload_at + start;
            Shared { frame, element: place(element.start)..place(element.end) }
        };
        Self { seq: message.seq.0, json: shared(Format::Json), protobuf: shared(Format::Protobuf) }
    }

    fn shared(&self, format: Format) -> &Shared {
        match format {
            Format::Json => &self.json,
            Format::Protobuf => &self.protobuf,
        }
    }

    /// The publication alone.
    pub(crate) fn element(&self, format: Format) -> &[u8] {
        let Shared { frame, element } = self.shared(format);
        frame.get(element.clone()).unwrap_or_default()
    }

    /// What keeping it costs.
    pub(crate) fn size(&self) -> usize {
        self.json.frame.len() + self.protobuf.frame.len() + size_of::<Self>()
    }
}

/// A message's publication data, in the names of the webhook. `MsgBody` and `CloudCustomData` are JSON already.
fn message_json(message: &Message) -> Bytes {
    let draft = &message.draft;
    let mut out = Vec::with_capacity(draft.body.len() + draft.custom_data.len() + 224);
    let head = format!(
        r#"{{"Event":"Message","MsgId":"{}","MsgSeq":{},"MsgTime":{},"From_Account":"#,
        draft.msg_id,
        message.seq,
        message.at.secs()
    );
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(&roomhook_protocol::message::string_literal(draft.from.as_str()));
    out.extend_from_slice(format!(r#","Random":{},"MsgBody":"#, draft.random).as_bytes());
    out.extend_from_slice(&draft.body);
    out.extend_from_slice(b",\"CloudCustomData\":");
    out.extend_from_slice(if draft.custom_data.is_empty() { b"\"\"" } else { &draft.custom_data });
    out.push(b'}');
    out.into()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use roomhook_centrifuge::{PushBody, Replies, ReplyBody, SubscribeResult};
    use roomhook_room::{Draft, MsgId, MsgSeq, Origin, Platform, Priority, UnixMillis, UserId};

    use super::*;

    pub(crate) fn message(seq: u64, text: &str) -> Message {
        let from = UserId::new("ann \"x\"").unwrap();
        let draft = Draft {
            operator: from.clone(),
            from,
            origin: Origin { platform: Platform::Web, client_ip: IpAddr::V4(Ipv4Addr::LOCALHOST) },
            random: 7,
            dedup: true,
            msg_id: MsgId { account: 144_115_188_075_855_873, secs: 1_767_225_600, random: 7 },
            priority: Priority::Normal,
            body: roomhook_protocol::message::text_body(text),
            custom_data: Bytes::from_static(b"\"\""),
            forbid_after_hook: false,
        };
        Message { seq: MsgSeq(seq), at: UnixMillis(1_767_225_600_123), room_type: String::new(), draft }
    }

    fn payload(frame: &Bytes) -> Bytes {
        let header = match frame[1] {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        frame.slice(header..)
    }

    #[test]
    fn a_message_reads_as_the_contract_says() {
        let encoded = Encoded::new("room:1", &message(11, "hi"));
        let json = payload(&encoded.json.frame);
        let expected = concat!(
            r#"{"push":{"channel":"room:1","pub":{"data":{"Event":"Message","MsgId":"144115188075855873-1767225600-7","#,
            r#""MsgSeq":11,"MsgTime":1767225600,"From_Account":"ann \"x\"","Random":7,"MsgBody":[{"MsgType":"TIMTextElem","#,
            r#""MsgContent":{"Text":"hi"}}],"CloudCustomData":""},"offset":11}}}"#
        );
        assert_eq!(json, expected);
    }

    #[test]
    fn both_formats_say_the_same_and_elements_are_publications() {
        let encoded = Encoded::new("room:1", &message(11, &"hi ".repeat(100)));
        let read = |format: Format, payload: Bytes| {
            Replies::new(format, payload, 1 << 20).unwrap().map(Result::unwrap).collect::<Vec<_>>()
        };
        let json = read(Format::Json, payload(&encoded.json.frame));
        assert_eq!(json, read(Format::Protobuf, payload(&encoded.protobuf.frame)));
        let Some(ReplyBody::Push(push)) = &json[0].body else { panic!("not a push") };
        let Some(PushBody::Pub(publication)) = &push.body else { panic!("not a publication") };
        for format in [Format::Json, Format::Protobuf] {
            let mut out = Vec::new();
            let elements = [encoded.element(format)];
            format.write_subscribe_reply(&mut out, 1, &SubscribeResult::default(), elements.into_iter());
            let Some(ReplyBody::Subscribe(result)) = read(format, out.into())[0].body.clone() else { panic!() };
            assert_eq!(result.publications, std::slice::from_ref(publication));
        }
    }
}
