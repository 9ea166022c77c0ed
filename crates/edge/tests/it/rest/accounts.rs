//! Accounts: imported once, updated by importing again.

use serde_json::{Value, json};

use crate::world::{ADMIN, APP, World};

const IMPORT: &str = "im_open_login_svc/account_import";
const IMPORT_MANY: &str = "im_open_login_svc/multiaccount_import";
const CHECK: &str = "im_open_login_svc/account_check";

async fn status(world: &World, id: &str) -> Value {
    let answer = world.ok(CHECK, &json!({"CheckItem": [{"UserID": id}]}).to_string()).await;
    assert_eq!(answer["ResultItem"][0]["UserID"], id);
    answer["ResultItem"][0]["AccountStatus"].clone()
}

#[tokio::test]
async fn importing_again_changes_what_is_given_and_keeps_the_number() {
    let world = World::new().await;
    assert_eq!(status(&world, "ann").await, "NotImported");
    assert_eq!(status(&world, ADMIN).await, "Imported", "admins always are");
    world.ok(IMPORT, r#"{"UserID":"ann","Nick":"Ann","FaceUrl":"f"}"#).await;
    assert_eq!(status(&world, "ann").await, "Imported");
    let before = world.services.directory.account(APP, "ann").unwrap();
    world.ok(IMPORT, r#"{"UserID":"ann","Nick":"Annie"}"#).await;
    let after = world.services.directory.account(APP, "ann").unwrap();
    assert_eq!(before.number, after.number);
    assert_eq!((&*after.nick, &*after.face_url), ("Annie", "f"));
    world.stop().await;
}

#[tokio::test]
async fn one_bad_id_does_not_spoil_a_batch() {
    let world = World::new().await;
    let long = "x".repeat(33);
    let batch = json!({"Accounts": ["ann", "", "bad\n", long, "主播"]}).to_string();
    assert_eq!(world.ok(IMPORT_MANY, &batch).await["FailAccounts"], json!(["", "bad\n", long]));
    assert_eq!(status(&world, "主播").await, "Imported");
    assert_eq!(world.ok(IMPORT_MANY, r#"{"Accounts":[""]}"#).await["FailAccounts"], json!([""]));
    world.stop().await;
}

#[tokio::test]
async fn the_older_name_of_an_account_and_the_newer_list_of_accounts_are_understood() {
    let world = World::new().await;
    world.ok(IMPORT, r#"{"Identifier":"ann","Nick":"Ann","FaceUrl":null}"#).await;
    world.ok(IMPORT, r#"{"Identifier":"ann","UserID":"ann","FaceUrl":"f"}"#).await;
    let ann = world.services.directory.account(APP, "ann").unwrap();
    assert_eq!((&*ann.nick, &*ann.face_url), ("Ann", "f"));
    assert_eq!(world.code(IMPORT, r#"{"Identifier":"ann","UserID":"bob"}"#).await, 70_402);
    assert_eq!(world.code(IMPORT, r#"{"Nick":"nobody"}"#).await, 70_402);

    let long = "x".repeat(501);
    let list = json!([
        {"UserID": "bob", "Nick": "Bob", "FaceUrl": "g"}, {"Identifier": "cat"}, {"UserID": "dan", "Nick": long}, {"UserID": ""},
    ]);
    let both = json!({"Accounts": ["eve", "bob", "bad\n"], "AccountList": list}).to_string();
    assert_eq!(world.ok(IMPORT_MANY, &both).await["FailAccounts"], json!(["bad\n", "dan", ""]));
    let bob = world.services.directory.account(APP, "bob").unwrap();
    assert_eq!((&*bob.nick, &*bob.face_url), ("Bob", "g"));
    for (user, told) in [("cat", "Imported"), ("eve", "Imported"), ("dan", "NotImported")] {
        assert_eq!(status(&world, user).await, told, "{user}");
    }
    assert_eq!(world.code(IMPORT_MANY, "{}").await, 70_402);
    assert_eq!(world.code(IMPORT_MANY, r#"{"AccountList":[{"UserID":"a","Identifier":"b"}]}"#).await, 70_402);
    world.stop().await;
}

#[tokio::test]
async fn limits_have_their_codes() {
    let world = World::new().await;
    let many: Vec<String> = (0..101).map(|n| format!("u{n}")).collect();
    assert_eq!(world.code(IMPORT_MANY, &json!({"Accounts": many}).to_string()).await, 70_402);
    assert_eq!(world.code(IMPORT_MANY, &json!({"Accounts": many[..100]}).to_string()).await, 0);
    assert_eq!(world.code(IMPORT, &json!({"UserID": "ann", "Nick": "x".repeat(501)}).to_string()).await, 40_601);
    assert_eq!(world.code(IMPORT, r#"{"UserID":""}"#).await, 70_402);
    assert_eq!(world.code(CHECK, r#"{"CheckItem":[]}"#).await, 70_402);
    world.stop().await;
}
