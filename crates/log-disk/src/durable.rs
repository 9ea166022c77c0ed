//! Files that stay: what is made, renamed or removed here is still so after a power cut, and what is read at a start is what
//! the disk has.
//!
//! A file's own sync does not make its name durable: that takes a sync of its folder.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

/// Where lsm-tree keeps its tables. Each was synced before anything named it, and is never written again.
pub(crate) const TABLES: &str = "tables";

/// A path and what the file system said about it.
pub(crate) type At = (PathBuf, io::Error);

fn at(path: &Path) -> impl FnOnce(io::Error) -> At {
    let path = path.to_owned();
    move |error| (path, error)
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    // The folder of a path of one component is the one we are in.
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)?.sync_all()
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), sync_folder)
}

/// Makes a folder with these rights, and what is missing of the way to it. One that is there already stays as it is.
pub(crate) fn create_folder(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_folder(parent, 0o777)?;
    }
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        created => created.and_then(|()| sync_parent(path)),
    }
}

/// Writes a file that appears whole or not at all, in place of one that may be there.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = draft_of(path);
    let mut file = File::create(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    sync_parent(path)
}

/// The name that a file has until it is whole.
pub(crate) fn draft_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// Removes a file or a whole folder. One that is not there is what is wanted.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.and_then(|()| sync_parent(path)),
    }
}

/// Makes durable all that a folder holds, and forgets it: whoever reads it next reads what the disk has.
///
/// After a write to the disk has failed, the kernel takes the pages for clean and goes on showing what the disk never got. Who
/// believed that, and appended behind it, would lose all of it with the next power cut. So a start reads nothing that was not
/// asked of the disk. Tables are left out, see [`TABLES`].
///
/// # Errors
/// When something cannot be synced: what the disk has is not known then.
pub(crate) fn settle(folder: &Path) -> Result<(), At> {
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        let entry = entry.map_err(at(folder))?;
        let path = entry.path();
        // As it is behind a link: an operator may have put a log elsewhere.
        let found = fs::metadata(&path).map_err(at(&path))?;
        if found.is_file() {
            settle_file(&path).map_err(at(&path))?;
        } else if found.is_dir() && entry.file_name() != TABLES {
            settle(&path)?;
        }
    }
    sync_folder(folder).map_err(at(folder))
}

fn settle_file(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    file.sync_all()?;
    // Length 0: to the end. Only clean pages go, and after the sync all are.
    Ok(posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_leaves_no_draft() {
        let folder = tempfile::tempdir().expect("tempdir");
        let path = folder.path().join("a/b/file");
        create_folder(path.parent().expect("a parent"), 0o700).expect("create");
        for text in ["first", "second"] {
            write_file(&path, text.as_bytes()).expect("write");
            assert_eq!(fs::read_to_string(&path).expect("read"), text);
        }
        assert!(!draft_of(&path).exists());
        settle(folder.path()).expect("settle");
        remove(&path).expect("remove");
        remove(&path).expect("nothing to remove");
        remove(&folder.path().join("a")).expect("remove");
        assert_eq!(fs::read_dir(folder.path()).expect("read_dir").count(), 0);
    }
}
