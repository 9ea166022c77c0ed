use roomhook_centrifuge::{Commands, Limits};

use super::*;

const START: Duration = Duration::from_secs(100);

fn settings() -> Settings {
    Settings {
        version: "test".into(),
        ping_every: Duration::from_secs(20),
        pong_within: Duration::from_secs(8),
        connect_within: Duration::from_secs(10),
        expiry_grace: Duration::from_secs(25),
        rooms_max: 2,
        commands_per_s: 10,
        commands_burst: 50,
    }
}

/// A client talking JSON to a session, step by step.
struct Story {
    session: Session,
    now: Duration,
}

impl Story {
    fn new() -> Self {
        let session = Session::new(Arc::new(settings()), Format::Json, ClientId(0xc1), 0, START);
        Self { session, now: START }
    }

    fn connected() -> Self {
        let mut story = Self::new();
        let step = story.says(r#"{"id":1,"connect":{"token":"t"}}"#);
        assert_eq!(step, Step::Do(Action::Authenticate { token: "t".into(), known: None }));
        assert_eq!(story.done(Outcome::Identified(Ok(identity(3600)))), Step::Next);
        story.hears();
        story
    }

    fn in_room(room: &str) -> Self {
        let mut story = Self::connected();
        let step = story.says(&format!(r#"{{"id":2,"subscribe":{{"channel":"room:{room}"}}}}"#));
        assert!(matches!(step, Step::Do(Action::Join(_))), "{step:?}");
        story.done(Outcome::Joined(Ok(())));
        story
    }

    fn says(&mut self, command: &str) -> Step {
        let mut commands = Commands::new(Format::Json, command.to_owned(), &Limits::default()).unwrap();
        let command = commands.next().unwrap();
        self.session.handle(command, self.now)
    }

    fn done(&mut self, outcome: Outcome) -> Step {
        self.session.finish(outcome, self.now)
    }

    fn hears(&mut self) -> String {
        String::from_utf8(self.session.take_output().unwrap_or_default()).unwrap()
    }

    fn wait(&mut self, secs: u64) -> Step {
        self.now += Duration::from_secs(secs);
        self.session.handle_time(self.now)
    }
}

fn identity(secs: u64) -> Identity {
    Identity { app: AppId(1), user: UserId::new("ann").unwrap(), expires_in: Duration::from_secs(secs) }
}

fn closes(code: DisconnectCode) -> Step {
    Step::Close(code.into())
}

// === connecting ===

#[test]
fn the_connect_reply_says_what_sdks_need() {
    let mut story = Story::new();
    story.says(r#"{"id":1,"connect":{"token":"t"}}"#);
    story.done(Outcome::Identified(Ok(identity(3600))));
    assert_eq!(
        story.hears(),
        r#"{"id":1,"connect":{"client":"000000000000000000000000000000c1","version":"test","expires":true,"ttl":3600,"subs":{"user:ann":{}},"ping":20,"pong":true}}"#
    );
}

#[test]
fn a_token_that_lasts_for_months_is_not_announced() {
    let mut story = Story::new();
    story.says(r#"{"id":1,"connect":{"token":"t"}}"#);
    story.done(Outcome::Identified(Ok(identity(180 * 86_400))));
    assert!(!story.hears().contains("expires"));
}

#[test]
fn an_expired_token_is_an_error_and_nothing_after_it_is_done() {
    let mut story = Story::new();
    story.says(r#"{"id":1,"connect":{"token":"t"}}"#);
    assert_eq!(story.done(Outcome::Identified(Err(Denied::Expired))), Step::Next);
    assert_eq!(story.hears(), r#"{"id":1,"error":{"code":109,"message":"token expired"}}"#);
    assert_eq!(story.says(r#"{"id":2,"subscribe":{"channel":"room:lobby"}}"#), Step::Next);
    assert_eq!(story.hears(), "");
}

#[test]
fn a_foreign_token_ends_the_connection_with_a_reason_that_sdks_can_read() {
    let mut story = Story::new();
    story.says(r#"{"id":1,"connect":{"token":"t"}}"#);
    let step = story.done(Outcome::Identified(Err(Denied::Invalid("invalid token: made for another app".into()))));
    let reason = "invalid token: made for another app".into();
    assert_eq!(step, Step::Close(Goodbye { code: 3500, reason }));
}

#[test]
fn no_token_no_entry() {
    let mut story = Story::new();
    story.says(r#"{"id":1,"connect":{}}"#);
    assert_eq!(story.hears(), r#"{"id":1,"error":{"code":101,"message":"unauthorized"}}"#);
}

#[test]
fn only_connect_comes_first_and_only_once() {
    assert_eq!(Story::new().says(r#"{"id":1,"subscribe":{}}"#), closes(codes::disconnect::BAD_REQUEST));
    assert_eq!(Story::connected().says(r#"{"id":2,"connect":{"token":"t"}}"#), closes(codes::disconnect::BAD_REQUEST));
}

#[test]
fn the_platform_is_what_connect_said() {
    let mut story = Story::new();
    story.says(r#"{"id":1,"connect":{"token":"t","data":{"OptPlatform":"iPad","Theme":{"a":1}}}}"#);
    story.done(Outcome::Identified(Ok(identity(3600))));
    story.says(r#"{"id":2,"subscribe":{"channel":"room:lobby"}}"#);
    story.done(Outcome::Joined(Ok(())));
    let step = story.says(r#"{"id":3,"publish":{"channel":"room:lobby","data":{"Text":"hi"}}}"#);
    assert!(matches!(step, Step::Do(Action::Send { platform: Platform::Ipad, .. })), "{step:?}");
}

// === time ===

#[test]
fn a_client_that_does_not_connect_is_stale() {
    let mut story = Story::new();
    assert_eq!(story.session.deadline(), START + Duration::from_secs(10));
    assert_eq!(story.wait(10), closes(codes::disconnect::STALE));
}

#[test]
fn pings_are_answered_or_the_connection_ends() {
    let mut story = Story::connected();
    assert_eq!(story.wait(9), Step::Next);
    assert_eq!(story.wait(1), Step::Ping, "the first comes between half an interval and a whole one");
    story.session.handle_traffic();
    assert_eq!(story.wait(19), Step::Next);
    assert_eq!(story.wait(1), Step::Ping);
    assert_eq!(story.session.deadline(), story.now + Duration::from_secs(8));
    assert_eq!(story.wait(8), closes(codes::disconnect::NO_PONG));
}

#[test]
fn nobody_is_blamed_for_a_pong_that_we_did_not_read() {
    let mut story = Story::in_room("lobby");
    story.says(r#"{"id":3,"publish":{"channel":"room:lobby","data":{"Text":"hi"}}}"#);
    assert_eq!(story.wait(10), Step::Ping);
    assert_eq!(story.wait(8), Step::Next, "a message is on its way, so we are not reading");
    assert_eq!(story.wait(1), Step::Next);
}

#[test]
fn a_token_ends_the_connection_after_its_grace_unless_it_is_refreshed() {
    let mut story = Story::connected();
    let step = story.says(r#"{"id":2,"refresh":{"token":"fresh"}}"#);
    let known = Some((AppId(1), UserId::new("ann").unwrap()));
    assert_eq!(step, Step::Do(Action::Authenticate { token: "fresh".into(), known }));
    story.done(Outcome::Identified(Ok(identity(60))));
    assert_eq!(
        story.hears(),
        r#"{"id":2,"refresh":{"client":"000000000000000000000000000000c1","version":"test","expires":true,"ttl":60}}"#
    );
    story.wait(80);
    story.session.handle_traffic();
    assert_eq!(story.wait(5), closes(codes::disconnect::EXPIRED));
}

#[test]
fn a_refresh_with_an_expired_token_may_be_tried_again() {
    let mut story = Story::connected();
    story.says(r#"{"id":2,"refresh":{"token":"old"}}"#);
    assert_eq!(story.done(Outcome::Identified(Err(Denied::Expired))), Step::Next);
    assert_eq!(story.hears(), r#"{"id":2,"error":{"code":109,"message":"token expired","temporary":true}}"#);
}

// === rooms ===

#[test]
fn a_join_carries_the_position_and_its_flags() {
    let mut story = Story::connected();
    let step = story.says(
        r#"{"id":2,"subscribe":{"channel":"room:a b/c","recover":true,"epoch":"abcd","offset":7,"flag":3,"join_leave":true}}"#,
    );
    let join = Join {
        id: 2,
        no: JoinNo(1),
        room: RoomId::new("a b/c").unwrap(),
        resume: Some(Resume { epoch: "abcd".into(), offset: 7, or_error: true }),
        join_leave: true,
    };
    assert_eq!(step, Step::Do(Action::Join(join)));
    assert_eq!(story.session.room_in_between().map(RoomId::as_str), Some("a b/c"));
    story.done(Outcome::Joined(Err(codes::error::UNRECOVERABLE_POSITION.into())));
    assert!(story.hears().contains(r#""code":112"#));
    assert!(story.session.rooms().is_empty());
}

#[test]
fn a_connection_joins_so_many_rooms_and_each_once() {
    let mut story = Story::in_room("one");
    story.says(r#"{"id":3,"subscribe":{"channel":"room:one"}}"#);
    assert!(story.hears().contains(r#""code":105"#));
    story.says(r#"{"id":4,"subscribe":{"channel":"room:two"}}"#);
    story.done(Outcome::Joined(Ok(())));
    story.says(r#"{"id":5,"subscribe":{"channel":"room:three"}}"#);
    assert!(story.hears().contains(r#""code":106"#));
}

#[test]
fn leaving_is_a_success_whatever_is_left_and_however_often() {
    let mut story = Story::in_room("lobby");
    for id in 3..150 {
        let channel = if id % 2 == 0 { "room:elsewhere" } else { "no such thing" };
        story.says(&format!(r#"{{"id":{id},"unsubscribe":{{"channel":"{channel}"}}}}"#));
        assert_eq!(story.hears(), format!(r#"{{"id":{id},"unsubscribe":{{}}}}"#));
    }
    let step = story.says(r#"{"id":200,"unsubscribe":{"channel":"room:lobby"}}"#);
    assert_eq!(step, Step::Do(Action::Leave { room: RoomId::new("lobby").unwrap() }));
    assert_eq!(story.hears(), r#"{"id":200,"unsubscribe":{}}"#);
    story.done(Outcome::Left(Ok(())));
    story.says(r#"{"id":201,"presence":{"channel":"room:lobby"}}"#);
    assert!(story.hears().contains(r#""code":111"#), "the rate holds for everything else");
}

#[test]
fn a_room_that_cannot_be_left_in_time_is_left_with_the_connection() {
    let mut story = Story::in_room("lobby");
    story.says(r#"{"id":3,"unsubscribe":{"channel":"room:lobby"}}"#);
    assert_eq!(story.hears(), r#"{"id":3,"unsubscribe":{}}"#);
    assert_eq!(story.session.room_in_between().map(RoomId::as_str), Some("lobby"), "if the client hangs up now");
    let late = Outcome::Left(Err(codes::error::TOO_MANY_REQUESTS.into()));
    assert_eq!(story.done(late), closes(codes::disconnect::INTERNAL));
    assert_eq!(story.session.room_in_between().map(RoomId::as_str), Some("lobby"));
}

#[test]
fn questions_are_for_members() {
    let mut story = Story::in_room("lobby");
    for command in ["presence", "presence_stats", "history", "publish"] {
        story.says(&format!(r#"{{"id":9,"{command}":{{"channel":"room:other"}}}}"#));
        assert!(story.hears().contains(r#""code":103"#), "{command}");
    }
    let step = story.says(r#"{"id":10,"presence_stats":{"channel":"room:lobby"}}"#);
    assert_eq!(step, Step::Do(Action::Count { room: RoomId::new("lobby").unwrap() }));
}

#[test]
fn a_room_that_ended_is_no_longer_joined() {
    let mut story = Story::in_room("lobby");
    story.session.handle_removal(JoinNo(1));
    story.says(r#"{"id":3,"publish":{"channel":"room:lobby","data":{"Text":"hi"}}}"#);
    assert!(story.hears().contains(r#""code":103"#));
}

#[test]
fn the_end_of_a_membership_that_was_given_up_does_not_end_the_next_one() {
    let mut story = Story::in_room("lobby");
    story.says(r#"{"id":3,"unsubscribe":{"channel":"room:lobby"}}"#);
    story.done(Outcome::Left(Ok(())));
    story.says(r#"{"id":4,"subscribe":{"channel":"room:lobby"}}"#);
    // The room was reset before it heard of either: the first membership ended there, and the second one is good.
    story.done(Outcome::Joined(Ok(())));
    story.session.handle_removal(JoinNo(1));
    let rooms: Vec<&str> = story.session.rooms().iter().map(|joined| joined.room.as_str()).collect();
    assert_eq!(rooms, ["lobby"], "or nobody would tell the room when the connection ends");
    let step = story.says(r#"{"id":5,"publish":{"channel":"room:lobby","data":{"Text":"hi"}}}"#);
    assert!(matches!(step, Step::Do(Action::Send { .. })), "{step:?}");
}

#[test]
fn a_membership_that_ends_before_we_hear_of_it_is_none() {
    let mut story = Story::connected();
    story.says(r#"{"id":2,"subscribe":{"channel":"room:lobby"}}"#);
    story.session.handle_removal(JoinNo(1));
    story.done(Outcome::Joined(Ok(())));
    assert!(story.session.rooms().is_empty());
    let step = story.says(r#"{"id":3,"subscribe":{"channel":"room:lobby"}}"#);
    assert!(matches!(step, Step::Do(Action::Join(_))), "the client was told to join again: {step:?}");
}

#[test]
fn history_backwards_from_the_beginning_is_a_bad_request() {
    let mut story = Story::in_room("lobby");
    story.says(r#"{"id":3,"history":{"channel":"room:lobby","reverse":true,"limit":5,"since":{"offset":0}}}"#);
    assert!(story.hears().contains(r#""code":107"#));
    let step = story.says(r#"{"id":4,"history":{"channel":"room:lobby","limit":-1}}"#);
    let query = HistoryQuery { limit: usize::MAX, since: None, newest_first: false };
    assert_eq!(step, Step::Do(Action::History { id: 4, room: RoomId::new("lobby").unwrap(), query }));
}

#[test]
fn what_an_app_says_no_to_reaches_the_sender_in_its_own_words() {
    let mut story = Story::in_room("lobby");
    story.says(r#"{"id":3,"publish":{"channel":"room:lobby","data":{"Text":"hi"}}}"#);
    let error = Error { code: 1406, message: "no links, please".into(), temporary: false };
    story.done(Outcome::Sent(Err(error)));
    assert_eq!(story.hears(), r#"{"id":3,"error":{"code":1406,"message":"no links, please"}}"#);
    assert_eq!(story.session.take_errors(), [1406]);
}

// === odds and ends ===

#[test]
fn commands_that_are_not_served_are_told_so() {
    let mut story = Story::connected();
    story.says(r#"{"id":2,"ping":{}}"#);
    assert!(story.hears().contains(r#""code":108"#));
    story.says(r#"{"id":3,"sub_refresh":{"channel":"room:x","token":"t"}}"#);
    assert!(story.hears().contains(r#""code":108"#));
    story.says(r#"{"id":4,"from_the_future":{}}"#);
    assert!(story.hears().contains(r#""code":104"#));
    assert_eq!(story.says("{}"), Step::Next, "a pong");
    assert_eq!(story.hears(), "");
    assert_eq!(story.says(r#"{"send":{"data":1}}"#), closes(codes::disconnect::NOT_AVAILABLE));
}

#[test]
fn commands_without_an_id_or_form_end_the_connection() {
    assert_eq!(Story::connected().says(r#"{"publish":{}}"#), closes(codes::disconnect::BAD_REQUEST));
    assert_eq!(Story::connected().says(r#"{"id":2,"#), closes(codes::disconnect::BAD_REQUEST));
}

#[test]
fn too_many_commands_are_refused_and_a_flood_is_cut() {
    let mut story = Story::connected();
    let steps: Vec<Step> = (2..400).map(|id| story.says(&format!(r#"{{"id":{id},"ping":{{}}}}"#))).collect();
    let errors = story.session.take_errors();
    assert_eq!(errors.iter().filter(|&&code| code == 108).count(), 49);
    assert_eq!(errors.iter().filter(|&&code| code == 111).count(), 256);
    assert!(steps.contains(&closes(codes::disconnect::TOO_MANY_REQUESTS)));
}
