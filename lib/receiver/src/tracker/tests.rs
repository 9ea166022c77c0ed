//! Stories about what is new, what is a repeat and what is missing; then the laws behind them for arbitrary arrivals.

use std::collections::{BTreeSet, HashSet};

use proptest::prelude::*;

use super::*;

const NOW_MILLIS: u64 = 1_767_225_663_000;

/// A room's message in its `life`-th life. Each life takes place at a later time, with ids of its own.
fn message(seq: u64, life: u64) -> (String, u64, u64) {
    (format!("144115188075855873-{}-{seq}", 1000 * life + seq), seq, 1000 * life + seq)
}

struct Story {
    tracker: Tracker,
}

impl Story {
    fn new() -> Self {
        Self::within(Limits::default())
    }

    fn within(limits: Limits) -> Self {
        Self { tracker: Tracker::new(limits) }
    }

    /// The message arrives and is handled: what it was taken for, and what was found out.
    fn handle(&mut self, seq: u64) -> (Standing, Vec<Notice>) {
        self.handle_in("lobby", seq, 1)
    }

    fn handle_in(&mut self, room: &str, seq: u64, life: u64) -> (Standing, Vec<Notice>) {
        let (id, seq, time_secs) = message(seq, life);
        let key = MessageKey { room, seq, id: &id, time_secs };
        (self.tracker.standing(key), self.tracker.commit(key, NOW_MILLIS))
    }

    fn open(&self) -> Vec<RangeInclusive<u64>> {
        self.tracker.open_gaps().map(|gap| gap.seqs).collect()
    }
}

fn lobby() -> Arc<str> {
    Arc::from("lobby")
}

#[test]
fn messages_in_order_are_new_once() {
    let mut story = Story::new();
    assert_eq!(story.handle(318), (Standing::First, vec![]));
    assert_eq!(story.handle(319), (Standing::Next, vec![]));
    assert_eq!(story.handle(319), (Standing::Repeat, vec![]));
    assert_eq!(story.handle(318), (Standing::Repeat, vec![]));
    assert_eq!(story.open(), []);
}

#[test]
fn asking_changes_nothing_until_the_commit() {
    let mut story = Story::new();
    let key = MessageKey { room: "lobby", seq: 1, id: "a-1-1", time_secs: 1 };
    assert_eq!(story.tracker.standing(key), Standing::First);
    assert_eq!(story.tracker.standing(key), Standing::First, "a handler that failed leaves the message new");
    story.tracker.commit(key, NOW_MILLIS);
    assert_eq!(story.tracker.standing(key), Standing::Repeat);
}

#[test]
fn a_gap_opens_and_is_filled_later_in_any_order() {
    let mut story = Story::new();
    story.handle(1);
    let (standing, notices) = story.handle(5);
    assert_eq!(standing, Standing::Ahead { missing: 2..=4 });
    assert_eq!(notices, [Notice::GapOpened { room: lobby(), seqs: 2..=4 }]);

    let (standing, notices) = story.handle(3);
    assert_eq!(standing, Standing::Late);
    assert_eq!(notices, [Notice::GapFilled { room: lobby(), seq: 3, still_missing: 2 }]);
    assert_eq!(story.open(), [2..=2, 4..=4]);
    assert_eq!(story.handle(3).0, Standing::Repeat);

    story.handle(4);
    assert_eq!(story.handle(2).1, [Notice::GapFilled { room: lobby(), seq: 2, still_missing: 0 }]);
    assert_eq!(story.handle(6), (Standing::Next, vec![]));
}

#[test]
fn within_one_second_a_late_message_is_late_and_no_sign_of_a_new_life() {
    let mut story = Story::new();
    let key = |seq, id| MessageKey { room: "lobby", seq, id, time_secs: 5 };
    story.tracker.commit(key(1, "a"), NOW_MILLIS);
    story.tracker.commit(key(3, "c"), NOW_MILLIS);
    assert_eq!(story.tracker.standing(key(2, "b")), Standing::Late);
}

#[test]
fn a_message_from_before_the_first_one_is_new_and_shows_what_lies_between() {
    let mut story = Story::new();
    story.handle(10);
    assert_eq!(story.handle(9), (Standing::Late, vec![]));
    assert_eq!(story.handle(6), (Standing::Late, vec![Notice::GapOpened { room: lobby(), seqs: 7..=8 }]));
}

#[test]
fn one_msg_id_in_two_rooms_is_two_messages() {
    let mut story = Story::new();
    assert_eq!(story.handle_in("lobby", 1, 1).0, Standing::First);
    assert_eq!(story.handle_in("attic", 1, 1).0, Standing::First);
    assert_eq!(story.handle_in("attic", 1, 1).0, Standing::Repeat);
}

#[test]
fn one_msg_id_under_two_numbers_is_one_message_and_neither_number_is_missing() {
    let mut story = Story::new();
    let key = |seq| MessageKey { room: "lobby", seq, id: "a-1-1", time_secs: 1 };
    story.tracker.commit(key(1), NOW_MILLIS);
    assert_eq!(story.tracker.standing(key(2)), Standing::Repeat);
    assert_eq!(story.tracker.commit(key(2), NOW_MILLIS), []);
    let third = MessageKey { id: "a-3-3", ..key(3) };
    assert_eq!(story.tracker.standing(third), Standing::Next);
}

#[test]
fn a_room_made_again_counts_from_one_and_nothing_of_it_is_dropped() {
    let mut story = Story::new();
    story.handle(1);
    story.handle(4);
    let (standing, notices) = story.handle_in("lobby", 1, 2);
    assert_eq!(standing, Standing::Restarted { former_top: 4 });
    assert_eq!(
        notices,
        [
            Notice::GapForgotten { room: lobby(), seqs: 2..=3, why: Forgotten::RoomEnded },
            Notice::RoomRestarted { room: lobby(), former_top: 4 },
        ]
    );
    assert_eq!(story.handle_in("lobby", 2, 2).0, Standing::Next);
    assert_eq!(story.handle_in("lobby", 1, 2).0, Standing::Repeat);

    // What comes late from the former life is neither a gap nor a repeat, unless it was handled then.
    assert_eq!(story.handle_in("lobby", 3, 1), (Standing::Unplaced, vec![]));
    assert_eq!(story.handle_in("lobby", 4, 1), (Standing::Repeat, vec![]));
    assert_eq!(story.handle_in("lobby", 3, 2).0, Standing::Next);
}

#[test]
fn a_room_made_again_whose_first_message_is_late_has_a_gap_from_one() {
    let mut story = Story::new();
    for seq in 1..=4 {
        story.handle(seq);
    }
    let (standing, notices) = story.handle_in("lobby", 3, 2);
    assert_eq!(standing, Standing::Restarted { former_top: 4 });
    assert!(notices.contains(&Notice::GapOpened { room: lobby(), seqs: 1..=2 }), "{notices:?}");
    assert_eq!(story.handle_in("lobby", 1, 2).0, Standing::Late);
    assert_eq!(story.open(), [2..=2]);
}

#[test]
fn a_room_that_was_said_to_be_dissolved_starts_afresh() {
    let mut story = Story::new();
    story.handle(1);
    story.handle(3);
    assert_eq!(
        story.tracker.end("lobby"),
        [Notice::GapForgotten { room: lobby(), seqs: 2..=2, why: Forgotten::RoomEnded }]
    );
    assert_eq!(story.tracker.end("lobby"), []);
    assert_eq!(story.handle_in("lobby", 1, 2).0, Standing::First);
}

#[test]
fn a_receiver_that_resumes_sees_the_gap_that_its_restart_hid() {
    let mut story = Story::new();
    story.tracker.resume("lobby", 7, 1007);
    assert_eq!(story.handle(9).0, Standing::Ahead { missing: 8..=8 });
    assert_eq!(story.handle(3).0, Standing::Unplaced, "ids from before the restart are not known: handled again");
    assert_eq!(story.handle_in("lobby", 1, 2).0, Standing::Restarted { former_top: 9 });
}

#[test]
fn what_is_too_old_to_remember_is_new_not_a_repeat() {
    let mut story = Story::within(Limits { messages_per_room_max: 3, ..Limits::default() });
    for seq in 1..=10 {
        story.handle(seq);
    }
    assert_eq!(story.handle(8).0, Standing::Repeat);
    assert_eq!(story.handle(2), (Standing::Unplaced, vec![]));
}

#[test]
fn the_room_that_was_quiet_longest_is_forgotten_first() {
    let mut story = Story::within(Limits { rooms_max: 2, ..Limits::default() });
    story.handle_in("a", 1, 1);
    story.handle_in("a", 3, 1);
    story.handle_in("b", 1, 1);
    story.handle_in("b", 2, 1);
    let (_, notices) = story.handle_in("c", 1, 1);
    assert_eq!(notices, [Notice::GapForgotten { room: Arc::from("a"), seqs: 2..=2, why: Forgotten::TooManyRooms }]);
    assert_eq!(story.handle_in("b", 2, 1).0, Standing::Repeat);
    assert_eq!(story.handle_in("a", 3, 1).0, Standing::First);
    assert_eq!(story.tracker.rooms(), 2);
}

#[test]
fn events_without_a_number_are_known_by_their_webhook_id() {
    let mut story = Story::within(Limits { event_ids_max: 2, ..Limits::default() });
    let tracker = &mut story.tracker;
    assert_eq!(tracker.event_standing(Some("evt-1")), Standing::Unnumbered);
    for id in ["evt-1", "evt-2", "evt-2"] {
        tracker.commit_event(Some(id));
    }
    assert_eq!(tracker.event_standing(Some("evt-1")), Standing::Repeat);
    tracker.commit_event(Some("evt-3"));
    assert_eq!(tracker.event_standing(Some("evt-1")), Standing::Unnumbered, "the oldest was forgotten");
    tracker.commit_event(None);
    assert_eq!(tracker.event_standing(None), Standing::Unnumbered);
}

#[test]
fn extreme_numbers_are_numbers() {
    let mut story = Story::new();
    let key = |seq, id| MessageKey { room: "lobby", seq, id, time_secs: 5 };
    story.tracker.commit(key(0, "zero"), NOW_MILLIS);
    assert_eq!(story.tracker.standing(key(u64::MAX, "max")), Standing::Ahead { missing: 1..=u64::MAX - 1 });
    story.tracker.commit(key(u64::MAX, "max"), NOW_MILLIS);
    assert_eq!(story.tracker.standing(key(u64::MAX, "max")), Standing::Repeat);
    assert_eq!(story.open(), [1..=u64::MAX - 1]);
}

/// Small numbers, so that everything meets everything.
fn arrivals() -> impl Strategy<Value = Vec<(u8, u64, u64)>> {
    prop::collection::vec((0..4_u8, 0..20_u64, 1..4_u64), 0..200)
}

proptest! {
    /// The law that makes dropping repeats safe, whatever the order, the limits and the lives of rooms.
    #[test]
    fn only_what_was_handled_is_ever_called_a_repeat(
        arrivals in arrivals(), rooms_max in 1..5_usize, messages_per_room_max in 0..30_usize, gaps_per_room_max in 0..4_usize,
    ) {
        let limits = Limits { rooms_max, messages_per_room_max, gaps_per_room_max, ..Limits::default() };
        let mut story = Story::within(limits);
        let mut handled = HashSet::new();
        for (room, seq, life) in arrivals {
            let (standing, _) = story.handle_in(&format!("room-{room}"), seq, life);
            let was_handled = !handled.insert((room, seq, life));
            prop_assert!(standing != Standing::Repeat || was_handled, "{room} {seq} {life} was dropped unseen");
        }
    }

    /// Within the limits, a message that was handled is never handed out again.
    #[test]
    fn within_the_limits_every_repeat_is_recognised(arrivals in arrivals()) {
        let mut story = Story::new();
        let mut handled = HashSet::new();
        for (room, seq, life) in arrivals {
            let (standing, _) = story.handle_in(&format!("room-{room}"), seq, life);
            prop_assert_eq!(standing == Standing::Repeat, !handled.insert((room, seq, life)));
        }
    }

    /// In one life of a room, the open gaps are exactly the numbers between the lowest and the highest that have not come.
    #[test]
    fn gaps_are_what_is_missing_between_lowest_and_highest(seqs in prop::collection::vec(0..60_u64, 1..120)) {
        let mut story = Story::new();
        let mut told = BTreeSet::new();
        for &seq in &seqs {
            for notice in story.handle(seq).1 {
                match notice {
                    Notice::GapOpened { seqs, .. } => told.extend(seqs),
                    Notice::GapFilled { seq, still_missing, .. } => {
                        prop_assert!(told.remove(&seq));
                        prop_assert_eq!(still_missing, told.len() as u64);
                    }
                    other => prop_assert!(false, "unexpected {:?}", other),
                }
            }
        }
        let came: BTreeSet<_> = seqs.iter().copied().collect();
        let missing: BTreeSet<_> = (came.first().copied().unwrap()..=came.last().copied().unwrap()).filter(|seq| !came.contains(seq)).collect();
        prop_assert_eq!(&told, &missing);
        prop_assert_eq!(story.open().into_iter().flatten().collect::<BTreeSet<_>>(), missing);
    }

    /// Nothing grows beyond its limit.
    #[test]
    fn memory_is_bounded(arrivals in arrivals(), max in 1..4_usize) {
        let limits = Limits { rooms_max: max, messages_per_room_max: max, gaps_per_room_max: max, event_ids_max: max };
        let mut story = Story::within(limits);
        for (room, seq, life) in arrivals {
            story.handle_in(&format!("room-{room}"), seq, life);
            story.tracker.commit_event(Some(&format!("event-{seq}")));
            let tracker = &story.tracker;
            prop_assert!(tracker.rooms.len() <= max && tracker.by_use.len() == tracker.rooms.len());
            prop_assert!(tracker.rooms.values().all(|room| room.recent.len() <= max && room.gaps.len() <= max));
            prop_assert!(tracker.event_ids.order.len() <= max && tracker.event_ids.known.len() <= max);
        }
    }
}
