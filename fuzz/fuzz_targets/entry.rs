#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/log/tests/it/entry.rs"]
mod entry;

fuzz_target!(|data: &[u8]| entry::append(data));
