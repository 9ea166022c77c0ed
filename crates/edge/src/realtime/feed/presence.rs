//! Who is in a room: told from memory, never from the log.

use bytes::Bytes;
use roomhook_centrifuge::{
    ClientInfo, Error, Join, Leave, PresenceResult, PresenceStatsResult, PushBody, Reply, ReplyBody, codes,
};

use super::{Feed, room::Room};
use crate::realtime::{conn::Conn, encode::Frames, lane::Job};

/// Everybody, if they are few enough.
pub(super) fn members(room: &Room, members_max: usize) -> Result<ReplyBody, Error> {
    if room.members.len() > members_max {
        return Err(codes::error::NOT_AVAILABLE.into());
    }
    let presence =
        room.members.values().map(|member| (member.conn.client_id().to_string(), info(&member.conn))).collect();
    Ok(ReplyBody::Presence(PresenceResult { presence }))
}

/// How many connections, how many users.
pub(super) fn count(room: &Room) -> ReplyBody {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    ReplyBody::PresenceStats(PresenceStatsResult {
        num_clients: number(room.members.len()),
        num_users: number(room.users.len()),
    })
}

fn info(conn: &Conn) -> ClientInfo {
    ClientInfo {
        user: conn.user().map(|user| user.as_str().to_owned()).unwrap_or_default(),
        client: conn.client_id().to_string(),
        ..ClientInfo::default()
    }
}

impl Feed {
    pub(super) async fn tell_coming(&self, key: &Bytes, who: &Conn) {
        self.tell_watchers(key, || PushBody::Join(Join { info: info(who) })).await;
    }

    pub(super) async fn tell_going(&self, key: &Bytes, who: &Conn) {
        self.tell_watchers(key, || PushBody::Leave(Leave { info: info(who) })).await;
    }

    /// In small rooms only: n members that come to a room of n would be n² pushes.
    async fn tell_watchers(&self, key: &Bytes, push: impl FnOnce() -> PushBody) {
        let Some(room) = self.rooms.get(key) else { return };
        if room.watchers == 0 || room.members.len() > self.deps.settings.join_leave_members_max {
            return;
        }
        let frames = Frames::of(&Reply::push(room.channel(), push()));
        for lane in 0..self.deps.lanes.len() {
            if room.has_members_on(lane) {
                let job = Job::Whisper { room: room.no(), frames: frames.clone(), watchers_only: true };
                self.to_lane(lane, job).await;
            }
        }
    }
}
