//! Faults a test asks for.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::watch;

/// How an append fails: one for each [`crate::AppendError`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Another node claims the log just before the append.
    Fenced,
    /// The outcome is not told. The first `durable` records are in the log; the rows too if these are all.
    /// The claim is of no use afterwards.
    Ambiguous { durable: usize },
    /// Nothing is written; the next append works.
    Full,
    /// Nothing is written, and nothing will be until a restart.
    Poisoned,
    /// Nothing is written.
    Refused,
    /// Nothing is written.
    Closed,
}

/// What stands between an append and the store.
#[derive(Debug, Default)]
pub(super) struct Gate {
    faults: Mutex<VecDeque<Fault>>,
    turnstile: Arc<Turnstile>,
}

#[derive(Debug, Default)]
struct Turnstile {
    holds: watch::Sender<usize>,
    waiting: watch::Sender<usize>,
}

impl Gate {
    pub(super) fn push(&self, fault: Fault) {
        self.faults.lock().push_back(fault);
    }

    pub(super) fn pop(&self) -> Option<Fault> {
        self.faults.lock().pop_front()
    }

    pub(super) fn hold(&self) -> Hold {
        self.turnstile.holds.send_modify(|holds| *holds += 1);
        Hold { turnstile: Arc::clone(&self.turnstile) }
    }

    /// Waits while held. A dropped wait has written nothing.
    pub(super) async fn pass(&self) {
        let mut holds = self.turnstile.holds.subscribe();
        if *holds.borrow() == 0 {
            return;
        }
        let _waiting = Waiting::new(&self.turnstile.waiting);
        // The sender lives in `self`, so waiting cannot fail.
        let _ = holds.wait_for(|holds| *holds == 0).await;
    }
}

struct Waiting<'a>(&'a watch::Sender<usize>);

impl<'a> Waiting<'a> {
    fn new(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|waiting| *waiting += 1);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|waiting| *waiting -= 1);
    }
}

/// Appends of one log wait while this lives.
#[derive(Debug)]
#[must_use = "dropping a hold releases the appends"]
pub struct Hold {
    turnstile: Arc<Turnstile>,
}

impl Hold {
    /// Waits until at least one append stands before the hold. Cancel safe.
    pub async fn reached(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.turnstile.waiting.subscribe().wait_for(|waiting| *waiting > 0).await;
    }

    /// Lets the appends go on, as dropping does.
    pub fn release(self) {}
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.turnstile.holds.send_modify(|holds| *holds -= 1);
    }
}
