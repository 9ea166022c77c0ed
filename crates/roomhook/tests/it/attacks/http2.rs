//! What a hostile endpoint can do over HTTP/2, frame by frame.

use std::{io, sync::Arc};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    Attack, Expect, reason, run, settings,
    tls::Authority,
    wire::{Identity, Wire, encrypted, flood, hold},
};
use crate::admin::OK;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
/// A kind of frame that does not exist.
const UNKNOWN: u8 = 0xbb;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The first stream of a client. An endpoint is sent one message, so it is the only one.
const STREAM: u32 = 1;
/// `:status: 200`, from the static table.
const STATUS_200: &[u8] = &[0x88];
/// `:status: 103`.
const STATUS_103: &[u8] = b"\x08\x03103";

const WAITING: &str = "no full answer in time, while waiting for the answer";
const UNASKED: &str = "the endpoint sent more than 4194304 bytes and no answer";
const REFUSED: &str = "4 connections ended without an answer: http2 error: stream error received: \
                       refused stream before processing any application logic";
const GOODBYE: &str = "4 connections ended without an answer: http2 error: connection error received: \
                       not a result of an error";
const CONTINUATIONS: &str =
    "http2 error: connection error detected: detected excessive load generating behavior (b\"too_many_continuations\")";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a length").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn setting(id: u16, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[id.to_be_bytes().as_slice(), &value.to_be_bytes()].concat())
}

fn headers(flags: u8, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, flags, STREAM, block)
}

/// A literal header, not indexed. Lengths below 127 only.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).expect("short");
    [&[0, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
}

async fn read_frame(wire: &mut impl Wire) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 9];
    wire.read_exact(&mut head).await?;
    let mut payload = vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
    wire.read_exact(&mut payload).await?;
    Ok((head[3], payload))
}

/// Greets, with these settings, and waits for the request's first frame.
async fn greet(wire: &mut impl Wire, settings: &[u8]) -> io::Result<()> {
    let mut preface = [0; 24];
    wire.read_exact(&mut preface).await?;
    wire.write_all(settings).await?;
    while read_frame(wire).await?.0 != HEADERS {}
    Ok(())
}

/// An endpoint that answers the request with these bytes once, and then with others again and again.
struct Peer<'a> {
    identity: &'a Identity,
}

impl Peer<'_> {
    fn greeting(&self, settings: Vec<u8>, once: Vec<u8>, again: Vec<u8>) -> String {
        let bytes: Arc<[Vec<u8>; 3]> = Arc::new([settings, once, again]);
        encrypted(self.identity, move |mut wire| {
            let bytes = bytes.clone();
            async move {
                let [settings, once, again] = &*bytes;
                if greet(&mut wire, settings).await.is_err() || wire.write_all(once).await.is_err() {
                    return;
                }
                match again.is_empty() {
                    true => hold(wire).await,
                    false => flood(&mut wire, again).await,
                }
            }
        })
    }

    fn once(&self, bytes: Vec<u8>) -> String {
        self.greeting(frame(SETTINGS, 0, 0, &[]), bytes, Vec::new())
    }

    fn again(&self, once: Vec<u8>, again: Vec<u8>) -> String {
        self.greeting(frame(SETTINGS, 0, 0, &[]), once, again)
    }

    /// Does not even greet.
    fn silent(&self) -> String {
        encrypted(self.identity, hold)
    }
}

fn floods(peer: &Peer<'_>) -> Vec<(&'static str, String, Expect)> {
    let begun = || headers(END_HEADERS, STATUS_200);
    let bytes = frame(DATA, 0, STREAM, &[b'x'; 16_384]);
    let big = literal("x", &"y".repeat(120)).repeat(100);
    // An entry of the dynamic table, and many references to it.
    let entry = [&[0x40, 1, b'x', 120], "y".repeat(120).as_bytes()].concat();
    let bomb = [STATUS_200, &entry, &[0xbe; 16_000]].concat();
    let empty_settings = frame(SETTINGS, 0, 0, &[]);
    vec![
        (
            "data without end",
            peer.again(begun(), bytes),
            // It does not wait for anybody to have read, so its window may be used up before the body is found to be too long.
            Expect::EndingEither(["flow-control protocol violated", "the answer's body is longer than 65536 bytes"]),
        ),
        (
            "empty data without end",
            peer.again(begun(), frame(DATA, 0, STREAM, b"")),
            reason(
                "error reading a body from connection: connection error detected: detected excessive load generating behavior (b\"too_many_data_frames\")",
            ),
        ),
        (
            "a continuation flood",
            peer.again(headers(0, STATUS_200), frame(CONTINUATION, 0, STREAM, &literal("x", "y"))),
            reason(CONTINUATIONS),
        ),
        (
            "empty continuations",
            peer.again(headers(0, STATUS_200), frame(CONTINUATION, 0, STREAM, b"")),
            reason(CONTINUATIONS),
        ),
        ("a settings flood", peer.again(Vec::new(), empty_settings), Expect::EndingOrLate(UNASKED)),
        ("a ping flood", peer.again(Vec::new(), frame(PING, 0, 0, &[7; 8])), Expect::EndingOrLate(UNASKED)),
        (
            "interim answers without end",
            peer.again(Vec::new(), headers(END_HEADERS, STATUS_103)),
            Expect::Ending(UNASKED),
        ),
        ("frames of no known kind", peer.again(Vec::new(), frame(UNKNOWN, 0, 0, &[0; 64])), Expect::Ending(UNASKED)),
        (
            "too many headers",
            peer.once(headers(END_HEADERS | END_STREAM, &[STATUS_200, &big].concat())),
            reason("the answer has too many headers"),
        ),
        (
            "a bomb of headers",
            peer.once(headers(END_HEADERS | END_STREAM, &bomb)),
            reason(
                "http2 error: connection error detected: detected excessive load generating behavior (b\"header_list_way_too_large\")",
            ),
        ),
        (
            "trailers without end",
            peer.again(begun(), headers(END_HEADERS, &literal("x", "y"))),
            reason("error reading a body from connection: stream error detected: unspecific protocol error detected"),
        ),
    ]
}

fn refusals(peer: &Peer<'_>) -> Vec<(&'static str, String, Expect)> {
    let reset = |code: u32| frame(RST_STREAM, 0, STREAM, &code.to_be_bytes());
    let goaway = |code: u32| frame(GOAWAY, 0, 0, &[[0; 4], code.to_be_bytes()].concat());
    let too_far = frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes());
    let little = frame(WINDOW_UPDATE, 0, STREAM, &1_u32.to_be_bytes());
    let pushed = frame(PUSH_PROMISE, END_HEADERS, STREAM, &[&2_u32.to_be_bytes()[..], &[0x82, 0x84, 0x87]].concat());
    vec![
        (
            "resets each request",
            peer.once(reset(8)),
            reason("http2 error: stream error received: stream no longer needed"),
        ),
        ("refuses each request", peer.once(reset(7)), reason(REFUSED)),
        ("says goodbye to each request", peer.once(goaway(0)), reason(GOODBYE)),
        (
            "says goodbye in anger",
            peer.once(goaway(11)),
            reason("http2 error: connection error received: detected excessive load generating behavior"),
        ),
        (
            "pushes",
            peer.once(pushed),
            reason("http2 error: connection error detected: unspecific protocol error detected"),
        ),
        // So little at a time that it never opens too far, whether the request is out already or not.
        ("opens the window again and again", peer.again(Vec::new(), little), Expect::Ending(UNASKED)),
        (
            "opens the connection's window too far",
            peer.once(too_far),
            reason("http2 error: connection error detected: flow-control protocol violated"),
        ),
        ("gives no window", peer.greeting(setting(4, 0), Vec::new(), Vec::new()), reason(WAITING)),
        ("allows no streams", peer.greeting(setting(3, 0), Vec::new(), Vec::new()), reason(WAITING)),
        ("wants a large header table", peer.greeting(setting(1, u32::MAX), answer(), Vec::new()), Expect::Delivered),
        (
            "a frame too large",
            peer.once(frame(DATA, 0, STREAM, &[0; 20_000])),
            reason("http2 error: connection error detected: frame with invalid size"),
        ),
        (
            "a length that is not kept",
            peer.once(
                [
                    headers(END_HEADERS, &[STATUS_200, &[0x0f, 13, 1, b'9']].concat()),
                    frame(DATA, END_STREAM, STREAM, b"x"),
                ]
                .concat(),
            ),
            reason("error reading a body from connection: stream error detected: unspecific protocol error detected"),
        ),
        ("answers and goes on", peer.once([answer(), answer()].concat()), Expect::Delivered),
        ("no greeting", peer.silent(), reason(WAITING)),
        (
            "another protocol",
            peer.once(
                b"HTTP/1.1 200 OK
content-length: 0

"
                .to_vec(),
            ),
            reason("http2 error: connection error detected: frame with invalid size"),
        ),
        ("as it should be", peer.once(answer()), Expect::Delivered),
    ]
}

/// The URL of an endpoint that answers the first request of each connection well.
pub(crate) fn well(identity: &Identity) -> String {
    Peer { identity }.once(answer())
}

/// A good answer.
fn answer() -> Vec<u8> {
    [headers(END_HEADERS, STATUS_200), frame(DATA, END_STREAM, STREAM, OK.as_bytes())].concat()
}

#[test]
fn no_frames_harm_the_server_and_the_trail_says_what_was_wrong_with_them() {
    let authority = Authority::new();
    let identity = Identity { alpn: b"h2", ..authority.issue("localhost", |_| {}) };
    let peer = Peer { identity: &identity };
    let attacks: Vec<Attack> = [floods(&peer), refusals(&peer)]
        .into_iter()
        .flatten()
        .map(|(name, url, expect)| Attack {
            settings: json!({ "extra_roots_pem": authority.0.pem() }),
            ..Attack::new(name, url, expect)
        })
        .collect();
    run(&settings("\"127.0.0.1\", \"::1\""), attacks);
}
