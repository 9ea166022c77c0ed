//! The power fails at any operation of a store: while it is written to, starts, is made anew, dumps, drops segments or stops. Nothing
//! that was acknowledged is lost, and every start works by itself.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use fastrand::Rng;
use roomhook_e2e::forgetful_disk::{Cut, ForgetfulDisk};
use tempfile::NamedTempFile;

use super::book::{Book, Told};
use super::writer;
use crate::owed::setting;

/// How long a store may take for what it does before a cut.
const PATIENCE: Duration = Duration::from_secs(60);
/// The latest operation of a start at which the power fails, and of what comes after it, as powers of two. A start takes some hundreds,
/// and thousands when the mirror is made anew.
const LATEST_OF_START: u32 = 10;
const LATEST: u32 = 10;
/// A store lives through so many rounds.
const ROUNDS_OF_STORE: u64 = 40;

/// A writer and what it says.
pub(super) struct Writing {
    child: Child,
    lines: Receiver<String>,
    /// Where its panics go.
    complaints: NamedTempFile,
}

impl Writing {
    /// Starts a writer on the disk. `appends` as [`writer::APPENDS`].
    pub(super) fn start(disk: &ForgetfulDisk, durability: &str, appends: u64, seed: u64) -> Result<Self> {
        let complaints = NamedTempFile::new()?;
        let mut child = disk
            .command(std::env::current_exe()?)?
            .args(["--exact", "power_cuts::writer::writer", "--nocapture"])
            .env(writer::STORE, disk.folder().join("store"))
            .env(writer::DURABILITY, durability)
            .env(writer::APPENDS, appends.to_string())
            .env(writer::SEED, seed.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(complaints.reopen()?)
            .spawn()?;
        let stdout = child.stdout.take().context("no output")?;
        let (said, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if said.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, lines, complaints })
    }

    /// Takes in what it says until the power fails, and after that what it had said by then; ends it. The power fails by itself, or
    /// so many operations after the start is done.
    fn until_cut(&mut self, disk: &ForgetfulDisk, book: &mut Book, after_start: Option<u64>) -> Result<Phase> {
        let mut phase = Phase::Start;
        while !disk.is_off() {
            match self.lines.recv_timeout(Duration::from_millis(2)) {
                Ok(line) => {
                    let is_started = phase != Phase::Start;
                    phase.note(&line, book, disk)?;
                    if let Some(operations) = after_start.filter(|_| !is_started && phase != Phase::Start) {
                        disk.cut_after(operations);
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => bail!("the writer ended by itself: {}", self.complaints()),
            }
        }
        self.child.kill()?;
        let mut told = Ok(());
        let mut reached = phase;
        for line in &self.lines {
            told = told.and(phase.note(&line, book, disk));
            reached = phase;
        }
        self.child.wait()?;
        told.map(|()| reached)
    }

    fn complaints(&self) -> String {
        std::fs::read_to_string(self.complaints.path()).unwrap_or_default()
    }

    /// Takes in all it says until it ends, and gives why it failed, if it did.
    pub(super) fn until_end(&mut self, book: &mut Book) -> Result<Option<String>> {
        let mut failed = None;
        loop {
            let line = match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => line,
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => bail!("the writer hangs: {}", self.complaints()),
            };
            if let Some(reason) = line.strip_prefix("failed ") {
                failed = Some(reason.to_owned());
            }
            book.note(&line)?;
        }
        let status = self.child.wait()?;
        ensure!(status.success(), "the writer ended with {status}: {}", self.complaints());
        Ok(failed)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        // Ended already is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a store was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Start,
    Writing,
    Retaining,
    Stopping,
}

impl Phase {
    fn note(&mut self, line: &str, book: &mut Book, disk: &ForgetfulDisk) -> Result<()> {
        match line.split(' ').next() {
            Some("started" | "acked") => *self = Self::Writing,
            Some("retaining") => *self = Self::Retaining,
            Some("stopping") => *self = Self::Stopping,
            Some("failed") if !disk.is_off() => bail!("with power: {line}"),
            _ => {}
        }
        book.note(line)
    }
}

/// Rounds so far, by what they were.
#[derive(Debug, Default)]
struct Tally {
    cuts: BTreeMap<Cut, u64>,
    phases: BTreeMap<Phase, u64>,
    mirrors_removed: u64,
}

struct Story {
    disk: ForgetfulDisk,
    book: Book,
    durability: &'static str,
    /// How the power failed the last time.
    before: Option<Cut>,
}

impl Story {
    fn begin(durability: &'static str) -> Result<Self> {
        let mut book = Book::default();
        book.may_lose = durability == "os";
        Ok(Self { disk: ForgetfulDisk::make()?, book, durability, before: None })
    }

    /// Writes until the power fails, and brings it back.
    fn round(&mut self, cut: Cut, random: &mut Rng, tally: &mut Tally) -> Result<()> {
        let is_start = random.u8(..5) < 2;
        let latest = 1 << random.u32(1..=if is_start { LATEST_OF_START } else { LATEST });
        let operations = random.u64(..latest);
        if is_start {
            self.disk.cut_after(operations);
        }
        let phase = Writing::start(&self.disk, self.durability, 0, random.u64(..))?
            .until_cut(&self.disk, &mut self.book, (!is_start).then_some(operations))
            .with_context(|| format!("before operation {operations}"))?;
        self.book.was_cut = true;
        *tally.phases.entry(phase).or_default() += 1;
        *tally.cuts.entry(cut).or_default() += 1;
        // A disk may lose its power alone.
        if self.durability == "os" || random.bool() {
            self.disk.restart_machine()?;
        }
        self.before = Some(cut);
        self.disk.power_on(cut, random)?;
        if random.u8(..8) == 0 {
            tally.mirrors_removed += 1;
            self.disk.remove("store/mirror")?;
        }
        Ok(())
    }

    /// With the power on for good: all that was promised is there.
    fn end(&mut self, random: &mut Rng) -> Result<()> {
        let failed = Writing::start(&self.disk, self.durability, 4, random.u64(..))?.until_end(&mut self.book)?;
        failed.map_or(Ok(()), |reason| Err(anyhow!("with power: {reason}")))
    }
}

#[expect(
    clippy::print_stderr,
    reason = "that nothing was tried must be in the output, and a failed run is repeated with its seed"
)]
fn cut_again_and_again(durability: &'static str, rounds: u64) -> Result<()> {
    if let Some(lacking) = ForgetfulDisk::lacking() {
        eprintln!("SKIPPED: this machine lacks {lacking} for a disk that forgets");
        return Ok(());
    }
    let seed = setting("ROOMHOOK_POWERCUT_SEED", fastrand::u64(..))?;
    eprintln!("ROOMHOOK_POWERCUT_SEED={seed} ROOMHOOK_POWERCUT_ROUNDS={rounds} durability={durability}");
    let (mut random, mut tally) = (Rng::with_seed(seed), Tally::default());
    let mut cuts: Vec<Cut> = Cut::all().collect();
    random.shuffle(&mut cuts);
    let mut story = Story::begin(durability)?;
    let mut told = Told::default();
    for (round, cut) in (0..rounds).zip(cuts.into_iter().cycle()) {
        if round > 0 && round.is_multiple_of(ROUNDS_OF_STORE) {
            story.end(&mut random).with_context(|| format!("round {round}"))?;
            told.add(story.book.told);
            story = Story::begin(durability)?;
        }
        if let Err(error) = story.round(cut, &mut random, &mut tally) {
            let kept = std::env::temp_dir().join(format!("roomhook-powercut-{seed}-{round}"));
            story.disk.export(&kept)?;
            return Err(error.context(format!(
                "round {round}, seed {seed}, after {:?}; the store is in {}",
                story.before,
                kept.display()
            )));
        }
    }
    story.end(&mut random)?;
    told.add(story.book.told);
    eprintln!("{rounds} cuts: {:?}, {} mirrors removed; {told:?}", tally.phases, tally.mirrors_removed);
    for (cut, count) in tally.cuts {
        eprintln!("  {count:5} {cut:?}");
    }
    ensure!(rounds < 10 || told.acked > 0, "nothing was acknowledged, so nothing was tested");
    Ok(())
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_at_any_operation() -> Result<()> {
    cut_again_and_again("fsync", setting("ROOMHOOK_POWERCUT_ROUNDS", 14)?)
}

#[test]
fn without_a_sync_a_power_cut_takes_the_end_and_the_store_starts_by_itself() -> Result<()> {
    cut_again_and_again("os", setting("ROOMHOOK_POWERCUT_ROUNDS", 14)?)
}

/// A store that is being made is nothing that anybody relied on, however far it got.
#[test]
#[expect(clippy::print_stderr, reason = "that nothing was tried must be in the output")]
fn a_first_start_is_cut_before_each_of_its_changes() -> Result<()> {
    if let Some(lacking) = ForgetfulDisk::lacking() {
        eprintln!("SKIPPED: this machine lacks {lacking} for a disk that forgets");
        return Ok(());
    }
    let step = setting("ROOMHOOK_POWERCUT_STEP", 9)?;
    let mut random = Rng::with_seed(setting("ROOMHOOK_POWERCUT_SEED", fastrand::u64(..))?);
    let mut cuts: Vec<Cut> = Cut::all().collect();
    random.shuffle(&mut cuts);
    let mut cuts = cuts.into_iter().cycle();
    let (mut operations, mut tried) = (random.u64(..step), 0);
    loop {
        let mut story = Story::begin("fsync")?;
        story.disk.cut_after(operations);
        let mut writing = Writing::start(&story.disk, "fsync", 0, 1)?;
        let phase = writing.until_cut(&story.disk, &mut story.book, None)?;
        let cut = cuts.next().context("a cut")?;
        story.disk.power_on(cut, &mut random)?;
        story
            .end(&mut random)
            .with_context(|| format!("after a first start that was cut before operation {operations}, {cut:?}"))?;
        (operations, tried) = (operations + step, tried + 1);
        if phase != Phase::Start {
            eprintln!("{tried} first starts were cut, the last one before operation {operations}");
            return Ok(());
        }
    }
}
