//! What waits for one socket: bounded in bytes, written from wherever there is something to say.
//!
//! A plain TCP socket is written to directly by the lane (or the connection's task) while nothing waits: no wake-up, no
//! copy, no queue. What the socket does not take is queued and written by the connection's task when the socket is
//! ready; then everything that waits goes out in one vectored write. A TLS socket is always written by its task.

use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use tokio::{net::TcpStream, sync::Notify};

use super::{telemetry::OutboxMetrics, ws};

/// Slices of one vectored write.
const SLICES_MAX: usize = 64;

/// How a frame relates to those that wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A reply or a numbered message: queued until it is sent, or the connection is slow.
    Owed,
    /// May be lost, and is, when the socket is behind.
    Whisper,
    /// Ahead of what waits: pings must be on time even on a busy socket.
    Urgent,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Written,
    Queued,
    /// A whisper to a socket that is behind.
    Dropped,
    /// The queue is over its limit: the connection was told to close with 3008.
    Slow,
    /// The connection is closing already.
    Closed,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) queue_bytes_max: usize,
}

#[derive(Debug)]
pub(crate) struct Outbox {
    /// A plain socket; shared with the connection's task, which reads from it.
    socket: Option<TcpStream>,
    queue: Mutex<Queue>,
    wake: Notify,
    limits: Limits,
    metrics: OutboxMetrics,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Bytes>,
    /// A part of the first frame is on the wire: nothing may come before its rest.
    torn: bool,
    bytes: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// A close frame is the last in the queue.
    Closing(u16),
    /// Nothing more can be written.
    Dead,
}

impl Outbox {
    pub(crate) fn new(socket: Option<TcpStream>, limits: Limits, metrics: OutboxMetrics) -> Self {
        Self { socket, queue: Mutex::new(Queue::default()), wake: Notify::new(), limits, metrics }
    }

    /// The socket, when it is a plain one.
    pub(crate) fn socket(&self) -> Option<&TcpStream> {
        self.socket.as_ref()
    }

    /// Sends a whole WebSocket frame, or several. Never waits.
    pub(crate) fn send(&self, frame: &Bytes, kind: Kind) -> Fate {
        let mut queue = self.queue.lock();
        if queue.state != State::Open {
            return Fate::Closed;
        }
        let mut rest = 0..frame.len();
        if queue.frames.is_empty()
            && let Some(socket) = &self.socket
        {
            // An error here is one that the task will see, too, when it reads or writes; it knows what to do.
            rest.start = socket.try_write(frame).unwrap_or(0);
            if rest.is_empty() {
                return Fate::Written;
            }
        }
        if kind == Kind::Whisper && rest.start == 0 && queue.bytes > self.limits.queue_bytes_max / 4 {
            return Fate::Dropped;
        }
        if queue.bytes + rest.len() > self.limits.queue_bytes_max {
            if rest.start > 0 {
                queue.torn = true;
                self.push(&mut queue, frame.slice(rest), Kind::Owed);
            }
            self.close_slow(&mut queue);
            return Fate::Slow;
        }
        queue.torn |= rest.start > 0;
        self.push(&mut queue, frame.slice(rest), kind);
        drop(queue);
        self.wake.notify_one();
        Fate::Queued
    }

    fn push(&self, queue: &mut Queue, frame: Bytes, kind: Kind) {
        queue.bytes += frame.len();
        self.metrics.queued(frame.len());
        match kind {
            Kind::Urgent => {
                let ahead = usize::from(queue.torn).min(queue.frames.len());
                queue.frames.insert(ahead, frame);
            }
            Kind::Owed | Kind::Whisper => queue.frames.push_back(frame),
        }
    }

    /// Ends the connection after what waits was sent. The first close wins.
    pub(crate) fn close(&self, code: u16, reason: &str) {
        let mut queue = self.queue.lock();
        if queue.state == State::Open {
            self.push(&mut queue, ws::close_frame(code, reason), Kind::Owed);
            queue.state = State::Closing(code);
            drop(queue);
            self.wake.notify_one();
        }
    }

    /// Ends the connection after what waits. A client that was held up for a moment gets all of it, so that it missed
    /// no more than it can recover; one that does not read any more is cut by its task, and the queue with it.
    fn close_slow(&self, queue: &mut Queue) {
        let why = roomhook_centrifuge::codes::disconnect::SLOW;
        self.push(queue, ws::close_frame(why.code, why.reason), Kind::Owed);
        queue.state = State::Closing(why.code);
        self.wake.notify_one();
    }

    /// The close code, once the connection is to end.
    pub(crate) fn closing(&self) -> Option<u16> {
        match self.queue.lock().state {
            State::Closing(code) => Some(code),
            State::Open | State::Dead => None,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.lock().frames.is_empty()
    }

    /// Resolves when something was queued or the connection is to close. Cancel safe; may resolve for no reason.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Makes [`Outbox::woken`] resolve.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Writes what waits to the plain socket as far as it takes it. `Ok(true)`: nothing waits any more.
    pub(crate) fn flush(&self) -> std::io::Result<bool> {
        let Some(socket) = &self.socket else { return Ok(true) };
        loop {
            let mut queue = self.queue.lock();
            if queue.frames.is_empty() {
                return Ok(true);
            }
            let slices: Vec<IoSlice<'_>> =
                queue.frames.iter().take(SLICES_MAX).map(|frame| IoSlice::new(frame)).collect();
            match socket.try_write_vectored(&slices) {
                Ok(written) => {
                    drop(slices);
                    self.consume_locked(&mut queue, written);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// The frames that wait, for a socket that is written by its task: see [`Outbox::consume`].
    pub(crate) fn front(&self) -> Vec<Bytes> {
        self.queue.lock().frames.iter().take(SLICES_MAX).cloned().collect()
    }

    /// So many bytes of [`Outbox::front`] were written.
    pub(crate) fn consume(&self, written: usize) {
        self.consume_locked(&mut self.queue.lock(), written);
    }

    fn consume_locked(&self, queue: &mut Queue, mut written: usize) {
        queue.bytes -= written.min(queue.bytes);
        self.metrics.unqueued(written);
        while written > 0
            && let Some(first) = queue.frames.front_mut()
        {
            if written < first.len() {
                first.advance(written);
                queue.torn = true;
                return;
            }
            written -= first.len();
            queue.frames.pop_front();
            queue.torn = false;
        }
        if queue.frames.is_empty() {
            // An idle connection holds no buffer, however busy it once was.
            queue.frames = VecDeque::new();
        }
    }

    /// Nothing will be written any more.
    pub(crate) fn kill(&self) {
        let mut queue = self.queue.lock();
        self.metrics.unqueued(queue.bytes);
        *queue = Queue { state: State::Dead, ..Queue::default() };
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.metrics.unqueued(self.queue.get_mut().bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { queue_bytes_max: 1000 };

    /// An outbox as of a TLS socket: everything is queued.
    fn outbox() -> Outbox {
        Outbox::new(None, LIMITS, OutboxMetrics::default())
    }

    fn waiting(outbox: &Outbox) -> Vec<u8> {
        outbox.front().concat()
    }

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn frames_keep_their_order_and_pings_go_ahead() {
        let outbox = outbox();
        outbox.send(&bytes("one,"), Kind::Owed);
        outbox.send(&bytes("two,"), Kind::Owed);
        outbox.send(&bytes("ping,"), Kind::Urgent);
        assert_eq!(waiting(&outbox), b"ping,one,two,");
    }

    #[test]
    fn nothing_comes_between_the_parts_of_a_torn_frame() {
        let outbox = outbox();
        outbox.send(&bytes("one,"), Kind::Owed);
        outbox.send(&bytes("two,"), Kind::Owed);
        outbox.consume(2);
        outbox.send(&bytes("ping,"), Kind::Urgent);
        assert_eq!(waiting(&outbox), b"e,ping,two,");
        outbox.consume(7);
        assert_eq!(waiting(&outbox), b"two,");
        outbox.consume(4);
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_slow_socket_loses_whispers_first_and_is_closed_with_3008_at_the_limit() {
        let outbox = outbox();
        let big = Bytes::from(vec![b'x'; 300]);
        assert_eq!(outbox.send(&big, Kind::Owed), Fate::Queued);
        assert_eq!(outbox.send(&bytes("typing"), Kind::Whisper), Fate::Dropped);
        outbox.consume(1);
        assert_eq!(outbox.send(&big, Kind::Owed), Fate::Queued);
        assert_eq!(outbox.send(&big, Kind::Owed), Fate::Queued);
        assert_eq!(outbox.send(&big, Kind::Owed), Fate::Slow);
        assert_eq!(outbox.closing(), Some(3008));
        assert_eq!(outbox.send(&bytes("late"), Kind::Owed), Fate::Closed);
        let rest = waiting(&outbox);
        assert_eq!(rest.len(), 299 + 600 + 8, "what waited, then the close frame");
        assert!(rest.ends_with(b"slow"));
    }

    #[test]
    fn an_orderly_close_comes_after_what_waits() {
        let outbox = outbox();
        outbox.send(&bytes("error reply,"), Kind::Owed);
        outbox.close(3500, "invalid token");
        outbox.close(3001, "shutdown");
        assert_eq!(waiting(&outbox), b"error reply,\x88\x0f\x0d\xacinvalid token");
        assert_eq!(outbox.closing(), Some(3500));
    }

    #[test]
    fn the_gauge_of_waiting_bytes_returns_to_zero() {
        let metrics = OutboxMetrics::default();
        let outbox = Outbox::new(None, LIMITS, metrics.clone());
        outbox.send(&bytes("0123456789"), Kind::Owed);
        outbox.consume(4);
        assert_eq!(metrics.waiting_bytes.get(), 6);
        drop(outbox);
        assert_eq!(metrics.waiting_bytes.get(), 0);
    }
}
