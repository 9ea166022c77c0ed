//! A disk that a test can fill. A file system of some MiB of its own where the machine lets us mount one (root, or user
//! namespaces); else the disk of the temporary folder, which a large file makes "fuller" than the server is told to accept.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail, ensure};
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statvfs::statvfs;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

const MIB: u64 = 1 << 20;
/// The whole of a disk of its own. The journals of an idle store take up next to nothing of it.
const SIZE: u64 = 128 * MIB;
/// What the server keeps in reserve there.
const RESERVE: u64 = 32 * MIB;
/// By how much a borrowed disk is filled beyond the server's limit, and emptied below it. Others write to it as well.
const MARGIN: u64 = 1024 * MIB;

/// Forces the second way, so that it can be tried where the first one works.
const BORROW: &str = "ROOMHOOK_E2E_BORROW_DISK";

/// A folder on a disk that can be filled. All is gone when it is dropped.
#[derive(Debug)]
pub struct SmallDisk {
    folder: PathBuf,
    reserve: u64,
    _place: TempDir,
    /// Its mount namespace lasts as long as this process, which ends with its standard input.
    holder: Option<Child>,
}

impl SmallDisk {
    /// Makes one.
    ///
    /// # Errors
    /// If the machine allows neither way; the text says why.
    pub async fn make() -> Result<Self> {
        let place = tempfile::Builder::new().prefix("roomhook-disk-").tempdir()?;
        if std::env::var_os(BORROW).is_none() {
            match mount(place.path()).await {
                Ok(holder) => return Self::own(place, holder),
                Err(error) => {
                    tell(&format!("no file system of our own ({error:#}): borrowing {}", place.path().display()))
                }
            }
        }
        let free = free_bytes(place.path())?;
        ensure!(free > 3 * MARGIN, "{} has {} MiB free, this test needs 3 GiB", place.path().display(), free / MIB);
        Ok(Self { folder: place.path().join("disk"), reserve: free - MARGIN, _place: place, holder: None })
    }

    fn own(place: TempDir, holder: Child) -> Result<Self> {
        let id = holder.id().context("the holder of the mount is gone")?;
        let folder = PathBuf::from(format!("/proc/{id}/root")).join(place.path().strip_prefix("/")?).join("disk");
        Ok(Self { folder, reserve: RESERVE, _place: place, holder: Some(holder) })
    }

    /// Where a server may keep its store: does not exist yet.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What a server on it keeps in reserve, in bytes (`storage.free_bytes_min`).
    #[must_use]
    pub fn reserve(&self) -> u64 {
        self.reserve
    }

    /// Whether it is a file system of its own, which can be filled to the last byte.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.holder.is_some()
    }

    /// Leaves the server only so many bytes before it must refuse messages. On a borrowed disk that is a guess: others write there too.
    ///
    /// # Errors
    /// If the disk has not that much, or cannot be filled.
    pub fn leave(&self, bytes: u64) -> Result<()> {
        let wanted = free_bytes(self.parent()?)?.saturating_sub(self.reserve).saturating_sub(bytes);
        self.fill("filler", wanted)
    }

    /// Takes so much that the server must refuse messages, and can go on with everything else.
    ///
    /// # Errors
    /// If the disk cannot be filled.
    pub fn fill_into_reserve(&self) -> Result<()> {
        let into = (self.reserve / 4).min(MARGIN);
        let wanted = free_bytes(self.parent()?)?.saturating_sub(self.reserve) + into;
        self.fill("more", wanted)
    }

    /// Takes the last byte. Only on a disk of its own.
    ///
    /// # Errors
    /// If it is not, or cannot be filled.
    pub fn fill_up(&self) -> Result<()> {
        ensure!(self.is_own(), "nobody else would have any room left");
        let mut rest = fs::File::create(self.parent()?.join("rest"))?;
        match std::io::copy(&mut std::io::repeat(0x5a), &mut rest) {
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => Ok(()),
            other => bail!("the disk has no end: {other:?}"),
        }
    }

    /// Gives back what was taken.
    ///
    /// # Errors
    /// If it cannot.
    pub fn make_room(&self) -> Result<()> {
        for name in ["filler", "more", "rest"] {
            match fs::remove_file(self.parent()?.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    fn fill(&self, name: &str, bytes: u64) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        let file = fs::File::create(self.parent()?.join(name))?;
        let length = i64::try_from(bytes)?;
        fallocate(&file, FallocateFlags::empty(), 0, length)
            .with_context(|| format!("filling the disk with {} MiB", bytes / MIB))
    }

    fn parent(&self) -> Result<&Path> {
        self.folder.parent().context("the disk has no root")
    }
}

fn free_bytes(path: &Path) -> Result<u64> {
    let stat = statvfs(path).with_context(|| format!("asking for the room at {}", path.display()))?;
    Ok(stat.blocks_available() * stat.fragment_size())
}

/// Mounts a file system over `place` that only we see. As root or with a user namespace of our own, whichever works.
async fn mount(place: &Path) -> Result<Child> {
    let mut errors = Vec::new();
    for privilege in [&["--user", "--map-root-user", "--mount"][..], &["--mount"]] {
        match mount_with(privilege, place).await {
            Ok(holder) => return Ok(holder),
            Err(error) => errors.push(format!("unshare {}: {error:#}", privilege.join(" "))),
        }
    }
    bail!("{}", errors.join("; "))
}

async fn mount_with(privilege: &[&str], place: &Path) -> Result<Child> {
    let script = r#"mount -t tmpfs -o "size=$1,mode=0700" roomhook "$0" && echo mounted && exec cat >/dev/null"#;
    let mut holder = Command::new("unshare")
        .args(privilege)
        .args(["sh", "-c", script])
        .arg(place)
        .arg(SIZE.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("starting unshare")?;
    let mut said = BufReader::new(holder.stdout.take().context("no output")?).lines();
    if said.next_line().await?.as_deref() == Some("mounted") {
        return Ok(holder);
    }
    let output = holder.wait_with_output().await?;
    bail!("{}", String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

#[expect(clippy::print_stderr, reason = "which way a test went must be in its output")]
fn tell(what: &str) {
    eprintln!("{what}");
}
