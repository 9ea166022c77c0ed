//! Stories, told in the few words below and checked as text.
//!
//! ```text
//! create ann · destroy ann · bob says hi [#7] [low|high] · wait 10s · limit 4 · mute · restart
//! ```

use std::fmt::Write as _;

use roomhook_room::{Command, Priority, Receipt, Reject, Room};

use crate::world::{World, create, draft, user};

struct Story {
    world: World,
    transcript: String,
    drawn: u32,
    muted: bool,
}

fn story(lines: &str) -> String {
    let mut story = Story { world: World::new(), transcript: String::new(), drawn: 1000, muted: false };
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let answer = story.run(line);
        writeln!(story.transcript, "{line:<28} | {answer}").unwrap();
    }
    story.transcript
}

impl Story {
    fn run(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let command = match words[..] {
            ["create", owner] => {
                self.drawn += 1;
                let mut command = create(owner, self.drawn.into());
                if let Command::Create(create) = &mut command {
                    create.info.is_message_disabled = self.muted;
                }
                command
            }
            ["destroy", operator] => Command::Destroy { operator: user(operator) },
            ["wait", time] => {
                self.world.wait(time.trim_end_matches('s').parse::<i64>().unwrap() * 1000);
                return "".into();
            }
            ["limit", limit] => {
                self.world.facts.room_messages_per_s = limit.parse().unwrap();
                return "".into();
            }
            ["rooms", "are", "created", "muted"] => {
                self.muted = true;
                return "".into();
            }
            ["restart"] => {
                self.world.room = Room::from_snapshot(&self.world.room.to_snapshot()).unwrap();
                return "".into();
            }
            [from, "says", ref what @ ..] => self.draft(from, what),
            _ => panic!("no such step: {line}"),
        };
        match self.world.run(command) {
            Ok(outcome) => format!("{}, {} events", told(&outcome.receipt), outcome.events.len()),
            Err(reject) => match reject {
                Reject::RoomMissing
                | Reject::RoomExists
                | Reject::RoomExistsOwned
                | Reject::MessagesDisabled
                | Reject::TooLong { .. } => {
                    format!("refused: {reject}")
                }
            },
        }
    }

    fn draft(&mut self, from: &str, what: &[&str]) -> Command {
        self.drawn += 1;
        let mut draft = draft(from, self.drawn, what[0]);
        let content = draft.content.take();
        for word in &what[1..] {
            match word.strip_prefix('#') {
                Some(random) => (draft.random, draft.content) = (random.parse().unwrap(), content),
                None => draft.priority = if *word == "low" { Priority::Low } else { Priority::High },
            }
        }
        Command::Send(draft)
    }
}

fn told(receipt: &Receipt) -> String {
    match receipt {
        Receipt::Created => "created".into(),
        Receipt::Destroyed(statistic) => format!("destroyed after {} messages", statistic.total_messages),
        Receipt::Sent(sent) => format!("sent as {}", sent.seq),
        Receipt::Repeated(sent) => format!("repeats {}", sent.seq),
        Receipt::Dropped { .. } => "dropped".into(),
    }
}

#[test]
fn a_room_lives_dies_and_lives_again() {
    insta::assert_snapshot!(story(
        "bob says hi
         create ann
         create ann
         create bob
         bob says hi
         ann says hello
         destroy ann
         ann says anybody?
         destroy ann
         create bob
         bob says mine",
    ));
}

#[test]
fn a_repeated_random_is_the_same_message() {
    insta::assert_snapshot!(story(
        "create ann
         bob says hi #7
         bob says hi #7
         cat says hi #7
         restart
         bob says hi #7
         wait 299s
         bob says hi #7
         wait 1s
         bob says hi #7
         bob says untracked
         bob says hi #7",
    ));
}

/// There are callers that draw one `Random` for all they ever send, and such that draw from 65,535.
#[test]
fn another_text_under_the_same_random_is_another_message() {
    insta::assert_snapshot!(story(
        "create ann
         bob says hi #7
         bob says there #7
         bob says hi #7
         bob says there #7
         restart
         bob says there #7
         bob says hi #8
         bob says everybody #7",
    ));
}

#[test]
fn a_muted_room_hears_its_owner_only() {
    insta::assert_snapshot!(story(
        "rooms are created muted
         create ann
         bob says hi
         ann says quiet",
    ));
}

#[test]
fn a_flood_drops_the_less_important_first() {
    insta::assert_snapshot!(story(
        "limit 4
         create ann
         bob says 1
         bob says 2
         bob says 3
         bob says like low
         bob says 4 #9
         bob says 5
         bob says gift high
         bob says gift high
         bob says 4 #9
         restart
         bob says still
         wait 1s
         bob says fresh low",
    ));
}
