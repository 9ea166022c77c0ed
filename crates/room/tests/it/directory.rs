//! Accounts and endpoints.

use bytes::Bytes;
use roomhook_room::{
    AppId, Endpoint, EndpointId, Positions, Start, UnixMillis, decode_directory_record,
    directory::{ACCOUNT_NUMBER_FIRST, Command, Event, FirstValue, ImportAccount, State, decide, fold},
    encode_directory_record,
};

use crate::world::user;

const APP: AppId = AppId(1_400_000_001);

fn run(state: &mut State, command: Command) -> Vec<Event> {
    let now = UnixMillis(1_000 + state.accounts().count() as u64);
    let events = decide(state, command, now, &Positions::default());
    events.iter().for_each(|event| fold(state, event));
    events
}

fn import(users: &[(&str, Option<&str>)]) -> Command {
    let accounts =
        users.iter().map(|(name, nick)| ImportAccount { user: user(name), nick: nick.map(Into::into), face_url: None });
    Command::Import { app: APP, accounts: accounts.collect() }
}

fn endpoint(url: &str) -> Endpoint {
    Endpoint { url: url.into(), generation: 99, ..Endpoint::new(APP, EndpointId(EndpointId::DEFAULT.into())) }
}

#[test]
fn an_account_keeps_its_number_whatever_is_imported_again() {
    let mut state = State::default();
    run(&mut state, import(&[("ann", Some("Ann")), ("bob", None)]));
    let number = |state: &State, name: &str| state.account(APP, name).unwrap().number;
    assert_eq!((number(&state, "ann"), number(&state, "bob")), (ACCOUNT_NUMBER_FIRST, ACCOUNT_NUMBER_FIRST + 1));

    assert_eq!(run(&mut state, import(&[("ann", None), ("bob", None)])), [], "nothing changed");
    assert_eq!(run(&mut state, import(&[("ann", Some("Anna")), ("ann", None), ("cat", None)])).len(), 2);
    assert_eq!((number(&state, "ann"), number(&state, "cat")), (ACCOUNT_NUMBER_FIRST, ACCOUNT_NUMBER_FIRST + 2));
    assert_eq!(&*state.account(APP, "ann").unwrap().nick, "Anna");
    assert!(state.account(AppId(7), "ann").is_none(), "apps do not share accounts");
}

#[test]
fn an_endpoint_made_again_is_another_generation() {
    let mut state = State::default();
    let id = EndpointId(EndpointId::DEFAULT.into());
    let generation = |state: &State| state.endpoint(APP, &id).map(|endpoint| endpoint.generation);
    let put = |url: &str| Command::PutEndpoint(Box::new(endpoint(url)));
    run(&mut state, put("http://a/"));
    assert_eq!(generation(&state), Some(1));
    run(&mut state, put("http://b/"));
    assert_eq!(generation(&state), Some(1), "a change is no new endpoint");
    assert_eq!(run(&mut state, put("http://b/")), [], "nothing changed");

    let delete = Command::DeleteEndpoint { app: APP, id: id.clone() };
    assert_eq!(run(&mut state, delete.clone()).len(), 1);
    assert_eq!(run(&mut state, delete), [], "there is nothing to delete");
    assert_eq!(generation(&state), None);
    run(&mut state, put("http://a/"));
    assert_eq!(generation(&state), Some(2));
    assert_eq!(state.endpoint(APP, &id).unwrap().created_at, UnixMillis(1_000));
}

fn first_value(edit: u8, url: &str) -> Command {
    Command::TakeFirstValue {
        app: APP,
        value: Some(Box::new(FirstValue { digest: [edit; 32], endpoint: endpoint(url) })),
    }
}

#[test]
fn a_first_value_is_taken_once_for_each_edit_and_together_with_its_endpoint() {
    let mut state = State::default();
    let id = EndpointId(EndpointId::DEFAULT.into());
    let url = |state: &State| state.endpoint(APP, &id).map(|endpoint| endpoint.url.clone()).unwrap_or_default();
    assert_eq!(
        run(&mut state, first_value(1, "http://a/")).len(),
        2,
        "the endpoint and that it was taken, in one record"
    );
    run(&mut state, Command::PutEndpoint(Box::new(endpoint("http://changed-meanwhile/"))));
    assert_eq!(run(&mut state, first_value(1, "http://a/")), [], "taken already");
    assert_eq!(url(&state), "http://changed-meanwhile/");
    run(&mut state, first_value(2, "http://b/"));
    assert_eq!(url(&state), "http://b/", "an edit wins");
    assert_eq!(run(&mut state, first_value(2, "http://b/")), []);

    let nothing = Command::TakeFirstValue { app: APP, value: None };
    assert_eq!(run(&mut state, nothing.clone()).len(), 1);
    assert_eq!(run(&mut state, nothing), [], "there is nothing to forget");
    assert_eq!(url(&state), "http://b/", "what was taken stays");
    run(&mut state, Command::PutEndpoint(Box::new(endpoint("http://changed-again/"))));
    run(&mut state, first_value(2, "http://b/"));
    assert_eq!(url(&state), "http://b/", "the same value, written anew");
}

#[test]
fn where_an_endpoint_began_is_not_changed_afterwards() {
    let mut state = State::default();
    let begin = |start: Start| Command::PutEndpoint(Box::new(Endpoint { start, ..endpoint("http://a/") }));
    run(&mut state, begin(Start::Tail));
    assert!(run(&mut state, begin(Start::Oldest)).is_empty(), "nothing to change");
    let id = EndpointId(EndpointId::DEFAULT.into());
    assert_eq!(state.endpoint(APP, &id).unwrap().start, Start::Tail);
    run(&mut state, Command::DeleteEndpoint { app: APP, id: id.clone() });
    run(&mut state, begin(Start::Oldest));
    assert_eq!(state.endpoint(APP, &id).unwrap().start, Start::Oldest, "another one begins where it says");
}

#[test]
fn an_endpoint_remembers_what_was_switched_on_until_where() {
    let mut state = State::default();
    let id = EndpointId(EndpointId::DEFAULT.into());
    let mut put = |at: u64, url: &str, commands: &[&str]| {
        let commands = commands.iter().map(ToString::to_string).collect();
        let endpoint = Endpoint { commands, ..endpoint(url) };
        // The clock stands still: only the logs go on.
        decide(&state, Command::PutEndpoint(Box::new(endpoint)), UnixMillis(1), &Positions(vec![at, 7]))
            .iter()
            .for_each(|event| fold(&mut state, event));
        let past = &state.endpoint(APP, &id).unwrap().past;
        past.iter().map(|past| (past.until.0[0], past.has_url, past.commands.len())).collect::<Vec<_>>()
    };
    assert_eq!(put(10, "http://a/", &["A"]), []);
    assert_eq!(put(20, "http://b/", &["A"]), [], "another URL owes the same");
    assert_eq!(put(30, "http://b/", &["A", "B"]), [(30, true, 1)]);
    assert_eq!(put(40, "", &["A", "B"]), [(30, true, 1), (40, true, 2)]);
    for turn in 0..1_000 {
        let past = put(40, "http://a/", &["A"; 3][..turn % 2]);
        assert_eq!(past, [(30, true, 1), (40, true, 2)], "what held for no record is not remembered");
    }
    for at in 0..200 {
        put(100 + at, "http://a/", &["A"; 3][..at as usize % 2]);
    }
    assert_eq!(state.endpoint(APP, &id).unwrap().past.len(), Endpoint::PAST_MAX, "bounded");
}

#[test]
fn the_newest_row_of_each_thing_is_the_state() {
    let mut state = State::default();
    let mut rows = std::collections::BTreeMap::<Bytes, Bytes>::new();
    let id = EndpointId(EndpointId::DEFAULT.into());
    for command in [
        import(&[("ann", Some("Ann")), ("bob", None)]),
        Command::PutEndpoint(Box::new(endpoint("http://a/"))),
        import(&[("bob", Some("Bob"))]),
        Command::DeleteEndpoint { app: APP, id },
        first_value(1, "http://b/"),
        first_value(2, "http://c/"),
        Command::TakeFirstValue { app: AppId(7), value: None },
    ] {
        for event in run(&mut state, command) {
            rows.insert(event.row_key(), encode_directory_record(&[event]));
        }
    }
    let mut restarted = State::default();
    for row in rows.values() {
        decode_directory_record(row).unwrap().iter().for_each(|event| fold(&mut restarted, event));
    }
    assert_eq!(restarted, state);
}
