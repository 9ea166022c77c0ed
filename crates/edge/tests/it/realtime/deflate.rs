//! permessage-deflate, spoken frame by frame: the WebSocket library of the other tests has none.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use roomhook_centrifuge::Format;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::client::Client;
use crate::world::{KEY, Options, World, usersig};

/// A JSON client that compresses all it says.
struct Squeezer {
    stream: TcpStream,
    read: Vec<u8>,
}

/// A frame of the server: its first byte, and its payload as it was on the wire.
struct Got {
    first: u8,
    payload: Vec<u8>,
}

impl Got {
    fn text(&self) -> String {
        if self.first & 0x40 == 0 {
            return String::from_utf8(self.payload.clone()).unwrap();
        }
        let mut out = Vec::with_capacity(1 << 20);
        let whole = [&self.payload[..], &[0, 0, 0xff, 0xff]].concat();
        Decompress::new(false).decompress_vec(&whole, &mut out, FlushDecompress::Sync).unwrap();
        String::from_utf8(out).unwrap()
    }
}

impl Squeezer {
    /// Returns the head of the answer, too.
    async fn open(world: &World) -> (Self, String) {
        let mut stream = TcpStream::connect(world.addr).await.unwrap();
        let request = "GET /connection/websocket HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
            sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
            sec-websocket-extensions: permessage-deflate; client_max_window_bits\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut read = Vec::new();
        let end = loop {
            if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(stream.read_buf(&mut read).await.unwrap() > 0);
        };
        let rest = read.split_off(end);
        (Self { stream, read: rest }, String::from_utf8(read).unwrap().to_lowercase())
    }

    async fn say(&mut self, text: &str) {
        let mut small = Vec::with_capacity(text.len() + 1000);
        Compress::new(Compression::best(), false)
            .compress_vec(text.as_bytes(), &mut small, FlushCompress::Sync)
            .unwrap();
        small.truncate(small.len() - 4);
        // Masked with zeros.
        let mut frame = vec![0xc1];
        match small.len() {
            len @ 0..=125 => frame.push(0x80 | len as u8),
            len => frame.extend([&[0xfe], &(len as u16).to_be_bytes()[..]].concat()),
        }
        frame.extend([0; 4]);
        frame.extend(small);
        self.stream.write_all(&frame).await.unwrap();
    }

    async fn hears(&mut self) -> Got {
        loop {
            let header = match self.read.get(1) {
                Some(126) => 4,
                _ => 2,
            };
            if self.read.len() >= header {
                let len = if header == 4 {
                    usize::from(u16::from_be_bytes([self.read[2], self.read[3]]))
                } else {
                    usize::from(self.read[1])
                };
                if self.read.len() >= header + len {
                    let payload = self.read[header..header + len].to_vec();
                    let first = self.read[0];
                    self.read.drain(..header + len);
                    return Got { first, payload };
                }
            }
            assert!(self.stream.read_buf(&mut self.read).await.unwrap() > 0, "the server hung up");
        }
    }
}

async fn world(deflate: bool) -> World {
    let mut options = Options::default();
    options.realtime.deflate = deflate;
    let world = World::with(options).await;
    world.furnish().await;
    world
}

fn connect(user: &str) -> String {
    format!("{{\"id\":1,\"connect\":{{\"token\":\"{}\"}}}}", usersig(user, KEY))
}

#[tokio::test]
async fn a_long_message_is_compressed_for_those_who_agreed_and_plain_for_others() {
    let world = world(true).await;
    let (mut ann, head) = Squeezer::open(&world).await;
    let agreed = "sec-websocket-extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    assert!(head.starts_with("http/1.1 101 ") && head.contains(agreed), "{head}");
    ann.say(&connect("ann")).await;
    assert!(ann.hears().await.text().contains("\"connect\""));
    ann.say("{\"id\":2,\"subscribe\":{\"channel\":\"room:lobby\"}}").await;
    assert!(ann.hears().await.text().contains("\"subscribe\""));
    let mut bob = Client::connect_in(&world, "bob", Format::Protobuf).await.0;
    bob.join("lobby").await;

    let long = "over and ".repeat(300);
    bob.say("lobby", &long).await;
    assert_eq!(bob.hears().await, format!("1:{long}"));
    let got = ann.hears().await;
    assert_eq!(got.first, 0xc1, "one final text frame with RSV1");
    assert!(got.payload.len() < 600, "{}", got.payload.len());
    assert!(got.text().contains(&long));

    ann.say(&format!("{{\"id\":3,\"publish\":{{\"channel\":\"room:lobby\",\"data\":{{\"Text\":\"{long}\"}}}}}}")).await;
    assert_eq!(bob.hears().await, format!("2:{long}"), "what she compressed arrives");
    world.stop().await;
}

#[tokio::test]
async fn a_bomb_is_closed_with_1009() {
    let world = world(true).await;
    let (mut mallory, _head) = Squeezer::open(&world).await;
    mallory.say(&" ".repeat(4 << 20)).await;
    let goodbye = mallory.hears().await;
    assert_eq!((goodbye.first, &goodbye.payload[..2]), (0x88, &1009_u16.to_be_bytes()[..]));
    world.stop().await;
}

#[tokio::test]
async fn nothing_is_agreed_to_unless_the_operator_wants_it() {
    let world = world(false).await;
    let (mut ann, head) = Squeezer::open(&world).await;
    assert!(head.starts_with("http/1.1 101 ") && !head.contains("extensions"), "{head}");
    ann.say(&connect("ann")).await;
    let goodbye = ann.hears().await;
    assert_eq!((goodbye.first, &goodbye.payload[..2]), (0x88, &1002_u16.to_be_bytes()[..]));
    world.stop().await;
}
