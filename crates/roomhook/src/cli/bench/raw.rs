//! The raw limit: the same bytes to the same number of plain TCP sockets, by a process that does nothing else.
//!
//! The writer runs in a process of its own with as many threads as the server had. It is told over a control connection
//! to write, and writes everything it was told meanwhile with one write per socket, as the server's lanes do.

use std::{
    io::BufRead as _,
    net::SocketAddr,
    process::{Child, Command, ExitCode, Stdio},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use bytes::BytesMut;
use roomhook_centrifuge::Format;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};

use super::{
    process::Probe,
    readers::{Heard, Readers},
};
use crate::{cli::client::connect_from, out::say};

/// Write pre-encoded frames to plain sockets (a peer of `bench fanout`)
#[derive(Debug, clap::Args)]
pub(crate) struct WriterArgs {
    /// Sockets to wait for
    #[arg(long)]
    connections: usize,
    /// Rooms they are spread over
    #[arg(long)]
    rooms: usize,
    /// Bytes of each frame
    #[arg(long)]
    frame_bytes: usize,
    /// Tasks that write
    #[arg(long)]
    lanes: usize,
}

/// Tells are one byte, the number of a room; more rooms than this share numbers.
const ROOMS_MAX: usize = 256;

/// The writer's process.
pub(crate) async fn write(args: WriterArgs) -> anyhow::Result<ExitCode> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    say!("{}", listener.local_addr()?);
    let (mut control, _) = listener.accept().await?;
    let lane_count = args.lanes.max(1);
    let mut lanes: Vec<Lane> = (0..lane_count).map(|_| Lane::new(args.rooms)).collect();
    for _ in 0..args.connections {
        let (mut stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // Each socket says its number first: accepting does not keep their order.
        let number = usize::try_from(stream.read_u32_le().await?)?;
        let lane = lanes.get_mut((number / args.rooms) % lane_count).context("a lane")?;
        lane.rooms.get_mut(number % args.rooms).context("a room")?.push(stream);
    }
    control.write_u8(1).await?;
    let frame = frame_of(args.frame_bytes);
    let mut tasks = JoinSet::new();
    let mut tells = Vec::new();
    for lane in lanes {
        let (tell, told) = mpsc::unbounded_channel();
        tells.push(tell);
        tasks.spawn(lane.run(told, frame.clone()));
    }
    let mut bytes = [0; 256];
    loop {
        let count = control.read(&mut bytes).await?;
        if count == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        let rooms = bytes.get(..count).unwrap_or_default();
        for tell in &tells {
            // A lane ends only when its sockets do, and then the run is over.
            let _ended = tell.send(rooms.to_vec());
        }
    }
}

/// A frame like the server's, of `bytes` in all, so that the same readers count it.
fn frame_of(bytes: usize) -> Vec<u8> {
    let mut frame = match bytes {
        0..=127 => vec![0x81, bytes.saturating_sub(2).max(3) as u8],
        _ => [&[0x81, 126][..], &(bytes.saturating_sub(4) as u16).to_be_bytes()].concat(),
    };
    frame.resize(bytes.max(5), b'x');
    frame
}

struct Lane {
    rooms: Vec<Vec<TcpStream>>,
}

impl Lane {
    fn new(rooms: usize) -> Self {
        Self { rooms: (0..rooms).map(|_| Vec::new()).collect() }
    }

    async fn run(self, mut told: mpsc::UnboundedReceiver<Vec<u8>>, frame: Vec<u8>) {
        while let Some(first) = told.recv().await {
            let mut due = vec![0_usize; self.rooms.len()];
            let mut count = |rooms: &[u8]| {
                for room in rooms {
                    if let Some(due) = due.get_mut(usize::from(*room)) {
                        *due += 1;
                    }
                }
            };
            count(&first);
            while let Ok(more) = told.try_recv() {
                count(&more);
            }
            for (streams, due) in self.rooms.iter().zip(due).filter(|(_, due)| *due > 0) {
                let bytes = frame.repeat(due);
                for stream in streams {
                    if write_all(stream, &bytes).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match stream.try_write(bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What to compare with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Comparison {
    pub(super) sockets: usize,
    pub(super) rooms: usize,
    pub(super) frame_bytes: usize,
    pub(super) lanes: usize,
    /// Messages under way per room.
    pub(super) in_flight: u64,
    pub(super) seconds: u32,
}

/// What it was.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawLimit {
    pub(super) deliveries_per_s: f64,
    pub(super) cpu_s_per_million: Option<f64>,
}

struct Writer(Child);

impl Drop for Writer {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _status = self.0.wait();
    }
}

/// Measures the raw limit: closed loop, as the server was.
pub(super) async fn limit(with: Comparison) -> anyhow::Result<RawLimit> {
    let rooms = with.rooms.min(ROOMS_MAX);
    let (writer, addr) = start(with, rooms)?;
    let mut control = TcpStream::connect(addr).await?;
    control.set_nodelay(true)?;
    let mut streams = Vec::with_capacity(with.sockets);
    for number in 0..with.sockets {
        let mut stream = connect_from(addr, number).await.context("connect to the raw writer")?;
        stream.write_u32_le(u32::try_from(number)?).await?;
        streams.push((number, stream, BytesMut::new()));
    }
    control.read_u8().await.context("the raw writer is not ready")?;
    let heard = Arc::new(Heard::new(with.sockets, rooms)?);
    let readers = Readers::start(&heard, streams.into_iter(), Format::Json);
    let probe = Probe { pid: writer.0.id() };
    let from = Instant::now() + Duration::from_secs(1);
    let end = from + Duration::from_secs(with.seconds.into());
    let (read_half, write_half) = control.into_split();
    let write_half = Arc::new(tokio::sync::Mutex::new(write_half));
    let mut loops = JoinSet::new();
    for (room, turn) in (0..rooms).flat_map(|room| (0..with.in_flight).map(move |turn| (room, turn))) {
        let (heard, control) = (Arc::clone(&heard), Arc::clone(&write_half));
        let in_flight = with.in_flight;
        loops.spawn(async move {
            let mut message = turn + 1;
            while Instant::now() < end {
                control.lock().await.write_u8(u8::try_from(room).unwrap_or(u8::MAX)).await?;
                if !heard.all_have(room, message).await {
                    break;
                }
                message += in_flight;
            }
            anyhow::Ok(())
        });
    }
    tokio::time::sleep_until(from.into()).await;
    let (deliveries, cpu, began) = (heard.deliveries(), probe.cpu(), Instant::now());
    tokio::time::sleep_until(end.into()).await;
    let (deliveries, took) = (heard.deliveries() - deliveries, began.elapsed());
    let cpu = probe.cpu().zip(cpu).map(|(after, before)| after.saturating_sub(before));
    while let Some(ended) = loops.join_next().await {
        ended.context("a loop of the raw limit failed")??;
    }
    let lost = heard.sockets_lost.load(Ordering::Relaxed);
    drop((readers, read_half, write_half));
    anyhow::ensure!(lost == 0, "{lost} sockets of the raw limit broke");
    Ok(RawLimit {
        deliveries_per_s: deliveries as f64 / took.as_secs_f64(),
        cpu_s_per_million: cpu.filter(|_| deliveries > 0).map(|cpu| cpu.as_secs_f64() * 1e6 / deliveries as f64),
    })
}

fn start(with: Comparison, rooms: usize) -> anyhow::Result<(Writer, SocketAddr)> {
    let mut child = Command::new(std::env::current_exe().context("find this program")?)
        .args(["bench", "raw-writer", "--connections", &with.sockets.to_string(), "--rooms", &rooms.to_string()])
        .args(["--frame-bytes", &with.frame_bytes.to_string(), "--lanes", &with.lanes.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("start the raw writer")?;
    let stdout = child.stdout.take();
    let writer = Writer(child);
    let mut line = String::new();
    std::io::BufReader::new(stdout.context("the raw writer has no output")?).read_line(&mut line)?;
    let addr = line.trim().parse().context("the raw writer did not say where it is")?;
    Ok((writer, addr))
}

#[cfg(test)]
mod tests {
    use super::frame_of;
    use crate::cli::client::Frame;

    #[test]
    fn a_raw_frame_is_as_long_as_asked() {
        for bytes in [50, 127, 404, 620, 12_000] {
            let frame = frame_of(bytes);
            let header = Frame::parse(&frame).expect("a frame").expect("a whole one");
            assert_eq!((frame.len(), header.header_bytes + header.payload_bytes), (bytes, bytes));
        }
    }
}
