//! An event that never happened, to see whether an endpoint is there.

use bytes::Bytes;
use roomhook_log::Lsn;

use crate::{
    engine::{Content, DeliveryId, EventPos, Job},
    handle::{Handle, HandleError},
    plan::Command,
    sender,
    shared::Outcome,
    supervisor::EndpointName,
    trail::Attempt,
};

impl Handle {
    /// Sends one event that never happened (`Roomhook.CallbackTest`), to see whether the endpoint is there and agrees about secrets.
    ///
    /// # Errors
    /// When there is no such endpoint. Cancel safe.
    pub async fn test(&self, name: &EndpointName) -> Result<Attempt, HandleError> {
        let settings = self.shared(name)?.settings.load_full();
        let now = self.world.wall();
        let body = format!(r#"{{"CallbackCommand":"{}","EventTime":{now}}}"#, Command::Test.word());
        let content = Content { command: Command::Test, origin: None, body: Bytes::from(body) };
        let id = DeliveryId { shard: 0, pos: EventPos { lsn: Lsn(0), index: 0 } };
        let job = Job { content: Some(content), ..Job::outside(id, Bytes::new(), 0, now, 1) };
        let mut channel = self.world.transport.channel();
        match sender::attempt(&self.world, &settings, channel.as_mut(), &job, None).await {
            Outcome::Answered(report) => Ok(Attempt::of(&job, &report, self.world.wall())),
            Outcome::Gone | Outcome::Untried => Err(HandleError::NoEvent),
        }
    }
}
