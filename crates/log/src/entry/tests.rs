use proptest::prelude::*;

use super::*;
use crate::types::{Key, Record};

fn any_record() -> impl Strategy<Value = NewRecord> {
    let bytes = |len| prop::collection::vec(any::<u8>(), len).prop_map(Bytes::from);
    (bytes(0..Key::BYTES_MAX + 1), any::<u64>(), bytes(0..2_000)).prop_map(|(key, at_ms, payload)| NewRecord {
        key: Key(key),
        at_ms,
        payload,
    })
}

fn any_row() -> impl Strategy<Value = Row> {
    let bytes = |len| prop::collection::vec(any::<u8>(), len).prop_map(Bytes::from);
    (bytes(1..40), prop::option::of(bytes(0..300))).prop_map(|(key, value)| Row { key, value })
}

fn position(next: u64, epoch: u64) -> Position {
    Position { epoch: Epoch(epoch), next: Lsn(next), newest_at_ms: 9, crc: 77 }
}

fn draft<'a>(after: Position, records: &'a [NewRecord], rows: &'a [Row]) -> Draft<'a> {
    Draft { kind: Kind::Append, log: LogId(2), store: 0xfeed, after, records, rows }
}

fn encoded(draft: &Draft<'_>) -> (Head, Vec<Piece>, Bytes) {
    let mut out = BytesMut::new();
    let (head, pieces) = draft.encode(&mut out);
    (head, pieces, out.freeze())
}

/// All records of an entry, the way an index would read them.
fn records(entry: &Entry) -> Result<Vec<Record>, EntryError> {
    let mut all = Vec::new();
    for piece in entry.pieces()? {
        all.extend(decode_chunk(&entry.chunk(&piece), piece.first).map_err(|_| EntryError::Content)?);
    }
    Ok(all)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_encoded_is_decoded(
        given in prop::collection::vec(any_record(), 0..150),
        rows in prop::collection::vec(any_row(), 0..5),
        next in 3..u64::MAX / 2,
        behind in prop::collection::vec(any::<u8>(), 0..10),
    ) {
        let after = position(next, 5);
        let (head, pieces, stored) = encoded(&draft(after, &given, &rows));
        prop_assert_eq!(head.size(), stored.len());
        prop_assert_eq!(head.continues(&after), Ok(()));
        let mut bytes = Bytes::from([&stored[..], &behind[..]].concat());
        let entry = Entry::take(&mut bytes).expect("a whole entry");
        prop_assert_eq!(&bytes[..], &behind[..], "only the entry is taken");
        prop_assert_eq!(entry.head, head);
        prop_assert_eq!(entry.pieces(), Ok(pieces));
        prop_assert_eq!(entry.rows(), Ok(rows));
        let records = records(&entry).expect("records");
        prop_assert_eq!(records.len(), given.len());
        for (number, (record, given)) in (next..).zip(records.iter().zip(&given)) {
            prop_assert_eq!((record.lsn, record.epoch), (Lsn(number), Epoch(5)));
            prop_assert_eq!((&record.key, record.at_ms, &record.payload), (&given.key, given.at_ms, &given.payload));
        }
        prop_assert_eq!(head.position().next, Lsn(next + given.len() as u64));
    }

    #[test]
    fn a_changed_bit_is_noticed(
        given in prop::collection::vec(any_record(), 0..5),
        rows in prop::collection::vec(any_row(), 0..3),
        at: prop::sample::Index,
        bit in 0..8u8,
    ) {
        let (.., stored) = encoded(&draft(position(9, 1), &given, &rows));
        let mut stored = stored.to_vec();
        let at = at.index(stored.len());
        stored[at] ^= 1 << bit;
        prop_assert!(Entry::take(&mut Bytes::from(stored)).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..300), lengths in any::<(u8, u8)>()) {
        // As they are, and dressed up as an entry whose checksum is right, so that what lies behind it is reached.
        let mut dressed = body.clone();
        dressed.resize(dressed.len().max(HEAD_BYTES), 0);
        (dressed[0], dressed[1]) = (VERSION, 2);
        let rest = dressed.len() - HEAD_BYTES;
        let chunks = usize::from(lengths.0) % (rest + 1);
        dressed[44..48].copy_from_slice(&length(chunks).to_le_bytes());
        dressed[48..52].copy_from_slice(&length(rest - chunks).to_le_bytes());
        dressed.extend(crc32c::crc32c(&dressed).to_le_bytes());
        let taken = Entry::take(&mut Bytes::from(dressed)).expect("dressed up well");
        let _ = (records(&taken), taken.rows());
        let _ = Entry::take(&mut Bytes::from(body.clone()));
        let _ = decode_chunk(&Bytes::from(body), Lsn(1));
    }
}

#[test]
fn a_chunk_can_be_read_alone_and_only_as_itself() {
    let given: Vec<NewRecord> = (0..100)
        .map(|n| NewRecord { key: Key(Bytes::from_static(b"k")), at_ms: n, payload: Bytes::from(vec![0; 500]) })
        .collect();
    let (_, pieces, stored) = encoded(&draft(position(10, 1), &given, &[]));
    assert!(pieces.len() > 3, "{pieces:?}");
    let piece = pieces[2];
    let chunk = stored.slice(piece.offset as usize..(piece.offset + piece.bytes) as usize);
    let records = decode_chunk(&chunk, piece.first).expect("decode");
    assert_eq!(records.len(), piece.count as usize);
    assert_eq!(records[0].at_ms, piece.first.0 - 10);
    assert_eq!(decode_chunk(&chunk, Lsn(10)), Err(ChunkError::Position(piece.first)));
    assert_eq!(decode_chunk(&chunk.slice(..chunk.len() - 1), piece.first), Err(ChunkError::Length));
}

#[test]
fn an_entry_that_does_not_continue_is_told_why() {
    let record = NewRecord { key: Key(Bytes::from_static(b"k")), at_ms: 1, payload: Bytes::new() };
    let after = position(10, 4);
    let (head, ..) = encoded(&draft(after, std::slice::from_ref(&record), &[]));
    let next = head.position();
    assert_eq!((next.next, next.crc, next.newest_at_ms), (Lsn(11), head.crc, 9));

    let missing = Position { next: Lsn(9), ..after };
    assert_eq!(head.continues(&missing), Err(ChainError::Gap { expected: Lsn(9), found: Lsn(10) }));
    let other = Position { crc: 78, ..after };
    assert_eq!(head.continues(&other), Err(ChainError::Fork { at: Lsn(10) }));
    let newer = Position { epoch: Epoch(5), ..after };
    assert_eq!(head.continues(&newer), Err(ChainError::Epoch { expected: Epoch(5), found: Epoch(4) }));

    let records = [record];
    let claim = Draft { kind: Kind::Claim, ..draft(Position { epoch: Epoch(5), ..after }, &records, &[]) };
    let (head, ..) = encoded(&claim);
    assert_eq!(head.continues(&after), Ok(()), "a claim is one epoch further");
    assert!(head.continues(&newer).is_err(), "and not the same one");
    let last = Position { epoch: Epoch(u64::MAX), ..after };
    assert!(head.continues(&last).is_err(), "none follows the last one");
}

#[test]
fn a_log_that_lost_its_end_goes_on_in_an_epoch_after_the_loss() {
    let after = position(10, 4);
    let lost = Epoch(4).after_loss();
    assert_eq!((lost.losses(), lost.claims(), lost.next().claims()), (1, 0, 1));
    assert_eq!((lost.next().to_string(), Epoch(4).to_string()), ("1.1".to_owned(), "4".to_owned()));
    let of = |kind, epoch| encoded(&Draft { kind, ..draft(Position { epoch, ..after }, &[], &[]) }).0;
    assert_eq!(of(Kind::Append, lost).continues(&after), Ok(()), "rows, before anybody claims it");
    assert_eq!(of(Kind::Claim, lost.next()).continues(&after), Ok(()));
    assert_eq!(of(Kind::Claim, lost.after_loss().next()).continues(&after), Ok(()), "also after two");
    assert!(of(Kind::Claim, lost.next().next()).continues(&after).is_err(), "an entry is missing between");
    let later = Position { epoch: lost.next(), ..after };
    assert!(of(Kind::Append, Epoch(4)).continues(&later).is_err(), "never back");
    assert!(of(Kind::Append, lost).continues(&later).is_err());
}

#[test]
fn an_entry_of_an_unknown_version_is_named() {
    let (.., stored) = encoded(&draft(position(1, 1), &[], &[]));
    let mut stored = stored.to_vec();
    stored[0] = 2;
    assert_eq!(Entry::take(&mut Bytes::from(stored)).map(|entry| entry.head), Err(EntryError::Version(2)));
}
