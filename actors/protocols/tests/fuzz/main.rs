//! What strangers send, mutated at random: the framing, the handshake, the reader of pickles;
//! and what Python programs ask of a manager when they have proved themselves. What programs
//! of this library ask is the runtime's target (`manager::far_session`).
//!
//! Owns the targets; `mutate` owns how bytes are changed. Each target starts from the corpus,
//! keeps nothing between inputs, and states what must hold for every input. By default each
//! runs for a second. `PROCESSION_SEED` repeats a run, `PROCESSION_FUZZ_SECONDS` makes it
//! longer: `PROCESSION_FUZZ_SECONDS=600 cargo test -p procession-protocols fuzz::`. An
//! input that fails is printed in hex: it belongs into the corpus then.
#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

mod mutate;

use mutate::fuzz;
use procession_protocols::auth::{Acceptor, AuthKey, Connector, LONGEST, Python, Terms};
use procession_protocols::custody::ClientId;
use procession_protocols::dynamic::Dynamic;
use procession_protocols::manager::python::{
    Answer, Args, Made, Request, Step, Then, Verb, make, methods, step,
};
use procession_protocols::manager::{Call, Caller, ListCall, Machine};
use procession_protocols::pickle::{self, Limits};
use procession_protocols::pipe::{Head, Incoming};

/// Lines of hex, as an input that fails is printed.
fn lines(corpus: &str) -> Vec<Vec<u8>> {
    let unhex = |line: &str| {
        let digits = line.as_bytes().chunks(2);
        let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.map(byte).collect()
    };
    corpus.lines().map(unhex).collect()
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
    fuzz(&lines(include_str!("corpus/frames.hex")), |input, random| {
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
    fuzz(&lines(include_str!("corpus/handshakes.hex")), |input, random| {
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
    fuzz(&lines(include_str!("corpus/pickles.hex")), |input, _| {
        let Ok(value) = pickle::read(input, limits) else { return };
        let written = pickle::write(&value).unwrap();
        let again = pickle::read(&written, Limits::default()).unwrap();
        assert_eq!(again, value);
        assert_eq!(again.to_string(), value.to_string());
    });
}

/// The kinds of objects that a Python program makes, each with an example of arguments.
fn kinds() -> Vec<(&'static str, Vec<Dynamic>)> {
    let list = || Dynamic::from(vec![Dynamic::from(1), "two".into(), ().into()]);
    vec![
        ("list", vec![list()]),
        ("dict", vec![]),
        ("set", vec![list()]),
        ("Namespace", vec![]),
        ("Array", vec!["i".into(), list()]),
        ("Value", vec!["i".into(), 7.into()]),
        ("Queue", vec![2.into()]),
        ("JoinableQueue", vec![]),
        ("Lock", vec![]),
        ("RLock", vec![]),
        ("Semaphore", vec![2.into()]),
        ("BoundedSemaphore", vec![2.into()]),
        ("Event", vec![]),
        ("Barrier", vec![2.into()]),
    ]
}

/// Whatever a Python program asks once it is let in, it is answered in words that can be
/// pickled, and each call once at most.
#[test]
fn requests() {
    let machine = |(kind, args): (&'static str, Vec<Dynamic>)| {
        let made = make(kind, Args::new(args, Vec::new())).unwrap().unwrap();
        let Made::Stock(seed) = made else { panic!("{kind}") };
        (kind, Machine::new(seed), 0)
    };
    let world = || kinds().into_iter().map(machine).collect::<Vec<_>>();
    let mut corpus = Vec::new();
    for (kind, args) in kinds() {
        let mut create = vec![Dynamic::from(kind)];
        create.extend(args.iter().cloned());
        corpus.push(Request::write(None, "create", create, vec![]));
        for method in methods(kind) {
            for args in [vec![], vec![1.into()], vec!["two".into(), 0.5.into()], args.clone()] {
                corpus.push(Request::write(Some("7f"), method, args, vec![]));
            }
        }
    }
    for verb in ["dummy", "accept_connection", "incref", "debug_info", "number_of_objects"] {
        corpus.push(Request::write(None, verb, vec!["x".into()], vec![]));
    }
    let corpus: Vec<_> = corpus.iter().map(|request| pickle::write(request).unwrap()).collect();
    let limits = Limits { depth: 64, memory: 1 << 20 };
    let mut objects = world();
    let mut asked = 0;
    fuzz(&corpus, |input, random| {
        asked += 1;
        if asked % 500 == 0 {
            objects = world();
        }
        let Ok(value) = pickle::read(input, limits) else { return };
        let Some(Request { object, method, args }) = Request::read(value) else { return };
        if object.is_none() {
            if let Some(Verb::Create(kind, args)) = Verb::read(&method, args) {
                // What is too large is refused before there is room for it.
                drop(make(&kind, args));
            }
            return;
        }
        let chosen = random.below(objects.len());
        let (kind, machine, last) = &mut objects[chosen];
        let condition = (random.below(4) == 0).then_some(0);
        let Ok(Step::Call { call, then, .. }) = step(kind, condition, &method, args) else {
            return;
        };
        // A list may be made as long as this, but not at each input.
        let is_long = matches!(call, Call::List(ListCall::Repeat(times)) if times > 1000)
            || matches!(then, Then::Times(times) if times > 1000);
        if is_long {
            return;
        }
        *last += 1;
        let caller =
            Caller { client: ClientId(if random.below(2) == 0 { 2 } else { 3 }), thread: 0 };
        let mut due = Vec::new();
        machine.call(caller, *last, call, &mut due);
        let mine = due.iter().filter(|(ticket, _)| ticket == last).count();
        assert!(mine <= 1, "{mine} answers to {method}");
        if let Some((_, reply)) = due.into_iter().find(|(ticket, _)| ticket == last) {
            let answer = match then.answer(reply) {
                Ok(value) => Answer::Return(value),
                Err(exception) => Answer::Error(exception),
            };
            pickle::write(&answer.write()).unwrap();
        }
        if random.below(16) == 0 {
            machine.gone(caller.client, &mut Vec::new());
        }
    });
}
