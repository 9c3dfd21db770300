//! An end that one process has for itself, read ahead.

use super::*;
use procession_protocols::auth::Seal;

/// The keys of both sides of a session.
fn seals() -> (Seal, Seal) {
    let seal = |keys: &([u8; 32], [u8; 32])| {
        let encoded = encode(keys).unwrap();
        decode::<Seal>(&encoded.bytes, Vec::new()).unwrap()
    };
    (seal(&([1; 32], [2; 32])), seal(&([2; 32], [1; 32])))
}

fn guarded(fd: UnixStream, seal: Option<Seal>) -> Arc<End> {
    Arc::new(End::guarded(fd.into(), Guard { longest: 1 << 20, seal }).unwrap())
}

fn receive(ahead: &mut Ahead) -> Result<Vec<u8>, PipeError> {
    ahead.receive(None).map(Option::unwrap)
}

fn sealed(seal: &Seal, number: u64, body: &[u8]) -> Vec<u8> {
    framed(&[body, &seal.seal(number, body)].concat())
}

#[test]
fn messages_come_in_order_however_they_arrive() {
    let (ours, theirs) = seals();
    for (seal, piece) in
        [(None, 1), (Some(()), 1), (None, 7), (Some(()), 4096), (Some(()), 1 << 17)]
    {
        let (a, mut b) = UnixStream::pair().unwrap();
        let mut ahead = Ahead::new(guarded(a, seal.map(|()| ours.clone())));
        let sizes = if piece < 10 { &[0, 1, 300][..] } else { &[3, 0, 100_000, 64, 1 << 20, 5] };
        let bodies: Vec<Vec<u8>> = (0u8..).zip(sizes).map(|(i, size)| vec![i; *size]).collect();
        let frame = |(number, body): (u64, &Vec<u8>)| match seal {
            Some(()) => sealed(&theirs, number, body),
            None => framed(body),
        };
        let stream = (0..).zip(&bodies).flat_map(frame).collect::<Vec<u8>>();
        std::thread::scope(|scope| {
            scope.spawn(|| stream.chunks(piece).for_each(|piece| b.write_all(piece).unwrap()));
            for body in &bodies {
                assert!(
                    receive(&mut ahead).unwrap() == *body,
                    "{} of pieces of {piece}",
                    body.len()
                );
            }
        });
        drop(b);
        assert!(matches!(receive(&mut ahead), Err(PipeError::EndOfFile)));
        // What long ones took is given back.
        assert!(ahead.is_small());
    }
}

#[test]
fn what_is_wrong_ends_the_connection() {
    let (ours, theirs) = seals();
    let good = sealed(&theirs, 0, b"first");
    let flipped = {
        let mut frame = sealed(&theirs, 1, b"second");
        frame[6] ^= 1;
        frame
    };
    let wrong: [&[u8]; 6] = [
        &flipped,
        // Repeated, one left out, our own sent back, too short for a code.
        &good,
        &sealed(&theirs, 2, b"third"),
        &sealed(&ours, 1, b"second"),
        &framed(b"short"),
        &[0xff, 0xff, 0xff, 0xfe],
    ];
    for wrong in wrong {
        let (a, mut b) = UnixStream::pair().unwrap();
        let mut ahead = Ahead::new(guarded(a, Some(ours.clone())));
        b.write_all(&[&good[..], wrong, &sealed(&theirs, 1, b"second")].concat()).unwrap();
        assert_eq!(receive(&mut ahead).unwrap(), b"first");
        let error = receive(&mut ahead).unwrap_err();
        assert!(matches!(error, PipeError::Forged | PipeError::BadLength(_)), "{error}");
        assert!(matches!(receive(&mut ahead), Err(PipeError::Refused)));
        assert_eq!(b.read(&mut [0]).unwrap(), 0);
    }
    // Longer than it takes: known by the head, before any of it has come.
    let (a, mut b) = UnixStream::pair().unwrap();
    let mut ahead = Ahead::new(guarded(a, None));
    b.write_all(&((1u32 << 20) + 1).to_be_bytes()).unwrap();
    assert!(matches!(receive(&mut ahead), Err(PipeError::BadLength(_))));
    // The end inside of a message.
    let (a, mut b) = UnixStream::pair().unwrap();
    let mut ahead = Ahead::new(guarded(a, None));
    b.write_all(&framed(b"whole")[..6]).unwrap();
    drop(b);
    assert!(matches!(receive(&mut ahead), Err(PipeError::Truncated)));
}

#[test]
fn a_wait_that_ends_keeps_what_has_come_of_a_message() {
    let (a, mut b) = UnixStream::pair().unwrap();
    let mut ahead = Ahead::new(guarded(a, None));
    let soon = || Some(Instant::now() + Duration::from_millis(20));
    assert!(ahead.receive(soon()).unwrap().is_none());
    let frame = framed(b"whole");
    b.write_all(&frame[..6]).unwrap();
    assert!(ahead.receive(soon()).unwrap().is_none());
    b.write_all(&[&frame[6..], &framed(b"next")].concat()).unwrap();
    // What was not asked of the system has not come.
    assert!(ahead.come().unwrap().is_none());
    assert_eq!(ahead.receive(soon()).unwrap().unwrap(), b"whole");
    assert_eq!(ahead.come().unwrap().unwrap(), b"next");
    assert!(ahead.come().unwrap().is_none());
}

#[test]
fn what_is_sent_together_comes_one_by_one_and_in_one_piece() {
    let (ours, theirs) = seals();
    for is_sealed in [true, false] {
        let (a, b) = UnixStream::pair().unwrap();
        let out = guarded(b, is_sealed.then(|| theirs.clone()));
        let mut ahead = Ahead::new(guarded(a, is_sealed.then(|| ours.clone())));
        for _ in 0..3 {
            let small: Vec<Vec<u8>> = (0..100).map(|n| vec![n; usize::from(n)]).collect();
            out.send_all(&small).unwrap();
            assert_eq!(receive(&mut ahead).unwrap(), small[0]);
            for message in &small[1..] {
                assert_eq!(ahead.come().unwrap().unwrap(), *message);
            }
            // More than there is room for, and something behind it.
            let large: Vec<Vec<u8>> = (0..9).map(|n| vec![n; 100_000]).collect();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    out.send_all(&large).unwrap();
                    out.send_all(&[b"last".to_vec()]).unwrap();
                });
                for message in &large {
                    assert!(receive(&mut ahead).unwrap() == *message);
                }
                assert_eq!(receive(&mut ahead).unwrap(), b"last");
            });
        }
    }
}
