//! Bytes that nobody should send.

use proptest::prelude::*;
use roomhook_centrifuge::{Command, Commands, Format, FrameError, Limits, Request, UnsubscribeRequest};

use crate::entry;

fn read(format: Format, frame: impl Into<Vec<u8>>) -> Vec<Result<u32, FrameError>> {
    match Commands::new(format, frame.into(), &Limits::default()) {
        Ok(commands) => commands.map(|command| command.map(|command| command.id)).collect(),
        Err(error) => vec![Err(error)],
    }
}

#[test]
fn an_empty_frame_is_an_error() {
    assert_eq!(read(Format::Json, ""), [Err(FrameError::Empty)]);
    assert_eq!(read(Format::Json, "\n \r\n"), [Err(FrameError::Empty)]);
    assert_eq!(read(Format::Protobuf, ""), [Err(FrameError::Empty)]);
}

#[test]
fn a_frame_over_the_limit_is_not_looked_at() {
    let frame = vec![b' '; 70_000];
    assert_eq!(read(Format::Json, frame.clone()), [Err(FrameError::TooLarge { len: 70_000, max: 65_536 })]);
    assert_eq!(read(Format::Protobuf, frame), [Err(FrameError::TooLarge { len: 70_000, max: 65_536 })]);
}

#[test]
fn commands_before_a_broken_one_are_read_and_none_after_it() {
    let frame = "{\"id\":1,\"publish\":{}}\n{\"id\":2,\n{\"id\":3,\"publish\":{}}";
    assert_eq!(read(Format::Json, frame), [Ok(1), Err(FrameError::Json { column: 8 })]);
    assert_eq!(read(Format::Protobuf, [0x04, 0x08, 0x03, 0x3a, 0x00, 0x09, 0x08]), [Ok(3), Err(FrameError::Protobuf)]);
}

#[test]
fn a_flood_of_pongs_in_one_frame_ends_at_the_limit() {
    let flood = read(Format::Protobuf, vec![0; 60_000]);
    assert_eq!(flood.len(), 257);
    assert_eq!(flood.last(), Some(&Err(FrameError::TooManyCommands { max: 256 })));
}

#[test]
fn deep_nesting_is_refused_before_it_is_parsed() {
    let frame = format!("{{\"id\":1,\"rpc\":{{\"data\":{}1{}}}}}", "[".repeat(30_000), "]".repeat(30_000));
    assert_eq!(read(Format::Json, frame), [Err(FrameError::TooDeep { max: 64 })]);
    // A filter of filters, 200 deep: the innermost first, each wrapped as field 6 of the next.
    let mut node = Vec::new();
    for _ in 0..200 {
        let mut outer = vec![0x32];
        prost::encoding::encode_varint(node.len() as u64, &mut outer);
        outer.extend_from_slice(&node);
        node = outer;
    }
    let mut wrapped = node;
    for tag in [0x6a, 0x2a] {
        let mut outer = vec![tag];
        prost::encoding::encode_varint(wrapped.len() as u64, &mut outer);
        outer.extend_from_slice(&wrapped);
        wrapped = outer;
    }
    let mut frame = Vec::new();
    prost::encoding::encode_varint(wrapped.len() as u64, &mut frame);
    frame.extend_from_slice(&wrapped);
    assert_eq!(read(Format::Protobuf, frame), [Err(FrameError::Protobuf)]);
}

#[test]
fn a_channel_name_that_is_too_long_spoils_its_own_command_only() {
    let frame =
        format!("{{\"id\":7,\"subscribe\":{{\"channel\":\"{}\"}}}}\n{{\"id\":8,\"ping\":{{}}}}", "c".repeat(256));
    let read = read(Format::Json, frame);
    assert_eq!(read, [Err(FrameError::ChannelTooLong { id: 7, max: 255 }), Ok(8)]);
    assert_eq!(read[0].as_ref().unwrap_err().answerable(), Some(7));
}

#[test]
fn a_channel_of_any_name_can_be_left() {
    let channel = "c".repeat(256);
    let leave = Command::new(7, Request::Unsubscribe(UnsubscribeRequest { channel }));
    for format in [Format::Json, Format::Protobuf] {
        let mut frame = Vec::new();
        format.write_command(&mut frame, &leave);
        assert_eq!(read(format, frame), [Ok(7)]);
    }
}

#[test]
fn errors_and_debug_output_hold_no_token() {
    let frame = r#"{"id":1,"connect":{"token":"s3cret","data":"s3cret"}}"#;
    let command = Commands::new(Format::Json, frame, &Limits::default()).unwrap().next().unwrap().unwrap();
    let Some(Request::Connect(connect)) = &command.request else { panic!("not a connect") };
    assert_eq!(connect.token, "s3cret");
    assert!(!format!("{command:?}").contains("s3cret"));
    let broken = r#"{"id":"s3cret"}"#;
    let error = Commands::new(Format::Json, broken, &Limits::default()).unwrap().next().unwrap().unwrap_err();
    assert!(!error.to_string().contains("s3cret") && !format!("{error:?}").contains("s3cret"));
}

proptest! {
    #[test]
    fn no_bytes_panic(data in prop::collection::vec(any::<u8>(), 0..300)) {
        entry::frame(Format::Json, &data);
        entry::frame(Format::Protobuf, &data);
    }

    #[test]
    fn no_text_panics(text in "[\\[\\]{}:,\"\\\\a-z0-9 \n]{0,200}") {
        entry::frame(Format::Json, text.as_bytes());
    }
}
