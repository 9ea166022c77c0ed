//! The task of one connection: the shell around its [`Session`].

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use roomhook_centrifuge::{Commands, Format, codes};
use roomhook_room::RoomKey;
use tokio::time::Instant;

use super::{
    Hub,
    conn::{Conn, ConnId},
    encode::{self, opcode},
    feed::Ask,
    outbox::{Fate, Kind},
    perform,
    session::{Goodbye, Outcome, Session, Step},
    wire::{self, Reader, Writer},
    ws::{self, Decoder, Incoming, Opcode},
};

/// What an action is while it runs. In a box, so that an idle connection does not carry room for it.
type Running = Pin<Box<dyn Future<Output = Outcome> + Send>>;

pub(crate) struct Task {
    pub(crate) hub: Arc<Hub>,
    pub(crate) conn: Arc<Conn>,
    pub(crate) session: Session,
    pub(crate) decoder: Decoder,
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
    /// What else the connection knows of its client.
    pub(crate) client: perform::Client,
    /// Commands of a frame that are still to be handled.
    pub(crate) commands: Option<Commands>,
}

/// What the running action comes to; never, when none runs. Cancel safe: the action stays where it is.
async fn outcome_of(running: &mut Option<Running>) -> Outcome {
    match running {
        Some(action) => action.await,
        None => std::future::pending().await,
    }
}

/// Leaves rooms, however long they take: a member that is gone would stay a member for ever. The connection holds its
/// place meanwhile, so there are never more of these than connections are allowed.
async fn leave(hub: Arc<Hub>, conn: ConnId, rooms: Vec<RoomKey>) {
    for key in rooms {
        // An error means that the feeds stopped, and all rooms with them.
        let _ = hub.feeds.tell(&key, Ask::Leave { key: key.clone(), conn }).await;
    }
}

/// Why the loop of a connection ended.
enum End {
    /// A close frame is in the outbox, or was answered.
    Closing,
    /// The socket failed or the client is gone: nothing can be said any more.
    Gone,
}

impl Task {
    /// Serves the connection until it ends.
    pub(crate) async fn run(mut self) {
        let end = self.serve().await;
        // In boxes, so that a connection carries no room for its end.
        let leaving = Box::pin(leave(Arc::clone(&self.hub), self.conn.id(), self.rooms()));
        // Neither waits for the other: rooms that are behind do not keep the client waiting for its goodbye.
        tokio::join!(leaving, Box::pin(self.end(end)));
    }

    async fn end(&mut self, end: End) {
        if matches!(end, End::Closing) {
            // Whoever does not take our goodbye in time is cut.
            let patience = self.hub.config.close_timeout;
            let _ = tokio::time::timeout(patience, self.say_goodbye()).await;
        }
        self.conn.outbox().kill();
        wire::cut(&self.conn);
        self.hub.users.remove(&self.conn);
    }

    async fn serve(&mut self) -> End {
        let mut running: Option<Running> = None;
        let timer = tokio::time::sleep_until(self.hub.at(self.session.deadline()));
        tokio::pin!(timer);
        // The first bytes may have come with the upgrade.
        if let Some(end) = self.advance(&mut running) {
            return end;
        }
        loop {
            let deadline = self.hub.at(self.session.deadline());
            if timer.deadline() != deadline {
                timer.as_mut().reset(deadline);
            }
            let reading = running.is_none();
            let writing = self.writer.owes(self.conn.outbox());
            // All of these are cancel safe: bytes, frames and results that were not taken stay where they are.
            let ended = tokio::select! {
                biased;
                () = &mut timer => {
                    let step = self.session.handle_time(self.hub.now());
                    self.follow(step, &mut running)
                }
                outcome = outcome_of(&mut running) => {
                    running = None;
                    let step = self.session.finish(outcome, self.hub.now());
                    match self.follow(step, &mut running) {
                        Some(end) => Some(end),
                        None => self.advance(&mut running),
                    }
                }
                () = self.conn.outbox().woken() => {
                    for ended in self.conn.take_removals() {
                        self.session.handle_removal(ended);
                    }
                    self.conn.outbox().closing().map(|_code| End::Closing)
                }
                written = self.writer.write_some(self.conn.outbox()), if writing => written.err().map(|_| End::Gone),
                read = self.reader.read(self.conn.outbox(), &mut self.decoder), if reading => match read {
                    Ok(0) | Err(_) => Some(End::Gone),
                    Ok(_) => {
                        self.session.handle_traffic();
                        self.advance(&mut running)
                    }
                },
            };
            if let Some(end) = ended {
                return end;
            }
        }
    }

    /// Handles what was read, until more is needed or an action runs.
    fn advance(&mut self, running: &mut Option<Running>) -> Option<End> {
        while running.is_none() {
            if let Some(commands) = &mut self.commands {
                match commands.next() {
                    Some(command) => {
                        if let Ok(command) = &command {
                            self.hub.metrics.command(command.request.as_ref().map_or("pong", |request| request.name()));
                        }
                        let step = self.session.handle(command, self.hub.now());
                        if let Some(end) = self.follow(step, running) {
                            return Some(end);
                        }
                    }
                    None => {
                        self.commands = None;
                        self.send_output();
                    }
                }
                continue;
            }
            match self.decoder.next() {
                Ok(None) => return None,
                Ok(Some(message)) => {
                    if let Some(end) = self.take_message(message) {
                        return Some(end);
                    }
                }
                Err(error) => {
                    return Some(self.close(Goodbye { code: error.code(), reason: error.to_string().into() }));
                }
            }
        }
        None
    }

    fn take_message(&mut self, message: Incoming) -> Option<End> {
        let frame = match (message, self.conn.format()) {
            (Incoming::Text(frame), Format::Json) | (Incoming::Binary(frame), Format::Protobuf) => frame,
            (Incoming::Text(_) | Incoming::Binary(_), _) => {
                return Some(self.close(codes::disconnect::INAPPROPRIATE_PROTOCOL));
            }
            (Incoming::Ping(payload), _) => {
                self.send(&ws::frame(Opcode::Pong, &payload), Kind::Urgent);
                return None;
            }
            (Incoming::Pong, _) => return None,
            (Incoming::Close(code), _) => {
                // The client's goodbye is answered with its own code.
                self.conn.outbox().close(code.unwrap_or(1000), "");
                return Some(End::Closing);
            }
        };
        match Commands::new(self.conn.format(), frame, &self.hub.config.frame_limits) {
            Ok(commands) => {
                self.commands = Some(commands);
                None
            }
            Err(_) => Some(self.close(codes::disconnect::BAD_REQUEST)),
        }
    }

    /// Does what the session says.
    fn follow(&mut self, step: Step, running: &mut Option<Running>) -> Option<End> {
        match step {
            Step::Next => {
                if self.commands.is_none() {
                    self.send_output();
                }
                None
            }
            Step::Ping => {
                self.send(&encode::ping(self.conn.format()), Kind::Urgent);
                None
            }
            Step::Do(action) => {
                // A lane answers a join: the replies before it go first.
                self.send_output();
                *running = Some(perform::start(&self.hub, &self.conn, &self.client, action));
                None
            }
            Step::Close(goodbye) => Some(self.close(goodbye)),
        }
    }

    fn send_output(&mut self) {
        if let Some(output) = self.session.take_output() {
            self.session.take_errors().into_iter().for_each(|code| self.hub.metrics.error(code));
            self.send(&ws::frame(opcode(self.conn.format()), &output), Kind::Owed);
        }
    }

    fn send(&self, frame: &bytes::Bytes, kind: Kind) {
        if self.conn.outbox().send(frame, kind) == Fate::Slow {
            self.conn.note_slow();
        }
    }

    fn close(&mut self, goodbye: impl Into<Goodbye>) -> End {
        let Goodbye { code, reason } = goodbye.into();
        self.send_output();
        self.hub.metrics.closed(code);
        self.conn.outbox().close(code, &reason);
        End::Closing
    }

    /// The rooms to leave, one being joined or left among them.
    fn rooms(&self) -> Vec<RoomKey> {
        let Some(app) = self.conn.app() else { return Vec::new() };
        let rooms = self.session.rooms().iter().map(|joined| &joined.room).chain(self.session.room_in_between());
        rooms.map(|room| RoomKey { app, room: room.clone() }).collect()
    }

    /// Sends what waits, the close frame last, then waits for the client to hang up.
    async fn say_goodbye(&mut self) {
        while self.writer.owes(self.conn.outbox()) {
            if self.writer.write_some(self.conn.outbox()).await.is_err() {
                return;
            }
        }
        self.writer.shutdown(self.conn.outbox()).await;
        loop {
            // What still comes is not looked at, and not kept.
            let mut scrap = Decoder::new(self.hub.config.ws_limits(false));
            if !matches!(self.reader.read(self.conn.outbox(), &mut scrap).await, Ok(1..)) {
                return;
            }
        }
    }
}

impl Hub {
    /// The time as sessions count it.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// A session's time as timers count it; far ahead when it is not representable.
    fn at(&self, time: Duration) -> Instant {
        self.started.checked_add(time).unwrap_or_else(|| self.started + Duration::from_secs(86_400 * 365))
    }
}
