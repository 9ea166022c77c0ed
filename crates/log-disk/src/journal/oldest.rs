//! Which segment is the oldest one. Segments that retention drops are told from segments that were lost: the number is raised,
//! durably, before the first file goes.

use std::{fs, io, path::Path};

use crate::durable;

use super::error::JournalError;

const NAME: &str = "OLDEST";

/// Number of the oldest segment of the journal; the first one while none was ever dropped.
pub(crate) fn oldest(folder: &Path) -> Result<u32, JournalError> {
    let path = folder.join(NAME);
    match fs::read(&path) {
        Ok(text) => parse(&text).ok_or_else(|| {
            let reason = "it does not tell the number of the oldest segment".to_owned();
            JournalError::Damaged { path, offset: 0, reason }
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(1),
        Err(error) => Err(JournalError::io("reading", &path)(error)),
    }
}

/// What lies before segment `number` is no part of the journal any more, whether its files are gone or not.
pub(crate) fn set_oldest(folder: &Path, number: u32) -> io::Result<()> {
    durable::write_file(&folder.join(NAME), line(number).as_bytes())
}

/// A changed digit must not make segments go, so the number comes with a checksum.
fn line(number: u32) -> String {
    let said = format!("oldest segment = {number}");
    format!("{said}, crc32c = {:08x}\n", crc32c::crc32c(said.as_bytes()))
}

fn parse(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?;
    let number = text.strip_prefix("oldest segment = ")?.split(',').next()?.parse().ok()?;
    (text == line(number)).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_stays_and_a_changed_bit_is_noticed() {
        let folder = tempfile::tempdir().expect("tempdir");
        assert_eq!(oldest(folder.path()).expect("none was dropped"), 1);
        set_oldest(folder.path(), 7_104).expect("set");
        assert_eq!(oldest(folder.path()).expect("read"), 7_104);
        let said = fs::read(folder.path().join(NAME)).expect("read");
        for bit in 0..said.len() * 8 {
            let mut changed = said.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse(&changed), None, "bit {bit}");
        }
    }
}
