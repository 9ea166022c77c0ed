//! Files and folders as whoever uses them sees them, and beside that what of it the disk has: a file's bytes since its last sync,
//! and a folder's names since the folder's. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};

use super::content::{Change, Content};

pub(super) type Ino = u64;
pub(super) const ROOT: Ino = 1;

/// In the order in which it was done, over all files and folders.
pub(super) type Moment = u64;

/// Why something cannot be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum No {
    Entry,
    Exists,
    Folder,
    NotFolder,
    NotEmpty,
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) mode: u16,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    File(File),
    Folder(Folder),
}

#[derive(Clone, Debug, Default)]
pub(super) struct File {
    pub(super) seen: Content,
    pub(super) stored: Content,
    /// What was done since it was synced.
    pub(super) changes: Vec<(Moment, Change)>,
}

pub(super) type Names = BTreeMap<OsString, Ino>;

#[derive(Clone, Debug, Default)]
pub(super) struct Folder {
    pub(super) seen: Names,
    pub(super) stored: Names,
}

/// Something that was done to names, whole or not at all.
#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Add { to: Name, ino: Ino },
    Remove { from: Name, ino: Ino },
    Move { from: Name, to: Name, ino: Ino },
}

/// A name in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) folder: Ino,
    pub(super) name: OsString,
}

impl NameChange {
    fn is_of(&self, folder: Ino) -> bool {
        match self {
            Self::Add { to: name, .. } | Self::Remove { from: name, .. } => name.folder == folder,
            Self::Move { from, to, .. } => from.folder == folder || to.folder == folder,
        }
    }
}

/// A file system in memory.
#[derive(Clone, Debug)]
pub(super) struct Files {
    nodes: HashMap<Ino, Node>,
    next_ino: Ino,
    now: Moment,
    /// What was done to names since their folders were synced.
    pub(super) names: Vec<(Moment, NameChange)>,
}

impl Default for Files {
    fn default() -> Self {
        let root = Node { mode: 0o755, kind: Kind::Folder(Folder::default()) };
        Self { nodes: [(ROOT, root)].into(), next_ino: ROOT + 1, now: 0, names: Vec::new() }
    }
}

impl Files {
    // === looking ===

    pub(super) fn node(&self, ino: Ino) -> Result<&Node, No> {
        self.nodes.get(&ino).ok_or(No::Entry)
    }

    pub(super) fn file(&self, ino: Ino) -> Result<&File, No> {
        match &self.node(ino)?.kind {
            Kind::File(file) => Ok(file),
            Kind::Folder(_) => Err(No::Folder),
        }
    }

    pub(super) fn folder(&self, ino: Ino) -> Result<&Folder, No> {
        match &self.node(ino)?.kind {
            Kind::Folder(folder) => Ok(folder),
            Kind::File(_) => Err(No::NotFolder),
        }
    }

    pub(super) fn lookup(&self, folder: Ino, name: &OsStr) -> Result<Ino, No> {
        self.folder(folder)?.seen.get(name).copied().ok_or(No::Entry)
    }

    /// All nodes, for those who go through them.
    pub(super) fn nodes_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.nodes.values_mut()
    }

    /// From the first moment whose outcome is open to the one that comes next.
    pub(super) fn open_moments(&self) -> std::ops::Range<Moment> {
        let files = self.nodes.values().filter_map(|node| match &node.kind {
            Kind::File(file) => file.changes.first().map(|(moment, _)| *moment),
            Kind::Folder(_) => None,
        });
        files.chain(self.names.first().map(|(moment, _)| *moment)).min().unwrap_or(self.now)..self.now
    }

    // === doing ===

    fn tick(&mut self) -> Moment {
        self.now += 1;
        self.now - 1
    }

    fn file_mut(&mut self, ino: Ino) -> Result<&mut File, No> {
        match &mut self.nodes.get_mut(&ino).ok_or(No::Entry)?.kind {
            Kind::File(file) => Ok(file),
            Kind::Folder(_) => Err(No::Folder),
        }
    }

    fn names_mut(&mut self, ino: Ino, pick: impl Fn(&mut Folder) -> &mut Names) -> Option<&mut Names> {
        match &mut self.nodes.get_mut(&ino)?.kind {
            Kind::Folder(folder) => Some(pick(folder)),
            Kind::File(_) => None,
        }
    }

    fn rename_in(&mut self, change: &NameChange, pick: impl Fn(&mut Folder) -> &mut Names + Copy) {
        let (from, to, ino) = match change {
            NameChange::Add { to, ino } => (None, Some(to), *ino),
            NameChange::Remove { from, ino } => (Some(from), None, *ino),
            NameChange::Move { from, to, ino } => (Some(from), Some(to), *ino),
        };
        if let Some(from) = from
            && let Some(names) = self.names_mut(from.folder, pick)
            && names.get(&from.name) == Some(&ino)
        {
            names.remove(&from.name);
        }
        if let Some(to) = to
            && let Some(names) = self.names_mut(to.folder, pick)
        {
            names.insert(to.name.clone(), ino);
        }
    }

    fn change_names(&mut self, change: NameChange) {
        self.rename_in(&change, |folder| &mut folder.seen);
        let moment = self.tick();
        self.names.push((moment, change));
    }

    pub(super) fn change(&mut self, ino: Ino, change: Change) -> Result<(), No> {
        let moment = self.tick();
        let file = self.file_mut(ino)?;
        file.seen.apply(&change);
        file.changes.push((moment, change));
        Ok(())
    }

    pub(super) fn set_mode(&mut self, ino: Ino, mode: u16) -> Result<(), No> {
        self.nodes.get_mut(&ino).ok_or(No::Entry)?.mode = mode;
        Ok(())
    }

    pub(super) fn make(&mut self, folder: Ino, name: &OsStr, mode: u16, kind: Kind) -> Result<Ino, No> {
        if self.folder(folder)?.seen.contains_key(name) {
            return Err(No::Exists);
        }
        let ino = self.next_ino;
        self.next_ino += 1;
        self.nodes.insert(ino, Node { mode, kind });
        self.change_names(NameChange::Add { to: Name { folder, name: name.to_owned() }, ino });
        Ok(ino)
    }

    pub(super) fn unlink(&mut self, folder: Ino, name: &OsStr) -> Result<(), No> {
        let ino = self.lookup(folder, name)?;
        self.file(ino)?;
        self.change_names(NameChange::Remove { from: Name { folder, name: name.to_owned() }, ino });
        Ok(())
    }

    pub(super) fn remove_folder(&mut self, folder: Ino, name: &OsStr) -> Result<(), No> {
        let ino = self.lookup(folder, name)?;
        if !self.folder(ino)?.seen.is_empty() {
            return Err(No::NotEmpty);
        }
        self.change_names(NameChange::Remove { from: Name { folder, name: name.to_owned() }, ino });
        Ok(())
    }

    pub(super) fn rename(&mut self, from: Name, to: Name) -> Result<(), No> {
        let ino = self.lookup(from.folder, &from.name)?;
        match self.lookup(to.folder, &to.name) {
            Ok(there) if there == ino => return Ok(()),
            Ok(there) => match (&self.node(ino)?.kind, &self.node(there)?.kind) {
                (Kind::File(_), Kind::Folder(_)) => return Err(No::Folder),
                (Kind::Folder(_), Kind::File(_)) => return Err(No::NotFolder),
                (_, Kind::Folder(folder)) if !folder.seen.is_empty() => return Err(No::NotEmpty),
                _ => {}
            },
            Err(No::Entry) => {}
            Err(no) => return Err(no),
        }
        self.change_names(NameChange::Move { from, to, ino });
        Ok(())
    }

    // === the disk ===

    /// The disk has all bytes of the file. Nothing is said of its name.
    pub(super) fn sync(&mut self, ino: Ino) -> Result<(), No> {
        let file = self.file_mut(ino)?;
        for (_, change) in file.changes.drain(..) {
            file.stored.apply(&change);
        }
        Ok(())
    }

    /// A sync failed: what was to be written is gone, and will not be tried again. Whoever has it in memory does not notice.
    pub(super) fn fail_sync(&mut self, ino: Ino) -> Result<(), No> {
        let file = self.file_mut(ino)?;
        let len = file.seen.len();
        file.changes.clear();
        file.stored.set_len(len);
        file.seen = file.stored.clone();
        Ok(())
    }

    /// The disk has all names of the folder, and what they stand for exists.
    pub(super) fn sync_folder(&mut self, ino: Ino) -> Result<(), No> {
        self.folder(ino)?;
        let (of_it, others) = std::mem::take(&mut self.names).into_iter().partition(|(_, change)| change.is_of(ino));
        self.names = others;
        self.store_names(of_it);
        Ok(())
    }

    pub(super) fn store_names(&mut self, changes: Vec<(Moment, NameChange)>) {
        for (_, change) in changes {
            self.rename_in(&change, |folder| &mut folder.stored);
        }
    }

    /// Takes a name, and all that is only reached by it, off the disk.
    pub(super) fn discard(&mut self, folder: Ino, name: &OsStr) {
        if let Some(names) = self.names_mut(folder, |folder| &mut folder.stored) {
            names.remove(name);
        }
        self.forget_the_rest();
    }

    /// What the disk has is all there is.
    pub(super) fn forget_the_rest(&mut self) {
        self.names.clear();
        let (mut reached, mut folders) = (BTreeSet::from([ROOT]), vec![ROOT]);
        while let Some(folder) = folders.pop() {
            let Some(names) = self.names_mut(folder, |folder| &mut folder.stored) else { continue };
            let new: Vec<Ino> = names.values().copied().filter(|ino| reached.insert(*ino)).collect();
            folders.extend(new);
        }
        self.nodes.retain(|ino, _| reached.contains(ino));
        for node in self.nodes.values_mut() {
            match &mut node.kind {
                Kind::File(file) => {
                    file.changes.clear();
                    file.seen = file.stored.clone();
                }
                Kind::Folder(folder) => folder.seen = folder.stored.clone(),
            }
        }
    }
}
