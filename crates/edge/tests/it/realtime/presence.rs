//! Who is there, and who comes and goes.

use roomhook_centrifuge::{
    Format, PresenceRequest, PresenceStatsRequest, PushBody, ReplyBody, Request, SubscribeRequest, UnsubscribeRequest,
};
use roomhook_edge::realtime;

use super::client::Client;
use crate::world::{Options, World};

async fn counts(client: &mut Client) -> (u32, u32) {
    match client.call(Request::PresenceStats(PresenceStatsRequest { channel: "room:lobby".into() })).await {
        Ok(ReplyBody::PresenceStats(stats)) => (stats.num_clients, stats.num_users),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn members_are_counted_by_connection_and_by_user() {
    let world = World::with_lobby().await;
    let (mut ann, connected) = Client::connect_in(&world, "ann", Format::Json).await;
    let mut phone = Client::connect(&world, "ann").await;
    let mut bob = Client::connect(&world, "bob").await;
    ann.join("lobby").await;
    phone.join("lobby").await;
    bob.join("lobby").await;
    assert_eq!(counts(&mut ann).await, (3, 2));
    let Ok(ReplyBody::Presence(all)) =
        ann.call(Request::Presence(PresenceRequest { channel: "room:lobby".into() })).await
    else {
        panic!("no presence")
    };
    assert_eq!(all.presence.len(), 3);
    assert_eq!(all.presence[&connected.client].user, "ann");

    phone.call(Request::Unsubscribe(UnsubscribeRequest { channel: "room:lobby".into() })).await.unwrap();
    assert_eq!(counts(&mut ann).await, (2, 2));
    drop(bob);
    while counts(&mut ann).await != (1, 1) {
        tokio::task::yield_now().await;
    }
    world.stop().await;
}

#[tokio::test]
async fn those_who_asked_see_others_come_and_go_in_a_small_room() {
    let mut options = Options::default();
    options.realtime = realtime::Config { join_leave_members_max: 2, presence_members_max: 2, ..options.realtime };
    let world = World::with(options).await;
    world.furnish().await;
    let mut ann = Client::connect(&world, "ann").await;
    let watch = SubscribeRequest { channel: "room:lobby".into(), join_leave: true, ..SubscribeRequest::default() };
    ann.subscribe(watch).await.unwrap();
    let Some(PushBody::Join(join)) = ann.push().await.body else { panic!("did not see itself") };
    assert_eq!(join.info.user, "ann");
    let mut bob = Client::connect(&world, "bob").await;
    bob.join("lobby").await;
    let Some(PushBody::Join(join)) = ann.push().await.body else { panic!("did not see bob") };
    assert_eq!(join.info.user, "bob");

    // Two more make the room too large to tell, and to list.
    let mut crowd = [Client::connect(&world, "bob").await, Client::connect(&world, "bob").await];
    for member in &mut crowd {
        member.join("lobby").await;
    }
    let presence = Request::Presence(PresenceRequest { channel: "room:lobby".into() });
    assert_eq!(ann.call(presence).await.unwrap_err().code, 108);
    assert_eq!(counts(&mut ann).await, (4, 2));
    ann.say("lobby", "nothing came before this").await;
    assert_eq!(ann.hears().await, "1:nothing came before this");
    world.stop().await;
}

#[tokio::test]
async fn a_user_can_be_told_and_sent_away() {
    let world = World::with_lobby().await;
    let mut ann = Client::connect(&world, "ann").await;
    let bob = roomhook_room::UserId::new("bob").unwrap();
    let ann_id = roomhook_room::UserId::new("ann").unwrap();
    assert_eq!(world.realtime.notify(crate::world::APP, &bob, "{}".into()), 0);
    assert_eq!(world.realtime.notify(crate::world::APP, &ann_id, r#"{"Event":"Gift"}"#.into()), 1);
    let push = ann.push().await;
    assert_eq!(push.channel, "user:ann");
    assert_eq!(world.realtime.disconnect(crate::world::APP, &ann_id, 4500, "banned"), 1);
    assert_eq!(ann.closed().await.code, 4500);
    world.stop().await;
}
