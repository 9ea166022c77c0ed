#![no_main]

use libfuzzer_sys::fuzz_target;
use ws::{Decoder, Incoming, Limits};

// The decoder is private to its crate, so its module is included as it is.
#[expect(dead_code, unused_imports, reason = "only the decoder is run")]
#[path = "../../crates/edge/src/realtime/ws/mod.rs"]
mod ws;

#[path = "../../crates/edge/src/realtime/ws/entry.rs"]
mod entry;

fuzz_target!(|data: &[u8]| entry::decode(data));
