#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/room/tests/it/entry.rs"]
mod entry;

fuzz_target!(|data: &[u8]| entry::stored(data));
