//! The STORE file: what was fixed when the store was created. Plain text, so that a person can read it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{durable, error::OpenError};

pub(crate) const NAME: &str = "STORE";
pub(crate) const FORMAT: u32 = 2;
const TITLE: &str = "roomhook store";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoreFile {
    pub(crate) shards: u16,
    /// Drawn when the store was made: every file of it says it.
    pub(crate) id: u64,
}

impl StoreFile {
    /// `None` when there is no such file.
    pub(crate) fn read(store: &Path) -> Result<Option<Self>, OpenError> {
        Self::read_at(&store.join(NAME))
    }

    /// The same under another name.
    pub(crate) fn read_at(path: &Path) -> Result<Option<Self>, OpenError> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, path.to_owned()).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(OpenError::io("reading", path)(error)),
        }
    }

    fn parse(text: &str, path: PathBuf) -> Result<Self, OpenError> {
        let bad = |reason: &str| OpenError::StoreFile { path: path.clone(), reason: reason.to_owned() };
        let mut lines = text.lines();
        if lines.next() != Some(TITLE) {
            return Err(bad("its first line is another one"));
        }
        let mut value = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(" = ")?.parse::<u32>().ok();
        let format = value("format").ok_or_else(|| bad("its format line cannot be read"))?;
        if format != FORMAT {
            return Err(OpenError::Format { path, found: format, known: FORMAT });
        }
        let shards = value("shards").and_then(|shards| u16::try_from(shards).ok()).filter(|shards| *shards > 0);
        let shards = shards.ok_or_else(|| bad("its shards line cannot be read"))?;
        let id = lines.next().and_then(|line| u64::from_str_radix(line.strip_prefix("id = ")?, 16).ok());
        Ok(Self { shards, id: id.ok_or_else(|| bad("its id line cannot be read"))? })
    }

    /// Appears whole or not at all, and stays.
    pub(crate) fn write(self, store: &Path) -> Result<(), OpenError> {
        self.write_as(&store.join(NAME))
    }

    pub(crate) fn write_as(self, path: &Path) -> Result<(), OpenError> {
        let text = format!("{TITLE}\nformat = {FORMAT}\nshards = {}\nid = {:016x}\n", self.shards, self.id);
        durable::write_file(path, text.as_bytes()).map_err(OpenError::io("writing", path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().expect("tempdir");
        assert_eq!(StoreFile::read(folder.path()).expect("no file"), None);
        StoreFile { shards: 4, id: 0xfeed }.write(folder.path()).expect("write");
        assert_eq!(StoreFile::read(folder.path()).expect("read"), Some(StoreFile { shards: 4, id: 0xfeed }));
    }

    #[test]
    fn strange_files_are_refused() {
        let parse = |text: &str| StoreFile::parse(text, PathBuf::from("STORE"));
        let future = parse("roomhook store\nformat = 3\nanything\n");
        assert!(matches!(future, Err(OpenError::Format { found: 3, known: 2, .. })));
        for text in [
            "",
            "hello",
            "roomhook store\n",
            "roomhook store\nformat = 2\nshards = 0\nid = 1\n",
            "roomhook store\nformat = 2\nshards = 4\n",
        ] {
            assert!(matches!(parse(text), Err(OpenError::StoreFile { .. })), "{text:?}");
        }
    }
}
