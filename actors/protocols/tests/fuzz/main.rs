//! What strangers send, mutated at random: the framing, the handshake, the reader of pickles.
//!
//! Owns the targets; `mutate` owns how bytes are changed. Each target starts from the corpus,
//! keeps nothing between inputs, and states what must hold for every input. By default each
//! runs for a second. `PROCESSION_SEED` repeats a run, `PROCESSION_FUZZ_SECONDS` makes it
//! longer: `PROCESSION_FUZZ_SECONDS=600 cargo test -p procession-protocols fuzz::`. An
//! input that fails is printed in hex: it belongs into the corpus then.
#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

mod mutate;

use mutate::{Random, hex, unhex};
use procession_protocols::auth::{Acceptor, AuthKey, Connector, LONGEST, Python, Terms};
use procession_protocols::pickle::{self, Limits};
use procession_protocols::pipe::{Head, Incoming};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Runs a target on the corpus, then on what becomes of it, until the time is over.
fn fuzz(corpus: &str, target: impl Fn(&[u8], &mut Random)) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let mut random = Random::new(number("PROCESSION_SEED"));
    let seconds = number("PROCESSION_FUZZ_SECONDS").unwrap_or(1);
    println!("PROCESSION_SEED={}", random.seed());
    let corpus: Vec<_> = corpus.lines().map(unhex).collect();
    let mut inputs = 0u64;
    let until = Instant::now() + Duration::from_secs(seconds);
    while inputs < corpus.len() as u64 || Instant::now() < until {
        let input = match corpus.get(usize::try_from(inputs).unwrap()) {
            Some(known) => known.clone(),
            None => random.mutated(&corpus),
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

/// What an assembly has come to: the messages, and whether the stream went bad.
fn assemble(input: &[u8], max: u64, mut piece: impl FnMut() -> usize) -> (Vec<Vec<u8>>, bool) {
    let mut messages = Vec::new();
    let mut incoming = Incoming::new(max);
    let mut rest = input;
    loop {
        if incoming.is_whole() {
            messages.push(std::mem::replace(&mut incoming, Incoming::new(max)).into_body());
        }
        if rest.is_empty() {
            return (messages, false);
        }
        let Ok(room) = incoming.room() else { return (messages, true) };
        let most = room.head.len() + room.most;
        assert!(most > 0 && most as u64 <= max + 12, "it asks for {most} bytes");
        let count = piece().min(most).min(rest.len());
        let in_head = room.head.len().min(count);
        room.head[..in_head].copy_from_slice(&rest[..in_head]);
        room.body.extend_from_slice(&rest[in_head..count]);
        rest = &rest[count..];
        if incoming.filled(count).is_err() {
            return (messages, true);
        }
    }
}

/// However a stream is cut, the same messages come of it, none longer than allowed.
#[test]
fn frames() {
    fuzz(include_str!("corpus/frames.hex"), |input, random| {
        let max = 1 << random.below(12);
        let whole = assemble(input, max, || usize::MAX);
        assert_eq!(assemble(input, max, || 1), whole);
        assert_eq!(assemble(input, max, || 1 + random.below(9)), whole);
        for message in &whole.0 {
            assert!(message.len() as u64 <= max);
            assert_eq!(Head::new(message.len()).unwrap().body(), message.len());
        }
    });
}

/// Whoever does not know the key gets nowhere, whatever he says, and costs little.
#[test]
fn handshakes() {
    let terms = |python| Terms {
        key: AuthKey::new("a key that is in no corpus").unwrap(),
        python,
        seals: true,
        fingerprint: 1,
    };
    fuzz(include_str!("corpus/handshakes.hex"), |input, random| {
        let python = [Python::Off, Python::Sha256, Python::Md5][random.below(3)];
        let bytes = std::array::from_fn(|_| random.byte());
        let (mut acceptor, first) = Acceptor::new(terms(python), &bytes);
        assert!(first.len() as u64 <= LONGEST);
        let mut connector = Connector::new(terms(python), &bytes);
        let (messages, _) = assemble(input, LONGEST, || usize::MAX);
        let (mut listens, mut connects) = (true, true);
        for message in &messages {
            for (side, step) in
                [(&mut listens, acceptor.hear(message)), (&mut connects, connector.hear(message))]
            {
                assert!(step.send.is_none_or(|words| words.len() as u64 <= LONGEST));
                match step.end {
                    Some(Ok(session)) => panic!("let in without the key: {session:?}"),
                    Some(Err(_)) => *side = false,
                    None => assert!(*side, "it goes on after its end"),
                }
            }
        }
    });
}

/// What can be read is data: written and read again it is the same.
#[test]
fn pickles() {
    let limits = Limits { depth: 64, memory: 1 << 20 };
    fuzz(include_str!("corpus/pickles.hex"), |input, _| {
        let Ok(value) = pickle::read(input, limits) else { return };
        let written = pickle::write(&value).unwrap();
        let again = pickle::read(&written, Limits::default()).unwrap();
        assert_eq!(again, value);
        assert_eq!(again.to_string(), value.to_string());
    });
}
