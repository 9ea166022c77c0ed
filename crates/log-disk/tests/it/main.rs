//! The embedded log keeps the contract, survives being killed, and refuses to start on damage.

mod backups;
mod contract;
mod crash;
mod damage;
mod first_start;
mod losses;
mod old_mirror;
mod operation;
mod rehearsal;
mod retention;
mod store;
