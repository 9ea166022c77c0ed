//! Runs the entry point of a fuzz target on a stable toolchain: over the corpus that is kept beside it, and over mutations of that.
//! Included by the tests of every crate that has a target.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Mutations in all, however large the corpus has become.
const MUTATIONS: usize = 6_000;

/// Runs `entry` over the files of `tests/corpus/<folder>` in the crate at `krate`, and over mutations, the same ones in every run.
pub(crate) fn run(krate: &str, folder: &str, entry: impl Fn(&[u8])) {
    let seeds = seeds(&Path::new(krate).join("tests/corpus").join(folder));
    assert!(seeds.len() > 5, "the corpus {folder} is missing");
    let mut dice = Dice(20_261_122);
    for seed in &seeds {
        entry(seed);
        for _ in 0..(MUTATIONS / seeds.len()).max(1) {
            let other = &seeds[dice.roll(seeds.len())];
            entry(&mutate(seed, other, &mut dice));
        }
    }
}

fn seeds(folder: &Path) -> Vec<Vec<u8>> {
    let listed = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = listed.map(|file| file.expect("a file").path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).expect("a readable file")).collect()
}

/// splitmix64.
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
