//! What happens to a message while its moderator thinks: the server stops, dies, or the sender goes away.

use std::{
    io::{BufRead, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Condvar, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    admin::{OK, group_msg, open_lobby, said},
    support::{Server, get, post, until},
};

const BEFORE: &str = "Group.CallbackBeforeSendMsg";
const AFTER: &str = "Group.CallbackAfterSendMsg";

/// An app backend that thinks about messages that say "slow" until it is told to answer.
#[derive(Clone)]
struct Backend {
    addr: SocketAddr,
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    got: Vec<Value>,
    decided: bool,
}

impl Backend {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let backend = Self { addr: listener.local_addr().expect("an address"), state: Arc::default() };
        let shared = backend.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = shared.clone();
                thread::spawn(move || shared.serve(stream));
            }
        });
        backend
    }

    /// Answers one connection until it ends.
    fn serve(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().expect("clone"));
        while let Some(body) = next_body(&mut reader) {
            let slow = said(&body) == "slow" && body["CallbackCommand"] == BEFORE;
            let (state, changed) = &*self.state;
            let mut state = state.lock().expect("state");
            state.got.push(body);
            while slow && !state.decided {
                state = changed.wait(state).expect("state");
            }
            drop(state);
            let _gone = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{OK}", OK.len());
        }
    }

    fn decide(&self) {
        self.state.0.lock().expect("state").decided = true;
        self.state.1.notify_all();
    }

    /// What messages of one command said, in order.
    fn heard(&self, command: &str) -> Vec<String> {
        let state = self.state.0.lock().expect("state");
        state.got.iter().filter(|body| body["CallbackCommand"] == command).map(|body| said(body).to_owned()).collect()
    }

    fn wait_until_heard(&self, command: &str, expected: &[&str]) {
        until(command, || (self.heard(command) == expected).then_some(()));
    }

    fn server(&self, folder: &Path) -> Server {
        let settings = format!(
            "[webhooks]\nallow = [\"127.0.0.0/8\"]\ntimeout = \"15s\"\n[gate]\ntimeout = \"15s\"\nwait_max = \"15s\"\n\
             [app.webhook]\nurl = \"http://{}/\"\ncommands = [\"{AFTER}\", \"{BEFORE}\"]\n",
            self.addr,
        );
        Server::start_with(folder, &settings, &[("ROOMHOOK__SERVER__SHUTDOWN_DEADLINE", "20s")])
    }
}

fn next_body(reader: &mut impl BufRead) -> Option<Value> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return None;
        }
        if let Some((_, value)) = line.to_lowercase().split_once("content-length:") {
            length = value.trim().parse().expect("a length");
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(serde_json::from_slice(&body).expect("JSON"))
}

/// Sends a message from a thread of its own.
fn sending(server: &Server, random: u32, what: &str) -> JoinHandle<(u16, String)> {
    let (addr, body) = (server.listen, group_msg(random, what).to_string());
    let path = Server::path("group_open_http_svc/send_group_msg");
    thread::spawn(move || post(addr, &path, &body))
}

fn send(server: &Server, random: u32, what: &str) -> Value {
    server.must("group_open_http_svc/send_group_msg", &group_msg(random, what))["MsgSeq"].clone()
}

#[test]
fn a_server_that_is_asked_to_stop_waits_for_the_verdict_and_keeps_the_message() {
    let folder = tempfile::tempdir().expect("a folder");
    let backend = Backend::start();
    let mut server = backend.server(folder.path());
    open_lobby(&server);
    let sender = sending(&server, 1, "slow");
    backend.wait_until_heard(BEFORE, &["slow"]);
    server.signal("TERM");
    until("unreadiness", || (get_status(server.admin_listen) != Some(200)).then_some(()));
    backend.decide();
    let (status, answer) = sender.join().expect("a sender");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    assert_eq!((status, &answer["ErrorCode"], &answer["MsgSeq"]), (200, &json!(0), &json!(1)));
    assert!(server.ended().success());

    let server = backend.server(folder.path());
    until("the after-webhook", || (!backend.heard(AFTER).is_empty()).then_some(()));
    assert_eq!(send(&server, 2, "next"), 2, "the message is in the room");
    server.stop();
}

/// The status of readiness; `None` when nobody listens any more.
fn get_status(admin: SocketAddr) -> Option<u16> {
    let mut stream = TcpStream::connect(admin).ok()?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

#[test]
fn a_server_that_dies_while_it_asks_has_sent_nothing_and_the_same_message_can_be_sent_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let backend = Backend::start();
    let mut server = backend.server(folder.path());
    open_lobby(&server);
    assert_eq!(send(&server, 1, "before"), 1);
    let sender = sending(&server, 2, "slow");
    backend.wait_until_heard(BEFORE, &["before", "slow"]);
    server.signal("KILL");
    let _killed = server.ended();
    assert!(sender.join().is_err(), "no answer was given");

    let server = backend.server(folder.path());
    assert_eq!(send(&server, 3, "after"), 2, "what was being asked about was never sent");
    backend.decide();
    assert_eq!(send(&server, 2, "slow"), 3, "so it can be sent again, and is asked about again");
    assert_eq!(send(&server, 2, "slow"), 3, "once");
    assert_eq!(backend.heard(BEFORE), ["before", "slow", "after", "slow"]);
    until("the after-webhooks", || backend.heard(AFTER).ends_with(&["after".into(), "slow".into()]).then_some(()));
    server.stop();
}

#[test]
fn a_sender_who_hangs_up_is_not_waited_for_and_holds_nobody_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let backend = Backend::start();
    let server = backend.server(folder.path());
    open_lobby(&server);
    let body = group_msg(1, "slow").to_string();
    let mut caller = TcpStream::connect(server.listen).expect("connect");
    let path = Server::path("group_open_http_svc/send_group_msg");
    write!(caller, "POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n{body}", body.len()).expect("send");
    backend.wait_until_heard(BEFORE, &["slow"]);
    drop(caller);
    // Far sooner than the fifteen seconds of the question.
    let began = std::time::Instant::now();
    assert_eq!(send(&server, 2, "next of the same sender"), 1);
    assert!(began.elapsed() < Duration::from_secs(10));
    let metrics = get(server.admin_listen, "/metrics").1;
    assert!(metrics.contains("roomhook_gate_waiting_messages{app=\"1400000001\"} 0"), "nobody stands in line");
    assert!(metrics.contains("roomhook_gate_questions_in_flight{app=\"1400000001\"} 0"), "nothing is asked");
    backend.decide();
    assert_eq!(send(&server, 1, "slow"), 2, "it was not sent, so the same Random is no repeat");
    server.stop();
}
