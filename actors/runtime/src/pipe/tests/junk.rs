//! Streams that nobody honest would write, cut anywhere, and pages with anything in them.
//!
//! Randomised; a failing run is repeated with the seed that it prints, in
//! `PROCESSION_TEST_SEED`.

use super::*;
use std::sync::atomic::Ordering::Relaxed;

/// Numbers without end; the same for the same seed.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let given = std::env::var("PROCESSION_TEST_SEED").ok();
        let seed = given
            .and_then(|seed| seed.parse().ok())
            .unwrap_or_else(|| std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos().into());
        println!("PROCESSION_TEST_SEED={seed}");
        Self(seed)
    }

    /// Less than `bound`.
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

/// One of the ways to receive; `None` when there is nothing yet.
fn receive_somehow(end: &End, way: usize) -> Option<Result<Vec<u8>, PipeError>> {
    let got = match way {
        0 => end.receive(LONGEST_MESSAGE, now()),
        1 => end.receive(LONGEST_MESSAGE, after(Duration::from_millis(1))),
        _ => {
            let receive = std::pin::pin!(end.receive_async(LONGEST_MESSAGE));
            crate::wait::block_on_until(receive, Instant::now() + Duration::from_millis(1))
                .unwrap_or(Err(PipeError::Timeout))
        }
    };
    match got {
        Err(PipeError::Timeout) => None,
        got => Some(got.map(|message| message.bytes)),
    }
}

/// Whatever pieces a stream comes in, and however they are waited for, the messages are the
/// same, at whichever of two holders of the end they are received.
#[test]
fn a_stream_in_any_pieces_gives_its_messages() {
    let mut random = Random::new();
    for _ in 0..60 {
        let (end, mut peer) = beside_a_socket();
        let encoded = encode(&*end).unwrap();
        let other = decode::<End>(&encoded.bytes, encoded.fds).unwrap();
        let bodies: Vec<Vec<u8>> = (0..12u8)
            .map(|i| {
                let most = [1, 8, 200, 6000, 40_000][random.below(5)];
                vec![i; random.below(most)]
            })
            .collect();
        let stream: Vec<u8> = bodies.iter().flat_map(|body| framed(body)).collect();
        let (mut at, mut got) = (0, Vec::new());
        while got.len() < bodies.len() {
            if at < stream.len() {
                let most = [3, 50, 9000][random.below(3)];
                let piece = 1 + random.below(most);
                let piece = &stream[at..stream.len().min(at + piece)];
                peer.write_all(piece).unwrap();
                at += piece.len();
            }
            let way = random.below(3);
            let from: &End = if random.below(4) == 0 { &other } else { &end };
            got.extend(receive_somehow(from, way).map(Result::unwrap));
        }
        assert!(got == bodies);
        assert!(receive_somehow(&end, 0).is_none());
    }
}

/// Junk is an error or a message, and then an error or the end; no panic, and no hang.
#[test]
fn junk_ends_in_an_error() {
    let mut random = Random::new();
    for _ in 0..300 {
        let (end, mut peer) = beside_a_socket();
        let mut junk: Vec<u8> =
            (0..random.below(300)).map(|_| random.below(256).to_le_bytes()[0]).collect();
        // Lengths are small often enough that messages come of it.
        for at in (0..junk.len()).step_by(7) {
            junk[at] = 0;
        }
        peer.write_all(&junk).unwrap();
        drop(peer);
        let mut taken = 0;
        let end = loop {
            match receive(&end) {
                Ok(message) => taken += message.len() + 4,
                Err(error) => break error,
            }
        };
        assert!(taken <= junk.len());
        assert!(
            matches!(end, PipeError::EndOfFile | PipeError::Truncated | PipeError::BadLength(_)),
            "{end}"
        );
    }
}

#[test]
fn a_page_that_owes_more_than_can_be_seen_costs_no_memory() {
    let (a, b) = ends();
    a.send(&Outgoing::new(b"message", &[]).unwrap(), None).unwrap();
    b.debt().owe(u32::MAX);
    let soon = after(Duration::from_secs(10));
    assert!(matches!(b.receive(LONGEST_MESSAGE, soon), Err(PipeError::Damaged)));
    assert!(lock(&b.reading).scratch.capacity() < 1 << 20);
    // As after any other message that was broken off.
    assert!(b.receive(LONGEST_MESSAGE, soon).is_err());
}

/// A holder may write anything into the page: others meet deadlines and typed errors.
#[test]
fn a_page_full_of_junk_costs_no_more_than_the_pipe() {
    let mut random = Random::new();
    for _ in 0..40 {
        let (a, b) = ends();
        for word in &a.page.words()[..64] {
            let junk = [0, 1, 2, u64::MAX, turn::me(), 1 << 31, 77][random.below(7)];
            word.store(junk, Relaxed);
        }
        let soon = || after(Duration::from_millis(30));
        let sent = a.send(&Outgoing::new(b"message", &[]).unwrap(), soon());
        match b.receive(LONGEST_MESSAGE, soon()) {
            Ok(message) => assert!(sent.is_ok() && message.bytes == b"message"),
            Err(
                PipeError::Timeout
                | PipeError::Damaged
                | PipeError::EndOfFile
                | PipeError::Truncated,
            ) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
