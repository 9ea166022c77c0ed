//! UserSigs that the official packages made, which share no code with us.

use anyhow::Result;
use roomhook_e2e::peers::{usersig_from_npm, usersig_from_pypi};
use roomhook_e2e::server::Setup;
use roomhook_e2e::{ADMIN, rest};
use serde_json::json;

#[tokio::test]
async fn what_the_official_packages_sign_is_accepted() -> Result<()> {
    let server = Setup::default().start().await?;
    for (package, usersig) in [("pypi", usersig_from_pypi(ADMIN)?), ("npm", usersig_from_npm(ADMIN)?)] {
        let mut client = server.client().await?.identified(ADMIN, &usersig);
        client.create_room(&format!("room-of-{package}")).await?;
        let info =
            client.ok("live_engine_http_srv/get_room_info", &json!({"RoomId": format!("room-of-{package}")})).await?;
        assert_eq!(info["Response"]["RoomInfo"]["Owner_Account"], ADMIN, "{package}: {info}");
    }
    Ok(())
}

#[tokio::test]
async fn their_signatures_for_somebody_else_or_changed_on_the_way_are_not() -> Result<()> {
    let server = Setup::default().start().await?;
    let body = json!({"RoomId": "lobby"});
    for of_ana in [usersig_from_pypi("ana_k")?, usersig_from_npm("ana_k")?] {
        let mut stolen = server.client().await?.identified(ADMIN, &of_ana);
        assert_eq!(stolen.call("live_engine_http_srv/get_room_info", &body).await?["ErrorCode"], 70013);
        let mut own = server.client().await?.identified("ana_k", &of_ana);
        assert_eq!(own.call("live_engine_http_srv/get_room_info", &body).await?["ErrorCode"], 60010, "not an admin");
        let mut cut = server.client().await?.identified("ana_k", &of_ana[..of_ana.len() / 2]);
        assert_eq!(cut.call("live_engine_http_srv/get_room_info", &body).await?["ErrorCode"], 70003);
    }
    let mut none = server.client().await?.identified(ADMIN, "");
    let code = none.call("live_engine_http_srv/get_room_info", &body).await?["ErrorCode"].clone();
    assert!(code == 60004 || code == 70002, "{code}");
    let mut good = server.client().await?.identified(ADMIN, &rest::usersig_of(ADMIN));
    assert_eq!(good.call("live_engine_http_srv/get_room_info", &body).await?["ErrorCode"], 100_004, "no such room yet");
    Ok(())
}
