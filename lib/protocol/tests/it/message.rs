//! The check of `MsgBody`, and how the send APIs package a message.

use bytes::Bytes;
use proptest::prelude::*;
use roomhook_protocol::{
    codes,
    message::{Content, Limits, MessageError, MsgBody, MsgIdParts, custom_body, text_body},
};
use serde_json::{Value, json};

use crate::{fixture, value};

fn check(raw: &str) -> Result<Bytes, MessageError> {
    MsgBody::check(raw, &Limits::default())
}

fn field(field: &'static str, problem: &'static str) -> Result<Bytes, MessageError> {
    Err(MessageError::Field { field, problem })
}

#[test]
fn packaged_messages_are_those_of_the_webhook_fixtures() {
    let text = value(&fixture("webhook_Group.CallbackAfterSendMsg.text.json"));
    assert_eq!(value(&text_body("does it ship today?")), text["MsgBody"]);

    let custom = value(&fixture("webhook_Group.CallbackAfterSendMsg.custom.json"));
    let request = value(&fixture("rest_live_engine_http_srv.send_custom_msg.request.json"));
    let body = custom_body(request["BusinessId"].as_str().unwrap(), request["Data"].as_str().unwrap());
    assert_eq!(value(&body), custom["MsgBody"]);
    assert_eq!(
        value(&custom_body("coupon_drop", r#"{"left":35}"#))[0]["MsgContent"]["Data"],
        r#"{"BusinessId":"coupon_drop","Data":"{\"left\":35}"}"#
    );
}

#[test]
fn what_we_package_passes_our_own_check() {
    for body in [text_body("\u{0}\n\"\\ 主播"), custom_body("", "\u{1f}")] {
        assert_eq!(check(std::str::from_utf8(&body).unwrap()), Ok(body));
    }
}

#[test]
fn every_documented_element_passes_untouched() {
    let elements = [
        json!({"MsgType": "TIMFaceElem", "MsgContent": {"Index": 6, "Data": "abc"}}),
        json!({"MsgType": "TIMLocationElem", "MsgContent": {"Desc": "here", "Latitude": 29.34, "Longitude": -116.5}}),
        json!({"MsgType": "TIMImageElem", "MsgContent": {"UUID": "u", "ImageFormat": 1,
            "ImageInfoArray": [{"Type": 1, "Size": 1853095, "Width": 2448, "Height": 3264, "URL": "http://x/y"}]}}),
        json!({"MsgType": "TIMSoundElem", "MsgContent": {"Url": "u", "UUID": "u", "Size": 62351, "Second": 1, "Download_Flag": 2}}),
        json!({"MsgType": "TIMSoundElem", "MsgContent": {"OldSdk": [1, null, true]}}),
        json!({"MsgType": "TIMFileElem", "MsgContent": {"Url": "u", "UUID": "u", "FileSize": 1773552, "FileName": "f", "Download_Flag": 2}}),
        json!({"MsgType": "TIMRelayElem", "MsgContent": {"Title": "t", "MsgNum": 2, "CompatibleText": "c",
            "AbstractList": ["A: hi"], "MsgList": [{"From_Account": "a", "MsgBody": [{"MsgType": "TIMCustomElem", "MsgContent": {}}]}]}}),
        json!({"MsgType": "TIMCustomElem", "MsgContent": {"Data": "d", "Desc": "d", "Ext": "e", "Sound": "s.aiff"}, "New": {"a": []}}),
        json!({"MsgType": "SomethingNew", "MsgContent": {"Text": 7, "Data": {}}}),
    ];
    let body = Value::from(elements.to_vec());
    assert_eq!(value(&check(&body.to_string()).unwrap()), body);
}

#[test]
fn what_is_no_body_is_refused_with_the_reason() {
    assert_eq!(check("[]"), Err(MessageError::Empty));
    assert_eq!(check(r#"{"MsgType":"TIMTextElem","MsgContent":{}}"#), Err(MessageError::Shape));
    assert_eq!(check("7"), Err(MessageError::Shape));
    assert_eq!(check("[7]"), Err(MessageError::Shape));
    assert_eq!(check("[[]]"), Err(MessageError::Shape));
    assert_eq!(check(r#"[{"MsgContent":{}}]"#), field("MsgType", "is missing"));
    assert_eq!(check(r#"[{"MsgType":"","MsgContent":{}}]"#), field("MsgType", "is empty"));
    assert_eq!(check(r#"[{"MsgType":[{}],"MsgContent":{}}]"#), field("MsgType", "must be a string"));
    assert_eq!(check(r#"[{"MsgType":"X"}]"#), field("MsgContent", "is missing"));
    assert_eq!(check(r#"[{"MsgType":"X","MsgContent":[]}]"#), field("MsgContent", "must be an object"));
    assert_eq!(check(r#"[{"MsgType":"TIMTextElem","MsgContent":{"text":"hi"}}]"#), field("Text", "is missing"));
    assert_eq!(check(r#"[{"MsgContent":{"Text":7},"MsgType":"TIMTextElem"}]"#), field("Text", "must be a string"));
    assert_eq!(check(r#"[{"MsgType":"TIMFaceElem","MsgContent":{"Index":"7"}}]"#), field("Index", "must be a number"));
    let two = r#"[{"MsgType":"TIMCustomElem","MsgContent":{}},{"MsgType":"TIMCustomElem","MsgContent":{}}]"#;
    assert_eq!(check(two), Err(MessageError::TwoCustomElements));
    for raw in
        ["", "[", "[1 2]", "[{\"MsgType\":\"X\",\"MsgContent\":{}}] x", "[{\"MsgType\":\"a\nb\",\"MsgContent\":{}}]"]
    {
        let refused = check(raw).unwrap_err();
        assert!(matches!(refused, MessageError::Json | MessageError::Shape), "{raw:?}: {refused:?}");
        assert_eq!(refused.code(), codes::GROUP_BAD_PARAMETER);
    }
    assert_eq!(MsgBody::check_bytes(b"[\xff]", &Limits::default()), Err(MessageError::Utf8));
}

#[test]
fn what_two_readers_could_read_differently_is_refused() {
    assert_eq!(check(r#"[{"MsgType":"X","MsgType":"Y","MsgContent":{}}]"#), field("MsgType", "is there twice"));
    assert_eq!(check(r#"[{"MsgType":"X","MsgContent":{},"MsgContent":{}}]"#), field("MsgContent", "is there twice"));
    // Escapes do not hide it.
    let twice = r#"[{"MsgType":"TIMTextElem","MsgContent":{"Text":"nice","\u0054ext":"nasty"}}]"#;
    assert_eq!(check(twice), field("Text", "is there twice"));
    // Half a character, and a number that no double can hold.
    assert_eq!(check(r#"[{"MsgType":"X","MsgContent":{"a":"\ud800"}}]"#), Err(MessageError::Json));
    assert_eq!(check(r#"[{"MsgType":"X","MsgContent":{"a":1e999}}]"#), Err(MessageError::Json));
}

#[test]
fn depth_count_and_size_are_bounded() {
    let nested = |levels: usize| {
        format!(r#"[{{"MsgType":"X","MsgContent":{{"a":{}{}}}}}]"#, "[".repeat(levels), "]".repeat(levels))
    };
    assert!(check(&nested(29)).is_ok());
    assert_eq!(check(&nested(30)), Err(MessageError::TooDeep { max: 32 }));
    assert_eq!(check(&nested(1_000_000)), Err(MessageError::TooDeep { max: 32 }));
    assert_eq!(check(&"[".repeat(1_000_000)), Err(MessageError::TooDeep { max: 32 }));

    let many = vec![r#"{"MsgType":"X","MsgContent":{}}"#; 257].join(",");
    assert_eq!(check(&format!("[{many}]")), Err(MessageError::TooManyElements { max: 256 }));

    let limits = Limits::default();
    let frame = text_body("").len() + "\"\"".len();
    let longest = "x".repeat(12_288 - frame);
    assert!(Content::text(&longest, "", &limits).is_ok());
    let too_long = Content::text(&longest, "y", &limits).unwrap_err();
    assert_eq!(too_long, MessageError::TooLong { size: 12_289, max: 12_288 });
    assert_eq!(too_long.code(), codes::MESSAGE_TOO_LONG);
    // White space between tokens does not count, but what must be escaped does.
    let padded = format!("[{}{}", " ".repeat(20_000), &nested(1)[1..]);
    assert!(check(&padded).is_ok());
    assert!(Content::check(&nested(1), &"\n".repeat(6_200), &limits).is_err());
}

/// PHP and Python write `\u4e2d` for `中` unless told otherwise, six bytes for three.
#[test]
fn a_text_counts_the_same_however_its_writer_escapes_it() {
    let escaped = |text: &str| text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
    let body = |literal: &str| format!(r#"[{{"MsgType":"TIMTextElem","MsgContent":{{"Text":"{literal}"}}}}]"#);
    let frame = body("").len() + "\"\"".len();
    for (said, bytes) in [("中", 3), ("é", 2), ("😀", 4)] {
        let longest = said.repeat((12_288 - frame) / bytes);
        assert_eq!(check(&body(&longest)), Ok(body(&longest).into()));
        assert_eq!(check(&body(&escaped(&longest))), Ok(body(&longest).into()), "{said}");
        let longer = longest + said + said;
        let size = body(&longer).len();
        for spelling in [body(&longer), body(&escaped(&longer))] {
            assert_eq!(check(&spelling), Err(MessageError::TooLong { size, max: 12_288 }), "{said}");
        }
    }
    // Half of a surrogate pair is no character, and no reader has to take it.
    for half in ["\\ud83d", "\\ude00", "\\ud83d\\u0041", "\\ude00\\ud83d"] {
        assert_eq!(check(&body(half)), Err(MessageError::Json), "{half}");
    }
}

#[test]
fn message_ids_have_three_numbers() {
    for text in ["", "1-2", "1-2-3-4", "1-2-4294967296", "a-2-3", "1--3", "-1-2-3", "01-2-3"] {
        assert!(text.parse::<MsgIdParts>().is_err(), "{text:?}");
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e9f64..1e9).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A JSON text with every character of its strings escaped as `\uXXXX` that is not escaped anyway. Its control characters must be
/// those that have short escapes.
fn escaped_throughout(text: &str) -> String {
    let (mut out, mut in_string, mut behind_backslash) = (String::new(), false, false);
    for said in text.chars() {
        let is_quote = said == '"' && !behind_backslash;
        if in_string && !is_quote && said != '\\' && !behind_backslash {
            said.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04X}")));
        } else {
            out.push(said);
        }
        in_string ^= is_quote;
        behind_backslash = said == '\\' && !behind_backslash;
    }
    out
}

proptest! {
    #[test]
    fn a_body_is_the_same_however_its_strings_are_spelled(
        content in proptest::collection::btree_map("[a-zA-Z/\"\\\\\n äß中😀]{0,9}", "[a-zA-Z/\"\\\\\n äß中😀]{0,40}", 0..5),
    ) {
        let plain = json!([{"MsgType": "Anything", "MsgContent": content}]).to_string();
        let roomy = Limits { size_bytes_max: plain.len(), ..Limits::default() };
        let escaped = escaped_throughout(&plain);
        prop_assert_eq!(value(escaped.as_bytes()), value(plain.as_bytes()));
        prop_assert_eq!(MsgBody::check(&escaped, &roomy), Ok(Bytes::from(plain)));
    }

    #[test]
    fn a_body_keeps_its_value_and_loses_its_white_space(
        content in proptest::collection::btree_map(any::<String>(), json_value(), 0..5),
        extra in json_value(),
    ) {
        let body = json!([{"MsgType": "Anything", "MsgContent": content, "Extra": extra}]);
        let roomy = Limits { size_bytes_max: usize::MAX, ..Limits::default() };
        let pretty = serde_json::to_string_pretty(&body).unwrap();
        let checked = MsgBody::check(&pretty, &roomy).unwrap();
        prop_assert_eq!(value(&checked), value(pretty.as_bytes()));
        prop_assert_eq!(checked.to_vec(), serde_json::to_vec(&body).unwrap());
        prop_assert!(!checked.contains(&b'\n'));
        // What passed once passes again, unchanged.
        prop_assert_eq!(MsgBody::check_bytes(&checked, &roomy), Ok(checked.clone()));
    }

    #[test]
    fn a_body_cut_off_anywhere_is_refused(at in 0usize..70) {
        let body = text_body("0123456789 cut me somewhere");
        let at = at % body.len();
        prop_assert!(MsgBody::check_bytes(&body[..at], &Limits::default()).is_err());
    }

    #[test]
    fn the_check_never_panics_and_passes_only_json(raw in any::<Vec<u8>>(), text in r#"[\[\]{}",:a-z0-9\\ ]{0,60}"#) {
        for raw in [&raw[..], text.as_bytes()] {
            if let Ok(body) = MsgBody::check_bytes(raw, &Limits::default()) {
                prop_assert_eq!(value(&body), value(raw));
            }
        }
    }
}

#[test]
fn of_a_refused_message_only_what_a_receiver_can_read_is_told() {
    let told = |raw: &str| {
        let content = Content::attempted(raw, "", &Limits::default());
        String::from_utf8(content.body.to_vec()).unwrap()
    };
    let good = r#"[{"MsgType":"TIMTextElem","MsgContent":{"Text":"a b"}}]"#;
    assert_eq!(told(&good.replace(',', " ,\n")), good);
    let odd = r#"[{"MsgType":"TIMCustomElem","MsgContent":{"Data":7}},{"MsgType":"TIMCustomElem","MsgContent":{}}]"#;
    assert_eq!(told(odd), odd, "wrong, but readable");
    let deep = format!(r#"[{{"MsgType":"A","MsgContent":{{"x":{}{}}}}}]"#, "[".repeat(100_000), "]".repeat(100_000));
    let long = good.replace("a b", &"x".repeat(13_000));
    let twice = r#"[{"MsgType":"A","MsgType":"B","MsgContent":{}}]"#;
    for raw in
        ["", "[", "null", "7", "{}", "[7]", r#"[{"MsgType":7,"MsgContent":{}}]"#, r#"["\ud800"]"#, twice, &deep, &long]
    {
        assert_eq!(told(raw), "[]", "{}", &raw[..raw.len().min(60)]);
    }
    let custom = |text: &str| Content::attempted("[]", text, &Limits::default()).custom_data;
    assert_eq!(custom("a\"b"), r#""a\"b""#);
    assert_eq!(custom(&"x".repeat(13_000)), r#""""#);
}
