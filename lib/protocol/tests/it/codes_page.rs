//! `docs/error-codes.md` is the table of codes, for people.

use std::{collections::HashSet, fmt::Write as _, path::PathBuf};

use roomhook_protocol::codes::{self, Family};

const FAMILIES: [Family; 5] = [Family::Common, Family::Account, Family::Content, Family::Group, Family::Live];

#[test]
fn the_page_of_error_codes_is_up_to_date() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/error-codes.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, page()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page(),
        "docs/error-codes.md is out of date; update it with: UPDATE_DOCS=1 cargo test -p roomhook-protocol --test it codes_page"
    );
}

fn page() -> String {
    let mut page = "# Error codes\n\n\
        Made from `lib/protocol/src/codes.rs` by `UPDATE_DOCS=1 cargo test -p roomhook-protocol --test it codes_page`; do not edit.\n\n\
        The HTTP status of a REST answer is 200 whatever happened; `ErrorCode` says what. 0 is success. Codes 10100 to 10200 are\n\
        chosen by the app's own before-send webhook and handed to the sender as they are. The server knows every code below by\n\
        name; not every one is given today.\n"
        .to_owned();
    for family in FAMILIES {
        write!(page, "\n## {}\n\n| code | name | meaning |\n|---|---|---|\n", family.title()).unwrap();
        for code in codes::ALL.iter().filter(|code| code.family == family) {
            writeln!(page, "| {} | `{}` | {} |", code.number, code.name, code.text).unwrap();
        }
    }
    page
}

#[test]
fn each_number_and_each_name_is_there_once_and_sorted_within_its_family() {
    let numbers: HashSet<_> = codes::ALL.iter().map(|code| code.number).collect();
    let names: HashSet<_> = codes::ALL.iter().map(|code| code.name).collect();
    assert_eq!((numbers.len(), names.len()), (codes::ALL.len(), codes::ALL.len()));
    for family in FAMILIES {
        let of_family: Vec<_> = codes::ALL.iter().filter(|code| code.family == family).collect();
        assert!(of_family.is_sorted_by_key(|code| code.number), "{family:?}");
    }
}

#[test]
fn a_family_answers_in_its_own_codes() {
    assert_eq!(Family::Live.bad_parameter(), 100_002);
    assert_eq!(Family::Group.bad_parameter(), 10_004);
    assert_eq!(Family::Account.bad_parameter(), 70_402);
    assert_eq!(Family::Live.room_missing(), 100_004);
    assert_eq!(Family::Group.room_missing(), 10_010);
    assert_eq!(Family::Live.internal(), 100_001);
    assert_eq!(codes::text(12), None);
}
