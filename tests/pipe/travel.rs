//! Descriptors and ends in messages: what arrives, what is refused, what is left open.
#![allow(unsafe_code, reason = "taking over a number is unsafe")]

use crate::util::{Folder, SOON, alone, at_rest, back_to, text};
use crate::{MOMENT, echo, ended};
use procession::{Connection, Fd, Pipe, PipeError, Process};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

fn write_to(end: Connection, text: String) {
    let fd: Fd = end.recv().unwrap();
    File::from(OwnedFd::from(fd)).write_all(text.as_bytes()).unwrap();
}

/// Rows conn-05, conn-06.
#[test]
fn a_descriptor_is_sent_to_a_child() {
    let folder = Folder::new("pipe-fd");
    for (text_of_it, lowest) in [("foo", 0), ("bar", 260)] {
        let path = folder.file(text_of_it);
        let file = File::create(&path).unwrap();
        // Numbers above 256, at both sides: the low ones are taken.
        let mut low = Vec::new();
        while low.last().is_some_and(|fd: &OwnedFd| fd.as_raw_fd() < lowest) || low.is_empty() {
            low.push(file.as_fd().try_clone_to_owned().unwrap());
        }
        let (ours, theirs) = Pipe::duplex().unwrap();
        let occupied = move |end: Connection, text: String, lowest: i32| {
            let mut low = vec![File::open("/dev/null").unwrap()];
            while low.last().unwrap().as_raw_fd() < lowest {
                low.push(File::open("/dev/null").unwrap());
            }
            write_to(end, text);
        };
        let args = (theirs, text_of_it.to_owned(), lowest);
        let p = Process::spawn(occupied, args).unwrap();
        ours.send(&Fd::from(low.pop().unwrap())).unwrap();
        ended(&p);
        assert_eq!(text(&path), text_of_it);
    }
}

/// Row conn-07.
#[test]
fn a_message_without_its_descriptor_is_an_error() {
    let (a, b) = Pipe::duplex().unwrap();
    a.send(&0u16).unwrap();
    assert!(matches!(b.recv::<Fd>(), Err(PipeError::Decode(_))));
    a.send(&7u8).unwrap();
    assert!(matches!(b.recv::<String>(), Err(PipeError::Decode(_))));
    // The next message is not touched.
    a.send("next").unwrap();
    assert_eq!(b.recv::<String>().unwrap(), "next");
}

/// Answers one message, upper-cased, on a connection that it is sent.
fn serve_one(end: Connection) {
    while let Ok(accepted) = end.recv::<Connection>() {
        let word = accepted.recv_bytes().unwrap();
        accepted.send_bytes(&word.to_ascii_uppercase()).unwrap();
    }
}

/// Row conn-09.
#[test]
fn accepted_connections_and_sockets_are_sent_in_messages() {
    let folder = Folder::new("pipe-sockets");
    let (ours, theirs) = Pipe::duplex().unwrap();
    let p = Process::spawn(serve_one, (theirs,)).unwrap();

    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let path = folder.file("listener");
    let unix = UnixListener::bind(&path).unwrap();
    for family in ["tcp", "unix"] {
        let (client, accepted) = if family == "tcp" {
            let client = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
            (Connection::from_fd(client), Connection::from_fd(tcp.accept().unwrap().0))
        } else {
            let client = UnixStream::connect(&path).unwrap();
            (Connection::from_fd(client), Connection::from_fd(unix.accept().unwrap().0))
        };
        let client = client.unwrap();
        ours.send(&accepted.unwrap()).unwrap();
        client.send_bytes(family.as_bytes()).unwrap();
        let answer = client.recv_bytes_timeout(SOON).unwrap();
        assert_eq!(answer, family.to_uppercase().as_bytes());
    }
    let client = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
    let (client, accepted) = (Connection::from_fd(client), tcp.accept().unwrap().0);
    let (client, accepted) = (client.unwrap(), Connection::from_fd(accepted).unwrap());
    assert!(matches!(client.send(&accepted), Err(PipeError::CannotCarry)));
    ours.send(&accepted).unwrap();
    let big = vec![b'x'; 2 << 20];
    client.send_bytes(&big).unwrap();
    assert!(client.recv_bytes_timeout(SOON).unwrap() == big.to_ascii_uppercase());
    drop(ours);
    ended(&p);

    // A plain socket, used as one.
    let plain = |end: Connection| {
        let mut socket = TcpStream::from(OwnedFd::from(end.recv::<Fd>().unwrap()));
        let mut word = [0; 5];
        socket.read_exact(&mut word).unwrap();
        socket.write_all(&word.to_ascii_uppercase()).unwrap();
    };
    let (ours, theirs) = Pipe::duplex().unwrap();
    let p = Process::spawn(plain, (theirs,)).unwrap();
    let mut client = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
    ours.send(&Fd(tcp.accept().unwrap().0.into())).unwrap();
    client.write_all(b"plain").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "PLAIN");
    ended(&p);
}

/// Row conn-10.
#[test]
fn ends_that_travel_keep_their_direction() {
    let (ours, theirs) = Pipe::duplex().unwrap();
    let child = |end: Connection| {
        let sender: Connection = end.recv().unwrap();
        assert!(!sender.is_readable() && matches!(sender.poll(), Err(PipeError::NotReadable)));
        sender.send("all is well").unwrap();
        drop(sender);
        let receiver: Connection = end.recv().unwrap();
        assert!(matches!(receiver.send(&1), Err(PipeError::NotWritable)));
        let word: String = receiver.recv().unwrap();
        end.send(&word.repeat(2)).unwrap();
    };
    let p = Process::spawn(child, (theirs,)).unwrap();
    let (receiver, sender) = Pipe::one_way().unwrap();
    ours.send(&sender).unwrap();
    drop(sender);
    assert_eq!(receiver.recv::<String>().unwrap(), "all is well");
    assert!(matches!(receiver.recv::<String>(), Err(PipeError::EndOfFile)));
    let (receiver, sender) = Pipe::one_way().unwrap();
    ours.send(&receiver).unwrap();
    sender.send("foobar").unwrap();
    assert_eq!(ours.recv::<String>().unwrap(), "foobarfoobar");
    ended(&p);
}

/// Row conn-11.
#[test]
fn numbers_and_descriptors_that_are_no_stream_are_refused() {
    for number in [44_977_608, -1] {
        // SAFETY: nothing is open there, so nobody owns it.
        let refused = unsafe { Connection::from_raw_fd(number) };
        let Err(PipeError::Io(error)) = refused else { panic!("{number}: {refused:?}") };
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    }
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    assert!(matches!(Connection::from_fd(datagrams), Err(PipeError::Io(_))));
    let (reader, writer) = std::io::pipe().unwrap();
    let (reader, writer) =
        (Connection::from_fd(reader).unwrap(), Connection::from_fd(writer).unwrap());
    assert!(!reader.is_writable() && !writer.is_readable());
    writer.send_bytes(b"through a pipe").unwrap();
    assert_eq!(reader.recv_bytes().unwrap(), b"through a pipe");
    assert!(matches!(writer.send(&reader), Err(PipeError::CannotCarry)));
}

/// Ends go through pipes, and to a child's child.
#[test]
fn ends_travel_through_ends_to_a_childs_child() {
    fn relay(end: Connection, depth: u32) {
        if depth == 0 {
            let (inner, word): (Connection, String) = end.recv().unwrap();
            inner.send(&word.to_uppercase()).unwrap();
            return;
        }
        let p = Process::spawn(relay, (end, depth - 1)).unwrap();
        p.join().unwrap();
    }
    let (ours, theirs) = Pipe::duplex().unwrap();
    let p = Process::spawn(relay, (theirs, 2)).unwrap();
    let (receiver, sender) = Pipe::one_way().unwrap();
    ours.send(&(sender, "far away")).unwrap();
    assert_eq!(receiver.recv_timeout::<String>(SOON).unwrap(), "FAR AWAY");
    ended(&p);
}

/// Nothing is left: no descriptor, no thread, no process; messages that nobody received and
/// the descriptors in them included.
#[test]
fn nothing_is_left_open() {
    alone("travel::nothing_is_left_open", || {
        let round = || {
            let (ours, theirs) = Pipe::duplex().unwrap();
            let p = Process::spawn(echo, (theirs,)).unwrap();
            ours.send_bytes(b"x").unwrap();
            ours.recv_bytes().unwrap();
            let (receiver, sender) = Pipe::one_way().unwrap();
            ours.send(&(&receiver, &sender)).unwrap();
            sender.send(&(receiver, Fd(std::io::pipe().unwrap().0.into()))).unwrap();
            drop(ours);
            ended(&p);
        };
        round();
        let baseline = at_rest();
        for _ in 0..10 {
            round();
        }
        back_to(&baseline);
    });
}

/// No descriptor is free: typed errors, nothing leaked, and no message gone.
#[test]
fn without_free_descriptors_errors_are_typed_and_nothing_is_lost() {
    alone("travel::without_free_descriptors_errors_are_typed_and_nothing_is_lost", || {
        let (a, b) = Pipe::duplex().unwrap();
        a.send(&Fd(std::io::pipe().unwrap().0.into())).unwrap();
        a.send(&a).unwrap();
        a.send_bytes(b"whole").unwrap();
        let baseline = at_rest();
        let limit = nix::sys::resource::Resource::RLIMIT_NOFILE;
        let (_, hard) = nix::sys::resource::getrlimit(limit).unwrap();
        nix::sys::resource::setrlimit(limit, 256.min(hard), hard).unwrap();
        let mut taken = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            taken.push(file);
        }
        let no_numbers = |result: PipeError| match result {
            PipeError::Io(error) => assert_eq!(error.raw_os_error(), Some(libc::EMFILE)),
            other => panic!("{other}"),
        };
        no_numbers(Pipe::duplex().unwrap_err());
        no_numbers(Pipe::one_way().unwrap_err());
        // What comes with one stays, whoever asks and however.
        no_numbers(b.recv::<Fd>().unwrap_err());
        no_numbers(b.recv_timeout::<Connection>(SOON).unwrap_err());
        no_numbers(b.recv_bytes().unwrap_err());
        taken.pop();
        drop(b.recv::<Fd>().unwrap());
        // With room for one descriptor of two.
        no_numbers(b.recv::<Connection>().unwrap_err());
        assert!(matches!(a.send(&(&a, &b)), Err(PipeError::Encode(_))));
        taken.pop();
        drop(b.recv::<Connection>().unwrap());
        taken.extend([(); 2].map(|()| File::open("/dev/null").unwrap()));
        assert_eq!(b.recv_bytes().unwrap(), b"whole");
        assert!(b.poll_timeout(MOMENT).is_ok_and(|ready| !ready));
        drop(taken);
        back_to(&baseline);
        a.send("goes on").unwrap();
        assert_eq!(b.recv::<String>().unwrap(), "goes on");
    });
}

/// Leaves numbers for just so many more descriptors; gives the limit that there was.
fn leave(free: usize) -> u64 {
    let limit = nix::sys::resource::Resource::RLIMIT_NOFILE;
    let (soft, hard) = nix::sys::resource::getrlimit(limit).unwrap();
    let taken: Vec<_> = (0..=free).map(|_| File::open("/dev/null").unwrap()).collect();
    let lowest_not = u64::try_from(taken[free].as_raw_fd()).unwrap();
    nix::sys::resource::setrlimit(limit, lowest_not, hard).unwrap();
    soft
}

fn restore(soft: u64) {
    let limit = nix::sys::resource::Resource::RLIMIT_NOFILE;
    let (_, hard) = nix::sys::resource::getrlimit(limit).unwrap();
    nix::sys::resource::setrlimit(limit, soft, hard).unwrap();
}

/// Messages with descriptors and without.
fn sends_mixed(end: Connection) {
    let fd = || Fd(File::open("/dev/null").unwrap().into());
    for len in LENGTHS {
        end.send(&(Vec::<Fd>::new(), vec![1_u8; 10])).unwrap();
        end.send(&(vec![fd(), fd()], vec![2_u8; len])).unwrap();
        end.send(&(Vec::<Fd>::new(), vec![3_u8; len])).unwrap();
        end.send(&(vec![fd()], vec![4_u8; 10])).unwrap();
    }
}

/// What fits into the socket, and what goes in pieces.
const LENGTHS: [usize; 7] = [0, 100, 5_000, 30_000, 40_000, 100_000, 1 << 20];

#[test]
fn messages_of_all_lengths_wait_for_their_descriptors() {
    alone("travel::messages_of_all_lengths_wait_for_their_descriptors", || {
        let (ours, theirs) = Pipe::duplex().unwrap();
        let p = Process::spawn(sends_mixed, (theirs,)).unwrap();
        let received = || ours.recv_timeout::<(Vec<Fd>, Vec<u8>)>(SOON);
        let is_refused = || match received() {
            Err(PipeError::Io(error)) => error.raw_os_error() == Some(libc::EMFILE),
            _ => false,
        };
        for len in LENGTHS {
            assert!(ours.poll_timeout(SOON).unwrap());
            let soft = leave(1);
            assert_eq!(received().unwrap().1, [1; 10]);
            assert!((0..3).all(|_| is_refused()), "{len}");
            restore(soft);
            let (fds, bytes) = received().unwrap();
            assert_eq!((fds.len(), bytes), (2, vec![2; len]));
            drop(fds);
            let soft = leave(0);
            assert_eq!(received().unwrap().1, vec![3; len], "it has none: {len}");
            assert!(is_refused(), "{len}");
            restore(soft);
            assert_eq!(received().unwrap().0.len(), 1);
        }
        ended(&p);
    });
}

/// The one in the middle of a message has no descriptor with which to learn its own name.
#[test]
fn a_reader_without_descriptors_keeps_its_turn() {
    alone("travel::a_reader_without_descriptors_keeps_its_turn", || {
        const LEN: usize = 1 << 20;
        let (ours, theirs) = Pipe::duplex().unwrap();
        let reads = |end: Connection| {
            let soft = leave(0);
            let len = end.recv_bytes().map(|bytes| bytes.len());
            restore(soft);
            len.map_or_else(|error| error.to_string(), |len| len.to_string())
        };
        let p = Process::spawn(reads, (theirs.clone(),)).unwrap();
        let mut raw = File::from(ours.as_fd().try_clone_to_owned().unwrap());
        raw.write_all(&u32::try_from(LEN).unwrap().to_be_bytes()).unwrap();
        // More than the socket holds: the other one is at it.
        raw.write_all(&vec![7; LEN - 1]).unwrap();
        let error = theirs.recv_bytes_timeout(Duration::from_millis(300)).unwrap_err();
        assert!(matches!(error, PipeError::Timeout), "{error}");
        raw.write_all(&[7]).unwrap();
        assert_eq!(p.result_timeout(SOON).unwrap(), LEN.to_string());
        theirs.recv_bytes_timeout(MOMENT).unwrap_err();
        ours.send_bytes(b"next").unwrap();
        assert_eq!(theirs.recv_bytes_timeout(SOON).unwrap(), b"next");
    });
}
