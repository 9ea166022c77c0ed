//! Bodies made of late, so that several endpoints of an app share the bytes of an event instead of each writing its own.

use parking_lot::Mutex;
use roomhook_protocol::webhook::Style;

use crate::engine::{Content, EventPos};

/// Bodies kept per shard. Readers of one shard are close together at the live end, which is where sharing pays.
const KEPT: usize = 512;

/// One small direct-mapped table per shard.
#[derive(Debug)]
pub(crate) struct Contents {
    shards: Vec<Mutex<Vec<Option<Made>>>>,
}

#[derive(Debug)]
struct Made {
    pos: EventPos,
    style: Style,
    content: Content,
}

impl Contents {
    pub(crate) fn new(shards: u16) -> Self {
        let table = || Mutex::new((0..KEPT).map(|_| None).collect());
        Self { shards: (0..shards).map(|_| table()).collect() }
    }

    /// The content of an event, made now unless it was made a moment ago.
    pub(crate) fn get(&self, shard: u16, pos: EventPos, style: Style, make: &dyn Fn() -> Content) -> Content {
        let Some(table) = self.shards.get(usize::from(shard)) else { return make() };
        let place = usize::try_from(pos.lsn.0 % KEPT as u64).unwrap_or(0);
        let found = table.lock().get(place).and_then(|made| {
            made.as_ref().filter(|made| made.pos == pos && made.style == style).map(|made| made.content.clone())
        });
        if let Some(content) = found {
            return content;
        }
        let content = make();
        if let Some(place) = table.lock().get_mut(place) {
            *place = Some(Made { pos, style, content: content.clone() });
        }
        content
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use roomhook_log::Lsn;

    use super::*;
    use crate::plan::Command;

    #[test]
    fn the_same_event_in_the_same_style_is_the_same_bytes() {
        let contents = Contents::new(1);
        let make = || Content { command: Command::AfterSendMsg, origin: None, body: Bytes::from(vec![b'x'; 64]) };
        let pos = EventPos { lsn: Lsn(7), index: 0 };
        let get = |pos, style| contents.get(0, pos, style, &make).body.as_ptr();
        let plain = Style::default();
        assert_eq!(get(pos, plain), get(pos, plain));
        let other_style = Style { event_time_as_string: true, ..plain };
        let first = contents.get(0, pos, plain, &make).body;
        assert_ne!(first.as_ptr(), get(pos, other_style));
        assert_ne!(first.as_ptr(), get(EventPos { lsn: Lsn(7 + KEPT as u64), index: 0 }, plain));
    }
}
