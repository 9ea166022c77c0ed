//! Shards and directory on the memory log: what callers are told, what the log has, what a restart finds.

mod bounds;
mod chaos;
mod directory;
mod doubt;
mod failures;
mod history;
mod reigns;
mod restarts;
mod sending;
mod sulking;
mod world;
