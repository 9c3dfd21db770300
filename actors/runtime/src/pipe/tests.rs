//! Ends within one process: whole messages whatever comes in pieces, and what is left after
//! an end that went down in the middle.

mod ahead;
mod junk;
mod owed;

use super::*;
use crate::codec::{decode, encode};
use crate::sync::after;
use procession_protocols::pipe::LONGEST_MESSAGE;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

fn soon() -> Option<Instant> {
    after(Duration::from_secs(20))
}

fn now() -> Option<Instant> {
    after(Duration::ZERO)
}

fn ends() -> (Arc<End>, Arc<End>) {
    let (a, b) = duplex().unwrap();
    (Arc::new(a), Arc::new(b))
}

fn send(end: &Arc<End>, bytes: &[u8]) {
    end.send(&Outgoing::new(bytes, &[]).unwrap(), soon()).unwrap();
}

fn receive(end: &End) -> Result<Vec<u8>, PipeError> {
    end.receive(LONGEST_MESSAGE, soon()).map(|message| message.bytes)
}

fn framed(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
}

/// An end whose peer is a plain socket.
fn beside_a_socket() -> (Arc<End>, UnixStream) {
    let (a, b) = UnixStream::pair().unwrap();
    (Arc::new(End::from_fd(a.into()).unwrap()), b)
}

#[test]
fn messages_of_all_sizes_go_both_ways() {
    let (a, b) = ends();
    for size in [0, 1, 3, 4, 64, LOOK_AND_MORE, FITS - 4, FITS, 1 << 20, 5 << 20] {
        let body: Vec<u8> = (0..size).map(|i| i.to_le_bytes()[0] ^ 0x5a).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| send(&a, &body));
            // With a deadline and without: the ways to wait differ.
            let deadline = if size % 2 == 0 { soon() } else { None };
            assert!(b.receive(LONGEST_MESSAGE, deadline).unwrap().bytes == body, "{size}");
            scope.spawn(|| send(&b, &body));
            let mut buffer = vec![1; size + 3];
            assert_eq!(a.receive_into(&mut buffer).unwrap(), size);
            assert!(buffer[..size] == body && buffer[size..] == [1; 3], "{size}");
        });
    }
    drop(a);
    assert!(matches!(receive(&b), Err(PipeError::EndOfFile)));
    assert!(matches!(b.send(&Outgoing::new(b"x", &[]).unwrap(), None), Err(PipeError::BrokenPipe)));
}

const LOOK_AND_MORE: usize = 5000;

#[test]
fn bytes_cut_at_any_place_come_as_whole_messages() {
    let (end, mut peer) = beside_a_socket();
    let stream = [framed(b""), framed(b"one"), framed(&[3; 300])].concat();
    for cut in 1..stream.len() {
        peer.write_all(&stream[..cut]).unwrap();
        let mut got = Vec::new();
        // Whatever is whole by now comes, and the rest is waited for.
        while let Ok(message) = end.receive(LONGEST_MESSAGE, now()) {
            got.push(message.bytes);
        }
        peer.write_all(&stream[cut..]).unwrap();
        while got.len() < 3 {
            got.push(receive(&end).unwrap());
        }
        assert_eq!(got, [vec![], b"one".to_vec(), vec![3; 300]], "cut at {cut}");
    }
}

#[test]
fn an_end_inside_of_a_message_is_no_message() {
    let stream = framed(&[7; 90]);
    for cut in 1..stream.len() {
        let (end, mut peer) = beside_a_socket();
        peer.write_all(&framed(b"whole")).unwrap();
        peer.write_all(&stream[..cut]).unwrap();
        drop(peer);
        assert_eq!(receive(&end).unwrap(), b"whole");
        assert!(matches!(receive(&end), Err(PipeError::Truncated)), "cut at {cut}");
        assert!(matches!(receive(&end), Err(PipeError::EndOfFile)));
    }
}

#[test]
fn several_threads_at_each_end_keep_messages_whole() {
    let (a, b) = ends();
    let sizes = [10, 70_000, 300, 400_000, 5000];
    let writers: Vec<_> = (0..3u8)
        .map(|me| {
            let a = a.clone();
            std::thread::spawn(move || {
                for turn in 0..60 {
                    send(&a, &vec![me; sizes[turn % sizes.len()]]);
                }
            })
        })
        .collect();
    let readers: Vec<_> = (0..3)
        .map(|i| {
            let b = b.clone();
            std::thread::spawn(move || {
                let mut got = Vec::new();
                loop {
                    let deadline = if i == 0 { None } else { soon() };
                    match b.receive(LONGEST_MESSAGE, deadline) {
                        Ok(message) => {
                            assert!(message.bytes.windows(2).all(|pair| pair[0] == pair[1]));
                            got.push((message.bytes[0], message.bytes.len()));
                        }
                        Err(PipeError::EndOfFile) => return got,
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
    drop(a);
    let mut got: Vec<_> = readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect();
    let mut sent: Vec<_> =
        (0..3).flat_map(|me| (0..60).map(move |turn| (me, sizes[turn % 5]))).collect();
    got.sort_unstable();
    sent.sort_unstable();
    assert_eq!(got, sent);
}

#[test]
fn a_deadline_takes_back_what_has_not_begun_and_keeps_what_has() {
    let (a, b) = ends();
    // The first goes out in part, and then by itself; behind it nothing begins.
    let big = vec![1; 4 << 20];
    a.send(&Outgoing::new(&big, &[]).unwrap(), after(Duration::from_millis(20))).unwrap();
    let small = Outgoing::new(b"small", &[]).unwrap();
    let late = a.send(&small, after(Duration::from_millis(20)));
    assert!(matches!(late, Err(PipeError::Timeout)));
    // A receiver that gives up in the middle keeps what it has.
    assert!(receive(&b).unwrap() == big);
    a.send(&small, soon()).unwrap();
    assert_eq!(receive(&b).unwrap(), b"small");

    let (end, mut peer) = beside_a_socket();
    peer.write_all(&framed(&[9; 100])[..50]).unwrap();
    let early = end.receive(LONGEST_MESSAGE, after(Duration::from_millis(20)));
    assert!(matches!(early, Err(PipeError::Timeout)));
    peer.write_all(&framed(&[9; 100])[50..]).unwrap();
    assert_eq!(receive(&end).unwrap(), [9; 100]);
}

#[test]
fn a_piece_that_goes_down_with_an_end_closes_its_direction() {
    let (end, mut peer) = beside_a_socket();
    let encoded = encode(&*end).unwrap();
    let other = decode::<End>(&encoded.bytes, encoded.fds).unwrap();
    peer.write_all(&framed(&[9; 100])[..50]).unwrap();
    let early = end.receive(LONGEST_MESSAGE, after(Duration::from_millis(20)));
    assert!(matches!(early, Err(PipeError::Timeout)));
    // The rest is not for another holder, as long as this one may go on.
    let busy = other.receive(LONGEST_MESSAGE, after(Duration::from_millis(50)));
    assert!(matches!(busy, Err(PipeError::Timeout)));
    drop(end);
    assert!(matches!(receive(&other), Err(PipeError::Damaged)));
    assert_eq!(peer.write_all(b"more").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn descriptors_come_with_their_message_or_not_at_all() {
    let (a, b) = ends();
    let (mut reader, writer) = std::io::pipe().unwrap();
    send(&a, b"before");
    let encoded = encode(&(1u8, Fd(writer.into()))).unwrap();
    a.send(&Outgoing::new(&encoded.bytes, &encoded.fds).unwrap(), soon()).unwrap();
    a.send(&Outgoing::new(&encoded.bytes, &encoded.fds).unwrap(), soon()).unwrap();
    send(&a, b"after");
    drop(encoded);
    assert_eq!(receive(&b).unwrap(), b"before");
    let message = b.receive(LONGEST_MESSAGE, soon()).unwrap();
    let (_, fd): (u8, Fd) = decode(&message.bytes, message.fds).unwrap();
    std::fs::File::from(OwnedFd::from(fd)).write_all(b"through").unwrap();
    // Descriptors of a message that is taken as bytes are closed.
    receive(&b).unwrap();
    assert_eq!(receive(&b).unwrap(), b"after");
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "through");
}

#[test]
fn other_descriptors_are_ends_as_well() {
    let (reader, writer) = std::io::pipe().unwrap();
    let big: Vec<u8> = (0..300_000u32).map(|i| i.to_le_bytes()[1]).collect();
    let from = Arc::new(End::from_fd(writer.into()).unwrap());
    let to = End::from_fd(reader.into()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for body in [b"".as_slice(), b"small", &big, b"end"] {
                send(&from, body);
            }
        });
        assert_eq!(receive(&to).unwrap(), b"");
        assert_eq!(receive(&to).unwrap(), b"small");
        assert!(receive(&to).unwrap() == big);
        assert_eq!(receive(&to).unwrap(), b"end");
    });
    assert!(matches!(to.receive(9, now()), Err(PipeError::Timeout)));
    let fds = [from.as_fd().try_clone_to_owned().unwrap()];
    let refused = from.send(&Outgoing::new(b"x", &fds).unwrap(), soon());
    assert!(matches!(refused, Err(PipeError::CannotCarry)));
    drop((from, fds));
    assert!(matches!(receive(&to), Err(PipeError::EndOfFile)));
}

#[test]
fn a_message_that_is_too_long_is_refused_and_left_to_others() {
    let (a, b) = ends();
    let encoded = encode(&*b).unwrap();
    let b2 = decode::<End>(&encoded.bytes, encoded.fds).unwrap();
    send(&a, &[5; 11]);
    assert!(matches!(b.receive(10, soon()), Err(PipeError::BadLength(_))));
    assert!(matches!(b.receive(100, soon()), Err(PipeError::Refused)));
    assert_eq!(receive(&b2).unwrap(), [5; 11]);
}
