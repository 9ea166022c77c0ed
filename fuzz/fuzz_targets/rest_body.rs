#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../lib/protocol/tests/it/entry.rs"]
mod entry;

fuzz_target!(|data: &[u8]| entry::body(data));
