//! What the fuzz targets run, and the smoke test on a stable toolchain as well.

use roomhook_centrifuge::{Command, Commands, Format, Limits, Replies, Reply, raw};

/// Any bytes from a client or a server: no panic, bounded, and what was understood reads back as itself.
pub(crate) fn frame(format: Format, data: &[u8]) {
    let limits = Limits::default();
    if let Ok(commands) = Commands::new(format, data.to_vec(), &limits) {
        let commands: Vec<_> = commands.collect();
        assert!(commands.len() <= limits.frame_commands_max + 1);
        for command in commands.into_iter().flatten() {
            command_is_stable(format, &command);
        }
    }
    if let Ok(replies) = Replies::new(format, data.to_vec(), limits.frame_bytes_max) {
        for reply in replies.take_while(Result::is_ok).flatten() {
            reply_is_stable(format, &reply);
        }
    }
    let _ = raw::minify(&data.to_vec().into(), limits.depth_max).map(|json| {
        assert!(!json.contains(&b'\n'));
        assert_eq!(raw::minify(&json, limits.depth_max).as_ref(), Ok(&json));
    });
}

fn command_is_stable(format: Format, command: &Command) {
    let roomy = Limits { frame_bytes_max: usize::MAX, ..Limits::default() };
    let mut out = Vec::new();
    format.write_command(&mut out, command);
    let back: Vec<_> = Commands::new(format, out, &roomy).expect("not empty").collect();
    assert_eq!(back, [Ok(command.clone())]);
}

/// An error without a message gains one, so it is the second writing that must equal the first.
fn reply_is_stable(format: Format, reply: &Reply) {
    let mut first = Vec::new();
    format.write_reply(&mut first, reply);
    let back = Replies::new(format, first.clone(), usize::MAX).expect("not empty").next();
    let mut second = Vec::new();
    format.write_reply(&mut second, &back.expect("one reply").expect("own encoding"));
    assert_eq!(first, second);
}
