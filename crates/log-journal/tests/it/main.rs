//! The embedded log keeps the contract, survives being killed, and refuses to start on damage.

mod contract;
mod crash;
mod damage;
mod operation;
mod retention;
mod store;
