//! What the fuzz target `ws_decoder` runs, and an ordinary test besides. Included by both.

use super::{Decoder, Incoming, Limits};

/// Reads bytes of a hostile client; the first one says in what pieces they come and whether compression was agreed to.
pub(crate) fn decode(data: &[u8]) {
    let Some((&shape, bytes)) = data.split_first() else { return };
    let limits = Limits { message_bytes_max: 4096, fragments_max: 8, inflate: shape & 1 == 1 };
    let whole = decoded(limits, bytes, bytes.len().max(1));
    let pieces = decoded(limits, bytes, usize::from(shape >> 1).max(1));
    assert_eq!(whole, pieces, "how bytes are cut must not matter");
}

/// The messages that come out, and the close code if it ends badly.
fn decoded(limits: Limits, bytes: &[u8], piece: usize) -> (Vec<Incoming>, Option<u16>) {
    let mut decoder = Decoder::new(limits);
    let mut messages = Vec::new();
    for piece in bytes.chunks(piece) {
        decoder.push(piece);
        loop {
            match decoder.next() {
                Ok(Some(message)) => {
                    if let Incoming::Text(payload) | Incoming::Binary(payload) = &message {
                        assert!(payload.len() <= limits.message_bytes_max);
                    }
                    messages.push(message);
                }
                Ok(None) => break,
                Err(error) => return (messages, Some(error.code())),
            }
        }
    }
    (messages, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Well-formed frames, masked with zeros: what mutations start from.
    const SEEDS: [&[u8]; 6] = [
        b"\x81\x82\0\0\0\0hi\x89\x80\0\0\0\0",
        b"\x01\x81\0\0\0\0a\x80\x81\0\0\0\0b",
        b"\x82\xfe\0\x80\0\0\0\0................................................................................",
        b"\xc1\x87\0\0\0\0\xf2\x48\xcd\xc9\xc9\x07\0",
        b"\x41\x83\0\0\0\0\xf2\x48\xcd\x80\x84\0\0\0\0\xc9\xc9\x07\0",
        b"\x88\x82\0\0\0\0\x03\xe8",
    ];

    #[test]
    fn the_fuzz_target_runs_over_its_seeds_and_their_mutations() {
        let mut dice = fastrand::Rng::with_seed(7);
        for round in 0..20_000 {
            let mut data = vec![dice.u8(..)];
            for _ in 0..dice.usize(1..4) {
                data.extend_from_slice(dice.choice(SEEDS).unwrap());
            }
            for _ in 0..round % 5 {
                let at = dice.usize(..data.len());
                data[at] = dice.u8(..);
            }
            decode(&data);
        }
    }
}
