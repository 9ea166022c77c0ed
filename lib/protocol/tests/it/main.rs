//! The crate against the fixtures of the protocol notes (`tests/fixtures`) and against inputs nobody would send honestly.

mod codes_page;
mod entry;
mod message;
mod rest;
mod signatures;
mod smoke;
mod usersig;
mod webhook_events;
mod webhook_sending;

use std::path::PathBuf;

/// The bytes of a fixture.
fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of all fixtures that begin and end like this.
fn fixtures(prefix: &str, suffix: &str) -> Vec<String> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with(prefix) && name.ends_with(suffix)).collect();
    names.sort();
    names
}

fn value(json: &[u8]) -> serde_json::Value {
    serde_json::from_slice(json).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(json)))
}
