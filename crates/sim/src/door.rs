//! Joins the doors' gate to the webhooks', as the binary does.

use async_trait::async_trait;
use roomhook_edge::publish::{self, Verdict};
use roomhook_hooks::gate::{self, Decision};
use roomhook_room::{Draft, RoomKey, UserId};

#[derive(Debug)]
pub(crate) struct Gate(pub(crate) gate::Gate);

#[async_trait]
impl publish::Gate for Gate {
    fn is_on(&self, room: &RoomKey) -> bool {
        self.0.is_on(room)
    }

    async fn line_up(&self, room: &RoomKey, from: &UserId) -> Option<Box<dyn publish::Turn>> {
        let turn = self.0.line_up(room, from).await?;
        Some(Box::new(Turn(turn)))
    }

    fn report(&self, room: &RoomKey) -> Option<Box<dyn publish::Report>> {
        Some(Box::new(Report(self.0.report(room)?)))
    }
}

#[derive(Debug)]
struct Report(gate::Report);

impl publish::Report for Report {
    fn tell(self: Box<Self>, room_type: &str, attempted: &Draft, code: i32, info: &str) {
        self.0.tell(room_type, attempted, code, info);
    }
}

#[derive(Debug)]
struct Turn(gate::Turn);

#[async_trait]
impl publish::Turn for Turn {
    async fn ask(&mut self, room_type: &str, draft: &Draft) -> Verdict {
        match self.0.ask(room_type, draft).await {
            Decision::Allow => Verdict::Allow,
            Decision::Replace { body, custom_data } => Verdict::Replace { body, custom_data },
            Decision::Discard => Verdict::Discard,
            Decision::Refuse { code, info } => Verdict::Refuse { code, info },
        }
    }
}
