//! The program itself: started, fed with webhooks as a sender makes them, killed, started again; then its database is read.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use roomhook_protocol::sign;
use rusqlite::Connection;
use serde_json::json;

const TOKEN: &str = "lantern-9f21";
const OK: &str = r#"{"ActionStatus":"OK","ErrorInfo":"","ErrorCode":0}"#;

/// A running mirror; killed when dropped.
struct Mirror {
    child: Child,
    address: String,
    db: PathBuf,
}

impl Mirror {
    fn start(db: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_roomhook-example-mirror"))
            .args(["--listen", "127.0.0.1:0", "--sdkappid", "1400000001", "--token", TOKEN, "--db"])
            .arg(db)
            .env("NO_COLOR", "1")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = loop {
            let line = log.next().expect("the mirror ended before it listened").unwrap();
            if let Some((_, rest)) = line.split_once("address=") {
                break rest.split_whitespace().next().unwrap().to_owned();
            }
        };
        // Read on, so that the pipe never fills up.
        std::thread::spawn(move || log.map_while(Result::ok).for_each(drop));
        Self { child, address, db: db.to_owned() }
    }

    /// Delivers message `seq` of the lobby in its `life`-th life: status and body of the answer.
    fn deliver(&self, seq: u64, life: u64) -> (u16, String) {
        self.post(TOKEN, seq, life)
    }

    fn post(&self, token: &str, seq: u64, life: u64) -> (u16, String) {
        let body = json!({
            "CallbackCommand": "Group.CallbackAfterSendMsg", "GroupId": "lobby", "Type": "Live", "From_Account": "ana_k",
            "Operator_Account": "administrator", "Random": seq, "MsgId": format!("144115188075855873-{life}-{seq}"), "MsgSeq": seq,
            "MsgTime": 1_767_225_000 + life * 1000 + seq, "CloudCustomData": "{\"badge\":1}", "EventTime": "1767225663418",
            "MsgBody": [{"MsgType": "TIMTextElem", "MsgContent": {"Text": format!("message {seq} of life {life}")}}],
        })
        .to_string();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().to_string();
        let query = format!(
            "SdkAppid=1400000001&CallbackCommand=Group.CallbackAfterSendMsg&contenttype=json&Sign={}&RequestTime={now}",
            sign::sign(token, &now)
        );
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(
            stream,
            "POST /hook?{query} HTTP/1.1\r\nHost: mirror\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// What is on disk, seen through a connection of our own.
    fn rows(&self) -> Vec<(i64, String)> {
        let connection = Connection::open(&self.db).unwrap();
        let mut statement = connection.prepare("SELECT seq, body FROM message ORDER BY msg_time, seq").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    }

    fn seqs(&self) -> Vec<i64> {
        self.rows().into_iter().map(|(seq, _)| seq).collect()
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn duplicates_and_disorder_end_up_once_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mirror = Mirror::start(&folder.path().join("mirror.sqlite"));
    for seq in [2, 1, 5, 5, 3, 1, 2, 4, 5] {
        assert_eq!(mirror.deliver(seq, 1), (200, OK.to_owned()));
    }
    assert_eq!(mirror.seqs(), [1, 2, 3, 4, 5]);
    assert_eq!(mirror.rows()[0].1, r#"[{"MsgType":"TIMTextElem","MsgContent":{"Text":"message 1 of life 1"}}]"#);
}

#[test]
fn what_was_acknowledged_survives_a_kill_and_is_there_once() {
    let folder = tempfile::tempdir().unwrap();
    let db = folder.path().join("mirror.sqlite");
    let mirror = Mirror::start(&db);
    for seq in 1..=20 {
        assert_eq!(mirror.deliver(seq, 1).0, 200);
    }
    drop(mirror); // SIGKILL

    let mirror = Mirror::start(&db);
    assert_eq!(mirror.deliver(20, 1).0, 200, "the answer to the last one was lost: it comes again");
    assert_eq!(mirror.deliver(21, 1).0, 200);
    assert_eq!(mirror.seqs(), (1..=21).collect::<Vec<_>>());
}

#[test]
fn a_room_made_again_loses_nothing_of_either_life() {
    let folder = tempfile::tempdir().unwrap();
    let mirror = Mirror::start(&folder.path().join("mirror.sqlite"));
    for (seq, life) in [(1, 1), (2, 1), (1, 2), (1, 2), (2, 1), (2, 2)] {
        assert_eq!(mirror.deliver(seq, life).0, 200);
    }
    assert_eq!(mirror.seqs(), [1, 2, 1, 2]);
}

#[test]
fn a_stranger_is_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let mirror = Mirror::start(&folder.path().join("mirror.sqlite"));
    assert_eq!(mirror.post("lantern-guess", 1, 1).0, 401);
    assert_eq!(mirror.seqs(), [0_i64; 0]);
}
