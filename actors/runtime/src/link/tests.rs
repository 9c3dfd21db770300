//! Links: frames over a socket pair, whole and in order.

use super::*;
use procession_protocols::wire::Kind;
use std::io::Write;
use std::sync::Arc;

fn pair() -> (Link, Link) {
    let (a, b) = Link::pair().unwrap();
    (Link::new(a), Link::new(b))
}

fn soon() -> Option<Instant> {
    after(Duration::from_secs(10))
}

fn message(bytes: &[u8]) -> Encoded {
    Encoded { bytes: bytes.to_vec(), fds: Vec::new() }
}

fn header(len: usize) -> Header {
    Header::new(Kind::Cast, len).unwrap()
}

#[test]
fn frames_larger_than_the_socket_arrive_whole() {
    let (a, b) = pair();
    let big: Vec<u8> = (0..3_000_000u32).map(|i| i.to_le_bytes()[0]).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            a.send(header(big.len()), &message(&big), soon()).unwrap();
            a.send(header(3), &message(b"end"), soon()).unwrap();
        });
        assert!(b.recv(soon()).unwrap().unwrap().payload == big);
        assert_eq!(b.recv(soon()).unwrap().unwrap().payload, b"end");
    });
    drop(a);
    assert!(matches!(b.recv(soon()), Err(LinkError::Closed)));
}

/// Patience is for one who does not read, not for one who reads slowly.
#[test]
fn a_slow_reader_is_waited_for_and_one_who_does_not_read_is_given_up() {
    const PATIENCE: Duration = Duration::from_secs(1);
    let (a, b) = pair();
    let bytes = [7; 8_000];
    let send = |patience| a.send_to_reader(header(bytes.len()), &message(&bytes), patience);
    let fits = std::iter::from_fn(|| send(Duration::ZERO).ok()).count();
    assert!(matches!(send(PATIENCE / 10), Err(LinkError::Timeout)));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // There is room when three quarters have been read, which takes twice as long.
            let pause = PATIENCE * 3 / u32::try_from(fits).unwrap();
            for _ in 0..=fits {
                std::thread::sleep(pause);
                assert_eq!(b.recv(soon()).unwrap().unwrap().payload, bytes);
            }
        });
        send(PATIENCE).unwrap();
    });
    assert!(b.try_recv().unwrap().is_none());
}

#[test]
fn several_writers_do_not_mix_frames() {
    let (a, b) = pair();
    let a = Arc::new(a);
    let writers: Vec<_> = (0..4u8)
        .map(|w| {
            let a = a.clone();
            std::thread::spawn(move || {
                for _ in 0..50 {
                    a.send(header(20_000), &message(&[w].repeat(20_000)), soon()).unwrap();
                }
            })
        })
        .collect();
    for _ in 0..200 {
        let frame = b.recv(soon()).unwrap().unwrap();
        assert_eq!(frame.payload.len(), 20_000);
        assert!(frame.payload.iter().all(|byte| *byte == frame.payload[0]));
    }
    for writer in writers {
        writer.join().unwrap();
    }
}

#[test]
fn descriptors_stay_with_their_frames() {
    let (a, b) = pair();
    let mut readers = Vec::new();
    for i in 0..5u8 {
        let (reader, writer) = std::io::pipe().unwrap();
        readers.push(reader);
        let bytes = vec![i; 1 + usize::from(i) * 3000];
        a.send(header(bytes.len()), &message(&bytes), soon()).unwrap();
        let fds = vec![OwnedFd::from(writer)];
        a.send(header(1), &Encoded { bytes: vec![i], fds }, soon()).unwrap();
    }
    for i in 0..5u8 {
        assert!(b.recv(soon()).unwrap().unwrap().fds.is_empty());
        let frame = b.recv(soon()).unwrap().unwrap();
        assert_eq!((frame.payload[0], frame.fds.len()), (i, 1));
        let fd = frame.fds.into_iter().next().unwrap();
        std::fs::File::from(fd).write_all(&[i]).unwrap();
    }
    for (i, mut reader) in readers.into_iter().enumerate() {
        let mut byte = Vec::new();
        std::io::Read::read_to_end(&mut reader, &mut byte).unwrap();
        assert_eq!(byte, [u8::try_from(i).unwrap()]);
    }
}

#[test]
fn a_full_peer_is_a_timeout_and_post_never_waits() {
    let (a, b) = pair();
    let soon = || after(Duration::from_millis(20));
    let mut sent = 0;
    loop {
        match a.send(header(10_000), &message(&[7; 10_000]), soon()) {
            Ok(()) => sent += 1,
            Err(LinkError::Timeout) => break,
            Err(other) => panic!("{other}"),
        }
    }
    let mut posted = 0;
    while a.post(header(100_000), message(&[8].repeat(100_000)), OUTBOUND_LIMIT).is_ok() {
        posted += 1;
    }
    assert!(posted >= OUTBOUND_LIMIT / 100_000, "{posted}");
    for _ in 0..sent {
        a.flush().unwrap();
        assert_eq!(b.recv(soon()).unwrap().unwrap().payload.len(), 10_000);
    }
    let mut left = posted;
    while left > 0 {
        a.flush().unwrap();
        if let Some(frame) = b.try_recv().unwrap() {
            assert_eq!(frame.payload, [8].repeat(100_000));
            left -= 1;
        }
    }
}

#[test]
fn half_a_frame_is_truncated_never_short() {
    let (a, b) = Link::pair().unwrap();
    let b = Link::new(b);
    let mut bytes = header(10).to_bytes().to_vec();
    bytes.extend_from_slice(b"half");
    std::os::unix::net::UnixStream::from(a).write_all(&bytes).unwrap();
    assert!(matches!(b.recv(soon()), Err(LinkError::Truncated)));
}

#[test]
fn what_a_dead_peer_takes_no_more_is_dropped_and_what_it_sent_is_read() {
    let (a, b) = pair();
    b.send(header(3), &message(b"end"), soon()).unwrap();
    let big = vec![0; 1 << 20];
    a.post(header(big.len()), message(&big), big.len()).unwrap();
    assert!(a.wants_write());
    drop(b);
    assert!(matches!(a.flush(), Err(LinkError::Closed)));
    assert!(!a.wants_write());
    assert_eq!(a.recv(soon()).unwrap().unwrap().payload, b"end");
    assert!(a.recv(soon()).is_err());
}

/// A look at a socket that fills the buffer sees descriptors of what it does not reach.
#[test]
fn descriptors_come_once_and_with_their_frame_where_they_may_be_left() {
    for before in 0..60 {
        let (a, b) = pair();
        // Frames up to around the end of what is read at first.
        for _ in 0..before {
            a.send(header(100), &message(&[7; 100]), soon()).unwrap();
        }
        for number in 1..4u8 {
            let null = || std::fs::File::open("/dev/null").unwrap().into();
            let fds = (0..number).map(|_| null()).collect();
            a.send(header(1), &Encoded { bytes: vec![number], fds }, soon()).unwrap();
            a.send(header(5), &message(b"after"), soon()).unwrap();
        }
        drop(a);
        let next = || b.try_recv_or_leave().unwrap().unwrap();
        for _ in 0..before {
            assert_eq!(next().payload, [7; 100]);
        }
        for number in 1..4u8 {
            let frame = next();
            assert_eq!((frame.payload, frame.fds.len()), (vec![number], usize::from(number)));
            assert_eq!(next().payload, b"after");
        }
        assert!(lock(&b.rx).fds.is_empty());
        // A process that another test starts has the other end as well until its exec.
        let until = soon();
        let ended = loop {
            match b.try_recv_or_leave() {
                Ok(None) if until > Some(Instant::now()) => std::thread::yield_now(),
                ended => break ended,
            }
        };
        assert!(matches!(ended, Err(LinkError::Closed)));
    }
}
