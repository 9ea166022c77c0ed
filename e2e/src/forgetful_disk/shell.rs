//! The file system as the kernel asks for it. Thin: `files` knows what is there, `power` whether anything happens.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::content::Change;
use super::files::{File, Files, Folder, Ino, Kind, Name, No};
use super::power::{Doing, Failure, Power, Verdict};

/// Nobody else changes what is here.
const TTL: Duration = Duration::from_secs(3_600);
const BLOCK_BYTES: u32 = 4_096;
/// 8 GiB.
const BLOCKS: u64 = 2 << 20;

/// One mount of a disk. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct Shell(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    off: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) files: Files,
    pub(super) power: Power,
    /// What a folder held when it was opened, so that nobody who removes what he reads misses anything.
    listings: HashMap<u64, Vec<(Ino, FileType, OsString)>>,
    /// Open files, and whether a sync of the same file failed since: each of them is told, once.
    open: HashMap<u64, (Ino, bool)>,
    next_handle: u64,
}

impl State {
    fn handle(&mut self) -> u64 {
        self.next_handle += 1;
        self.next_handle
    }

    fn opened(&mut self, ino: Ino) -> FileHandle {
        let handle = self.handle();
        self.open.insert(handle, (ino, false));
        FileHandle(handle)
    }

    fn sync_failed(&mut self, ino: Ino) {
        // It is gone already if there is no such file.
        let _ = self.files.fail_sync(ino);
        self.open.values_mut().filter(|(of, _)| *of == ino).for_each(|(_, is_owed)| *is_owed = true);
    }

    /// Whether a sync by this handle has to tell of an earlier one that failed.
    fn owes(&mut self, handle: u64) -> bool {
        self.open.get_mut(&handle).is_some_and(|(_, is_owed)| std::mem::take(is_owed))
    }
}

impl Shell {
    pub(super) fn of(files: Files) -> Self {
        let shell = Self::default();
        shell.lock().files = files;
        shell
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the power is off; false if it stays on for so long.
    pub(super) fn wait_off(&self, patience: Duration) -> bool {
        let waited = self.0.off.wait_timeout_while(self.lock(), patience, |state| !state.power.is_off);
        waited.unwrap_or_else(PoisonError::into_inner).0.power.is_off
    }

    /// Does it, if it happens.
    fn change<T>(&self, doing: Doing, act: impl FnOnce(&mut Files) -> Result<T, No>) -> Result<T, Errno> {
        let mut state = self.lock();
        match state.power.judge(doing) {
            Verdict::Happens => act(&mut state.files).map_err(errno),
            Verdict::Fails(failure) => Err(said(failure)),
            Verdict::Off => {
                self.0.off.notify_all();
                Err(Errno::EIO)
            }
        }
    }

    fn look<T>(&self, act: impl FnOnce(&Files) -> Result<T, No>) -> Result<T, Errno> {
        let state = self.lock();
        if state.power.is_off {
            return Err(Errno::EIO);
        }
        act(&state.files).map_err(errno)
    }

    fn make(&self, parent: INodeNo, name: &OsStr, mode: u32, kind: Kind) -> Result<FileAttr, Errno> {
        self.change(Doing::Else, |files| {
            let ino = files.make(parent.0, name, (mode & 0o7777) as u16, kind)?;
            attributes(files, ino)
        })
    }
}

fn said(failure: Failure) -> Errno {
    match failure {
        Failure::Broken => Errno::EIO,
        Failure::Full => Errno::ENOSPC,
    }
}

fn errno(no: No) -> Errno {
    match no {
        No::Entry => Errno::ENOENT,
        No::Exists => Errno::EEXIST,
        No::Folder => Errno::EISDIR,
        No::NotFolder => Errno::ENOTDIR,
        No::NotEmpty => Errno::ENOTEMPTY,
    }
}

fn attributes(files: &Files, ino: Ino) -> Result<FileAttr, No> {
    let node = files.node(ino)?;
    let (kind, size, allocated) = match &node.kind {
        Kind::File(file) => (FileType::RegularFile, file.seen.len(), file.seen.allocated()),
        Kind::Folder(_) => (FileType::Directory, 0, 0),
    };
    Ok(FileAttr {
        ino: INodeNo(ino),
        size,
        blocks: allocated / 512,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm: node.mode,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK_BYTES,
        flags: 0,
    })
}

fn done(outcome: Result<(), Errno>, reply: ReplyEmpty) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn entry(outcome: Result<FileAttr, Errno>, reply: ReplyEntry) {
    match outcome {
        Ok(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
        Err(error) => reply.error(error),
    }
}

fn attr(outcome: Result<FileAttr, Errno>, reply: ReplyAttr) {
    match outcome {
        Ok(attributes) => reply.attr(&TTL, &attributes),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Shell {
    // === looking ===

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entry(self.look(|files| attributes(files, files.lookup(parent.0, name)?)), reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        attr(self.look(|files| attributes(files, ino.0)), reply);
    }

    /// Pages stay in the kernel's memory: so they are there after a sync that failed, as with any file system.
    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.look(|files| files.file(ino.0).map(drop)) {
            Ok(()) => reply.opened(self.lock().opened(ino.0), FopenFlags::FOPEN_KEEP_CACHE),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.look(|files| Ok(files.file(ino.0)?.seen.read(offset, size as usize))) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let listed = self.look(|files| {
            let mut listing = vec![(ino.0, FileType::Directory, ".".into()), (ino.0, FileType::Directory, "..".into())];
            for (name, ino) in &files.folder(ino.0)?.seen {
                listing.push((*ino, attributes(files, *ino)?.kind, name.clone()));
            }
            Ok(listing)
        });
        match listed {
            Ok(listing) => {
                let mut state = self.lock();
                let handle = state.handle();
                state.listings.insert(handle, listing);
                reply.opened(FileHandle(handle), FopenFlags::empty());
            }
            Err(error) => reply.error(error),
        }
    }

    fn readdir(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let state = self.lock();
        let Some(listing) = state.listings.get(&handle.0) else { return reply.error(Errno::EBADF) };
        for (number, (ino, kind, name)) in (1..).zip(listing).skip(usize::try_from(offset).unwrap_or(usize::MAX)) {
            if reply.add(INodeNo(*ino), number, *kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.lock().listings.remove(&handle.0);
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let fault = self.lock().power;
        // One that stays full says so.
        let is_full = fault.fault.is_some_and(|it| it.stays && it.failure == Failure::Full && fault.count > it.at);
        let free = if is_full { 0 } else { BLOCKS / 2 };
        reply.statfs(BLOCKS, free, free, 1 << 20, 1 << 19, BLOCK_BYTES, 255, BLOCK_BYTES);
    }

    // === changing ===

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let change = Change::Write { offset, data: data.into() };
        match self.change(Doing::Write, |files| files.change(ino.0, change)) {
            Ok(()) => reply.written(data.len() as u32),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = self.change(Doing::Else, |files| {
            if let Some(mode) = mode {
                files.set_mode(ino.0, (mode & 0o7777) as u16)?;
            }
            if let Some(size) = size {
                files.change(ino.0, Change::Len(size))?;
            }
            attributes(files, ino.0)
        });
        attr(set, reply);
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, _: i32, reply: ReplyCreate) {
        match self.make(parent, name, mode & !umask, Kind::File(File::default())) {
            Ok(attributes) => {
                let handle = self.lock().opened(attributes.ino.0);
                reply.created(&TTL, &attributes, Generation(0), handle, FopenFlags::FOPEN_KEEP_CACHE);
            }
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        entry(self.make(parent, name, mode & !umask, Kind::Folder(Folder::default())), reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.change(Doing::Else, |files| files.unlink(parent.0, name)), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.change(Doing::Else, |files| files.remove_folder(parent.0, name)), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !flags.is_empty() {
            return reply.error(Errno::EINVAL);
        }
        let from = Name { folder: parent.0, name: name.to_owned() };
        let to = Name { folder: new_parent.0, name: new_name.to_owned() };
        done(self.change(Doing::Else, |files| files.rename(from, to)), reply);
    }

    // === syncing ===

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, handle: FileHandle, _: bool, reply: ReplyEmpty) {
        let mut synced = self.change(Doing::Sync, |files| files.sync(ino.0));
        let mut state = self.lock();
        if synced.is_err() && !state.power.is_off {
            state.sync_failed(ino.0);
        }
        if state.owes(handle.0) && synced.is_ok() {
            synced = Err(Errno::EIO);
        }
        drop(state);
        done(synced, reply);
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.lock().open.remove(&handle.0);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        done(self.change(Doing::Sync, |files| files.sync_folder(ino.0)), reply);
    }
}
