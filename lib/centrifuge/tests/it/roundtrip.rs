//! decode ∘ encode = id, in both formats, so that the formats agree; and splicing is encoding.

use proptest::{collection, prelude::*};
use roomhook_centrifuge::{
    Command, Commands, EncodedPublication, Format, HistoryResult, Limits, PushBody, Replies, Reply, ReplyBody,
};

use crate::any;

const FORMATS: [Format; 2] = [Format::Json, Format::Protobuf];
const ROOMY: Limits =
    Limits { frame_bytes_max: 1 << 24, frame_commands_max: 64, channel_bytes_max: 1 << 20, depth_max: 64 };

fn frame<T>(format: Format, messages: &[T], write: impl Fn(&mut Vec<u8>, &T)) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(format.separator());
        }
        write(&mut out, message);
    }
    out
}

fn replies(format: Format, frame: Vec<u8>) -> Vec<Reply> {
    Replies::new(format, frame, 1 << 24).unwrap().map(Result::unwrap).collect()
}

proptest! {
    #[test]
    fn commands_read_back(commands in collection::vec(any::command(), 1..5)) {
        for format in FORMATS {
            let frame = frame(format, &commands, |out, command| format.write_command(out, command));
            let back: Vec<Command> = Commands::new(format, frame, &ROOMY).unwrap().map(Result::unwrap).collect();
            prop_assert_eq!(&back, &commands, "{:?}", format);
        }
    }

    #[test]
    fn replies_read_back(sent in collection::vec(any::reply(), 1..4)) {
        for format in FORMATS {
            let frame = frame(format, &sent, |out, reply| format.write_reply(out, reply));
            prop_assert_eq!(&replies(format, frame), &sent, "{:?}", format);
        }
    }

    #[test]
    fn a_publication_encoded_once_is_what_the_plain_encoder_writes(
        channel in "[a-z:\"]{0,12}",
        publication in any::publication(),
    ) {
        let encoded = EncodedPublication::new(&channel, &publication);
        for format in FORMATS {
            let mut plain = Vec::new();
            format.write_reply(&mut plain, &Reply::push(channel.clone(), PushBody::Pub(publication.clone())));
            prop_assert_eq!(encoded.push(format), &plain);
        }
    }

    #[test]
    fn elements_spliced_into_a_subscribe_reply_read_as_its_publications(
        id in any::<u32>(),
        result in any::subscribe_result(),
        missed in collection::vec(any::publication(), 0..4),
    ) {
        let encoded: Vec<_> = missed.iter().map(|publication| EncodedPublication::new("room:1", publication)).collect();
        let mut expected = result.clone();
        expected.publications = missed;
        for format in FORMATS {
            let mut out = Vec::new();
            format.write_subscribe_reply(&mut out, id, &result, encoded.iter().map(|one| one.element(format)));
            prop_assert_eq!(replies(format, out), [Reply::to(id, ReplyBody::Subscribe(expected.clone()))]);
        }
    }

    #[test]
    fn elements_spliced_into_a_history_reply_read_as_its_publications(
        id in any::<u32>(),
        publications in collection::vec(any::publication(), 0..4),
        offset in any::<u64>(),
    ) {
        let encoded: Vec<_> =
            publications.iter().map(|publication| EncodedPublication::new("room:1", publication)).collect();
        let expected = Reply::to(id, ReplyBody::History(HistoryResult { publications, epoch: "abcd".into(), offset }));
        for format in FORMATS {
            let mut out = Vec::new();
            format.write_history_reply(&mut out, id, "abcd", offset, encoded.iter().map(|one| one.element(format)));
            prop_assert_eq!(replies(format, out), [expected.clone()]);
        }
    }
}
