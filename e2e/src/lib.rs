//! The real binary with real peers. This crate is the harness; the stories are in `tests/it`.
//!
//! Everything here runs in processes of its own, talks over loopback and keeps its files in a temporary folder. Nothing of the
//! server is linked in: what a test learns, it learns as an app backend or an operator would. (But for the store, which some tests cut
//! the power of alone: `tests/it/power_cuts`.)

pub mod backend;
pub mod binary;
mod borrowed;
mod browser;
pub mod faulty_disk;
pub mod forgetful_disk;
pub mod mirror;
mod namespace;
pub mod peers;
pub mod receiver;
pub mod rest;
pub mod sdk;
pub mod server;
pub mod small_disk;
pub mod tls;

/// The app of every test.
pub const SDKAPPID: u32 = 1_400_000_001;
/// Its secret key.
pub const KEY: &str = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e";
/// Its admin account.
pub const ADMIN: &str = "administrator";
