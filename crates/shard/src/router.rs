//! Finds the owner of a room.

use std::sync::Arc;

use roomhook_room::{Command, DedupKey, Foreseen, Receipt, RoomKey, UserId};

use crate::{
    error::ExecuteError,
    inbox::{Inbox, Reply},
    request::{Question, Request, RoomView, WEIGHT_MIN, weight_of},
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
    pub(crate) inbox: Inbox<Request>,
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
        let weight = weight_of(&command);
        self.ask(room, weight, |room, reply| Request::Execute { room, command, reply }).await
    }

    /// The room as it is now, with everything that was acknowledged before the call; `None` if there is none.
    ///
    /// # Errors
    /// [`ExecuteError::Busy`] or [`ExecuteError::Unavailable`]. Cancel safe.
    pub async fn view(&self, room: RoomKey) -> Result<Option<RoomView>, ExecuteError> {
        self.ask(room, WEIGHT_MIN, |room, reply| Request::Ask { room, question: Question::View(reply) }).await
    }

    /// What the room would say of a message before the before-send gate is asked: see [`roomhook_room::foresee`]. Knows
    /// everything that was acknowledged before the call, and changes nothing.
    ///
    /// # Errors
    /// The room's refusal, [`ExecuteError::Busy`] or [`ExecuteError::Unavailable`]. Cancel safe.
    pub async fn foresee(&self, room: RoomKey, from: UserId, key: Option<DedupKey>) -> Result<Foreseen, ExecuteError> {
        let question = |reply| Question::Foresee { from, key, reply };
        self.ask(room, WEIGHT_MIN, |room, reply| Request::Ask { room, question: question(reply) }).await
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

    /// Puts a request of this weight into the inbox of the room's owner and waits for the answer.
    async fn ask<T>(
        &self,
        room: RoomKey,
        weight: usize,
        request: impl FnOnce(RoomKey, Reply<T>) -> Request,
    ) -> Result<T, ExecuteError> {
        let shard = shard_of(&room, self.shards());
        let Some(door) = self.doors.get(usize::from(shard.0)) else {
            return Err(ExecuteError::Unavailable("there are no shards".into()));
        };
        door.health.check_open()?;
        door.inbox.ask(weight, |reply| request(room, reply)).await
    }
}
