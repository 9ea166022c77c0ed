//! History, both ways.

use anyhow::Result;
use roomhook_e2e::sdk::{Publication, channel};
use roomhook_e2e::server::Setup;
use serde_json::json;

use super::members_of;
use crate::lobby;

fn offsets(publications: &[Publication]) -> Vec<u64> {
    publications.iter().map(|publication| publication.offset).collect()
}

#[tokio::test]
async fn history_goes_both_ways_and_is_what_was_heard() -> Result<()> {
    let server = Setup::default().start().await?;
    let mut backend = lobby(&server).await?;
    let mut members = members_of("lobby", server.address()).await?;
    for number in 1..=10 {
        backend.text("lobby", "ana_k", &format!("message {number}")).await?;
    }
    for member in &mut members {
        let flavour = member.flavour();
        let heard = member.publications(10).await?;
        let top = member.must("history", json!({"channel": channel("lobby"), "limit": 0})).await?;
        assert_eq!((&top["offset"], &top["publications"]), (&json!(10), &json!([])), "{flavour}: only where it stands");
        let epoch = top["epoch"].clone();
        let since = |offset: u64| json!({"offset": offset, "epoch": epoch});

        let all = member.history("lobby", json!({"limit": -1})).await?;
        assert_eq!(all, heard, "{flavour}");
        for (asked, expected) in [
            (json!({"limit": 3}), vec![1, 2, 3]),
            (json!({"limit": 3, "reverse": true}), vec![10, 9, 8]),
            (json!({"limit": 3, "since": since(4)}), vec![5, 6, 7]),
            (json!({"limit": 3, "since": since(9)}), vec![10]),
            (json!({"limit": 3, "since": since(10)}), vec![]),
            (json!({"limit": 3, "since": since(4), "reverse": true}), vec![3, 2, 1]),
            (json!({"limit": 100, "since": since(8), "reverse": true}), vec![7, 6, 5, 4, 3, 2, 1]),
        ] {
            assert_eq!(offsets(&member.history("lobby", asked.clone()).await?), expected, "{flavour}: {asked}");
        }
        let another_life = json!({"channel": channel("lobby"), "limit": 3, "since": {"offset": 4, "epoch": "another"}});
        assert_eq!(member.refused("history", another_life).await?.code, 112, "{flavour}");
        let elsewhere = json!({"channel": channel("attic"), "limit": 3});
        assert_eq!(member.refused("history", elsewhere).await?.code, 103, "{flavour}: not a member");
    }
    Ok(())
}

#[tokio::test]
async fn a_room_can_be_read_back_page_by_page_to_its_first_message() -> Result<()> {
    let small = Setup { sections: "[realtime]\nring_messages_max = 8".into(), ..Setup::default() };
    let server = small.start().await?;
    let mut backend = lobby(&server).await?;
    for number in 1..=50 {
        backend.text("lobby", "ana_k", &format!("message {number}")).await?;
    }
    for member in &mut members_of("lobby", server.address()).await? {
        let mut read = Vec::new();
        let mut asked = json!({"limit": 8, "reverse": true});
        let epoch = member.must("history", json!({"channel": channel("lobby"), "limit": 0})).await?["epoch"].clone();
        loop {
            let page = member.history("lobby", asked).await?;
            let Some(oldest) = page.last() else { break };
            asked = json!({"limit": 8, "reverse": true, "since": {"offset": oldest.offset, "epoch": epoch}});
            let was_first = oldest.offset == 1;
            read.extend(page);
            if was_first {
                break;
            }
        }
        read.reverse();
        assert_eq!(offsets(&read), (1..=50).collect::<Vec<_>>(), "{}", member.flavour());
        assert!(read.iter().all(|message| message.text() == format!("message {}", message.offset)));
    }
    Ok(())
}
