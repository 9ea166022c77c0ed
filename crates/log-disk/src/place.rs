//! Where a mirror stands, in the journal's words.

use roomhook_mirror::Stand;

use crate::{
    journal::{Flags, Newest, Place, Writer},
    plan::{Floors, Positions},
};

/// Everything before `place` is in it; the newest frame of that began at `newest.position`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) place: Place,
    pub(crate) newest: Newest,
}

impl Standing {
    /// Of a store that has nothing. `boot` is the machine's present start.
    pub(crate) fn nothing(boot: u64) -> Self {
        let newest = Newest { position: 0, boot, flags: Flags { synced: true, closing: true, lost: false } };
        Self { place: Place::START, newest }
    }

    pub(crate) fn of_writer(writer: &Writer) -> Self {
        Self { place: writer.place(), newest: writer.newest() }
    }

    pub(crate) fn of(stand: &Stand) -> Self {
        let [position, crc_and_flags, newest, boot] = stand.place;
        let crc = u32::try_from(crc_and_flags & u64::from(u32::MAX)).unwrap_or_default();
        let flags = Flags::parse(u32::try_from(crc_and_flags >> 32).unwrap_or_default());
        Self { place: Place { position, crc }, newest: Newest { position: newest, boot, flags } }
    }

    pub(crate) fn stand(self, logs: &Positions, floors: &Floors) -> Stand {
        let Self { place, newest } = self;
        let crc_and_flags = u64::from(place.crc) | u64::from(newest.flags.bits()) << 32;
        Stand {
            place: [place.position, crc_and_flags, newest.position, newest.boot],
            logs: logs.clone(),
            floors: floors.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_comes_back() {
        let flags = Flags { synced: true, closing: true, lost: false };
        let standing = Standing {
            place: Place { position: 5 << 40, crc: u32::MAX },
            newest: Newest { position: 77, boot: u64::MAX, flags },
        };
        assert_eq!(Standing::of(&standing.stand(&Positions::new(), &Floors::new())), standing);
    }
}
