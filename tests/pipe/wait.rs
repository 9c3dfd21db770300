//! `wait` over many objects, and pipes whose holders are killed: rows wait of
//! conformance.md, and that no kill makes a message of half of one.

use crate::util::{METHODS, SOON};
use procession::{
    Connection, Pipe, PipeError, Process, Receiver, Sender, Sentinel, wait, wait_async,
};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

const MOMENT: Duration = Duration::from_millis(50);

fn sleep_on() {
    std::thread::sleep(Duration::from_secs(90));
}

/// Rows wait-02: many children, each with a pipe or a plain socket.
#[test]
fn many_pipes_and_sockets_are_waited_for_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (mut pipes, mut sockets, mut children) = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..4u8 {
        let (receiver, sender) = Pipe::typed::<(u8, u8)>().map(|(s, r)| (r, s)).unwrap();
        let send = |sender: Sender<(u8, u8)>, i: u8| {
            (0..10).for_each(|turn| sender.send((i, turn)).unwrap());
        };
        children.push(Process::spawn(send, (sender, i)).unwrap());
        pipes.push(receiver);
        let connect = |address: std::net::SocketAddr, i: u8| {
            TcpStream::connect(address).unwrap().write_all(&[i]).unwrap();
        };
        children.push(Process::spawn(connect, (address, i)).unwrap());
        sockets.push(listener.accept().unwrap().0);
    }
    let (mut seen, mut ended) = (BTreeSet::new(), BTreeSet::new());
    while ended.len() < 8 {
        let open: Vec<usize> = (0..8).filter(|at| !ended.contains(at)).collect();
        let all = pipes.iter().map(|pipe| pipe as &dyn AsFd);
        let all: Vec<&dyn AsFd> = all.chain(sockets.iter().map(|s| s as &dyn AsFd)).collect();
        let objects: Vec<&dyn AsFd> = open.iter().map(|at| all[*at]).collect();
        let ready = wait(&objects, SOON).unwrap();
        assert!(!ready.is_empty());
        for at in ready.into_iter().map(|at| open[at]) {
            if at < 4 {
                match pipes[at].recv_timeout(Duration::ZERO) {
                    Ok((i, turn)) => assert!(usize::from(i) == at && seen.insert((at, turn))),
                    Err(PipeError::EndOfFile) => drop(ended.insert(at)),
                    Err(error) => panic!("{error}"),
                }
            } else {
                let mut byte = [0];
                match std::io::Read::read(&mut &sockets[at - 4], &mut byte).unwrap() {
                    0 => drop(ended.insert(at)),
                    _ => assert!(seen.insert((at, byte[0]))),
                }
            }
        }
    }
    assert_eq!(seen.len(), 44);
    for child in children {
        assert!(child.join_timeout(SOON).unwrap());
    }
}

/// Rows wait-05, wait-07, claim sc-159.
#[test]
fn only_what_is_ready_is_named() {
    let (a, _a_far) = Pipe::duplex().unwrap();
    let (b, mut b_far) = Pipe::duplex().unwrap();
    let begun = Instant::now();
    assert_eq!(wait(&[&a, &b], MOMENT).unwrap(), [0; 0]);
    assert!(begun.elapsed() >= MOMENT);
    // Time has no sign here; none is what less than none is in Python.
    let begun = Instant::now();
    assert_eq!(wait(&[&a], Duration::ZERO).unwrap(), [0; 0]);
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(wait(&[], MOMENT).unwrap(), [0; 0]);

    b_far.send(&1).unwrap();
    assert_eq!(wait(&[&a, &b], None).unwrap(), [1]);
    assert_eq!(wait(&[&b, &a, &b], SOON).unwrap(), [0, 2]);
    b.recv::<i32>().unwrap();
    assert_eq!(wait(&[&a, &b], Duration::ZERO).unwrap(), [0; 0]);
    b_far.close();
    assert_eq!(wait(&[&a, &b], None).unwrap(), [1]);
}

/// Row wait-06.
#[test]
fn a_sentinel_is_waited_for_among_connections() {
    for method in METHODS {
        let (a, a_far) = Pipe::duplex().unwrap();
        let (b, b_far) = Pipe::duplex().unwrap();
        let brief = || std::thread::sleep(Duration::from_millis(100));
        let p = Process::builder(brief, ()).start_method(method).start().unwrap();
        let ended: Sentinel = p.sentinel().unwrap();
        let all: [&dyn AsFd; 3] = [&a, &ended, &b];
        assert_eq!(wait(&all, Duration::ZERO).unwrap(), [0; 0]);
        assert_eq!(wait(&all, SOON).unwrap(), [1]);
        a_far.send(&1).unwrap();
        assert_eq!(wait(&all, SOON).unwrap(), [0, 1]);
        b_far.send(&1).unwrap();
        assert_eq!(wait(&all, SOON).unwrap(), [0, 1, 2]);
        assert!(p.join_timeout(SOON).unwrap());
    }
}

#[test]
fn waiting_has_an_async_form() {
    let (a, a_far) = Pipe::duplex().unwrap();
    let file = std::fs::File::open("/proc/self/stat").unwrap();
    procession_runtime::wait::block_on(async {
        assert_eq!(wait_async(&[&a], MOMENT).await.unwrap(), [0; 0]);
        assert_eq!(wait_async(&[], MOMENT).await.unwrap(), [0; 0]);
        // A file is always ready.
        assert_eq!(wait_async(&[&a, &file], None).await.unwrap(), [1]);
        let p = Process::spawn(|end: Connection| end.send(&1).unwrap(), (a_far,)).unwrap();
        let ended = p.sentinel().unwrap();
        assert_eq!(wait_async(&[&a], None).await.unwrap(), [0]);
        assert_eq!(a.recv_async::<i32>().await.unwrap(), 1);
        assert_eq!(wait_async(&[&ended], SOON).await.unwrap(), [0]);
    });
}

/// A writer that is killed in the middle of a message, while this process and another one
/// hold the sending end too: the reader neither waits for ever nor gets a short message.
#[test]
fn a_writer_killed_midway_is_seen_though_others_hold_its_end() {
    for others_write in [false, true] {
        let (receiver, sender) = Pipe::one_way().unwrap();
        let bystander = Process::spawn(|_: Connection| sleep_on(), (sender.clone(),)).unwrap();
        let write = |sender: Connection| {
            sender.send_bytes(b"whole").unwrap();
            sender.send_bytes(&vec![1; 8 << 20]).unwrap();
        };
        let p = Process::spawn(write, (sender.clone(),)).unwrap();
        assert_eq!(receiver.recv_bytes_timeout(SOON).unwrap(), b"whole");
        assert!(receiver.poll_timeout(SOON).unwrap());
        p.kill().unwrap();
        p.join().unwrap();
        if others_write {
            assert!(matches!(sender.send_bytes(b"next"), Err(PipeError::BrokenPipe)));
        }
        let begun = Instant::now();
        let truncated = receiver.recv_bytes_timeout(SOON);
        assert!(matches!(truncated, Err(PipeError::Truncated)), "{truncated:?}");
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert!(matches!(receiver.recv_bytes(), Err(PipeError::EndOfFile)));
        assert!(matches!(sender.send_bytes(b"next"), Err(PipeError::BrokenPipe)));
        bystander.kill().unwrap();
        bystander.join().unwrap();
    }
}

/// A reader that is killed: alone, the writer gets an error and no SIGPIPE; among others, in
/// the middle of a message, they are told.
#[test]
fn a_killed_reader_is_a_broken_pipe() {
    let (receiver, sender) = Pipe::one_way().unwrap();
    let read = |receiver: Connection| {
        while receiver.recv_bytes().is_ok() {}
    };
    let p = Process::spawn(read, (receiver,)).unwrap();
    sender.send_bytes(&vec![1; 1 << 20]).unwrap();
    p.kill().unwrap();
    p.join().unwrap();
    assert!(matches!(sender.send_bytes(b"x"), Err(PipeError::BrokenPipe)));

    let (receiver, sender) = Pipe::one_way().unwrap();
    let stop = |receiver: Connection, said: Connection| {
        let _ = receiver.recv_bytes_timeout(MOMENT);
        said.send(&()).unwrap();
        sleep_on();
    };
    let (told, say) = Pipe::one_way().unwrap();
    // It finds the start of a message whose rest never comes.
    let mut raw = std::fs::File::from(sender.as_fd().try_clone_to_owned().unwrap());
    raw.write_all(&[0, 0, 1, 0, b'p', b'a', b'r', b't']).unwrap();
    let p = Process::spawn(stop, (receiver.clone(), say)).unwrap();
    told.recv_timeout::<()>(SOON).unwrap();
    let busy = receiver.recv_bytes_timeout(MOMENT);
    assert!(matches!(busy, Err(PipeError::Timeout)), "{busy:?}");
    p.kill().unwrap();
    p.join().unwrap();
    let damaged = receiver.recv_bytes_timeout(SOON);
    assert!(matches!(damaged, Err(PipeError::Damaged)), "{damaged:?}");
    assert!(matches!(sender.send_bytes(b"x"), Err(PipeError::BrokenPipe)));
}

/// A sum over a message's bytes, which stands at its end.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = bytes.iter().fold(7u8, |sum, byte| sum.rotate_left(1) ^ byte);
    bytes.push(sum);
    bytes
}

fn unseal(bytes: &[u8]) -> (u32, u32) {
    let (_, body) = bytes.split_last().unwrap();
    assert!(sealed(body.to_vec()) == bytes, "a damaged message");
    let number = |at: usize| u32::from_le_bytes(body[at..at + 4].try_into().unwrap());
    (number(0), number(4))
}

/// Sends numbered messages of many sizes, each of which fits, until it is killed or done.
fn produce(sender: Connection, me: u32, count: u32) {
    for turn in 0..count {
        let size = 8 + (turn.wrapping_mul(7919) % 97) * (turn % 5) * 60;
        let mut bytes = vec![turn.to_le_bytes()[0]; size as usize];
        bytes[..4].copy_from_slice(&me.to_le_bytes());
        bytes[4..8].copy_from_slice(&turn.to_le_bytes());
        if sender.send_bytes(&sealed(bytes)).is_err() {
            return;
        }
    }
}

/// Passes on what it received, and only says which message it was.
fn pass_on(receiver: Connection, sender: Sender<(u32, u32)>) {
    loop {
        match receiver.recv_bytes() {
            Ok(bytes) => sender.send(unseal(&bytes)).unwrap(),
            Err(PipeError::EndOfFile) => return,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A number for the pauses of a test, from the environment or the clock.
fn seed() -> u64 {
    let given = std::env::var("PROCESSION_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed =
        given.unwrap_or_else(|| std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos().into());
    println!("PROCESSION_TEST_SEED={seed}");
    seed
}

fn next(random: &mut u64) -> u64 {
    *random =
        random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *random >> 33
}

/// Kills one of the processes again and again, at random instants, and replaces it.
fn kill_some<R: serde::de::DeserializeOwned>(
    kills: u32,
    crew: &mut [Process<R>],
    mut start: impl FnMut() -> Process<R>,
) {
    let mut random = seed();
    for _ in 0..kills {
        std::thread::sleep(Duration::from_micros(next(&mut random) % 3000));
        let at = usize::try_from(next(&mut random)).unwrap() % crew.len();
        crew[at].kill().unwrap();
        crew[at].join().unwrap();
        crew[at] = start();
    }
}

/// Readers of one end are killed at random instants: each takes at most the one message with
/// it that it had received; all others are passed on once.
#[test]
fn killed_readers_lose_no_more_than_they_had_received() {
    const KILLS: u32 = 60;
    const COUNT: u32 = 8_000;
    let (receiver, sender) = Pipe::one_way().unwrap();
    let (done, passed) = Pipe::typed().unwrap();
    let start = || Process::spawn(pass_on, (receiver.clone(), done.clone())).unwrap();
    let mut readers = [start(), start(), start()];
    let writers = [0, 1].map(|me| Process::spawn(produce, (sender.clone(), me, COUNT)).unwrap());
    drop(sender);
    let count = std::thread::spawn(move || {
        let mut seen = BTreeSet::new();
        for message in &passed {
            assert!(seen.insert(message.unwrap()), "twice");
        }
        seen
    });
    kill_some(KILLS, &mut readers, start);
    for writer in writers {
        assert!(writer.join_timeout(SOON).unwrap());
    }
    for reader in &readers {
        assert!(reader.join_timeout(SOON).unwrap());
        assert_eq!(reader.exitcode(), Some(0));
    }
    drop((receiver, done));
    let seen = count.join().unwrap();
    let (seen, sent) = (seen.len(), 2 * COUNT as usize);
    assert!(seen <= sent && seen + KILLS as usize >= sent, "{seen} of {sent}");
}

/// Writers of one end are killed at random instants: what each had sent is there, in order,
/// whole, and nothing else.
#[test]
fn killed_writers_leave_whole_messages() {
    const KILLS: u32 = 60;
    let (receiver, sender) = Pipe::one_way().unwrap();
    let mut number = 0;
    let held = sender.clone();
    let mut start = move || {
        number += 1;
        Process::spawn(produce, (held.clone(), number, u32::MAX)).unwrap()
    };
    let mut writers = [start(), start(), start()];
    let count = std::thread::spawn(move || {
        let mut last = BTreeMap::new();
        loop {
            match receiver.recv_bytes() {
                Ok(bytes) => {
                    let (writer, turn) = unseal(&bytes);
                    let wanted = last.insert(writer, turn).map_or(0, |last| last + 1);
                    assert_eq!(turn, wanted, "of writer {writer}");
                }
                Err(PipeError::EndOfFile) => return last.len(),
                Err(error) => panic!("{error}"),
            }
        }
    });
    kill_some(KILLS, &mut writers, &mut start);
    for writer in &writers {
        writer.kill().unwrap();
        writer.join().unwrap();
    }
    drop((sender, start));
    assert!(count.join().unwrap() > 3);
}

/// Writers and readers of large messages in several processes at once, without a kill.
#[test]
fn several_processes_at_each_end_keep_large_messages_whole() {
    fn send(sender: Connection, me: u32) {
        for turn in 0..20u32 {
            let mut bytes = vec![turn.to_le_bytes()[0]; 20_000 + 45_000 * (turn as usize % 7)];
            bytes[..4].copy_from_slice(&me.to_le_bytes());
            bytes[4..8].copy_from_slice(&turn.to_le_bytes());
            sender.send_bytes(&sealed(bytes)).unwrap();
        }
    }
    let (receiver, sender) = Pipe::one_way().unwrap();
    let (done, passed): (_, Receiver<(u32, u32)>) = Pipe::typed().unwrap();
    let readers =
        [0, 1, 2].map(|_| Process::spawn(pass_on, (receiver.clone(), done.clone())).unwrap());
    let writers = [0, 1, 2].map(|me| Process::spawn(send, (sender.clone(), me)).unwrap());
    drop((receiver, sender, done));
    let seen: Result<BTreeSet<_>, _> = passed.iter().collect();
    assert_eq!(seen.unwrap().len(), 60);
    for child in readers.iter().chain(&writers) {
        assert!(child.join_timeout(SOON).unwrap());
        assert_eq!(child.exitcode(), Some(0));
    }
}

/// Of nothing nothing gets ready.
#[test]
fn a_wait_for_nothing_ends_at_once_or_in_time() {
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let begun = Instant::now();
        assert!(wait(&[], MOMENT).unwrap().is_empty());
        assert!(begun.elapsed() >= MOMENT);
        let future = wait_async(&[], None);
        assert!(procession_runtime::wait::block_on(future).unwrap().is_empty());
        assert!(wait(&[], None).unwrap().is_empty());
        done.send(()).unwrap();
    });
    is_done.recv_timeout(SOON).unwrap();
}
