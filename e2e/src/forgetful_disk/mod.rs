//! A disk that forgets: a file system that keeps apart what programs see and what was synced, so that a power cut can leave whatever
//! a real disk may leave, and on which any single operation can be made to fail.
//!
//! Programs use it in a mount namespace of its own, where the machine's boot id is another one after each start. `content`, `files`,
//! `cut` and `power` are pure; `shell` answers the kernel through FUSE.
//!
//! It needs root and `/dev/fuse`; [`ForgetfulDisk::lacking`] says what a machine lacks.

mod content;
mod cut;
mod files;
mod power;
mod shell;

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use fastrand::Rng;
use tempfile::TempDir;

pub use cut::{Cut, Data, Names};
use files::{Files, Kind, ROOT};
pub use power::{Failure, Fault};
use shell::Shell;

use crate::namespace;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A disk that forgets what was not synced when its power is cut. All is gone when it is dropped.
#[derive(Debug)]
pub struct ForgetfulDisk {
    place: TempDir,
    shell: Shell,
    /// Its mount namespace lasts as long as this process, which ends with its standard input.
    holder: Option<Holder>,
    boots: u64,
    /// As it was when the power came back the last time.
    before: Files,
}

impl ForgetfulDisk {
    /// What this machine lacks for such a disk, if anything.
    #[must_use]
    pub fn lacking() -> Option<String> {
        namespace::lacking(&["/dev/fuse"], &[("nsenter", &["--version"])])
    }

    /// An empty one, in a machine that was just started.
    ///
    /// # Errors
    /// If the machine does not let us; see [`ForgetfulDisk::lacking`].
    pub fn make() -> Result<Self> {
        let place = tempfile::Builder::new().prefix("roomhook-forgetful-").tempdir()?;
        for folder in ["served", "disk"] {
            fs::create_dir(place.path().join(folder))?;
        }
        let mut disk = Self { place, shell: Shell::default(), holder: None, boots: 0, before: Files::default() };
        disk.restart_machine()?;
        disk.mount()?;
        Ok(disk)
    }

    /// Its root folder, for programs that are started with [`ForgetfulDisk::command`].
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.place.path().join("disk")
    }

    /// What comes before the words of a command that is to see the disk.
    ///
    /// # Errors
    /// If the disk is not mounted.
    pub fn enter(&self) -> Result<Vec<String>> {
        let holder = self.holder.as_ref().context("the disk is not mounted")?.0.id();
        Ok(vec!["nsenter".to_owned(), format!("--mount=/proc/{holder}/ns/mnt"), "--".to_owned()])
    }

    /// A command that sees the disk.
    ///
    /// # Errors
    /// As [`ForgetfulDisk::enter`].
    pub fn command(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        let words = self.enter()?;
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(program);
        Ok(command)
    }

    // === power ===

    /// The power will fail before so many more operations have happened.
    pub fn cut_after(&self, operations: u64) {
        let mut state = self.shell.lock();
        state.power.cut_at = Some(state.power.count + operations);
    }

    /// The power fails now.
    pub fn cut_now(&self) {
        self.cut_after(0);
        self.shell.lock().power.is_off = true;
    }

    /// Whether the power has failed.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.shell.lock().power.is_off
    }

    /// Waits until the power has failed; false if it has not for so long.
    #[must_use]
    pub fn wait_off(&self, patience: Duration) -> bool {
        self.shell.wait_off(patience)
    }

    /// The power comes back, to a disk that has what `cut` and chance left of it. Whoever used it must have been killed before.
    ///
    /// # Errors
    /// If it cannot be mounted again.
    pub fn power_on(&mut self, cut: Cut, random: &mut Rng) -> Result<()> {
        let files = self.take_files();
        self.shell = Shell::of(cut::after(files, cut, random));
        self.mount()
    }

    /// From the next [`ForgetfulDisk::power_on`] on, programs find that the machine was started anew.
    ///
    /// # Errors
    /// If its boot id cannot be written down.
    pub fn restart_machine(&mut self) -> Result<()> {
        self.boots += 1;
        let id = format!("00000000-0000-4000-8000-{:012x}\n", self.boots);
        fs::write(self.place.path().join("boot_id"), id).context("writing a boot id")
    }

    // === faults ===

    /// Operations so far, since the disk was mounted.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.shell.lock().power.count
    }

    /// One operation is to fail, counted from now on, or all from there on.
    pub fn fail(&self, fault: Fault) {
        let mut state = self.shell.lock();
        state.power.fault = Some(Fault { at: state.power.count + fault.at, ..fault });
        state.power.failed = 0;
    }

    /// Nothing fails any more; gives how many operations failed.
    #[must_use]
    pub fn work_again(&self) -> u64 {
        let mut state = self.shell.lock();
        state.power.fault = None;
        std::mem::take(&mut state.power.failed)
    }

    // === looking ===

    /// Removes a folder and all in it, durably, as somebody does who uses the disk while no program does.
    ///
    /// # Errors
    /// If it cannot be mounted again.
    pub fn remove(&mut self, path: &str) -> Result<()> {
        let mut files = self.take_files();
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = folder
            .split('/')
            .filter(|name| !name.is_empty())
            .try_fold(ROOT, |folder, name| files.lookup(folder, OsStr::new(name)));
        if let Ok(folder) = folder {
            files.discard(folder, OsStr::new(name));
        }
        self.shell = Shell::of(files);
        self.mount()
    }

    /// Copies all that was there when the power came back to a folder, for a person who looks into a failure.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn export(&self, to: &Path) -> Result<()> {
        export(&self.before, ROOT, to)
    }

    /// What is there; nobody can use it any more.
    fn take_files(&mut self) -> Files {
        self.holder = None;
        let mut state = self.shell.lock();
        state.power.is_off = true;
        std::mem::take(&mut state.files)
    }

    fn mount(&mut self) -> Result<()> {
        self.before = self.shell.lock().files.clone();
        let path = |name: &str| self.place.path().join(name);
        let (served, disk, boot_id) = (path("served"), path("disk"), path("boot_id"));
        let session = fuser::spawn_mount(self.shell.clone(), &served, &fuser::Config::default())?;
        let script = format!("mount --move \"$0\" \"$1\" && mount --bind \"$2\" {BOOT_ID} && {}", namespace::HOLD);
        let mut holder = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script])
            .args([&served, &disk, &boot_id])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting unshare")?;
        let mut said = String::new();
        BufReader::new(holder.stdout.take().context("no output")?).read_line(&mut said)?;
        let status = Command::new("umount").arg("-l").arg(&served).status()?;
        drop(session);
        if said.trim() != "mounted" {
            let output = holder.wait_with_output()?;
            bail!("no disk of our own: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        ensure!(status.success(), "the disk cannot be hidden");
        self.holder = Some(Holder(holder));
        Ok(())
    }
}

/// Keeps a mount namespace alive.
#[derive(Debug)]
struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // It ends by itself, with its input; nobody is left behind.
        let _ = self.0.wait();
    }
}

fn export(files: &Files, folder: u64, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    let Ok(found) = files.folder(folder) else { return Ok(()) };
    for (name, ino) in &found.seen {
        match files.node(*ino).map(|node| &node.kind) {
            Ok(Kind::Folder(_)) => export(files, *ino, &to.join(name))?,
            Ok(Kind::File(file)) => {
                let out = fs::File::create(to.join(name))?;
                out.set_len(file.seen.len())?;
                file.seen.copy_to(&out)?;
            }
            Err(_) => {}
        }
    }
    Ok(())
}
