//! Sockets in rooms, read as cheaply as can be: frames are counted by their length, and only a sample is looked into.

use std::{
    cell::RefCell,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::{Buf as _, BytesMut};
use roomhook_centrifuge::Format;
use tokio::{net::TcpStream, sync::Notify, task::JoinSet};

use super::stats::Latencies;
use crate::cli::client::{ClientError, Frame, client_frame};

thread_local! {
    /// One buffer per thread instead of one per socket.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; 64 * 1024]);
}

/// Payloads up to this length are pings (`{}`, or a zero byte); no message is so short.
const PING_BYTES_MAX: usize = 2;

/// Before the microseconds in a message's text.
pub(super) const STAMP: &[u8] = b"\"Text\":\"";
/// Digits of the microseconds.
pub(super) const STAMP_DIGITS: usize = 16;

/// What the sockets of all rooms have received.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) base: Instant,
    rooms: Vec<HeardRoom>,
    /// Bytes of the newest message's frame.
    pub(super) frame_bytes: AtomicU64,
    pub(super) sockets_lost: AtomicU64,
    pub(super) first_loss: Mutex<Option<String>>,
    pub(super) measuring: AtomicBool,
    latencies: Mutex<Latencies>,
}

#[derive(Debug)]
struct HeardRoom {
    members: u64,
    deliveries: AtomicU64,
    /// Told whenever all members have one more.
    whole: Notify,
}

impl Heard {
    /// `sockets` spread over `rooms`, socket `n` in room `n % rooms`.
    pub(super) fn new(sockets: usize, rooms: usize) -> anyhow::Result<Self> {
        let members = |room| (sockets / rooms + usize::from(room < sockets % rooms)) as u64;
        let room = |room| HeardRoom { members: members(room), deliveries: AtomicU64::new(0), whole: Notify::new() };
        Ok(Self {
            base: Instant::now(),
            rooms: (0..rooms).map(room).collect(),
            frame_bytes: AtomicU64::new(0),
            sockets_lost: AtomicU64::new(0),
            first_loss: Mutex::new(None),
            measuring: AtomicBool::new(false),
            latencies: Mutex::new(Latencies::new()?),
        })
    }

    pub(super) fn deliveries(&self) -> u64 {
        self.rooms.iter().map(|room| room.deliveries.load(Ordering::Relaxed)).sum()
    }

    pub(super) fn members(&self, room: usize) -> u64 {
        self.rooms.get(room).map_or(0, |room| room.members)
    }

    /// Takes what was measured and begins anew.
    pub(super) fn take_latencies(&self) -> anyhow::Result<Latencies> {
        let fresh = Latencies::new()?;
        Ok(std::mem::replace(&mut *self.latencies.lock().unwrap_or_else(PoisonError::into_inner), fresh))
    }

    /// Waits until all members of a room have so many messages. `false` when they had not within ten seconds.
    pub(super) async fn all_have(&self, room: usize, messages: u64) -> bool {
        let Some(room) = self.rooms.get(room) else { return true };
        let due = messages * room.members;
        let wait = async {
            loop {
                let told = room.whole.notified();
                tokio::pin!(told);
                told.as_mut().enable();
                if room.deliveries.load(Ordering::Acquire) >= due {
                    return;
                }
                told.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.is_ok()
    }

    fn add(&self, room: usize, messages: u64) {
        let Some(room) = self.rooms.get(room).filter(|_| messages > 0) else { return };
        let before = room.deliveries.fetch_add(messages, Ordering::AcqRel);
        if before / room.members != (before + messages) / room.members {
            room.whole.notify_waiters();
        }
    }

    fn look_at(&self, payload: &[u8]) {
        if !self.measuring.load(Ordering::Relaxed) {
            return;
        }
        let at = payload.windows(STAMP.len()).position(|window| window == STAMP).map(|at| at + STAMP.len());
        let digits = at.and_then(|at| payload.get(at..at + STAMP_DIGITS));
        let stamp = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        if let Some(micros) = stamp {
            let latency = self.base.elapsed().saturating_sub(Duration::from_micros(micros));
            self.latencies.lock().unwrap_or_else(PoisonError::into_inner).record(latency);
        }
    }

    fn lost(&self, error: &ClientError) {
        self.sockets_lost.fetch_add(1, Ordering::Relaxed);
        let mut first = self.first_loss.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| error.to_string());
    }
}

/// The socket tasks of a run; dropping it closes all sockets.
#[derive(Debug)]
pub(super) struct Readers(#[expect(dead_code, reason = "held for the tasks in it")] JoinSet<()>);

impl Readers {
    /// Reads all sockets: number, stream, and what was read from it already. Of every 16th (but of 16 at least) each
    /// message is looked into.
    pub(super) fn start(
        heard: &Arc<Heard>,
        sockets: impl ExactSizeIterator<Item = (usize, TcpStream, BytesMut)>,
        format: Format,
    ) -> Self {
        let every = (sockets.len() / 16).clamp(1, 16);
        let rooms = heard.rooms.len();
        let mut tasks = JoinSet::new();
        for (index, (number, stream, bytes)) in sockets.enumerate() {
            let heard = Arc::clone(heard);
            let room = number % rooms;
            let sampled = index % every == 0;
            tasks.spawn(async move {
                let read = if sampled {
                    read_sampled(&heard, room, &stream, bytes, format).await
                } else {
                    read_counting(&heard, room, &stream, &bytes, format).await
                };
                if let Err(error) = read {
                    heard.lost(&error);
                }
            });
        }
        Self(tasks)
    }
}

/// Takes what has arrived, into this thread's buffer.
async fn with_bytes<T>(
    stream: &TcpStream,
    mut take: impl FnMut(&[u8]) -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    loop {
        stream.readable().await?;
        let read = BUFFER.with_borrow_mut(|buffer| match stream.try_read(buffer) {
            Ok(0) => Some(Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())),
            Ok(count) => Some(take(buffer.get(..count).unwrap_or_default())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => Some(Err(error.into())),
        });
        if let Some(taken) = read {
            return taken;
        }
    }
}

async fn read_counting(
    heard: &Heard,
    room: usize,
    stream: &TcpStream,
    first: &[u8],
    format: Format,
) -> Result<(), ClientError> {
    let mut counter = Counter::default();
    let mut counted = counter.feed(first)?;
    loop {
        heard.add(room, counted.messages);
        answer_pings(stream, counted.pings, format)?;
        if counted.frame_bytes > 0 {
            heard.frame_bytes.store(counted.frame_bytes as u64, Ordering::Relaxed);
        }
        counted = with_bytes(stream, |bytes| counter.feed(bytes)).await?;
    }
}

async fn read_sampled(
    heard: &Heard,
    room: usize,
    stream: &TcpStream,
    mut bytes: BytesMut,
    format: Format,
) -> Result<(), ClientError> {
    loop {
        let (mut messages, mut pings) = (0, 0);
        while let Some(frame) = Frame::parse(&bytes)? {
            let payload = bytes.get(frame.header_bytes..frame.header_bytes + frame.payload_bytes).unwrap_or_default();
            match frame {
                Frame { opcode: Frame::CLOSE, .. } => return Err(closed()),
                Frame { payload_bytes, .. } if payload_bytes <= PING_BYTES_MAX => pings += 1,
                _ => {
                    heard.look_at(payload);
                    let whole = frame.header_bytes + frame.payload_bytes;
                    heard.frame_bytes.store(whole as u64, Ordering::Relaxed);
                    messages += 1;
                }
            }
            bytes.advance(frame.header_bytes + frame.payload_bytes);
        }
        heard.add(room, messages);
        answer_pings(stream, pings, format)?;
        with_bytes(stream, |read| {
            bytes.extend_from_slice(read);
            Ok(())
        })
        .await?;
    }
}

fn answer_pings(stream: &TcpStream, pings: u64, format: Format) -> Result<(), ClientError> {
    for _ in 0..pings {
        // A socket whose send buffer is full has worse troubles than a late pong.
        match stream.try_write(&client_frame(format, format.ping())) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn closed() -> ClientError {
    ClientError::Closed { code: 1000, reason: "while it was measured".to_owned() }
}

/// Counts frames in a stream of bytes without keeping them.
#[derive(Debug, Default)]
struct Counter {
    /// The beginning of a header that is not whole yet.
    header: Vec<u8>,
    /// What is left of the current frame's payload.
    skip: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    messages: u64,
    pings: u64,
    frame_bytes: usize,
}

impl Counter {
    /// A message counts when its last byte is there.
    fn feed(&mut self, mut bytes: &[u8]) -> Result<Counted, ClientError> {
        let mut counted = Counted::default();
        loop {
            if self.skip > 0 {
                let here = self.skip.min(bytes.len());
                bytes.advance(here);
                self.skip -= here;
                if self.skip > 0 {
                    return Ok(counted);
                }
                counted.messages += 1;
            }
            let Some((&next, rest)) = bytes.split_first() else { return Ok(counted) };
            self.header.push(next);
            bytes = rest;
            // A ping's payload is taken with its header.
            let Some(frame) = Frame::header(&self.header)? else { continue };
            if frame.opcode == Frame::CLOSE {
                return Err(closed());
            }
            if frame.payload_bytes > PING_BYTES_MAX {
                self.skip = frame.payload_bytes;
                counted.frame_bytes = frame.header_bytes + frame.payload_bytes;
                self.header.clear();
            } else if self.header.len() == frame.header_bytes + frame.payload_bytes {
                counted.pings += 1;
                self.header.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_counted_however_they_are_cut() {
        let message = [&[0x81, 126, 0, 200][..], &[b'x'; 200]].concat();
        let stream = [&message[..], &[0x81, 2, b'{', b'}'], &message, &[0x82, 1, 0]].concat();
        for piece in [1, 2, 3, 7, 205, 1000] {
            let mut counter = Counter::default();
            let (mut messages, mut pings) = (0, 0);
            for bytes in stream.chunks(piece) {
                let counted = counter.feed(bytes).expect("frames");
                messages += counted.messages;
                pings += counted.pings;
            }
            assert_eq!((messages, pings), (2, 2), "in pieces of {piece}");
        }
    }

    #[test]
    fn sockets_are_spread_evenly_and_told_when_a_message_is_everywhere() {
        let heard = Heard::new(7, 3).expect("histograms");
        assert_eq!([heard.members(0), heard.members(1), heard.members(2)], [3, 2, 2]);
        heard.add(0, 2);
        heard.add(0, 1);
        assert_eq!(heard.deliveries(), 3);
        let payload = br#"{"data":{"MsgBody":[{"Text":"0000000000000005 xx"}]}}"#;
        heard.look_at(payload);
        assert_eq!(heard.take_latencies().expect("a histogram").count(), 0, "before measuring began");
        heard.measuring.store(true, Ordering::Relaxed);
        heard.look_at(payload);
        assert_eq!(heard.take_latencies().expect("a histogram").count(), 1);
    }
}
