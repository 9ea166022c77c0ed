//! What the store promised, and whether it kept it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};

/// An append: its number, and what it was.
type Appends = BTreeMap<u64, (u64, u64)>;

/// Promises of all logs.
#[derive(Debug, Default)]
pub(super) struct Book {
    logs: BTreeMap<u16, Promised>,
    /// What was not synced may be lost when the power goes.
    pub(super) may_lose: bool,
    /// The power went since the store was last looked at.
    pub(super) was_cut: bool,
    pub(super) told: Told,
}

/// How much was said, so that it can be seen that something was tried.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    pub(super) acked: u64,
    pub(super) starts: u64,
    /// Appends that were acknowledged and lost, where that is allowed.
    pub(super) lost: u64,
}

#[derive(Debug, Default)]
struct Promised {
    acked: Appends,
    put: u64,
    /// Records from here on were never given up.
    floor: u64,
}

impl Book {
    /// Takes in a line of the writer. What it did not get to say whole was never promised to anybody.
    pub(super) fn note(&mut self, line: &str) -> Result<()> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut words = rest.split(' ');
        match verb {
            "acked" => {
                let log = parse(words.next())?;
                let (number, what) = append(words.next().unwrap_or_default())?;
                self.log(log).acked.insert(number, what);
                self.told.acked += 1;
            }
            "put" => {
                let (log, number) = (parse(words.next())?, parse(words.next())?);
                let promised = self.log(log);
                promised.put = promised.put.max(number);
            }
            "trimming" => {
                let (log, floor) = (parse(words.next())?, parse(words.next())?);
                let promised = self.log(log);
                promised.floor = promised.floor.max(floor);
            }
            "holds" => self.holds(rest)?,
            "started" => {
                self.told.starts += 1;
                self.was_cut = false;
            }
            "broken" => bail!("{rest}"),
            _ => {}
        }
        Ok(())
    }

    fn log(&mut self, log: u64) -> &mut Promised {
        self.logs.entry(u16::try_from(log).unwrap_or(u16::MAX)).or_default()
    }

    /// What a log is found to hold: all that was promised and not given up, and no other thing in its place.
    fn holds(&mut self, said: &str) -> Result<()> {
        let mut words = said.split(' ');
        let (log, first, next) = (parse(words.next())?, parse(words.next())?, parse(words.next())?);
        let cursor = parse(words.next())?;
        let found: Appends = words.map(append).collect::<Result<_>>()?;
        let may_lose = self.may_lose && self.was_cut;
        let promised = self.log(log);
        ensure!(
            first <= promised.floor.max(1),
            "log {log} starts at {first}, given up was what lies before {}",
            promised.floor
        );
        let (mut lost, mut kept) = (Vec::new(), 0);
        for (number, what) in &promised.acked {
            match found.get(number) {
                Some(there) if there == what => {
                    ensure!(lost.is_empty(), "log {log}: {lost:?} are gone, and {number} behind them is there");
                    kept += 1;
                }
                None if what.0 < first => {}
                None => lost.push((*number, *what)),
                Some(there) => bail!("log {log}: append {number} was acknowledged as {what:?}, and is {there:?}"),
            }
        }
        if !may_lose {
            let newest = promised.acked.last_key_value();
            ensure!(
                lost.is_empty(),
                "log {log}: {} acknowledged appends are gone, of {kept} the first ones {:?}; it ends at {next}, the newest was {newest:?}",
                lost.len(),
                &lost[..lost.len().min(3)]
            );
            ensure!(cursor >= promised.put, "log {log}: a put of {} was answered, the row says {cursor}", promised.put);
        }
        let lost = lost.len() as u64;
        // What is there now stays.
        promised.acked = found;
        promised.put = cursor;
        self.told.lost += lost;
        Ok(())
    }
}

fn parse(word: Option<&str>) -> Result<u64> {
    word.and_then(|word| word.parse().ok()).with_context(|| format!("no number: {word:?}"))
}

fn append(word: &str) -> Result<(u64, (u64, u64))> {
    let mut parts = word.split('/');
    Ok((parse(parts.next())?, (parse(parts.next())?, parse(parts.next())?)))
}

impl Told {
    pub(super) fn add(&mut self, other: Self) {
        self.acked += other.acked;
        self.starts += other.starts;
        self.lost += other.lost;
    }
}
