//! Sockets that speak no SDK's mind, many at once: each gets the documented code, and members beside them hear everything.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use roomhook_e2e::rest;
use roomhook_e2e::sdk::{Flavour, Sdk};
use roomhook_e2e::server::Setup;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::lobby;

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;

/// A WebSocket by hand.
struct Socket {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Socket {
    async fn open(server: SocketAddr, subprotocol: &str) -> Result<Self> {
        let mut stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        let request = format!(
            "GET /connection/websocket HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{subprotocol}\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut read = Vec::new();
        while !read.ends_with(b"\r\n\r\n") {
            read.push(stream.read_u8().await?);
        }
        ensure!(read.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&read));
        read.clear();
        Ok(Self { stream, read })
    }

    /// One that is connected as `user`.
    async fn connected(server: SocketAddr, user: &str) -> Result<Self> {
        let mut socket = Self::open(server, "").await?;
        socket.stream.write_all(&frame(TEXT, connect(user).as_bytes())).await?;
        let (opcode, answer) = socket.next().await?;
        ensure!(opcode == TEXT && answer.starts_with(b"{\"id\":1,\"connect\""), "{}", String::from_utf8_lossy(&answer));
        Ok(socket)
    }

    /// The next frame.
    async fn next(&mut self) -> Result<(u8, Vec<u8>)> {
        loop {
            if let Some((opcode, start, end)) = self.whole() {
                let payload = self.read[start..end].to_vec();
                self.read.drain(..end);
                return Ok((opcode, payload));
            }
            let read =
                timeout(Duration::from_secs(30), self.stream.read_buf(&mut self.read)).await.context("it waits")??;
            ensure!(read > 0, "the server hung up without a word");
        }
    }

    /// Where the first frame is, once all of it is there.
    fn whole(&self) -> Option<(u8, usize, usize)> {
        let byte = |at: usize| self.read.get(at).copied().map(usize::from);
        let (start, len) = match byte(1)? {
            126 => (4, byte(2)? << 8 | byte(3)?),
            127 => return None, // nothing here is that long
            len => (2, len),
        };
        (self.read.len() >= start + len).then(|| (self.read[0] & 0x0f, start, start + len))
    }

    /// Reads until the server says goodbye, and gives its code.
    async fn closed(mut self) -> Result<u16> {
        loop {
            if let (CLOSE, payload) = self.next().await? {
                let [high, low, ..] = payload[..] else { bail!("a close frame without a code") };
                return Ok(u16::from_be_bytes([high, low]));
            }
        }
    }
}

/// A frame as clients send it, masked with zeros.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        len @ ..126 => frame.push(0x80 | len as u8),
        len @ ..0x1_0000 => {
            frame.push(0xfe);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(0xff);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

fn connect(user: &str) -> String {
    format!("{{\"id\":1,\"connect\":{{\"token\":\"{}\"}}}}", rest::usersig_of(user))
}

/// Says that it sends a lot, sends half of it and waits for the others to be done.
async fn half_a_frame(server: SocketAddr, user: String) -> Result<Socket> {
    let mut socket = Socket::open(server, "").await?;
    let whole = frame(TEXT, connect(&user).as_bytes());
    socket.stream.write_all(&whole[..whole.len() / 2]).await?;
    Ok(socket)
}

async fn byte_by_byte(server: SocketAddr, user: String) -> Result<()> {
    let mut socket = Socket::open(server, "").await?;
    for byte in frame(TEXT, connect(&user).as_bytes()) {
        socket.stream.write_all(&[byte]).await?;
    }
    ensure!(socket.next().await?.1.starts_with(b"{\"id\":1,\"connect\""), "it is served like anybody");
    Ok(())
}

async fn garbage(server: SocketAddr, random: u64) -> Result<()> {
    let mut socket = Socket::open(server, "sec-websocket-protocol: centrifuge-protobuf\r\n").await?;
    let mut random = fastrand::Rng::with_seed(random);
    let mut bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(500).collect();
    bytes[0] = 0xff; // a length that goes on
    socket.stream.write_all(&frame(BINARY, &bytes)).await?;
    ensure!(socket.closed().await? == 3501);
    Ok(())
}

async fn oversize(server: SocketAddr, user: String) -> Result<()> {
    let mut socket = Socket::connected(server, &user).await?;
    // The server may hang up while this is still being written.
    let _cut = socket.stream.write_all(&frame(TEXT, &vec![b' '; 70_000])).await;
    ensure!(socket.closed().await? == 1009);
    Ok(())
}

async fn ten_thousand_subscribes(server: SocketAddr, user: String) -> Result<()> {
    let mut socket = Socket::connected(server, &user).await?;
    for batch in 0..50 {
        let line = |id: u32| format!("{{\"id\":{id},\"subscribe\":{{\"channel\":\"room:{id}\"}}}}");
        let lines: Vec<String> = (0..200).map(|of| line(2 + batch * 200 + of)).collect();
        if socket.stream.write_all(&frame(TEXT, lines.join("\n").as_bytes())).await.is_err() {
            break; // it was thrown out
        }
    }
    ensure!(socket.closed().await? == 3013);
    Ok(())
}

#[tokio::test]
#[expect(clippy::print_stderr, reason = "what a failed run is repeated with")]
async fn a_hostile_crowd_gets_the_documented_codes_and_members_hear_everything() -> Result<()> {
    const EACH: u64 = 20;
    // Nobody in this crowd answers pings, and on a busy machine it may be there for a while; there, too, it sends more than it may.
    let sections = "[realtime]\nping_every = \"10m\"\ncommands_per_s = 2".to_owned();
    let server = Setup { sections, ..Setup::default() }.start().await?;
    let address = server.address();
    let mut backend = lobby(&server).await?;
    let mut members = Vec::new();
    for flavour in [Flavour::JsProtobuf, Flavour::PythonJson] {
        let mut member = Sdk::connected(flavour, address, flavour.user()).await?;
        member.join("lobby").await?;
        members.push(member);
    }
    let seed = fastrand::u64(..);
    eprintln!("seed of the garbage: {seed}");
    let mut crowd = JoinSet::new();
    let mut halves = Vec::new();
    for one in 0..EACH {
        halves.push(half_a_frame(address, format!("half-{one}")).await?);
        crowd.spawn(byte_by_byte(address, format!("patient-{one}")));
        crowd.spawn(garbage(address, seed.wrapping_add(one)));
        crowd.spawn(oversize(address, format!("large-{one}")));
        crowd.spawn(ten_thousand_subscribes(address, format!("greedy-{one}")));
    }
    let mut sent = 0;
    while !crowd.is_empty() {
        let said = backend.text("lobby", "ana_k", &format!("message {}", sent + 1)).await?;
        ensure!(said.seq == sent + 1);
        sent += 1;
        for member in &mut members {
            ensure!(member.publication().await?.offset == sent, "{}", member.flavour());
        }
        while let Some(done) = crowd.try_join_next() {
            done??;
        }
    }
    ensure!(sent > 0, "nothing was said while they were there");
    for half in halves {
        drop(half); // only now, in the middle of a frame
    }
    for member in &mut members {
        assert_eq!(member.untaken("connecting").len(), 1, "{}: it stayed connected", member.flavour());
    }
    let (_, metrics) = server.admin_get("/metrics").await?;
    for (code, count) in [(3501, EACH), (1009, EACH), (3013, EACH)] {
        let line = format!("roomhook_realtime_closes_total{{code=\"{code}\"}} {count}");
        assert!(metrics.contains(&line), "{line}");
    }
    Ok(())
}
