#![no_main]

use libfuzzer_sys::fuzz_target;
use proxy::{ProxyError, read};

// The reader is private to its crate, so its module is included as it is.
#[path = "../../crates/edge/src/listener/proxy.rs"]
mod proxy;

#[path = "../../crates/edge/src/listener/proxy/entry.rs"]
mod entry;

fuzz_target!(|data: &[u8]| entry::header(data));
