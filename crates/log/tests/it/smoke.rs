//! The fuzz target's entry point over its corpus, on any toolchain.

#[path = "../../../../fuzz/corpus.rs"]
mod corpus;

#[test]
fn entries() {
    corpus::run(env!("CARGO_MANIFEST_DIR"), "entry", crate::entry::append);
}
