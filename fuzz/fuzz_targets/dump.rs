#![no_main]

use libfuzzer_sys::fuzz_target;

// What reads a dump is private to its crate, so it is included as it is.
#[expect(dead_code, reason = "only reading is run")]
#[path = "../../crates/mirror/src/stand.rs"]
mod stand;

#[expect(dead_code, reason = "only reading is run")]
#[path = "../../crates/mirror/src/dump"]
mod dump {
    pub mod format;

    pub mod entry;
}

fuzz_target!(|data: &[u8]| dump::entry::dump(data));
