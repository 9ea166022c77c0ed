//! Tickets made by the official Python and Node packages, and tickets that must not pass.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proptest::prelude::*;
use roomhook_protocol::{
    codes,
    usersig::{self, Mint, UserSigError},
};
use serde::Deserialize;

use crate::fixture;

#[derive(Deserialize)]
struct Vectors {
    positive: Vec<Positive>,
    negative: Vec<Negative>,
}

#[derive(Deserialize)]
struct Positive {
    name: String,
    sdkappid: u32,
    key: String,
    userid: String,
    expire: u64,
    time: u64,
    userbuf_base64: Option<String>,
    sig: String,
    usersigs: Vec<String>,
    valid_at: u64,
    expired_at: u64,
}

#[derive(Deserialize)]
struct Negative {
    name: String,
    based_on: String,
    usersig: String,
    request_identifier: Option<String>,
    request_sdkappid: Option<u32>,
    now: Option<u64>,
    expect: i32,
}

fn vectors() -> Vectors {
    serde_json::from_slice(&fixture("vectors_usersig.json")).unwrap()
}

/// The members of a ticket, read without the code under test.
fn members(usersig: &str) -> serde_json::Value {
    let text: String = usersig.replace('*', "+").replace('-', "/").replace('_', "=");
    let packed = STANDARD.decode(text).unwrap();
    serde_json::from_reader(flate2::read::ZlibDecoder::new(&packed[..])).unwrap()
}

#[test]
fn tickets_of_the_official_packages_are_accepted_until_they_expire() {
    for vector in vectors().positive {
        for ticket in &vector.usersigs {
            let at = |now| usersig::verify(ticket, vector.sdkappid, &vector.userid, Some(&vector.key), now);
            let claims = at(vector.valid_at).unwrap_or_else(|error| panic!("{}: {error}", vector.name));
            assert_eq!((claims.time, claims.expire), (vector.time, vector.expire));
            assert_eq!(claims.userbuf, vector.userbuf_base64);
            assert_eq!(at(vector.expired_at), Err(UserSigError::Expired), "{}", vector.name);
            assert_eq!(at(claims.expires_at()), Err(UserSigError::Expired), "time + expire > now is required");
        }
    }
}

#[test]
fn our_tickets_say_the_same_as_those_of_the_official_packages() {
    for vector in vectors().positive {
        let userbuf = vector.userbuf_base64.as_ref().map(|text| STANDARD.decode(text).unwrap());
        let ours = usersig::mint(&Mint {
            sdkappid: vector.sdkappid,
            key: &vector.key,
            userid: &vector.userid,
            expire_secs: vector.expire,
            now_secs: vector.time,
            userbuf: userbuf.as_deref(),
        });
        let ours = members(&ours);
        assert_eq!(ours["TLS.sig"], vector.sig, "{}", vector.name);
        for official in &vector.usersigs {
            assert_eq!(ours, members(official), "{}", vector.name);
        }
    }
}

#[test]
fn tickets_that_must_not_pass_get_the_documented_code() {
    let vectors = vectors();
    for case in vectors.negative {
        let base = vectors.positive.iter().find(|vector| vector.name == case.based_on).unwrap();
        let checked = usersig::verify(
            &case.usersig,
            case.request_sdkappid.unwrap_or(base.sdkappid),
            case.request_identifier.as_deref().unwrap_or(&base.userid),
            Some(&base.key),
            case.now.unwrap_or(base.valid_at),
        );
        assert_eq!(checked.map_err(UserSigError::code), Err(case.expect), "{}", case.name);
    }
}

#[test]
fn errors_come_in_the_documented_order() {
    let sign_in = |key, app, user, now| {
        let ticket = usersig::mint(&Mint {
            sdkappid: 1,
            key: "right",
            userid: "ana",
            expire_secs: 10,
            now_secs: 100,
            userbuf: None,
        });
        usersig::verify(&ticket, app, user, key, now).map_err(UserSigError::code)
    };
    // Each line mends the first fault of the line before.
    assert_eq!(sign_in(None, 2, "bo", 999), Err(codes::USERSIG_OTHER_APP));
    assert_eq!(sign_in(None, 1, "bo", 999), Err(codes::USERSIG_OTHER_USER));
    assert_eq!(sign_in(None, 1, "ana", 999), Err(codes::KEY_MISSING));
    assert_eq!(sign_in(Some("wrong"), 1, "ana", 999), Err(codes::USERSIG_FORGED));
    assert_eq!(sign_in(Some("right"), 1, "ana", 999), Err(codes::USERSIG_EXPIRED));
    assert!(sign_in(Some("right"), 1, "ana", 109).is_ok());
    assert!(sign_in(Some("right"), 1, "ana", 5).is_ok(), "made in our future: clocks differ");
}

/// Packs a JSON text the way a ticket is packed.
fn pack(json: &[u8]) -> String {
    use std::io::Write as _;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(json).unwrap();
    STANDARD.encode(encoder.finish().unwrap()).replace('+', "*").replace('/', "-").replace('=', "_")
}

#[test]
fn what_is_no_ticket_cannot_be_decoded() {
    let good =
        br#"{"TLS.ver":"2.0","TLS.identifier":"a","TLS.sdkappid":1,"TLS.expire":2,"TLS.time":3,"TLS.sig":"AA=="}"#;
    assert!(usersig::decode(&pack(good)).is_ok());
    let bomb = format!(r#"{{"TLS.identifier":"{}"}}"#, "a".repeat(40_000_000));
    let cases: &[(&str, String)] = &[
        ("text", "hello".into()),
        ("plain base64 symbols", "a+b/cd==".into()),
        ("not zlib", STANDARD.encode("hello there, no zlib here").replace('=', "_")),
        ("not JSON", pack(b"hello")),
        ("a JSON array", pack(b"[1,2]")),
        ("a member missing", pack(br#"{"TLS.identifier":"a","TLS.sdkappid":1,"TLS.expire":2,"TLS.sig":"AA=="}"#)),
        ("a number that is none", pack(&replace(good, "\"TLS.time\":3", "\"TLS.time\":\"soon\""))),
        ("a negative number", pack(&replace(good, "\"TLS.time\":3", "\"TLS.time\":-3"))),
        ("a member twice", pack(&replace(good, "\"TLS.time\":3", "\"TLS.time\":3,\"TLS.time\":4"))),
        ("inflates to 40 MB", pack(bomb.as_bytes())),
        ("an endless text", "A".repeat(1 << 20)),
        ("not ASCII", "主播主播".into()),
        ("a NUL", "eJyr\0".into()),
    ];
    for (case, ticket) in cases {
        let error = usersig::decode(ticket).expect_err(case);
        assert_eq!(error.code(), codes::USERSIG_MALFORMED, "{case}");
    }
    assert_eq!(usersig::decode(""), Err(UserSigError::Empty));
}

fn replace(json: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = std::str::from_utf8(json).unwrap();
    assert!(text.contains(from));
    text.replace(from, to).into_bytes()
}

#[test]
fn numbers_may_be_quoted_as_old_packages_do() {
    let quoted = br#"{"TLS.identifier":"a","TLS.sdkappid":"1","TLS.expire":"2","TLS.time":"3","TLS.sig":"AA=="}"#;
    let claims = usersig::decode(&pack(quoted)).unwrap();
    assert_eq!((claims.sdkappid, claims.expire, claims.time), (1, 2, 3));
}

#[test]
fn one_users_signature_cannot_be_read_as_anothers() {
    // Signed for a user whose id holds line breaks, the text could be cut into lines in another way: `bob` and a userbuf
    // that swallows the rest.
    let id = "bob\nTLS.sdkappid:1\nTLS.time:1\nTLS.expire:9999999999\nTLS.userbuf:";
    let theirs =
        usersig::mint(&Mint { sdkappid: 1, key: "k", userid: id, expire_secs: 10, now_secs: 5, userbuf: None });
    let mut forged = members(&theirs);
    forged["TLS.identifier"] = "bob".into();
    forged["TLS.time"] = 1.into();
    forged["TLS.expire"] = 9_999_999_999u64.into();
    forged["TLS.userbuf"] = "\nTLS.sdkappid:1\nTLS.time:5\nTLS.expire:10".into();
    for ticket in [theirs, pack(forged.to_string().as_bytes())] {
        assert_eq!(usersig::decode(&ticket).unwrap_err().code(), codes::USERSIG_MALFORMED);
    }
}

#[test]
fn neither_key_nor_signature_is_printed() {
    let mint = Mint { sdkappid: 1, key: "hush", userid: "a", expire_secs: 1, now_secs: 1, userbuf: None };
    let claims = usersig::decode(&usersig::mint(&mint)).unwrap();
    let sig = members(&usersig::mint(&mint))["TLS.sig"].as_str().unwrap().to_owned();
    let printed = format!("{mint:?} {claims:?}");
    assert!(!printed.contains("hush") && !printed.contains(&sig), "{printed}");
}

proptest! {
    #[test]
    fn what_is_made_is_accepted_and_only_as_what_it_was_made_for(
        sdkappid: u32, key in ".{1,70}", userid in "[^\\p{Cc}]{1,32}", expire in 1u64..1 << 40, now in 0u64..1 << 40,
        userbuf in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..60)),
    ) {
        let ticket = usersig::mint(&Mint {
            sdkappid, key: &key, userid: &userid, expire_secs: expire, now_secs: now, userbuf: userbuf.as_deref(),
        });
        let check = |key: &str, user: &str, now| usersig::verify(&ticket, sdkappid, user, Some(key), now);
        prop_assert!(check(&key, &userid, now).is_ok());
        prop_assert_eq!(check(&key, &userid, now + expire), Err(UserSigError::Expired));
        prop_assert_eq!(check(&format!("{key}x"), &userid, now), Err(UserSigError::Forged));
        prop_assert_eq!(check(&key, &format!("{userid}x"), now), Err(UserSigError::OtherUser));
    }

    #[test]
    fn decoding_never_panics(text in any::<String>(), json in any::<Vec<u8>>(), packed in any::<Vec<u8>>()) {
        let _ = usersig::decode(&text);
        let _ = usersig::decode(&pack(&json));
        let _ = usersig::decode(&STANDARD.encode(packed).replace('+', "*").replace('/', "-").replace('=', "_"));
    }

    #[test]
    fn a_changed_symbol_never_passes(at in 0usize..200, symbol in "[A-Za-z0-9*-]") {
        let vectors = vectors();
        let vector = &vectors.positive[0];
        let mut ticket = vector.usersigs[0].clone();
        let at = at % ticket.len();
        prop_assume!(ticket[at..=at] != symbol);
        ticket.replace_range(at..=at, &symbol);
        let checked = usersig::verify(&ticket, vector.sdkappid, &vector.userid, Some(&vector.key), vector.valid_at);
        // A change may land in what nothing depends on (padding bits of the last deflate byte); then it says the same.
        if let Ok(claims) = checked {
            prop_assert_eq!(claims, usersig::decode(&vector.usersigs[0]).unwrap());
        }
    }
}
