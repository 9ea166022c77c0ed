//! The fuzz target's entry point over its corpus, on any toolchain.

#[path = "../../../../fuzz/smoke.rs"]
mod smoke;

#[test]
fn records() {
    smoke::run(env!("CARGO_MANIFEST_DIR"), "record", crate::entry::stored);
}
