#![no_main]

use libfuzzer_sys::fuzz_target;

// What is made of an answer takes most of its crate, which shows the entry point to fuzzers alone.
fuzz_target!(|data: &[u8]| roomhook_hooks::http::entry::answers(data));
