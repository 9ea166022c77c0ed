//! The fuzz target's entry point over its corpus, on any toolchain.

#[path = "../../../../fuzz/smoke.rs"]
mod smoke;

#[test]
fn bodies_of_calls() {
    smoke::run(env!("CARGO_MANIFEST_DIR"), "rest", crate::entry::body);
}
