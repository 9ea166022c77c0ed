//! The next segment, filled with zeros by a thread of its own, as far as it is told.

use std::{
    io,
    path::PathBuf,
    sync::mpsc::{self, Receiver, Sender},
    thread::{self, JoinHandle},
};

use super::segment::{Blank, Prepared};

/// A segment in the making.
pub(crate) struct Next {
    /// How far it should be filled; dropped when nothing more comes.
    goals: Option<Sender<u64>>,
    told: u64,
    bytes: u64,
    filling: Option<JoinHandle<io::Result<Blank>>>,
}

impl Next {
    /// It is going to have `bytes`.
    pub(crate) fn begin(folder: PathBuf, number: u32, bytes: u64) -> io::Result<Self> {
        let (goals, received) = mpsc::channel();
        let filling = thread::Builder::new()
            .name("journal-next".to_owned())
            .spawn(move || fill(Blank::create(&folder, number)?, &received))?;
        Ok(Self { goals: Some(goals), told: 0, bytes, filling: Some(filling) })
    }

    /// Has it filled up to `goal` bytes. Waits for nothing.
    pub(crate) fn reach(&mut self, goal: u64) {
        let goal = goal.min(self.bytes);
        if goal > self.told {
            self.told = goal;
            // If the thread is gone, the segment is made when it is needed.
            let _ = self.goals.as_ref().map(|goals| goals.send(goal));
        }
    }

    /// Waits until it has all its zeros.
    pub(crate) fn finish(mut self) -> io::Result<Prepared> {
        self.reach(self.bytes);
        self.blank()?.finish()
    }

    /// Removes it.
    pub(crate) fn discard(self) -> io::Result<()> {
        self.blank()?.discard()
    }

    fn blank(mut self) -> io::Result<Blank> {
        self.end().unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()))
    }

    fn end(&mut self) -> Option<io::Result<Blank>> {
        self.goals.take();
        let filled = self.filling.take()?.join();
        Some(filled.unwrap_or_else(|_| Err(io::Error::other("preparing a segment panicked"))))
    }
}

impl Drop for Next {
    /// Nobody is left behind who writes zeros into a file that the next writer of this journal takes for its own.
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn fill(mut blank: Blank, goals: &Receiver<u64>) -> io::Result<Blank> {
    while let Ok(mut goal) = goals.recv() {
        // Of several that wait, the last is the highest.
        while let Ok(higher) = goals.try_recv() {
            goal = higher;
        }
        while blank.bytes < goal {
            blank.grow(goal)?;
        }
    }
    Ok(blank)
}
