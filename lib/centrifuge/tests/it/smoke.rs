//! The fuzz targets' entry points over a seeded corpus, a few thousand mutations each, on any toolchain.

use std::{fs, path::Path};

use roomhook_centrifuge::Format;

use crate::entry;

/// splitmix64: the same mutations in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % below.max(1) as u64) as usize
    }
}

fn mutate(seed: &[u8], other: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=dice.roll(4) {
        let at = dice.roll(bytes.len());
        match dice.roll(6) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, dice.roll(256) as u8),
            2 if !bytes.is_empty() => bytes[at] ^= 1 << dice.roll(8),
            3 if !bytes.is_empty() => drop(bytes.remove(at)),
            4 => bytes.extend_from_slice(&seed[dice.roll(seed.len())..]),
            _ => {
                let cut = dice.roll(other.len());
                bytes.splice(at..at, other[cut..].iter().copied());
            }
        }
    }
    bytes
}

fn run(folder: &str, format: Format) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(folder);
    let mut files: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let seeds: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    assert!(seeds.len() > 5, "the corpus is missing");
    let mut dice = Dice(20_261_122);
    for seed in &seeds {
        entry::frame(format, seed);
        for _ in 0..500 {
            let other = &seeds[dice.roll(seeds.len())];
            entry::frame(format, &mutate(seed, other, &mut dice));
        }
    }
}

#[test]
fn json_frames() {
    run("json", Format::Json);
}

#[test]
fn protobuf_frames() {
    run("protobuf", Format::Protobuf);
}
