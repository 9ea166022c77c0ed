//! Single operations of a store fail: with EIO or with ENOSPC, once or from then on. What was acknowledged is there after a restart, and
//! still after a power cut behind it; and whoever was refused was told why.

use anyhow::{Context as _, Result, ensure};
use fastrand::Rng;
use roomhook_e2e::forgetful_disk::{Cut, Data, Failure, Fault, ForgetfulDisk, Names};

use super::book::Book;
use super::cuts::Writing;
use crate::owed::setting;

/// Appends of each log in a run: enough for dumps, and for segments that come and go.
const APPENDS: u64 = 16;

/// What became of a run in which something failed.
#[derive(Debug, Default)]
struct Outcomes {
    untouched: u64,
    refused: u64,
    not_reached: u64,
}

#[test]
#[expect(clippy::print_stderr, reason = "that nothing was tried must be in the output")]
fn a_single_operation_fails_and_nothing_that_was_acknowledged_is_lost() -> Result<()> {
    if let Some(lacking) = ForgetfulDisk::lacking() {
        eprintln!("SKIPPED: this machine lacks {lacking} for a disk that fails");
        return Ok(());
    }
    let seed = setting("ROOMHOOK_POWERCUT_SEED", fastrand::u64(..))?;
    let every = setting("ROOMHOOK_FAILURES_EVERY", 211)?;
    eprintln!("ROOMHOOK_POWERCUT_SEED={seed} ROOMHOOK_FAILURES_EVERY={every}");
    let mut random = Rng::with_seed(seed);
    let (mut at, mut outcomes) = (random.u64(..every), Outcomes::default());
    while outcomes.not_reached < 4 {
        for (failure, stays) in
            [(Failure::Broken, false), (Failure::Full, false), (Failure::Broken, true), (Failure::Full, true)]
        {
            let fault = Fault { at, failure, stays };
            run(fault, &mut outcomes, &mut random).with_context(|| format!("{fault:?}, seed {seed}"))?;
        }
        at += every;
    }
    eprintln!("{outcomes:?}, up to operation {at}");
    ensure!(outcomes.refused > 0, "nobody noticed anything, so nothing was tested");
    Ok(())
}

fn run(fault: Fault, outcomes: &mut Outcomes, random: &mut Rng) -> Result<()> {
    let (mut disk, mut book) = (ForgetfulDisk::make()?, Book::default());
    disk.fail(fault);
    let failed = Writing::start(&disk, "fsync", APPENDS, 7)?.until_end(&mut book)?;
    let count = disk.work_again();
    match &failed {
        _ if count == 0 => outcomes.not_reached += 1,
        None => outcomes.untouched += 1,
        Some(reason) => {
            outcomes.refused += 1;
            let cause = match fault.failure {
                Failure::Broken => "Input/output error",
                Failure::Full => "No space left on device",
            };
            // Of what the mirror's engine did in the background, only its log knows the cause, unless it goes on.
            let is_known =
                fault.stays || !reason.contains("could not write in the background; its line in the log says why");
            let is_full = fault.failure == Failure::Full && reason.contains("MiB free");
            let names_it = reason.contains(cause) || is_full || !is_known;
            ensure!(names_it, "whoever was refused was not told why: {reason}");
        }
    }
    ensure!(count > 0 || failed.is_none(), "nothing failed, and yet: {failed:?}");
    let again = Writing::start(&disk, "fsync", 4, 8)?.until_end(&mut book).context("after a restart")?;
    ensure!(again.is_none(), "after a restart: {again:?}");
    // What the restart believed is on the disk.
    disk.power_on(Cut { data: Data::Lost, names: Names::Lost }, random)?;
    book.was_cut = true;
    let again = Writing::start(&disk, "fsync", 4, 9)?.until_end(&mut book).context("after a power cut")?;
    ensure!(again.is_none(), "after a power cut: {again:?}");
    Ok(())
}
