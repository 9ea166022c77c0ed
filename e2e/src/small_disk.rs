//! A disk that a test can fill. A file system of some MiB of its own, in memory, where the machine lets us mount one (root, or user
//! namespaces; no loop device is needed); else the disk of the temporary folder, whose free room is held where the test wants it while
//! others write there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail, ensure};
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statvfs::statvfs;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::borrowed::Level;

pub(crate) const MIB: u64 = 1 << 20;
/// The whole of a disk of its own. The journals of an idle store take up next to nothing of it.
const SIZE: u64 = 128 * MIB;
/// What the server keeps in reserve there.
const RESERVE: u64 = 32 * MIB;

/// A folder on a disk that can be filled. All is gone when it is dropped.
#[derive(Debug)]
pub struct SmallDisk {
    folder: PathBuf,
    reserve: u64,
    room: Room,
    _place: TempDir,
}

#[derive(Debug)]
enum Room {
    /// Mounted in a namespace that lasts as long as this process, which ends with its standard input.
    Own {
        _holder: Child,
    },
    Borrowed(Level),
}

impl SmallDisk {
    /// Makes one.
    ///
    /// # Errors
    /// If the machine allows neither way; the text says why.
    pub async fn make() -> Result<Self> {
        let place = place()?;
        match mount(place.path()).await {
            Ok(holder) => Self::own(place, holder),
            Err(error) => {
                tell(&format!("no file system of our own ({error:#}): borrowing {}", place.path().display()));
                Self::borrow_in(place).await
            }
        }
    }

    /// Borrows the disk of the temporary folder, even where a file system could be mounted.
    ///
    /// # Errors
    /// If the machine does not allow that; the text says why.
    pub async fn borrow() -> Result<Self> {
        Self::borrow_in(place()?).await
    }

    fn own(place: TempDir, holder: Child) -> Result<Self> {
        let id = holder.id().context("the holder of the mount is gone")?;
        let folder = PathBuf::from(format!("/proc/{id}/root")).join(place.path().strip_prefix("/")?).join("disk");
        Ok(Self { folder, reserve: RESERVE, room: Room::Own { _holder: holder }, _place: place })
    }

    async fn borrow_in(place: TempDir) -> Result<Self> {
        let level = Level::hold(place.path()).await?;
        let reserve = level.first() - level.margin();
        Ok(Self { folder: place.path().join("disk"), reserve, room: Room::Borrowed(level), _place: place })
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
        matches!(self.room, Room::Own { .. })
    }

    /// Leaves the server only so many bytes before it must refuse messages. On a borrowed disk nothing happens: the room there is held
    /// where it is, whatever the server writes.
    ///
    /// # Errors
    /// If the disk has not that much, or cannot be filled.
    pub fn leave(&self, bytes: u64) -> Result<()> {
        if !self.is_own() {
            return Ok(());
        }
        let wanted = free_bytes(self.parent()?)?.saturating_sub(self.reserve).saturating_sub(bytes);
        self.fill("filler", wanted)
    }

    /// Takes so much that the server must refuse messages, and can go on with everything else.
    ///
    /// # Errors
    /// If the disk cannot be filled.
    pub async fn fill_into_reserve(&self) -> Result<()> {
        if let Room::Borrowed(level) = &self.room {
            return level.set(self.reserve - level.margin()).await;
        }
        let wanted = free_bytes(self.parent()?)?.saturating_sub(self.reserve) + self.reserve / 4;
        self.fill("more", wanted)
    }

    /// Takes the last byte. Only on a disk of its own.
    ///
    /// # Errors
    /// If it is not, or cannot be filled.
    pub fn fill_up(&self) -> Result<()> {
        ensure!(self.is_own(), "nobody else would have any room left");
        let mut rest = fs::File::options().create(true).append(true).open(self.parent()?.join("rest"))?;
        match std::io::copy(&mut std::io::repeat(0x5a), &mut rest) {
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => Ok(()),
            other => bail!("the disk has no end: {other:?}"),
        }
    }

    /// Gives back what was taken.
    ///
    /// # Errors
    /// If it cannot.
    pub async fn make_room(&self) -> Result<()> {
        if let Room::Borrowed(level) = &self.room {
            return level.set(level.first()).await;
        }
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

fn place() -> Result<TempDir> {
    tempfile::Builder::new().prefix("roomhook-disk-").tempdir().context("making a folder")
}

pub(crate) fn free_bytes(path: &Path) -> Result<u64> {
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
