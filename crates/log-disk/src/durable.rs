//! Files that are there, whole, or not at all, whenever the power goes: what is made, renamed or removed here stays so.
//!
//! A file's own sync does not make its name durable: that takes a sync of its folder.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::Path,
};

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
pub(crate) fn write_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let mut file = File::create(&draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    sync_parent(path)
}

/// Removes a file. One that is not there is what is wanted.
pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.and_then(|()| sync_parent(path)),
    }
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
        let in_it = || fs::read_dir(folder.path().join("a/b")).expect("read_dir").count();
        assert_eq!(in_it(), 1);
        remove_file(&path).expect("remove");
        remove_file(&path).expect("nothing to remove");
        assert_eq!(in_it(), 0);
    }
}
