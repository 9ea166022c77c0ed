//! An endpoint that is no good, in a process of its own: the neighbour in `bench webhook --bad-neighbour`.

use std::{
    io::{self, BufRead as _},
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, ExitCode, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use clap::ValueEnum;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
};

use super::hook_receiver::request_sizes;
use crate::out::say;

/// Between two bytes of an answer that drips.
const DRIP: Duration = Duration::from_millis(500);
const DRIPPING: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n";
const ERROR: &[u8] = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";

/// How an endpoint fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Manner {
    /// Nobody listens.
    Refuse,
    /// Accepts and never answers.
    Silent,
    /// Answers, a byte at a time.
    Drip,
    /// Answers 500 at once.
    Errors,
}

/// Receive webhooks badly (a peer of `bench webhook --bad-neighbour`)
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How it fails
    #[arg(long)]
    manner: Manner,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    // A port that is bound and not listened on is refused, and nobody else gets it.
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    let addr = socket.local_addr()?;
    let listener = match args.manner {
        Manner::Refuse => {
            say!("{addr}");
            return std::future::pending().await;
        }
        _ => socket.listen(1_024)?,
    };
    say!("{addr}");
    accept(listener, args.manner).await
}

async fn accept(listener: TcpListener, manner: Manner) -> anyhow::Result<ExitCode> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // Detached: it ends with its connection, and all of them with this process.
        tokio::spawn(async move {
            let _gone = connection(stream, manner).await;
        });
    }
}

async fn connection(mut stream: TcpStream, manner: Manner) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(8_192);
    loop {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        while let Some(whole) = request_sizes(&buffer).map(|(head, body)| head + body)
            && buffer.len() >= whole
        {
            buffer.drain(..whole);
            match manner {
                Manner::Refuse | Manner::Silent => {}
                Manner::Errors => stream.write_all(ERROR).await?,
                Manner::Drip => drip(&mut stream).await?,
            }
        }
    }
}

async fn drip(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(DRIPPING).await?;
    for _ in 0..50 {
        tokio::time::sleep(DRIP).await;
        stream.write_all(b" ").await?;
    }
    Ok(())
}

/// Its process, as the bench holds it. Dropping it ends the process.
#[derive(Debug)]
pub(super) struct BadReceiver {
    child: Child,
    pub(super) addr: SocketAddr,
}

impl BadReceiver {
    pub(super) fn start(manner: Manner) -> anyhow::Result<Self> {
        let name = manner.to_possible_value().context("each manner has a name")?;
        let mut child = Command::new(std::env::current_exe().context("find this program")?)
            .args(["bench", "bad-receiver", "--manner", name.get_name()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the bad neighbour")?;
        let mut line = String::new();
        io::BufReader::new(child.stdout.take().context("the bad neighbour has no output")?).read_line(&mut line)?;
        let addr = line.trim().parse().context("the bad neighbour did not say where it is")?;
        Ok(Self { child, addr })
    }
}

impl Drop for BadReceiver {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
    }
}
