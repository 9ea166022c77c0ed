//! The fuzz targets' entry points over their corpora, on any toolchain.

use roomhook_centrifuge::Format;

use crate::entry;

#[path = "../../../../fuzz/corpus.rs"]
mod corpus;

#[test]
fn json_frames() {
    corpus::run(env!("CARGO_MANIFEST_DIR"), "json", |data| entry::frame(Format::Json, data));
}

#[test]
fn protobuf_frames() {
    corpus::run(env!("CARGO_MANIFEST_DIR"), "protobuf", |data| entry::frame(Format::Protobuf, data));
}
