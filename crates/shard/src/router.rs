//! Finds the owner of a room.

use std::sync::Arc;

use roomhook_room::{Command, DedupKey, Foreseen, Receipt, RoomKey, UserId};
use tokio::sync::{mpsc, oneshot};

use crate::{
    error::ExecuteError,
    request::{Question, Request, RoomView},
    supervisor::Health,
    tail::{TailHub, shard_of},
};

/// The way to every shard. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Router {
    doors: Arc<[Door]>,
    directory: Arc<Health>,
    tail: TailHub,
}

/// One shard, from outside.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) inbox: mpsc::Sender<Request>,
    pub(crate) health: Arc<Health>,
}

impl Router {
    pub(crate) fn new(doors: Vec<Door>, directory: Arc<Health>, tail: TailHub) -> Self {
        Self { doors: doors.into(), directory, tail }
    }

    /// Has the owner of `room` decide `command`, and waits until the outcome is durable.
    ///
    /// # Errors
    /// [`ExecuteError`]. Cancel safe in that nothing breaks; but a command that was sent happens even if nobody waits.
    pub async fn execute(&self, room: RoomKey, command: Command) -> Result<Receipt, ExecuteError> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Execute { room, command, reply })?;
        answer.await.unwrap_or_else(|_| Err(ExecuteError::Unknown("the shard restarted".into())))
    }

    /// The room as it is now, with everything that was acknowledged before the call; `None` if there is none.
    ///
    /// # Errors
    /// [`ExecuteError::Busy`] or [`ExecuteError::Unavailable`]. Cancel safe.
    pub async fn view(&self, room: RoomKey) -> Result<Option<RoomView>, ExecuteError> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Ask { room, question: Question::View(reply) })?;
        answer.await.unwrap_or_else(|_| Err(ExecuteError::Unavailable("the shard restarted".into())))
    }

    /// What the room would say of a message before the before-send gate is asked: see [`roomhook_room::foresee`]. Knows
    /// everything that was acknowledged before the call, and changes nothing.
    ///
    /// # Errors
    /// The room's refusal, [`ExecuteError::Busy`] or [`ExecuteError::Unavailable`]. Cancel safe.
    pub async fn foresee(&self, room: RoomKey, from: UserId, key: Option<DedupKey>) -> Result<Foreseen, ExecuteError> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Ask { room, question: Question::Foresee { from, key, reply } })?;
        answer.await.unwrap_or_else(|_| Err(ExecuteError::Unavailable("the shard restarted".into())))
    }

    /// Whether every shard and the directory accept writes.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.directory.is_ready() && self.doors.iter().all(|door| door.health.is_ready())
    }

    /// Why not all accept writes: one line for each that does not.
    #[must_use]
    pub fn troubles(&self) -> Vec<String> {
        let shards = self.doors.iter().map(|door| &door.health);
        shards.chain([&self.directory]).filter_map(|health| health.trouble()).collect()
    }

    #[must_use]
    pub fn shards(&self) -> u16 {
        // `start` made one door for each of a u16 of shards.
        self.doors.len() as u16
    }

    /// Released records: history and live.
    #[must_use]
    pub fn tail(&self) -> &TailHub {
        &self.tail
    }

    fn send(&self, request: Request) -> Result<(), ExecuteError> {
        let shard = shard_of(request.room(), self.shards());
        let Some(door) = self.doors.get(usize::from(shard.0)) else {
            return Err(ExecuteError::Unavailable("there are no shards".into()));
        };
        door.health.check_open()?;
        door.inbox.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ExecuteError::Busy,
            mpsc::error::TrySendError::Closed(_) => ExecuteError::Unavailable("the server is stopping".into()),
        })
    }
}
