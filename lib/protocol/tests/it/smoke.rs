//! The fuzz target's entry point over its corpus, on any toolchain.

#[path = "../../../../fuzz/corpus.rs"]
mod corpus;

#[test]
fn bodies_of_calls() {
    corpus::run(env!("CARGO_MANIFEST_DIR"), "rest", crate::entry::body);
}
