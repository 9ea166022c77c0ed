//! Measures the store: `cargo bench -p roomhook-log-disk --bench append -- [load|paced|fill|open] [options]`.
//!
//! load: each shard appends batches of N records, one append in flight, as its owner does. paced: a fixed rate with
//! room snapshots, for memory. fill, open: time of a start after a crash. Results go into `docs/adr/0009-journal.md`.

#![expect(clippy::print_stdout, reason = "a bench prints its results")]

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hdrhistogram::Histogram;
use nix::sys::resource::{UsageWho, getrusage};
use roomhook_log::{Expect, Key, LogAppend, LogId, LogRead, Lsn, NewRecord, NodeId, Row};
use roomhook_log_disk::{DiskConfig, DiskLog, Durability};

const SHARDS: u16 = 4;
const PAYLOAD_BYTES: usize = 350;

struct Options {
    mode: String,
    path: PathBuf,
    in_flight: Vec<usize>,
    seconds: u64,
    rooms: u64,
    records: u64,
    rate: u64,
    config: DiskConfig,
}

impl Options {
    fn parse() -> Self {
        let mut options = Self {
            mode: "load".to_owned(),
            path: std::env::temp_dir().join(format!("roomhook-bench-{}", std::process::id())),
            in_flight: vec![1, 64, 256],
            seconds: 5,
            rooms: 1_000,
            records: 1_000_000,
            rate: 40_000,
            config: DiskConfig { shards: SHARDS, ..DiskConfig::default() },
        };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().unwrap_or_else(|| panic!("{arg} wants a value"));
            let number = |text: String| text.parse::<u64>().unwrap_or_else(|_| panic!("{text} is no number"));
            match arg.as_str() {
                "--bench" => {}
                "--path" => options.path = value().into(),
                "--in-flight" => options.in_flight = value().split(',').map(|n| number(n.into()) as usize).collect(),
                "--seconds" => options.seconds = number(value()),
                "--rooms" => options.rooms = number(value()),
                "--records" => options.records = number(value()),
                "--rate" => options.rate = number(value()),
                "--segment-bytes" => options.config.segment_bytes = number(value()),
                "--memtable" => options.config.memtable_bytes = number(value()),
                "--cache" => options.config.cache_bytes = number(value()),
                "--os" => options.config.durability = Durability::Os,
                mode => options.mode = mode.to_owned(),
            }
        }
        options.config.path = options.path.clone();
        options
    }
}

#[tokio::main]
async fn main() {
    let options = Arc::new(Options::parse());
    match options.mode.as_str() {
        "load" => {
            for in_flight in options.in_flight.clone() {
                load(&options, in_flight).await;
            }
            let _ = std::fs::remove_dir_all(&options.path);
        }
        "paced" => {
            paced(&options).await;
            let _ = std::fs::remove_dir_all(&options.path);
        }
        "fill" => fill(&options).await,
        "open" => open(&options).await,
        other => panic!("there is no mode {other}"),
    }
}

/// A JSON-like body of which half is random.
fn record(options: &Options, shard: u16) -> NewRecord {
    let room = fastrand::u64(..options.rooms) * u64::from(SHARDS) + u64::from(shard);
    let mut payload = Vec::with_capacity(PAYLOAD_BYTES);
    payload.extend_from_slice(br#"[{"MsgType":"TIMTextElem","MsgContent":{"Text":""#);
    payload.resize_with(PAYLOAD_BYTES / 2, || fastrand::alphanumeric() as u8);
    payload.resize(PAYLOAD_BYTES, b' ');
    NewRecord {
        key: Key(Bytes::from(format!("1400000001/room-{room}"))),
        at_ms: (options.config.clock)(),
        payload: Bytes::from(payload),
    }
}

async fn load(options: &Arc<Options>, in_flight: usize) {
    let store = DiskLog::open(options.config.clone()).expect("open");
    let (started, cpu) = (Instant::now(), cpu_time());
    let until = started + Duration::from_secs(options.seconds);
    let shards: Vec<_> = (0..SHARDS)
        .map(|shard| {
            let (store, options) = (Arc::clone(&store), Arc::clone(options));
            tokio::spawn(async move {
                let mut claim = store.claim(LogId(shard), NodeId(1), Expect::Anyone).await.expect("claim");
                let mut latency = Histogram::<u64>::new(3).expect("histogram");
                let mut records = 0;
                while Instant::now() < until {
                    let batch = (0..in_flight).map(|_| record(&options, shard)).collect();
                    let begun = Instant::now();
                    store.append(&mut claim, batch, Vec::new()).await.expect("append");
                    latency.record(begun.elapsed().as_micros() as u64).expect("record");
                    records += in_flight;
                }
                (latency, records)
            })
        })
        .collect();
    let (mut latency, mut records) = (Histogram::<u64>::new(3).expect("histogram"), 0);
    for shard in shards {
        let (of_shard, appended) = shard.await.expect("shard");
        latency.add(of_shard).expect("add");
        records += appended;
    }
    report(&format!("{in_flight} in flight"), records, started.elapsed(), cpu_time() - cpu, &latency);
    store.shutdown().await;
}

/// `rate` records a second over all shards, a snapshot row for one record in ten, a reader per shard.
async fn paced(options: &Arc<Options>) {
    let store = DiskLog::open(options.config.clone()).expect("open");
    println!("after start: {}", memory());
    let (started, cpu) = (Instant::now(), cpu_time());
    let mut latency = Histogram::<u64>::new(3).expect("histogram");
    let shards: Vec<_> = (0..SHARDS)
        .map(|shard| {
            let (store, options) = (Arc::clone(&store), Arc::clone(options));
            let mut stream = store.read(LogId(shard), Lsn(1)).expect("read");
            let reader = tokio::spawn(async move { while stream.next_batch().await.is_ok() {} });
            tokio::spawn(async move {
                let mut claim = store.claim(LogId(shard), NodeId(1), Expect::Anyone).await.expect("claim");
                let mut latency = Histogram::<u64>::new(3).expect("histogram");
                let (mut sent, rate) = (0, options.rate / u64::from(SHARDS));
                while started.elapsed().as_secs() < options.seconds {
                    let due = (started.elapsed().as_micros() as u64 * rate / 1_000_000 - sent).min(1_024);
                    if due == 0 {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        continue;
                    }
                    let batch: Vec<_> = (0..due).map(|_| record(&options, shard)).collect();
                    let row =
                        |record: &NewRecord| Row { key: record.key.0.clone(), value: Some(vec![b'r'; 600].into()) };
                    let rows = batch.iter().step_by(10).map(row).collect();
                    let begun = Instant::now();
                    store.append(&mut claim, batch, rows).await.expect("append");
                    latency.record(begun.elapsed().as_micros() as u64).expect("record");
                    sent += due;
                }
                reader.abort();
                (latency, sent as usize)
            })
        })
        .collect();
    let mut peak = memory();
    let mut peak_kb = 0;
    while !shards.iter().all(tokio::task::JoinHandle::is_finished) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if resident_kb() > peak_kb {
            (peak, peak_kb) = (memory(), resident_kb());
        }
    }
    let mut records = 0;
    for shard in shards {
        let (of_shard, sent) = shard.await.expect("shard");
        latency.add(of_shard).expect("add");
        records += sent;
    }
    report(&format!("{}/s asked for", options.rate), records, started.elapsed(), cpu_time() - cpu, &latency);
    println!("peak: {peak}");
    store.shutdown().await;
}

/// Fills a store and dies without closing it.
async fn fill(options: &Arc<Options>) {
    let store = DiskLog::open(options.config.clone()).expect("open");
    for shard in 0..SHARDS {
        let mut claim = store.claim(LogId(shard), NodeId(1), Expect::Anyone).await.expect("claim");
        let mut left = options.records / u64::from(SHARDS);
        while left > 0 {
            let batch: Vec<_> = (0..left.min(256)).map(|_| record(options, shard)).collect();
            left -= batch.len() as u64;
            store.append(&mut claim, batch, Vec::new()).await.expect("append");
        }
    }
    println!("filled with {} records; dying", options.records);
    std::process::abort();
}

async fn open(options: &Arc<Options>) {
    let (begun, cpu) = (Instant::now(), cpu_time());
    let store = DiskLog::open(options.config.clone()).expect("open");
    println!(
        "opened in {} ms with {} ms CPU, {}",
        begun.elapsed().as_millis(),
        (cpu_time() - cpu).as_millis(),
        memory()
    );
    let key = record(options, 0).key;
    for round in 0..3 {
        let begun = Instant::now();
        let found = store.last(LogId(0), &key, Lsn(u64::MAX), 50).await.expect("last");
        println!("last {} of a room in {} us (round {round})", found.len(), begun.elapsed().as_micros());
    }
    let (begun, mut stream) = (Instant::now(), store.read(LogId(0), Lsn(1)).expect("read"));
    let next = store.bounds(LogId(0)).await.expect("bounds").next;
    let mut seen = 0;
    while seen + 1 < next.0 {
        seen += stream.next_batch().await.expect("read").len() as u64;
    }
    println!("history: {:.0} records/s, {}", seen as f64 / begun.elapsed().as_secs_f64(), memory());
    store.shutdown().await;
}

fn report(what: &str, records: usize, took: Duration, cpu: Duration, latency: &Histogram<u64>) {
    println!(
        "{what}: {:.0} records/s, {:.2} us CPU each, append p50 {:.2} ms, p99 {:.2} ms, max {:.0} ms, {}",
        records as f64 / took.as_secs_f64(),
        cpu.as_micros() as f64 / records.max(1) as f64,
        latency.value_at_quantile(0.5) as f64 / 1e3,
        latency.value_at_quantile(0.99) as f64 / 1e3,
        latency.max() as f64 / 1e3,
        memory()
    );
}

fn cpu_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("getrusage");
    let micros = |time: nix::sys::time::TimeVal| (time.tv_sec() * 1_000_000 + time.tv_usec()) as u64;
    Duration::from_micros(micros(usage.user_time()) + micros(usage.system_time()))
}

fn resident_kb() -> u64 {
    status("VmRSS:")
}

fn memory() -> String {
    format!("{} MB resident ({} MB anonymous)", resident_kb() / 1_024, status("RssAnon:") / 1_024)
}

fn status(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or_default()
}
