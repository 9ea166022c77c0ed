#![no_main]

use libfuzzer_sys::fuzz_target;
use roomhook_centrifuge::Format;

#[path = "../../lib/centrifuge/tests/it/entry.rs"]
mod entry;

fuzz_target!(|data: &[u8]| entry::frame(Format::Protobuf, data));
