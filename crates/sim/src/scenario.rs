//! What a seed decides before anything happens: sizes, limits, how rough it gets.

use std::{num::NonZeroUsize, time::Duration};

use roomhook_hooks::{
    Config as HooksConfig,
    engine::Limits,
    gate::Config as GateConfig,
    retry::{GiveUp, RetryPolicy},
};
use roomhook_log::TailLimits;
use roomhook_room::{Facts, GateFailure, Order};
use roomhook_shard::Config as ShardConfig;

use crate::dice::Dice;

/// Chances are per thousand.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub(crate) seed: u64,
    pub(crate) shards: u16,
    pub(crate) rooms_per_app: usize,
    /// Lives of the server in the safety phase; each but the last one ends with a crash.
    pub(crate) lives: usize,
    /// What is done in each life.
    pub(crate) acts_per_life: usize,
    /// The latest step at which a life ends.
    pub(crate) steps_per_life_max: u64,
    pub(crate) pause_ms_max: u64,
    pub(crate) append_fails: u64,
    pub(crate) append_is_slow: u64,
    /// Of failing appends: those after which only a restart helps.
    pub(crate) append_kills: u64,
    pub(crate) claim_fails: u64,
    pub(crate) put_fails: u64,
    pub(crate) read_fails: u64,
    pub(crate) power_loss: u64,
    pub(crate) clock_steps: u64,
    /// The farthest a clock is set off at once.
    pub(crate) clock_step_ms: i64,
    pub(crate) mood_swings: u64,
    pub(crate) endpoint_changes: u64,
    pub(crate) room_changes: u64,
    /// Somebody looks after what is parked or paused.
    pub(crate) operators: u64,
    /// Somebody wants a room again, at another URL.
    pub(crate) replays: u64,
    /// Retention drops records.
    pub(crate) trims: u64,
    /// Another process claims all logs, while this one goes on.
    pub(crate) rivals: u64,
    /// Of messages: those to an app with a before-send gate.
    pub(crate) gated: u64,
    /// A moderated sender says many things at once.
    pub(crate) floods: u64,
    /// A room of the calm app is sent far more than its receiver takes in order.
    pub(crate) has_hot_room: bool,
    /// Of the answers of a moderator: those that are not "allow".
    pub(crate) objections: u64,
    pub(crate) repeats: u64,
    pub(crate) poison: u64,
    pub(crate) tail: TailLimits,
    pub(crate) shard: ShardConfig,
    pub(crate) hooks: HooksConfig,
    pub(crate) gate: GateConfig,
}

impl Scenario {
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let dice = Dice::new(seed, 1);
        let has_hot_room = dice.chance(200);
        let rough = |from: u64, to: u64| if dice.chance(500) { 0 } else { dice.from(from..=to) };
        Self {
            seed,
            shards: dice.pick(&[1, 1, 2, 3]),
            rooms_per_app: dice.pick(&[1, 2, 3, 5]),
            lives: dice.pick(&[1, 2, 3, 4]),
            acts_per_life: dice.pick(&[10, 30, 30, 60, 60, 200]),
            steps_per_life_max: dice.pick(&[40, 200, 800, 3_000]),
            pause_ms_max: dice.pick(&[1, 20, 300, 1_500]),
            append_fails: rough(5, 200),
            append_is_slow: rough(5, 100),
            append_kills: rough(10, 200),
            claim_fails: rough(20, 200),
            put_fails: rough(5, 200),
            read_fails: rough(1, 30),
            power_loss: dice.pick(&[0, 300, 1_000]),
            clock_steps: rough(2, 30),
            clock_step_ms: dice.pick(&[600_000, 600_000, 40_000_000]),
            mood_swings: rough(20, 150),
            endpoint_changes: rough(20, 120),
            room_changes: rough(5, 60),
            operators: dice.pick(&[20, 100]),
            replays: rough(5, 60),
            trims: rough(20, 300),
            rivals: rough(1, 30),
            gated: rough(200, 700),
            floods: rough(20, 100),
            has_hot_room,
            objections: rough(50, 700),
            repeats: rough(50, 300),
            poison: rough(5, 100),
            tail: TailLimits { bytes_max: 1 << 20, records_max: dice.pick(&[1, 8, 10_000]) },
            shard: ShardConfig {
                // Of its own, so that older seeds mean what they meant.
                inbox_bytes_max: Dice::new(seed, 5).pick(&[2_000, 20_000, 32 << 20, 32 << 20]),
                ..shard(&dice)
            },
            hooks: hooks(&dice, has_hot_room),
            gate: gate(&dice),
        }
    }

    /// Whether nothing but a slow or failing moderator makes messages of the gate wait.
    pub(crate) fn is_gate_roomy(&self) -> bool {
        self.gate.waiting_max >= 1_000 && self.gate.concurrency.get() >= 64
    }
}

fn shard(dice: &Dice) -> ShardConfig {
    ShardConfig {
        inbox_max: dice.pick(&[4, 64, 4_096]),
        batch_records_max: dice.pick(&[1, 3, 1_024]),
        batch_bytes_max: dice.pick(&[300, 1 << 20]),
        replay_records_max: dice.pick(&[2, 10, 50_000]),
        snapshot_bytes_max: dice.pick(&[100, 256 << 10]),
        rooms_cached_max: dice.pick(&[1, 3, 20_000]),
        trim_step: dice.pick(&[1, 5, 4_096]),
        facts: Facts { room_messages_per_s: dice.pick(&[0, 0, 0, 40, 5]) },
        ..ShardConfig::default()
    }
}

fn hooks(dice: &Dice, has_hot_room: bool) -> HooksConfig {
    let limits = Limits {
        open_max: dice.pick(&[2, 8, 16_384]),
        bytes_max: dice.pick(&[500, 16 << 20]),
        span_max: dice.pick(&[8, 65_536]),
        aside_max: dice.pick(&[2, 10_000]),
    };
    // Small enough to be filled by one room, and large enough for others beside it.
    let beside_hot = Limits { open_max: dice.pick(&[100, 300]), bytes_max: 16 << 20, span_max: 1_000, ..limits };
    HooksConfig {
        timeout: Duration::from_secs(2),
        concurrency: NonZeroUsize::new(dice.pick(&[1, 2, 8, 64])).unwrap_or(NonZeroUsize::MIN),
        order: Order::Room,
        retry: RetryPolicy {
            first: Duration::from_millis(dice.pick(&[200, 1_000])),
            max: Duration::from_secs(dice.pick(&[2, 20])),
            for_at_most: Duration::from_secs(dice.pick(&[3, 30, 86_400])),
            give_up: GiveUp::Park,
            once: false,
        },
        hold: Duration::from_secs(dice.pick(&[0, 1, 5, 30])),
        catch_up_per_s: dice.pick(&[0, 50, 20_000]),
        checkpoint_every: Duration::from_millis(dice.pick(&[50, 200, 1_000])),
        limits: if has_hot_room { beside_hot } else { limits },
        jitter_seed: dice.number(),
        ..HooksConfig::default()
    }
}

fn gate(dice: &Dice) -> GateConfig {
    GateConfig {
        timeout: Duration::from_secs(2),
        wait_max: Duration::from_secs(1),
        concurrency: NonZeroUsize::new(dice.pick(&[1, 4, 64])).unwrap_or(NonZeroUsize::MIN),
        waiting_max: dice.pick(&[3, 4_096]),
        sender_waiting_max: dice.pick(&[2, 128]),
        errands_max: dice.pick(&[1, 1_024]),
        failure: dice.pick(&[GateFailure::Pass, GateFailure::Drop]),
        shadow: dice.chance(200),
        ..GateConfig::default()
    }
}
