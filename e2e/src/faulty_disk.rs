//! A disk that fails. A real ext4 on a loop device, whose image is a file that this process serves through FUSE: so a test says
//! which writes fail, and what is left after a power cut is what had got to the image by then. The kernel's page cache, its
//! forgetting of pages that could not be written, and ext4's journal are the real ones.
//!
//! It needs root, loop devices and `/dev/fuse`; [`FaultyDisk::lacking`] says what a machine lacks.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner, OpenFlags,
    ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, WriteFlags,
};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::namespace;

const IMAGE_BYTES: u64 = 512 << 20;
const BLOCK_BYTES: usize = 4_096;
const IMAGE: &str = "image";
const IMAGE_INO: u64 = 2;
const TTL: Duration = Duration::from_secs(3_600);

/// A folder on a disk that fails when it is told to. All is gone when it is dropped.
#[derive(Debug)]
pub struct FaultyDisk {
    place: TempDir,
    image: Image,
    /// Its mount namespace lasts as long as this process, which ends with its standard input. `None` while the power is off.
    holder: Option<Child>,
    /// Mounted so many times: each mount has a folder of its own.
    mounts: u32,
}

impl FaultyDisk {
    /// What this machine lacks for such a disk, if anything.
    #[must_use]
    pub fn lacking() -> Option<String> {
        let tools: [(&str, &[&str]); 2] = [("mkfs.ext4", &["-V"]), ("losetup", &["--find"])];
        namespace::lacking(&["/dev/fuse", "/dev/loop-control"], &tools)
    }

    /// Makes one, with an empty ext4 on it.
    ///
    /// # Errors
    /// If the machine does not let us; see [`FaultyDisk::lacking`].
    pub async fn make() -> Result<Self> {
        let place = tempfile::Builder::new().prefix("roomhook-faulty-").tempdir()?;
        let mut disk = Self { place, image: Image::default(), holder: None, mounts: 0 };
        disk.mount("mkfs.ext4 -q -F -E nodiscard \"$0\" && ").await?;
        Ok(disk)
    }

    /// Its root folder, the same one after a power cut.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.place.path().join("disk")
    }

    /// From now on writes fail that have `words` in them.
    pub fn refuse(&self, words: &str) {
        self.image.lock().refused = words.as_bytes().to_vec();
    }

    /// Writes work again; gives how many failed.
    #[must_use]
    pub fn work_again(&self) -> u32 {
        let mut image = self.image.lock();
        image.refused.clear();
        std::mem::take(&mut image.failed)
    }

    /// The power fails and comes back: what the kernel had not written to the disk is gone. Whoever used the disk must have been
    /// killed before.
    ///
    /// # Errors
    /// If it cannot be mounted again.
    pub async fn power_cut(&mut self) -> Result<()> {
        // What the old mount still writes while it goes away is written to an image that nobody will see.
        let blocks = self.image.lock().blocks.clone();
        self.image = Image(Arc::new(Mutex::new(Blocks { blocks, ..Blocks::default() })));
        self.holder = None;
        self.mount("").await
    }

    /// Mounts the image where only we see it, after `before` was done to it.
    async fn mount(&mut self, before: &str) -> Result<()> {
        self.mounts += 1;
        let path = |name: &str| self.place.path().join(format!("{name}-{}", self.mounts));
        let (served, disk) = (path("served"), path("disk"));
        for folder in [&served, &disk] {
            fs::create_dir(folder)?;
        }
        let session = fuser::spawn_mount(self.image.clone(), &served, &fuser::Config::default())?;
        // The loop device keeps the image open, so that it needs no name any more, and nothing is left when we die.
        let script = format!("{before}mount -o loop \"$0\" \"$1\" && umount -l \"$2\" && {}", namespace::HOLD);
        let mut holder = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script])
            .args([&served.join(IMAGE), &disk, &served])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting unshare")?;
        let mut said = BufReader::new(holder.stdout.take().context("no output")?).lines();
        let mounted = said.next_line().await?.as_deref() == Some("mounted");
        let status = Command::new("umount").arg("-l").arg(&served).status().await?;
        drop(session);
        if !mounted {
            let output = holder.wait_with_output().await?;
            bail!("no disk of our own: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        ensure!(status.success(), "the image cannot be hidden");
        let id = holder.id().context("the holder of the mount is gone")?;
        self.holder = Some(holder);
        point(&self.folder(), &PathBuf::from(format!("/proc/{id}/root")).join(disk.strip_prefix("/")?))
    }
}

fn point(link: &Path, to: &Path) -> Result<()> {
    if link.is_symlink() {
        fs::remove_file(link)?;
    }
    symlink(to, link).context("linking the disk")
}

/// The content of the disk: one file in a file system of its own.
#[derive(Clone, Debug, Default)]
struct Image(Arc<Mutex<Blocks>>);

#[derive(Default)]
struct Blocks {
    /// Those that are not all zeros.
    blocks: HashMap<u64, Box<[u8]>>,
    /// Writes with these bytes in them fail; none, if empty.
    refused: Vec<u8>,
    failed: u32,
}

impl std::fmt::Debug for Blocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blocks")
            .field("blocks", &self.blocks.len())
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl Image {
    fn lock(&self) -> MutexGuard<'_, Blocks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Blocks {
    fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let mut read = Vec::with_capacity(length);
        while read.len() < length {
            let (block, from) = place_of(offset + read.len() as u64);
            let until = BLOCK_BYTES.min(from + length - read.len());
            match self.blocks.get(&block) {
                Some(block) => read.extend_from_slice(&block[from..until]),
                None => read.resize(read.len() + until - from, 0),
            }
        }
        read
    }

    /// False if the disk fails; nothing is written then.
    fn write(&mut self, offset: u64, data: &[u8]) -> bool {
        let refused = &self.refused;
        if !refused.is_empty() && data.windows(refused.len()).any(|part| part == refused) {
            self.failed += 1;
            return false;
        }
        let mut written = 0;
        while written < data.len() {
            let (number, from) = place_of(offset + written as u64);
            let until = BLOCK_BYTES.min(from + data.len() - written);
            let block = self.blocks.entry(number).or_insert_with(|| vec![0; BLOCK_BYTES].into());
            block[from..until].copy_from_slice(&data[written..written + until - from]);
            if block.iter().all(|byte| *byte == 0) {
                self.blocks.remove(&number);
            }
            written += until - from;
        }
        true
    }
}

fn place_of(offset: u64) -> (u64, usize) {
    let bytes = BLOCK_BYTES as u64;
    (offset / bytes, (offset % bytes) as usize)
}

fn attributes(ino: INodeNo) -> FileAttr {
    let is_image = u64::from(ino) == IMAGE_INO;
    FileAttr {
        ino,
        size: if is_image { IMAGE_BYTES } else { 0 },
        blocks: if is_image { IMAGE_BYTES / 512 } else { 0 },
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: if is_image { FileType::RegularFile } else { FileType::Directory },
        perm: if is_image { 0o600 } else { 0o700 },
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4_096,
        flags: 0,
    }
}

impl Filesystem for Image {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match name == IMAGE {
            true => reply.entry(&TTL, &attributes(INodeNo(IMAGE_INO)), Generation(0)),
            false => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &attributes(ino));
    }

    /// Nothing of the image is kept in the page cache: what fails, fails at once, and what is read is what is there.
    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let length = u64::from(size).min(IMAGE_BYTES.saturating_sub(offset));
        reply.data(&self.lock().read(offset, length as usize));
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.lock().write(offset, data) {
            true => reply.written(data.len() as u32),
            false => reply.error(Errno::EIO),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }
}
