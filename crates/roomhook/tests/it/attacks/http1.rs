//! What a hostile endpoint can do with an answer over HTTP/1.1.

use std::{io::Write as _, time::Duration};

use flate2::{Compression, write::GzEncoder};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    Attack, Expect, good, reason, run, settings,
    wire::{answering, closing, drip, flooding, hold, listen, plain},
};
use crate::admin::OK;

const TOO_LONG: &str = "the answer's body is longer than 65536 bytes";
const WAITING: &str = "no full answer in time, while waiting for the answer";
const READING: &str = "no full answer in time, while reading the answer";
const HEAD_TOO_LARGE: &str = "message head is too large";
const REDIRECT: &str = "the endpoint answered with a redirect, which is not followed";
const NOT_JSON: &str = "the answer is not the documented JSON (counted, not a failure)";

fn redirects() -> Vec<Attack> {
    let metadata = "http://169.254.169.254/latest/meta-data/";
    [300, 301, 302, 303, 307, 308]
        .map(|status| {
            let answer = format!("HTTP/1.1 {status} Go\r\nlocation: {metadata}\r\ncontent-length: 0\r\n\r\n");
            Attack::new(&format!("redirect {status}"), answering(answer), Expect::Status(status, REDIRECT))
        })
        .into()
}

fn endless() -> Vec<Attack> {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(4_096));
    let headers: String = (0..100).map(|number| format!("x-{number}: y\r\n")).collect();
    vec![
        Attack::new("chunks without end", flooding(chunked, chunk), reason(TOO_LONG)),
        Attack::new(
            "a body until the end, which never comes",
            flooding("HTTP/1.1 200 OK\r\n\r\n", "x"),
            reason(TOO_LONG),
        ),
        Attack::new(
            "a chunk extension without end",
            flooding(format!("{chunked}1;"), "e"),
            reason("error reading a body from connection: chunk extensions over limit"),
        ),
        Attack::new(
            "trailers without end",
            flooding(format!("{chunked}0\r\n"), "x: y\r\n"),
            reason("error reading a body from connection: chunk trailers count overflow"),
        ),
        Attack::new(
            "one trailer without end",
            flooding(format!("{chunked}0\r\nx: "), "y"),
            reason("error reading a body from connection: chunk trailers bytes over limit"),
        ),
        Attack::new("headers without end", flooding("HTTP/1.1 200 OK\r\n", "x: y\r\n"), reason(HEAD_TOO_LARGE)),
        Attack::new("one header without end", flooding("HTTP/1.1 200 OK\r\nx: ", "y"), reason(HEAD_TOO_LARGE)),
        Attack::new("a status line without end", flooding("HTTP/1.1 200 ", "y"), reason(HEAD_TOO_LARGE)),
        Attack::new(
            "a hundred headers",
            answering(good().replacen("\r\n", &format!("\r\n{headers}"), 1)),
            reason(HEAD_TOO_LARGE),
        ),
        Attack::new(
            "one header of 32 KiB",
            answering(good().replacen("\r\n", &format!("\r\nx: {}\r\n", "y".repeat(32 << 10)), 1)),
            reason(HEAD_TOO_LARGE),
        ),
        Attack::new(
            "a body announced with 100 GB",
            answering("HTTP/1.1 200 OK\r\ncontent-length: 100000000000\r\n\r\n"),
            reason(TOO_LONG),
        ),
        Attack::new(
            "interim answers without end",
            flooding("", "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"),
            Expect::Ending("the endpoint sent more than 1048576 bytes and no answer"),
        ),
    ]
}

/// A megabyte of compressed zeros is a gigabyte; this one, of 2 KB, unpacks to 2 MB: our own packing is slow in a debug build.
fn bomb() -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(&vec![0; 2 << 20]).expect("zeros");
    let body = gzip.finish().expect("gzip");
    assert!(body.len() < 64 << 10, "it must be short enough to be read: {}", body.len());
    let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.into_bytes(), body].concat()
}

fn slow() -> Vec<Attack> {
    let silent = listen(hold);
    let drips = |begin: &'static str| {
        plain(move |mut stream| async move {
            let _gone = stream.write_all(begin.as_bytes()).await;
            drip(&mut stream, std::iter::repeat(b'x')).await;
        })
    };
    vec![
        Attack::new("accepts and says nothing", format!("http://{silent}/"), reason(WAITING)),
        Attack::new("a head byte by byte", drips("HTTP/1.1 200 OK\r\nx: "), reason(WAITING)),
        Attack::new("a body byte by byte", drips("HTTP/1.1 200 OK\r\ncontent-length: 51\r\n\r\n"), reason(READING)),
        Attack::new(
            "chunks byte by byte",
            plain(|mut stream| async move {
                let _gone = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
                while stream.write_all(b"1\r\nx\r\n").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }),
            reason(READING),
        ),
        Attack::new("a body whose end never comes", answering(format!("HTTP/1.1 200 OK\r\n\r\n{OK}")), reason(READING)),
        Attack::new("an interim answer and no other", answering("HTTP/1.1 100 Continue\r\n\r\n"), reason(WAITING)),
    ]
}

fn wrong() -> Vec<Attack> {
    let length = |length: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{OK}");
    let both = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{OK}\r\n0\r\n\r\n",
        OK.len()
    );
    vec![
        Attack::new("a bomb of gzip", answering(bomb()), Expect::Status(200, NOT_JSON)),
        Attack::new(
            "no length, and the connection's end",
            closing(format!("HTTP/1.1 200 OK\r\n\r\n{OK}")),
            Expect::Delivered,
        ),
        Attack::new(
            "less than announced",
            closing(length("99")),
            reason("error reading a body from connection: end of file before message length reached"),
        ),
        Attack::new(
            "two lengths",
            answering(good().replacen("\r\n", "\r\ncontent-length: 7\r\n", 1)),
            reason("invalid content-length parsed"),
        ),
        Attack::new("a length below zero", answering(length("-1")), reason("invalid content-length parsed")),
        Attack::new("a length that is no number", answering(length("many")), reason("invalid content-length parsed")),
        Attack::new("a length and chunks", answering(both), Expect::Delivered),
        Attack::new("closes at once", closing(""), reason("connection closed before message completed")),
        Attack::new(
            "closes within the head",
            closing("HTTP/1.1 200 OK\r\nx: "),
            reason("connection closed before message completed"),
        ),
        Attack::new("another protocol", answering("SSH-2.0-OpenSSH_9.2\r\n"), reason("invalid HTTP version parsed")),
        Attack::new("an answer of 1991", closing("<html>"), reason("invalid HTTP version parsed")),
        Attack::new(
            "a status that is none",
            answering(good().replacen("200", "99", 1)),
            reason("invalid HTTP status-code parsed"),
        ),
        Attack::new(
            "a NUL in a header",
            answering(good().replacen("\r\n", "\r\nx: a\0b\r\n", 1)),
            reason("invalid HTTP header parsed"),
        ),
        Attack::new(
            "a switch of protocols nobody asked for",
            answering("HTTP/1.1 101 Switching Protocols\r\n\r\n"),
            Expect::Status(101, "the endpoint answered 101"),
        ),
        Attack::new(
            "come back in a thousand years",
            answering("HTTP/1.1 503 Busy\r\nretry-after: 31536000000\r\ncontent-length: 0\r\n\r\n"),
            Expect::Status(503, "the endpoint answered 503"),
        ),
        Attack::new(
            "answers before it has read the request",
            format!(
                "http://{}/",
                listen(|mut stream| async move {
                    let _one = stream.read_u8().await;
                    let _gone = stream.write_all(good().as_bytes()).await;
                    hold(stream).await;
                })
            ),
            Expect::Delivered,
        ),
    ]
}

#[test]
fn no_answer_harms_the_server_and_the_trail_says_what_was_wrong_with_it() {
    let attacks: Vec<Attack> = [redirects(), endless(), slow(), wrong()].into_iter().flatten().collect();
    run(&settings("\"127.0.0.1\""), attacks);
}
