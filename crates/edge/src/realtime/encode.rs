//! What is sent to many, built once per format: whole WebSocket frames, shared by all receivers.

use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use roomhook_centrifuge::{ClientInfo, Format, Publication, Reply};
use roomhook_room::{Draft, Message};

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

/// How a connection wants its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) format: Format,
    /// permessage-deflate was agreed to: messages of at least so many bytes are compressed. The same number for all
    /// connections of a process, because compressed frames are shared.
    pub(crate) deflate_bytes_min: Option<usize>,
}

/// A frame, or several, in both formats.
#[derive(Clone, Debug)]
pub(crate) struct Frames {
    json: Face,
    protobuf: Face,
    /// What the frames are of, so that each message is compressed once however it is joined; empty for a single reply.
    messages: Vec<Arc<Encoded>>,
}

/// A frame as it is and, from when the first receiver needs it, compressed.
#[derive(Clone, Debug)]
struct Face {
    plain: Bytes,
    deflated: OnceLock<Bytes>,
}

impl Face {
    const fn new(plain: Bytes) -> Self {
        Self { plain, deflated: OnceLock::new() }
    }
}

impl Frames {
    pub(crate) fn of(reply: &Reply) -> Self {
        let frame = |format: Format| ws::frame_of(opcode(format), |out| format.write_reply(out, reply)).0;
        Self {
            json: Face::new(frame(Format::Json)),
            protobuf: Face::new(frame(Format::Protobuf)),
            messages: Vec::new(),
        }
    }

    /// What they keep in memory as they are, in bytes; both formats together.
    pub(crate) fn size(&self) -> usize {
        self.json.plain.len() + self.protobuf.plain.len()
    }

    pub(crate) fn get(&self, form: Form) -> &Bytes {
        let face = match form.format {
            Format::Json => &self.json,
            Format::Protobuf => &self.protobuf,
        };
        let Some(bytes_min) = form.deflate_bytes_min else { return &face.plain };
        face.deflated.get_or_init(|| match &self.messages[..] {
            [] => ws::deflated(&face.plain, opcode(form.format), bytes_min),
            [one] => one.deflated(form.format, bytes_min).clone(),
            several => {
                let mut out = Vec::new();
                several.iter().for_each(|one| out.extend_from_slice(one.deflated(form.format, bytes_min)));
                out.into()
            }
        })
    }

    /// All frames of these messages, one after the other, so that a receiver costs one write.
    pub(crate) fn joined(messages: &[Arc<Encoded>]) -> Self {
        let join = |format: Format| -> Bytes {
            if let [one] = messages {
                return one.shared(format).face.plain.clone();
            }
            let mut out =
                Vec::with_capacity(messages.iter().map(|message| message.shared(format).face.plain.len()).sum());
            messages.iter().for_each(|message| out.extend_from_slice(&message.shared(format).face.plain));
            out.into()
        };
        let messages = messages.to_vec();
        Self { json: Face::new(join(Format::Json)), protobuf: Face::new(join(Format::Protobuf)), messages }
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
    face: Face,
    /// Where in the frame the publication itself lies.
    element: Range<usize>,
}

impl Encoded {
    pub(crate) fn new(channel: &str, message: &Message) -> Self {
        let data = message_json(message);
        let info = Some(sender(&message.draft));
        let publication = Publication { data, info, offset: message.seq.0, ..Publication::default() };
        let shared = |format: Format| {
            let mut element = 0..0;
            let mut payload_at = 0;
            let (frame, start) = ws::frame_of(opcode(format), |out| {
                payload_at = out.len();
                element = format.write_publication_push(out, channel, &publication);
            });
            let place = |at: usize| at - payload_at + start;
            Shared { face: Face::new(frame), element: place(element.start)..place(element.end) }
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
        let Shared { face, element } = self.shared(format);
        face.plain.get(element.clone()).unwrap_or_default()
    }

    /// The frame compressed; by the first who asks, for all.
    fn deflated(&self, format: Format, bytes_min: usize) -> &Bytes {
        let face = &self.shared(format).face;
        face.deflated.get_or_init(|| ws::deflated(&face.plain, opcode(format), bytes_min))
    }

    /// What keeping it costs. Compressed frames are not in it, so that it never changes; each is smaller than its
    /// plain one.
    pub(crate) fn size(&self) -> usize {
        self.json.face.plain.len() + self.protobuf.face.plain.len() + size_of::<Self>()
    }
}

/// Whose message it is. What came by REST has no connection: an empty one is no client's own.
fn sender(draft: &Draft) -> ClientInfo {
    let client = draft.origin.client.map(|client| client.to_string()).unwrap_or_default();
    ClientInfo { user: draft.from.as_str().to_owned(), client, ..ClientInfo::default() }
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
    use roomhook_room::{ClientId, MsgId, MsgSeq, Origin, Platform, Priority, UnixMillis, UserId};

    use super::*;

    /// By REST.
    pub(crate) fn message(seq: u64, text: &str) -> Message {
        let from = UserId::new("ann \"x\"").unwrap();
        let draft = Draft {
            operator: from.clone(),
            from,
            origin: Origin { platform: Platform::Web, client_ip: IpAddr::V4(Ipv4Addr::LOCALHOST), client: None },
            random: 7,
            content: None,
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
        let json = payload(&encoded.json.face.plain);
        let expected = concat!(
            r#"{"push":{"channel":"room:1","pub":{"data":{"Event":"Message","MsgId":"144115188075855873-1767225600-7","#,
            r#""MsgSeq":11,"MsgTime":1767225600,"From_Account":"ann \"x\"","Random":7,"MsgBody":[{"MsgType":"TIMTextElem","#,
            r#""MsgContent":{"Text":"hi"}}],"CloudCustomData":""},"info":{"user":"ann \"x\"","client":""},"offset":11}}}"#
        );
        assert_eq!(json, expected);
    }

    #[test]
    fn a_publication_says_which_connection_it_came_over() {
        let mut message = message(11, "hi");
        message.draft.origin.client = Some(ClientId(0xc1));
        let json = payload(&Encoded::new("room:1", &message).json.face.plain);
        let json = std::str::from_utf8(&json).unwrap();
        let info = r#""info":{"user":"ann \"x\"","client":"000000000000000000000000000000c1"}"#;
        assert!(json.contains(info), "{json}");
    }

    #[test]
    fn both_formats_say_the_same_and_elements_are_publications() {
        let encoded = Encoded::new("room:1", &message(11, &"hi ".repeat(100)));
        let read = |format: Format, payload: Bytes| {
            Replies::new(format, payload, 1 << 20).unwrap().map(Result::unwrap).collect::<Vec<_>>()
        };
        let json = read(Format::Json, payload(&encoded.json.face.plain));
        assert_eq!(json, read(Format::Protobuf, payload(&encoded.protobuf.face.plain)));
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

    #[test]
    fn a_message_is_compressed_once_for_all_who_want_it_so() {
        let long = "hi ".repeat(100);
        let messages: Vec<_> = [1, 2].map(|seq| Arc::new(Encoded::new("room:1", &message(seq, &long)))).into();
        let form = Form { format: Format::Json, deflate_bytes_min: Some(128) };
        let plain = Form { deflate_bytes_min: None, ..form };
        assert!(messages[0].json.face.deflated.get().is_none(), "nobody needed it yet");
        // Two lanes, each with its own joined frames.
        let lanes = [Frames::joined(&messages[..1]), Frames::joined(&messages[..1])];
        assert_eq!(lanes[0].get(form).as_ptr(), lanes[1].get(form).as_ptr(), "the very same bytes");
        assert!(lanes[0].get(form).len() < lanes[0].get(plain).len());
        assert!(messages[0].protobuf.face.deflated.get().is_none());
        let both = Frames::joined(&messages);
        let one_by_one = [messages[0].deflated(Format::Json, 128), messages[1].deflated(Format::Json, 128)];
        assert_eq!(both.get(form)[..], [&one_by_one[0][..], &one_by_one[1][..]].concat());
        assert_eq!(messages[0].deflated(Format::Json, 128).as_ptr(), lanes[0].get(form).as_ptr());
    }
}
