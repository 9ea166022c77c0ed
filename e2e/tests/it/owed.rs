//! What was acknowledged, what arrived, and what the server says of both.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use roomhook_e2e::SDKAPPID;
use roomhook_e2e::receiver::{Receiver, Seen};
use roomhook_e2e::server::Server;
use tokio::time::{Instant, sleep};

/// Deliveries that a crash may repeat: what was settled since the last checkpoint, and what was in flight.
pub(crate) const REPEATS_PER_CRASH_MAX: usize = 1_000 + 64;
/// What the server says of its default endpoint.
const NUMBERS: [&str; 5] = ["acknowledged_total", "delivered_total", "pending", "parked", "expired_total"];

/// Room and number of each message that was acknowledged.
pub(crate) type Acknowledged = HashSet<(String, u64)>;

pub(crate) fn setting(name: &str, otherwise: u64) -> Result<u64> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name} is no number")),
        Err(_) => Ok(otherwise),
    }
}

/// The five numbers of the tests' app, from `/metrics`.
pub(crate) async fn numbers(server: &Server) -> Result<[u64; 5]> {
    let (_, metrics) = server.admin_get("/metrics").await?;
    numbers_of(&metrics, SDKAPPID)
}

/// The five numbers of an app's default endpoint.
pub(crate) fn numbers_of(metrics: &str, app: u32) -> Result<[u64; 5]> {
    let label = format!("app=\"{app}\"");
    let read = |name: &str| -> Result<u64> {
        let wanted = format!("webhook_{name}{{");
        let mut lines = metrics.lines().filter(|line| line.contains(&wanted) && line.contains(&label));
        let line = lines.next().with_context(|| format!("no {name}"))?;
        line.rsplit(' ').next().and_then(|value| value.parse().ok()).with_context(|| format!("no number: {line}"))
    };
    let mut found = [0; 5];
    for (number, name) in found.iter_mut().zip(NUMBERS) {
        *number = read(name)?;
    }
    Ok(found)
}

/// Reads webhooks until all of these have come; on a busy machine some come twice.
pub(crate) async fn take_all(receiver: &mut Receiver, due: &Acknowledged) -> Result<Vec<Seen>> {
    let (mut missing, mut seen) = (due.clone(), Vec::new());
    let take = |one: Seen| {
        missing.remove(&(one.room().to_owned(), one.seq()));
        seen.push(one);
        missing.is_empty()
    };
    let taken = receiver.until(Instant::now() + Duration::from_secs(60), take).await;
    taken.with_context(|| format!("{} of {} did not come", missing.len(), due.len()))?;
    Ok(seen)
}

/// Waits until nothing is pending, as long as there is progress, with the numbers adding up at every look.
pub(crate) async fn settle(server: &Server, patience: Duration) -> Result<[u64; 5]> {
    let (mut best, mut since) = (u64::MAX, Instant::now());
    loop {
        let now = numbers(server).await?;
        let [acknowledged, delivered, pending, parked, expired] = now;
        ensure!(acknowledged == delivered + pending + parked + expired, "owed-paid: {NUMBERS:?} are {now:?}");
        if pending == 0 {
            return Ok(now);
        }
        if pending < best {
            (best, since) = (pending, Instant::now());
        }
        ensure!(since.elapsed() < patience, "{NUMBERS:?} are still {now:?}");
        sleep(Duration::from_millis(50)).await; // polling is what an operator's dashboard does too
    }
}

/// Everything acknowledged arrived, first arrivals of each room are in order, and repeats stay within the window.
pub(crate) fn check(acknowledged: &Acknowledged, seen: &[Seen], crashes: usize) -> Result<()> {
    let (mut first, mut repeats) = (HashSet::new(), 0);
    let mut rooms: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for one in seen {
        if first.insert((one.room().to_owned(), one.seq())) {
            rooms.entry(one.room()).or_default().push(one.seq());
        } else {
            repeats += 1;
        }
    }
    let missing: Vec<_> = acknowledged.difference(&first).collect();
    ensure!(missing.is_empty(), "{} acknowledged messages never arrived: {missing:?}", missing.len());
    for (room, seqs) in &rooms {
        let late: Vec<_> = seqs.windows(2).filter(|pair| pair[1] < pair[0]).take(5).collect();
        ensure!(late.is_empty(), "in-order: of first arrivals in {room} these follow each other: {late:?}");
    }
    ensure!(repeats <= crashes * REPEATS_PER_CRASH_MAX, "{repeats} repeats after {crashes} crashes");
    Ok(())
}
