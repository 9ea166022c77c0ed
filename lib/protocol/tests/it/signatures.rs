//! `Sign` in the query, and Standard Webhooks over the body.

use roomhook_protocol::{
    sign::{self, Stale},
    standard_webhooks::{self, Headers, Secret, SecretError, VerifyError},
};
use serde::Deserialize;

use crate::fixture;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Vector {
    token: String,
    request_time: String,
    sign: String,
}

#[test]
fn signs_agree_with_the_vectors() {
    let vectors: Vec<Vector> = serde_json::from_slice(&fixture("vectors_webhook_sign.json")).unwrap();
    assert_eq!(vectors.len(), 3);
    for Vector { token, request_time, sign } in vectors {
        assert_eq!(sign::sign(&token, &request_time), sign);
        assert!(sign::verify(&token, &request_time, &sign));
        assert!(!sign::verify(&token, "1669872113", &sign), "another time");
        assert!(!sign::verify("other", &request_time, &sign), "another token");
        assert!(!sign::verify(&token, &request_time, &sign[1..]), "cut off");
        assert!(!sign::verify(&token, &request_time, ""), "empty");
    }
}

#[test]
fn nothing_is_signed_under_an_empty_token() {
    let sign = sign::sign("", "1669872112");
    assert!(!sign::verify("", "1669872112", &sign), "anybody can make this one");
}

#[test]
fn a_request_is_fresh_for_sixty_seconds_either_way() {
    let fresh = |now| sign::check_fresh("1000", now);
    assert_eq!([fresh(940), fresh(1000), fresh(1060)], [Ok(()); 3]);
    assert_eq!(fresh(939), Err(Stale::Off { off_secs: 61 }));
    assert_eq!(fresh(1061), Err(Stale::Off { off_secs: 61 }));
    for text in ["", "-5", "+1000", "1e3", " 1000", "01000", "99999999999999999999999"] {
        assert_eq!(sign::check_fresh(text, 1000), Err(Stale::Malformed), "{text:?}");
    }
}

fn secret(byte: u8) -> Secret {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode([byte; 32]);
    Secret::parse(&format!("whsec_{text}")).unwrap()
}

#[test]
fn during_a_rotation_either_secret_verifies() {
    let (old, new, foreign) = (secret(1), secret(2), secret(3));
    let signature = standard_webhooks::sign_all(&[old.clone(), new.clone()], "msg_1", 1000, b"{}");
    let headers = Headers { id: "msg_1", timestamp: "1000", signature: &signature };
    let check = |secrets: &[Secret]| standard_webhooks::verify(&headers, b"{}", secrets, 1000);
    assert_eq!(check(std::slice::from_ref(&old)), Ok(()));
    assert_eq!(check(std::slice::from_ref(&new)), Ok(()));
    assert_eq!(check(&[foreign.clone(), new]), Ok(()));
    assert_eq!(check(&[foreign]), Err(VerifyError::Signature));
    assert_eq!(check(&[]), Err(VerifyError::Signature));
}

#[test]
fn a_change_of_id_time_or_body_is_noticed() {
    let key = [secret(1)];
    let signature = standard_webhooks::sign_all(&key, "msg_1", 1000, b"{}");
    let verify = |id, timestamp, signature, body: &[u8], now| {
        standard_webhooks::verify(&Headers { id, timestamp, signature }, body, &key, now)
    };
    assert_eq!(verify("msg_1", "1000", &signature, b"{}", 1300), Ok(()));
    assert_eq!(verify("msg_1", "1000", &signature, b"{}", 1301), Err(VerifyError::Stale { off_secs: 301 }));
    assert_eq!(verify("msg_1", "1000", &signature, b"{}", 699), Err(VerifyError::Stale { off_secs: 301 }));
    assert_eq!(verify("msg_2", "1000", &signature, b"{}", 1000), Err(VerifyError::Signature));
    assert_eq!(verify("msg_1", "1001", &signature, b"{}", 1000), Err(VerifyError::Signature));
    assert_eq!(verify("msg_1", "1000", &signature, b"{ }", 1000), Err(VerifyError::Signature));
    assert_eq!(verify("msg_1", "soon", &signature, b"{}", 1000), Err(VerifyError::Timestamp));
    let of_later_versions = format!("v2,abc v1a,def {signature}");
    assert_eq!(verify("msg_1", "1000", &of_later_versions, b"{}", 1000), Ok(()));
    assert_eq!(verify("msg_1", "1000", "v1,!!! v1 ,,", b"{}", 1000), Err(VerifyError::Signature));
}

#[test]
fn a_secret_is_neither_short_nor_printed() {
    assert_eq!(Secret::parse("whsec_AAAA").unwrap_err(), SecretError::Length { len: 3 });
    assert_eq!(Secret::parse("whsec_not base64").unwrap_err(), SecretError::Encoding);
    assert_eq!(format!("{:?}", secret(7)), "Secret([redacted])");
}
