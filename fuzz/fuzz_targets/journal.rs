#![no_main]

use libfuzzer_sys::fuzz_target;

// The journal is private to its crate, so what reads it is included as it is.
#[expect(dead_code, reason = "only reading is run")]
#[path = "../../crates/log-disk/src/durable.rs"]
mod durable;

#[expect(dead_code, reason = "only reading is run")]
#[path = "../../crates/log-disk/src/journal"]
mod journal {
    pub mod error;
    pub mod frame;
    pub mod oldest;
    pub mod scan;
    pub mod segment;
    pub mod window;

    pub mod entry;
}

fuzz_target!(|data: &[u8]| journal::entry::damage(data));
