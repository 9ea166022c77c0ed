//! A server process, a command line, and plain HTTP calls, for stories.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

pub(crate) const KEY: &str = "a-key-for-tests";
pub(crate) const SDKAPPID: u32 = 1_400_000_001;

/// The program, with an environment that holds nothing of roomhook.
pub(crate) fn roomhook(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roomhook"));
    command.args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ROOMHOOK_") || name == "RUST_LOG") {
        command.env_remove(name);
    }
    command
}

pub(crate) fn run(arguments: &[&str]) -> Output {
    roomhook(arguments).output().expect("the program starts")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Without the program `kill`, which a bare machine lacks.
fn signal(child: &Child, name: &str) {
    let signal: Signal = format!("SIG{name}").parse().expect("the name of a signal");
    kill(Pid::from_raw(i32::try_from(child.id()).expect("a process id")), signal).expect("kill");
}

/// Waits for a condition instead of sleeping for luck.
pub(crate) fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{what} did not come about in 30 s");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A server on free ports, with a folder for its store that outlives restarts.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) listen: SocketAddr,
    pub(crate) admin_listen: SocketAddr,
}

impl Server {
    /// Starts `serve`, with the given text appended to a configuration of one app.
    pub(crate) fn start(folder: &Path, more: &str) -> Self {
        Self::start_with(folder, more, &[])
    }

    pub(crate) fn start_with(folder: &Path, more: &str, vars: &[(&str, &str)]) -> Self {
        let (config, ready) = (write_config(folder, more), folder.join("ready.json"));
        let _from_an_earlier_start = fs::remove_file(&ready);
        let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).expect("a log");
        let mut command = roomhook(&["serve"]);
        command.arg("--config").arg(&config).arg("--ready-file").arg(&ready).stderr(log);
        let mut child = command.envs(vars.iter().copied()).spawn().expect("the server starts");
        let ready: Value = until("the server's start", || {
            if let Some(status) = child.try_wait().expect("wait") {
                panic!(
                    "the server ended with {status}: {}",
                    fs::read_to_string(folder.join("log")).unwrap_or_default()
                );
            }
            serde_json::from_slice(&fs::read(&ready).ok()?).ok()
        });
        let address = |name: &str| ready[name].as_str().expect("an address").parse().expect("an address");
        Self { listen: address("listen"), admin_listen: address("admin_listen"), child }
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    pub(crate) fn ended(&mut self) -> ExitStatus {
        until("the server's end", || self.child.try_wait().expect("wait"))
    }

    /// Stops it as an operator would; it must end well.
    pub(crate) fn stop(mut self) {
        self.signal("TERM");
        let status = self.ended();
        assert!(status.success(), "the server ended with {status}");
    }

    /// Path and query of a REST call by `administrator`.
    pub(crate) fn path(command: &str) -> String {
        let app = SDKAPPID.to_string();
        let usersig = run(&["usersig", "--sdkappid", &app, "--key", KEY, "--user", "administrator"]).stdout;
        let usersig = text(&usersig);
        format!(
            "/v4/{command}?sdkappid={app}&identifier=administrator&usersig={}&random=1&contenttype=json",
            usersig.trim()
        )
    }

    /// A REST call by `administrator`.
    pub(crate) fn call(&self, command: &str, body: &Value) -> Value {
        let (status, answer) = post(self.listen, &Self::path(command), &body.to_string());
        assert_eq!(status, 200, "{answer}");
        serde_json::from_str(&answer).expect("a JSON answer")
    }

    /// A REST call that must succeed.
    pub(crate) fn must(&self, command: &str, body: &Value) -> Value {
        let answer = self.call(command, body);
        assert_eq!(answer["ErrorCode"], 0, "{command}: {answer}");
        answer
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// A configuration of one app on free ports.
pub(crate) fn write_config(folder: &Path, more: &str) -> PathBuf {
    let file = folder.join("roomhook.toml");
    let text = format!(
        "server.listen = \"127.0.0.1:0\"\nserver.admin_listen = \"127.0.0.1:0\"\nstorage.path = {:?}\n\
         [[app]]\nsdkappid = {SDKAPPID}\nkey = \"{KEY}\"\n{more}",
        folder.join("data"),
    );
    fs::write(&file, text).expect("write the configuration");
    file
}

pub(crate) fn get(addr: SocketAddr, path: &str) -> (u16, String) {
    exchange(addr, &format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"))
}

pub(crate) fn post(addr: SocketAddr, path: &str, body: &str) -> (u16, String) {
    let length = body.len();
    exchange(
        addr,
        &format!("POST {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"),
    )
}

pub(crate) fn exchange(addr: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(addr).expect("connect");
    stream.write_all(request.as_bytes()).expect("send");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("receive");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

/// A command that goes on running, and what it prints.
pub(crate) struct Running {
    pub(crate) child: Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Running {
    pub(crate) fn start(arguments: &[&str], folder: &Path) -> Self {
        let mut child =
            roomhook(arguments).current_dir(folder).stdout(Stdio::piped()).spawn().expect("the program starts");
        let stdout = child.stdout.take().expect("its output");
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// The next line that holds `needle`.
    pub(crate) fn line(&self, needle: &str) -> String {
        loop {
            let line =
                self.lines.recv_timeout(Duration::from_secs(30)).unwrap_or_else(|_| panic!("no line with {needle}"));
            if line.contains(needle) {
                return line;
            }
        }
    }

    pub(crate) fn interrupt(mut self) {
        signal(&self.child, "INT");
        let ended = until("the program's end", || self.child.try_wait().expect("wait"));
        assert!(ended.success(), "ended with {ended}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}
