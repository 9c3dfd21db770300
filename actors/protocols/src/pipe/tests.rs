//! The framing against Python's byte vectors, cut at every place and at random ones.

use super::*;
use proptest::prelude::*;

/// Takes messages off `stream`, in pieces of the lengths that `cuts` gives, over and over.
/// What is left at the end is `Some` when the stream ends inside of a message.
fn read_all(
    stream: &[u8],
    cuts: &[usize],
    max: u64,
) -> Result<(Vec<Vec<u8>>, Option<Incoming>), FrameError> {
    let mut cuts = cuts.iter().copied().cycle();
    let (mut at, mut messages) = (0, Vec::new());
    while at < stream.len() {
        let mut incoming = Incoming::new(max);
        while !incoming.is_whole() {
            if at == stream.len() {
                return Ok((messages, Some(incoming)));
            }
            let piece = cuts.next().unwrap().clamp(1, stream.len() - at);
            let room = incoming.room()?;
            let count = piece.min(room.head.len() + room.most);
            assert!(count > 0, "a message that is not whole has room");
            let in_head = count.min(room.head.len());
            room.head[..in_head].copy_from_slice(&stream[at..at + in_head]);
            room.body.extend_from_slice(&stream[at + in_head..at + count]);
            at += count;
            incoming.filled(count)?;
        }
        messages.push(incoming.into_body());
    }
    Ok((messages, None))
}

fn framed(bodies: &[Vec<u8>]) -> Vec<u8> {
    let mut stream = Vec::new();
    for body in bodies {
        stream.extend_from_slice(Head::new(body.len()).unwrap().bytes());
        stream.extend_from_slice(body);
    }
    stream
}

/// The long form, which Python uses above 2 GiB only.
fn long_form(body: &[u8]) -> Vec<u8> {
    [&(-1i32).to_be_bytes(), &(body.len() as u64).to_be_bytes()[..], body].concat()
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

#[test]
fn heads_are_those_of_python() {
    assert_eq!(Head::new(0).unwrap().bytes(), hex("00000000"));
    assert_eq!(Head::new(27).unwrap().bytes(), hex("0000001b"));
    assert_eq!(Head::new(0x7fff_ffff).unwrap().bytes(), hex("7fffffff"));
    assert_eq!(Head::new(1 << 31).unwrap().bytes(), hex("ffffffff0000000080000000"));
    // send([42, None, 'hello']) of Python 3.11.
    let sent = "0000001b80049510000000000000005d94284b2a4e8c0568656c6c6f94652e";
    let (messages, rest) = read_all(&hex(sent), &[usize::MAX], LONGEST_MESSAGE).unwrap();
    assert!(rest.is_none());
    assert_eq!(messages, [hex("80049510000000000000005d94284b2a4e8c0568656c6c6f94652e")]);
}

#[test]
fn a_stream_cut_in_two_at_any_place_gives_the_same_messages() {
    let bodies = vec![b"".to_vec(), b"a".to_vec(), b"four".to_vec(), vec![7; 300]];
    let stream = [framed(&bodies), long_form(b"long form"), framed(&bodies)].concat();
    let wanted = [bodies.clone(), vec![b"long form".to_vec()], bodies].concat();
    for cut in 1..stream.len() {
        let (messages, rest) = read_all(&stream, &[cut], LONGEST_MESSAGE).unwrap();
        assert!(rest.is_none() && messages == wanted, "cut at {cut}");
    }
    assert_eq!(read_all(&stream, &[1], LONGEST_MESSAGE).unwrap().0, wanted);
}

#[test]
fn an_end_inside_of_a_message_is_seen_at_every_place() {
    for stream in [framed(&[vec![9; 40]]), long_form(&[9; 40])] {
        for end in 1..stream.len() {
            let (messages, rest) = read_all(&stream[..end], &[5], LONGEST_MESSAGE).unwrap();
            assert!(messages.is_empty(), "cut at {end}");
            assert!(!rest.unwrap().is_whole());
        }
    }
}

#[test]
fn lengths_that_cannot_be_are_refused_with_the_head() {
    for bad in [i32::MIN, -2, -77] {
        let error = read_all(&bad.to_be_bytes(), &[1], LONGEST_MESSAGE).unwrap_err();
        assert_eq!(error, FrameError::Negative(bad));
        assert_eq!(Head::read(&bad.to_be_bytes(), 10), Err(FrameError::Negative(bad)));
    }
    let tebibyte = [hex("ffffffff"), (1u64 << 40).to_be_bytes().to_vec()].concat();
    let too_long = FrameError::TooLong { len: 1 << 40, max: LONGEST_MESSAGE };
    assert_eq!(read_all(&tebibyte, &[3], u64::MAX).unwrap_err(), too_long);
    let error = read_all(&framed(&[vec![0; 11]]), &[4], 10).unwrap_err();
    assert_eq!(error, FrameError::TooLong { len: 11, max: 10 });
    assert_eq!(read_all(&framed(&[vec![0; 10]]), &[4], 10).unwrap().0.len(), 1);
    assert!(Head::new(usize::MAX).is_err());
}

#[test]
fn a_length_alone_costs_no_memory() {
    let mut incoming = Incoming::new(LONGEST_MESSAGE);
    incoming.room().unwrap().head.copy_from_slice(&i32::MAX.to_be_bytes());
    incoming.filled(4).unwrap();
    let room = incoming.room().unwrap();
    assert!(room.head.is_empty() && room.most == RESERVE_AT_ONCE);
}

#[test]
fn an_announced_message_takes_its_head_and_body_at_once() {
    let stream = framed(&[b"hello".to_vec()]);
    let head = Head::read(&stream, 5).unwrap().unwrap();
    assert_eq!((head.body(), head.whole()), (5, 9));
    let mut incoming = Incoming::announced(head);
    assert!(!incoming.is_whole());
    let room = incoming.room().unwrap();
    assert_eq!((room.head.len(), room.most), (4, 5));
    room.head.copy_from_slice(&stream[..4]);
    room.body.extend_from_slice(&stream[4..]);
    incoming.filled(9).unwrap();
    assert!(incoming.is_whole());
    assert_eq!(incoming.into_body(), b"hello");

    // A body without bytes is whole with its head, not before.
    let mut empty = Incoming::announced(Head::new(0).unwrap());
    assert!(!empty.is_whole());
    assert_eq!(empty.room().unwrap().head.len(), 4);
    empty.filled(4).unwrap();
    assert!(empty.is_whole());
}

proptest! {
    #[test]
    fn any_messages_cut_anyhow_come_whole(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 0..12),
        cuts in prop::collection::vec(1usize..700, 1..20),
        long in any::<bool>(),
    ) {
        let mut stream = framed(&bodies);
        if long {
            stream.extend(bodies.iter().flat_map(|body| long_form(body)));
        }
        let (messages, rest) = read_all(&stream, &cuts, LONGEST_MESSAGE).unwrap();
        prop_assert!(rest.is_none());
        let wanted: Vec<_> = bodies.iter().chain(bodies.iter().filter(|_| long)).cloned().collect();
        prop_assert_eq!(messages, wanted);
    }

    /// Bytes of anybody: no panic, no message out of nothing, no more memory than named.
    #[test]
    fn junk_is_messages_or_an_error(
        junk in prop::collection::vec(any::<u8>(), 0..400),
        cuts in prop::collection::vec(1usize..50, 1..5),
    ) {
        if let Ok((messages, _)) = read_all(&junk, &cuts, 1000) {
            let taken: usize = messages.iter().map(|message| message.len() + 4).sum();
            prop_assert!(taken <= junk.len());
        }
    }
}
