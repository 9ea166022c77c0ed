//! What one message costs the owner of a shard: decide, fold, encode. And what a window of repeats costs in memory.
//!
//! `cargo bench -p roomhook-room` prints nanoseconds per message, median of five runs.

#![expect(clippy::print_stdout, reason = "printing is what a bench does")]

use std::{hint::black_box, net::Ipv4Addr, time::Instant};

use bytes::{Bytes, BytesMut};
use roomhook_room::{
    Command, ContentHash, CreateRoom, DEDUP_ENTRIES_MAX, Draft, Event, Facts, Incarnation, MsgId, Origin, Platform,
    Priority, Room, RoomInfo, UnixMillis, UserId, decide, decode_record, encode_record_into, fold,
};

const MESSAGES: u32 = 200_000;

fn main() {
    // First, while nothing else has left free memory behind.
    memory();
    let body =
        Bytes::from(format!("[{{\"MsgType\":\"TIMTextElem\",\"MsgContent\":{{\"Text\":\"{}\"}}}}]", "x".repeat(240)));
    let users: Vec<UserId> = (0..1000).filter_map(|n| UserId::new(&format!("user-{n}")).ok()).collect();
    let drafts: Vec<Draft> = (0..MESSAGES).map(|n| draft(&users[n as usize % users.len()], n, &body)).collect();

    for (name, dedup) in [("with dedup", true), ("without dedup", false)] {
        print_times(name, || {
            let mut drafts = drafts.clone();
            drafts.iter_mut().for_each(|draft| draft.content = draft.content.filter(|_| dedup));
            one_run(drafts)
        });
    }
    decoding(&drafts);
    window(&drafts);
}

fn print_times(name: &str, mut run: impl FnMut() -> [f64; 3]) {
    let mut runs: Vec<[f64; 3]> = (0..5).map(|_| run()).collect();
    let median = |part: usize, runs: &mut Vec<[f64; 3]>| {
        runs.sort_by(|a, b| a[part].total_cmp(&b[part]));
        runs[2][part]
    };
    let [decide, fold, encode] = [0, 1, 2].map(|part| median(part, &mut runs));
    println!(
        "{name}: decide {decide:.0} ns, fold {fold:.0} ns, encode {encode:.0} ns, all {:.0} ns",
        decide + fold + encode
    );
}

/// 64 rooms in turn, batches of 256.
fn one_run(drafts: Vec<Draft>) -> [f64; 3] {
    let facts = Facts::default();
    let mut rooms: Vec<Room> = (0..64).map(|_| created()).collect();
    let mut times = [0.0; 3];
    let mut drafts = drafts.into_iter();
    let mut now = 1_700_000_000_000;
    loop {
        let batch: Vec<Draft> = drafts.by_ref().take(256).collect();
        if batch.is_empty() {
            break;
        }
        now += 6;
        let started = Instant::now();
        let decided: Vec<(usize, Vec<Event>)> = batch
            .into_iter()
            .enumerate()
            .filter_map(|(n, draft)| {
                let room = n % rooms.len();
                // Deciding 256 messages before folding gives numbers that repeat: `fold` below renumbers them.
                Some((room, decide(&rooms[room], &facts, Command::Send(draft), UnixMillis(now)).ok()?.events))
            })
            .collect();
        times[0] += started.elapsed().as_secs_f64();
        let mut decided = decided;
        let mut tops: Vec<_> = rooms.iter().map(Room::top).collect();
        for (room, events) in &mut decided {
            for event in events {
                if let Event::MessageSent(message) = event {
                    tops[*room] = tops[*room].next();
                    message.seq = tops[*room];
                }
            }
        }
        let started = Instant::now();
        for (room, events) in &decided {
            events.iter().for_each(|event| fold(&mut rooms[*room], event));
        }
        times[1] += started.elapsed().as_secs_f64();
        let started = Instant::now();
        let mut buffer = BytesMut::with_capacity(256 * 512);
        for (_, events) in &decided {
            black_box(encode_record_into(events, &mut buffer));
        }
        times[2] += started.elapsed().as_secs_f64();
    }
    times.map(|seconds| seconds * 1e9 / f64::from(MESSAGES))
}

fn decoding(drafts: &[Draft]) {
    let mut buffer = BytesMut::new();
    let records: Vec<Bytes> = drafts
        .iter()
        .take(20_000)
        .filter_map(|draft| {
            let outcome = decide(&created(), &Facts::default(), Command::Send(draft.clone()), UnixMillis(1)).ok()?;
            Some(encode_record_into(&outcome.events, &mut buffer))
        })
        .collect();
    let started = Instant::now();
    for record in &records {
        black_box(decode_record(record).is_ok());
    }
    let each = started.elapsed().as_secs_f64() * 1e9 / records.len() as f64;
    println!("decode {each:.0} ns, {} bytes per record with a body of {}", records[0].len(), drafts[0].body.len());
}

fn window(drafts: &[Draft]) {
    let mut room = created();
    for draft in drafts.iter().take(DEDUP_ENTRIES_MAX) {
        if let Ok(outcome) =
            decide(&room, &Facts::default(), Command::Send(draft.clone()), UnixMillis(1_700_000_000_000))
        {
            outcome.events.iter().for_each(|event| fold(&mut room, event));
        }
    }
    let started = Instant::now();
    let snapshot = room.to_snapshot();
    let took = started.elapsed();
    println!("snapshot of a room with a full window: {} bytes in {took:?}", snapshot.len());
    let started = Instant::now();
    black_box(Room::from_snapshot(&snapshot).is_ok());
    println!("reading it back: {:?}", started.elapsed());
}

/// What 64 rooms with full windows hold, by what the process has more of.
fn memory() {
    let resident_kb = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.split_whitespace().next().and_then(|kb| kb.parse::<u64>().ok()).unwrap_or_default()
    };
    let body = Bytes::from_static(b"[]");
    for senders in [100, DEDUP_ENTRIES_MAX] {
        let before = resident_kb();
        let mut rooms: Vec<Room> = (0..64).map(|_| created()).collect();
        for room in &mut rooms {
            for n in 0..DEDUP_ENTRIES_MAX {
                let Ok(user) = UserId::new(&format!("user-{}", n % senders)) else { continue };
                let send = Command::Send(draft(&user, n as u32, &body));
                if let Ok(outcome) = decide(room, &Facts::default(), send, UnixMillis(1_700_000_000_000)) {
                    outcome.events.iter().for_each(|event| fold(room, event));
                }
            }
        }
        let grown = resident_kb().saturating_sub(before);
        let each = grown as f64 * 1024.0 / (64 * DEDUP_ENTRIES_MAX) as f64;
        println!("64 full windows, {senders} senders in each: {} MB, {each:.0} bytes per message", grown / 1024);
    }
}

fn draft(from: &UserId, random: u32, body: &Bytes) -> Draft {
    Draft {
        from: from.clone(),
        operator: from.clone(),
        origin: Origin { platform: Platform::RestApi, client_ip: Ipv4Addr::LOCALHOST.into(), client: None },
        random,
        content: Some(ContentHash(u64::from(random) * 0x9e37)),
        msg_id: MsgId { account: (1 << 57) + 1, secs: 1_700_000_000, random },
        priority: Priority::Normal,
        body: body.clone(),
        custom_data: Bytes::from_static(b"\"\""),
        forbid_after_hook: false,
    }
}

fn created() -> Room {
    let mut room = Room::absent();
    let Ok(owner) = UserId::new("ann") else { return room };
    let info = RoomInfo { name: "Lobby".into(), is_public_visible: true, ..RoomInfo::bare("Live", owner.clone()) };
    let create = Command::Create(CreateRoom { operator: owner, info, incarnation: Incarnation::from_random(1) });
    if let Ok(outcome) = decide(&room, &Facts::default(), create, UnixMillis(1)) {
        outcome.events.iter().for_each(|event| fold(&mut room, event));
    }
    room
}
