//! What the fuzz target `dump` runs, and an ordinary test besides. Included by both.

use crate::stand::Stand;

use super::format::{Flaw, Owner, Rows, check_sum, read_head};

const STORE: u64 = 0xfeed;
const STAND_AT: usize = 20;
const STAND_BYTES_MIN: usize = 38;

/// Bytes of somebody's disk: as they are, and with lengths and checksums that are right, so that what lies behind is reached.
pub(crate) fn dump(data: &[u8]) {
    let _ = read(data);
    let dressed = dressed(data);
    check_sum(&mut &dressed[..], dressed.len() as u64).expect("dressed up well");
    let _ = read(&dressed);
}

/// Reads a dump the way a start does. What was understood is written as it was.
fn read(dump: &[u8]) -> Result<(), Flaw> {
    check_sum(&mut &dump[..], dump.len() as u64)?;
    let mut rest = dump;
    let (stand, rows_at) = read_head(&mut rest, STORE)?;
    assert_eq!(rows_at, (dump.len() - rest.len()) as u64);
    assert_eq!(Stand::decode(&stand.encode()).as_ref(), Some(&stand));
    let rows_of_it = rest;
    let (mut rows, mut count, mut written) = (Rows::new(rest), 0_u64, Vec::new());
    while let Some((owner, key, value)) = rows.next()? {
        count += 1;
        written.push(match owner {
            Owner::Shard => 1,
            Owner::Hooks => 2,
        });
        written.extend(u16::try_from(key.len()).expect("of two bytes").to_le_bytes());
        written.extend(u32::try_from(value.len()).expect("of four bytes").to_le_bytes());
        written.extend(key);
        written.extend(value);
    }
    written.push(0);
    written.extend(count.to_le_bytes());
    assert_eq!(rows_of_it.split_last_chunk::<4>().map(|(rows, _crc)| rows), Some(&written[..]));
    Ok(())
}

fn dressed(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    bytes.resize(bytes.len().max(STAND_AT + STAND_BYTES_MIN), 0);
    bytes[..8].copy_from_slice(b"RHDUMP01");
    bytes[8..16].copy_from_slice(&STORE.to_le_bytes());
    let said = u32::from_le_bytes(*bytes[16..].first_chunk().expect("four bytes")) as usize;
    let stand = said.clamp(STAND_BYTES_MIN, bytes.len() - STAND_AT);
    bytes[16..20].copy_from_slice(&u32::try_from(stand).expect("small").to_le_bytes());
    let crc_at = STAND_AT + stand - 4;
    let crc = crc32c::crc32c(&bytes[STAND_AT..crc_at]);
    bytes[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

#[cfg(test)]
#[path = "../../../../fuzz/corpus.rs"]
mod corpus;

#[cfg(test)]
#[test]
fn the_fuzz_target_runs_over_its_corpus() {
    corpus::run(env!("CARGO_MANIFEST_DIR"), "dump", dump);
}
