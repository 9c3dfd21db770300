//! Bytes changed at random, and what is run on them.
//!
//! Owns a small generator of random numbers, whose seed repeats a run, the changes, and how
//! long a target runs. The runtime's own target has this file too.

use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Runs a target on the corpus, then on what becomes of it, until the time is over.
pub(crate) fn fuzz(corpus: &[Vec<u8>], mut target: impl FnMut(&[u8], &mut Random)) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let mut random = Random::new(number("PROCESSION_SEED"));
    let seconds = number("PROCESSION_FUZZ_SECONDS").unwrap_or(1);
    println!("PROCESSION_SEED={}", random.seed());
    let mut inputs = 0u64;
    let until = Instant::now() + Duration::from_secs(seconds);
    while inputs < corpus.len() as u64 || Instant::now() < until {
        let input = match corpus.get(usize::try_from(inputs).unwrap()) {
            Some(known) => known.clone(),
            None => random.mutated(corpus),
        };
        let run = AssertUnwindSafe(|| target(&input, &mut random));
        if let Err(panic) = catch_unwind(run) {
            println!("it failed for {}", hex(&input));
            std::panic::resume_unwind(panic);
        }
        inputs += 1;
    }
    println!("{inputs} inputs");
}

/// Random numbers (`SplitMix64`, Steele, Lea and Flood, 2014).
pub(crate) struct Random {
    seed: u64,
    state: u64,
}

/// Bytes that mean something somewhere.
const TELLING: &[&[u8]] = &[
    &[0],
    &[0xff],
    &[0x7f, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0xff],
    &[0x80, 0, 0, 0],
    &[0, 0, 0, 0],
    b"(",
    b".",
    b"]\x94h\x00a",
    b"\x93",
    b"R",
    b"}",
    b"\x85",
    b"#CHALLENGE#",
    b"#WELCOME#",
    b"#PROCESSION#",
    b"{sha256}",
];

impl Random {
    pub(crate) fn new(seed: Option<u64>) -> Self {
        let clock = || std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos().into();
        let seed = seed.unwrap_or_else(clock);
        Self { seed, state: seed }
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    /// One of the corpus with a few changes.
    pub(crate) fn mutated(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        const LONGEST: usize = 4096;
        let mut bytes = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(6) {
            let at = self.below(bytes.len() + 1);
            let end = at + self.below(bytes.len() - at + 1);
            match self.below(8) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => bytes[at] = self.byte(),
                2 => bytes.truncate(at),
                3 => drop(bytes.drain(at..end)),
                4 => {
                    let copy = bytes[at..end].to_vec();
                    bytes.splice(end..end, copy);
                }
                5 => {
                    let other = &corpus[self.below(corpus.len())];
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[self.below(other.len() + 1)..]);
                }
                _ => {
                    let telling = TELLING[self.below(TELLING.len())];
                    bytes.splice(at..at, telling.iter().copied());
                }
            }
            bytes.truncate(LONGEST);
        }
        bytes
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
