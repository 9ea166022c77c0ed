//! A queue whose reader is in no hurry: it takes what has gathered for a while, and is woken for that once, not for every piece.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

/// How much a piece of work can wait for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Haste {
    /// Up to the reader's patience.
    None,
    /// Somebody waits for it.
    Now,
}

/// Both ends of the queue. Cheap to clone.
#[derive(Debug)]
pub(crate) struct Line<T>(Arc<Shared<T>>);

impl<T> Clone for Line<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    woken: Condvar,
}

#[derive(Debug)]
struct State<T> {
    waiting: Vec<T>,
    is_urgent: bool,
    since: Option<Instant>,
    is_closed: bool,
}

impl<T> Line<T> {
    pub(crate) fn new() -> Self {
        let state = State { waiting: Vec::new(), is_urgent: false, since: None, is_closed: false };
        Self(Arc::new(Shared { state: Mutex::new(state), woken: Condvar::new() }))
    }

    /// Waits for nothing: whoever sends sees to it that there is an end to what can wait. Dropped when the reader is gone.
    pub(crate) fn send(&self, work: T, haste: Haste) {
        let mut state = self.0.state.lock();
        if state.is_closed {
            return;
        }
        let was_asleep = state.waiting.is_empty();
        state.waiting.push(work);
        state.since.get_or_insert_with(Instant::now);
        let hurries = haste == Haste::Now && !state.is_urgent;
        state.is_urgent |= hurries;
        drop(state);
        if was_asleep || hurries {
            self.0.woken.notify_one();
        }
    }

    /// The reader goes away: what waits, and what comes, is dropped.
    pub(crate) fn close(&self) {
        let mut state = self.0.state.lock();
        state.is_closed = true;
        let left = std::mem::take(&mut state.waiting);
        drop(state);
        drop(left);
    }

    /// All that came in `patience` after the first of it, or until somebody hurries; nothing when nothing came for `idle`.
    pub(crate) fn take(&self, patience: Duration, idle: Duration) -> Vec<T> {
        let mut state = self.0.state.lock();
        let idle_ends = Instant::now() + idle;
        while state.waiting.is_empty() {
            if self.0.woken.wait_until(&mut state, idle_ends).timed_out() && state.waiting.is_empty() {
                return Vec::new();
            }
        }
        let due = state.since.unwrap_or_else(Instant::now) + patience;
        while !state.is_urgent && !self.0.woken.wait_until(&mut state, due).timed_out() {}
        (state.is_urgent, state.since) = (false, None);
        std::mem::take(&mut state.waiting)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    #[test]
    fn what_gathered_is_taken_at_once_when_somebody_hurries() {
        let line = Line::new();
        let reader = thread::spawn({
            let line = line.clone();
            move || line.take(LONG, LONG)
        });
        line.send(1, Haste::None);
        line.send(2, Haste::None);
        line.send(3, Haste::Now);
        assert_eq!(reader.join().expect("the reader"), [1, 2, 3]);
    }

    #[test]
    fn patience_ends_and_so_does_waiting_for_nothing() {
        let line = Line::new();
        assert_eq!(line.take(LONG, Duration::ZERO), Vec::<u8>::new());
        line.send(1, Haste::None);
        assert_eq!(line.take(Duration::from_millis(1), LONG), [1]);
    }

    #[test]
    fn when_the_reader_is_gone_nothing_is_kept() {
        let (line, piece) = (Line::new(), Arc::new(()));
        line.send(Arc::clone(&piece), Haste::None);
        line.close();
        line.send(Arc::clone(&piece), Haste::Now);
        assert_eq!(Arc::strong_count(&piece), 1);
    }

    #[test]
    fn nothing_is_lost_or_out_of_order_between_many_hands() {
        let line = Line::new();
        let writers: Vec<_> = (0..4_u32)
            .map(|writer| {
                let line = line.clone();
                thread::spawn(move || {
                    for number in 0..5_000_u32 {
                        line.send((writer, number), if number % 97 == 0 { Haste::Now } else { Haste::None });
                    }
                })
            })
            .collect();
        let mut next = [0; 4];
        while next != [5_000; 4] {
            for (writer, number) in line.take(Duration::from_millis(1), LONG) {
                let expected = &mut next[writer as usize];
                assert_eq!(number, *expected);
                *expected += 1;
            }
        }
        writers.into_iter().for_each(|writer| writer.join().expect("a writer"));
    }
}
