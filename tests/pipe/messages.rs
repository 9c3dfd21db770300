//! Messages through pipes: rows connection and poll of conformance.md, signals, async forms, a
//! Python process on the other end.

use crate::util::signals::{catch, caught, fire, under_fire};
use crate::util::{METHODS, SOON, alone, until};
use crate::{MOMENT, echo, ended};
use nix::sys::signal::Signal;
use procession::{Connection, Error, Pipe, PipeError, Process, Receiver, Run, Sender, Unsent};
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Row conn-02.
#[test]
fn a_one_way_pipe_goes_one_way() {
    let (receiver, sender) = Pipe::one_way().unwrap();
    sender.send(&1).unwrap();
    assert_eq!(receiver.recv::<i32>().unwrap(), 1);
    assert!(receiver.is_readable() && !receiver.is_writable());
    assert!(!sender.is_readable() && sender.is_writable());
    assert!(matches!(receiver.send(&1), Err(PipeError::NotWritable)));
    assert!(matches!(receiver.send_bytes(b"x"), Err(PipeError::NotWritable)));
    assert!(matches!(sender.recv::<i32>(), Err(PipeError::NotReadable)));
    assert!(matches!(sender.recv_bytes_timeout(MOMENT), Err(PipeError::NotReadable)));
    assert!(matches!(sender.poll(), Err(PipeError::NotReadable)));

    let (a, b) = Pipe::duplex().unwrap();
    assert!([&a, &b].iter().all(|end| end.is_readable() && end.is_writable()));
}

/// Row conn-03, claims sc-145, sc-154.
#[test]
fn the_parents_copy_is_closed_right_after_the_start() {
    for method in METHODS {
        let (mut ours, mut theirs) = Pipe::duplex().unwrap();
        let p = Process::builder(echo, (theirs.clone(),)).start_method(method).start().unwrap();
        theirs.close();
        for word in ["hello", "", "world"] {
            ours.send_bytes(word.as_bytes()).unwrap();
            assert_eq!(ours.recv_bytes_timeout(SOON).unwrap(), word.as_bytes());
        }
        let big = vec![5; 3 << 20];
        std::thread::scope(|scope| {
            scope.spawn(|| ours.send_bytes(&big).unwrap());
            assert!(ours.recv_bytes_timeout(SOON).unwrap() == big);
        });
        ours.close();
        ended(&p);
    }
}

/// Claim sc-154: what was sent before the end comes first; then the end, not a hang.
#[test]
fn the_end_comes_behind_what_was_sent() {
    let (receiver, sender) = Pipe::one_way().unwrap();
    let send = |sender: Connection| sender.send(&(42, None::<u8>, "hello".to_owned())).unwrap();
    let p = Process::spawn(send, (sender,)).unwrap();
    let got: (i32, Option<u8>, String) = receiver.recv().unwrap();
    assert_eq!(got, (42, None, "hello".to_owned()));
    assert!(matches!(receiver.recv::<u8>(), Err(PipeError::EndOfFile)));
    assert!(receiver.poll().unwrap());
    assert!(matches!(receiver.recv_bytes(), Err(PipeError::EndOfFile)));
    ended(&p);
}

/// Row conn-08.
#[test]
fn a_closed_handle_says_so() {
    let (mut a, b) = Pipe::duplex().unwrap();
    let clone = a.clone();
    assert!(a.fileno().unwrap() > 2);
    a.close();
    a.close();
    assert!(a.is_closed() && !b.is_closed());
    assert!(matches!(a.recv_bytes(), Err(PipeError::Closed)));
    assert!(matches!(a.send(&1), Err(PipeError::Closed)));
    assert!(matches!(a.poll(), Err(PipeError::Closed)));
    assert!(matches!(a.fileno(), Err(PipeError::Closed)));
    assert_eq!(PipeError::Closed.to_string(), "the handle is closed");
    assert!(matches!(b.send(&a), Err(PipeError::Encode(_))));
    assert_eq!(format!("{a:?}"), "Connection(closed)");
    // The descriptor goes with the last clone.
    b.send(&1).unwrap();
    assert_eq!(clone.recv::<i32>().unwrap(), 1);
    drop(clone);
    assert!(matches!(b.recv::<i32>(), Err(PipeError::EndOfFile)));
}

/// Row poll-04.
#[test]
fn messages_sent_back_to_back_are_polled_one_by_one() {
    let (a, b) = Pipe::duplex().unwrap();
    assert!(!b.poll().unwrap());
    let begun = Instant::now();
    assert!(!b.poll_timeout(MOMENT).unwrap());
    assert!(begun.elapsed() >= MOMENT);
    for word in ["a", "b", "cd"] {
        a.send_bytes(word.as_bytes()).unwrap();
    }
    assert!(b.poll_timeout(SOON).unwrap());
    assert_eq!(b.recv_bytes().unwrap(), b"a");
    assert!(b.poll_timeout(SOON).unwrap());
    assert_eq!(b.recv_bytes().unwrap(), b"b");
    assert!(b.poll().unwrap());
    assert_eq!(b.recv_bytes().unwrap(), b"cd");
    assert!(!b.poll().unwrap());
}

/// Claims sc-160 to sc-163: slices, limits, buffers.
#[test]
fn bytes_are_sent_in_part_and_received_into_buffers() {
    let (a, b) = Pipe::duplex().unwrap();
    let bytes: Vec<u8> = (0..=255).collect();
    for part in [&bytes[..], &bytes[250..], &bytes[10..20], &[]] {
        a.send_bytes(part).unwrap();
        assert_eq!(b.recv_bytes_max(part.len()).unwrap(), part);
        a.send_bytes(part).unwrap();
        let mut buffer = [7; 300];
        assert_eq!(b.recv_bytes_into(&mut buffer[5..]).unwrap(), part.len());
        assert_eq!(&buffer[5..5 + part.len()], part);
        assert_eq!(buffer[5 + part.len()], 7);
    }
    a.send_bytes(&bytes).unwrap();
    let too_short = b.recv_bytes_into(&mut [0; 255]);
    let Err(PipeError::BufferTooShort(whole)) = too_short else { panic!("{too_short:?}") };
    assert_eq!(whole, bytes);

    a.send_bytes(b"1234").unwrap();
    assert!(matches!(b.recv_bytes_max(3), Err(PipeError::BadLength(_))));
    assert!(matches!(b.recv_bytes(), Err(PipeError::Refused)));
    b.send_bytes(b"still").unwrap();
    assert_eq!(a.recv_bytes().unwrap(), b"still");
}

/// Each call that waits has a form with an end and one that blocks no thread.
#[test]
fn bytes_are_received_in_all_forms() {
    let run = procession_runtime::wait::block_on::<std::pin::Pin<Box<dyn Future<Output = ()>>>>;
    let (a, b) = Pipe::duplex().unwrap();
    let brief = Duration::from_millis(20);
    let mut buffer = [7; 4];
    assert!(matches!(b.recv_bytes_max_timeout(4, brief), Err(PipeError::Timeout)));
    assert!(matches!(b.recv_bytes_into_timeout(&mut buffer, brief), Err(PipeError::Timeout)));
    for _ in 0..6 {
        a.send_bytes_timeout(b"123", SOON).unwrap();
    }
    assert_eq!(b.recv_bytes_max_timeout(3, SOON).unwrap(), b"123");
    assert_eq!(b.recv_bytes_into_timeout(&mut buffer, SOON).unwrap(), 3);
    assert_eq!(&buffer, b"123\x07");
    let short = b.recv_bytes_into_timeout(&mut buffer[..2], SOON);
    assert!(matches!(short, Err(PipeError::BufferTooShort(whole)) if whole == b"123"));
    run(Box::pin(async move {
        assert_eq!(b.recv_bytes_max_async(3).await.unwrap(), b"123");
        let mut buffer = [7; 4];
        assert_eq!(b.recv_bytes_into_async(&mut buffer).await.unwrap(), 3);
        assert_eq!(&buffer, b"123\x07");
        assert!(matches!(b.recv_bytes_max_async(2).await, Err(PipeError::BadLength(_))));
    }));

    // Nobody receives: what does not fit has its time.
    let (a, _b) = Pipe::duplex().unwrap();
    let full = (0..10_000).find_map(|_| a.send_bytes_timeout(&[1; 10_000], brief).err());
    assert!(matches!(full, Some(PipeError::Timeout)), "{full:?}");
}

/// The typed ends of a pipe are connections that forget a type.
#[test]
fn a_typed_end_is_a_connection_in_the_end() {
    let (sender, receiver) = Pipe::typed::<u32>().unwrap();
    sender.send(1).unwrap();
    let (sender, receiver) = (sender.into_connection(), receiver.into_connection());
    sender.send(&2u32).unwrap();
    assert_eq!([receiver.recv::<u32>().unwrap(), receiver.recv::<u32>().unwrap()], [1, 2]);
    assert!(sender.is_writable() && receiver.is_readable());
}

/// Row proc-22: an own process type with two ends in its fields.
#[derive(Serialize, Deserialize)]
struct Upper {
    requests: Receiver<Option<String>>,
    answers: Sender<String>,
}

impl Run for Upper {
    type Output = u32;

    fn run(self) -> u32 {
        let mut served = 0;
        while let Some(word) = self.requests.recv().unwrap() {
            self.answers.send(word.to_uppercase()).unwrap();
            served += 1;
        }
        served
    }
}

#[test]
fn an_own_process_type_serves_over_its_ends() {
    for method in METHODS {
        let (ask, requests) = Pipe::typed().unwrap();
        let (answers, answer) = Pipe::typed().unwrap();
        let service = Upper { requests, answers };
        let p = service.into_process().start_method(method).start().unwrap();
        for word in ["hello", "world"] {
            ask.send(Some(word.to_owned())).unwrap();
            assert_eq!(answer.recv_timeout(SOON).unwrap(), word.to_uppercase());
        }
        ask.send(None).unwrap();
        assert_eq!(p.result_timeout(SOON).unwrap(), 2);
        assert!(matches!(answer.recv(), Err(PipeError::EndOfFile)));
    }
}

#[test]
fn what_is_not_sent_comes_back() {
    let (sender, receiver) = Pipe::typed::<String>().unwrap();
    sender.send_timeout("a".into(), SOON).unwrap();
    assert!(receiver.poll().unwrap());
    assert_eq!(receiver.recv().unwrap(), "a");
    drop(receiver);
    // A process that another test starts has the other end as well until its exec.
    let begun = Instant::now();
    let Unsent { item, error } = loop {
        match sender.send("b".into()) {
            Err(unsent) => break unsent,
            Ok(()) => assert!(begun.elapsed() < SOON, "nobody is there"),
        }
    };
    assert!(item == "b" && matches!(error, PipeError::BrokenPipe));

    let (sender, receiver) = Pipe::typed::<Vec<u8>>().unwrap();
    let full = loop {
        if let Err(unsent) = sender.send_timeout(vec![1; 1000], Duration::ZERO) {
            break unsent;
        }
    };
    assert!(full.item == [1; 1000] && matches!(full.error, PipeError::Timeout));
    let error = Error::from(sender.send_timeout(vec![0; 500_000], MOMENT).unwrap_err());
    assert!(matches!(error, Error::Pipe(PipeError::Timeout)));
    let first = receiver.iter().next().unwrap().unwrap();
    assert_eq!(first, [1; 1000]);

    let outside = serde_json::to_string(&receiver).unwrap_err();
    assert!(outside.to_string().contains("OutsideTransfer"), "{outside}");
}

/// Row eintr-01: handlers without `SA_RESTART`, up to a thousand times a second.
#[test]
fn signals_disturb_neither_receiving_nor_sending() {
    let (ours, theirs) = Pipe::duplex().unwrap();
    let child = |end: Connection| {
        catch(Signal::SIGUSR1);
        end.send("ready").unwrap();
        let number: u32 = end.recv().unwrap();
        end.send(&number).unwrap();
        end.send_bytes(&vec![b'x'; 4 << 20]).unwrap();
        caught()
    };
    let p = Process::spawn(child, (theirs,)).unwrap();
    assert_eq!(ours.recv::<String>().unwrap(), "ready");
    let pid = p.pid().unwrap();
    fire(pid, Signal::SIGUSR1, 100);
    ours.send(&1234u32).unwrap();
    assert_eq!(ours.recv::<u32>().unwrap(), 1234);
    fire(pid, Signal::SIGUSR1, 100);
    assert!(ours.recv_bytes().unwrap() == vec![b'x'; 4 << 20]);
    // The last may be between the thread that took it and its handler.
    assert!(p.result_timeout(SOON).unwrap() >= 199);

    alone("messages::signals_disturb_neither_receiving_nor_sending", || {
        let (ours, theirs) = Pipe::duplex().unwrap();
        let p = Process::spawn(echo, (theirs,)).unwrap();
        under_fire(Signal::SIGUSR2, || {
            let begun = Instant::now();
            assert!(matches!(ours.recv_bytes_timeout(MOMENT), Err(PipeError::Timeout)));
            assert!(begun.elapsed() >= MOMENT);
            for size in [5, 100_000, 2 << 20] {
                let bytes = vec![3; size];
                std::thread::scope(|scope| {
                    scope.spawn(|| ours.send_bytes(&bytes).unwrap());
                    assert!(ours.recv_bytes().unwrap() == bytes);
                });
            }
        });
        drop(ours);
        ended(&p);
    });
}

/// A Python process at the other end of the descriptor. Skipped where there is no Python.
#[test]
fn a_python_process_speaks_the_same() {
    const PROGRAM: &str = "\
from multiprocessing.connection import Connection
end = Connection(0)
while True:
    try:
        message = end.recv_bytes()
    except EOFError:
        break
    end.send_bytes(message[::-1])
";
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut command = Command::new("python3");
    command.args(["-c", PROGRAM]).stdin(Stdio::from(OwnedFd::from(theirs)));
    let mut python = match command.spawn() {
        Ok(python) => python,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        Err(error) => panic!("{error}"),
    };
    drop(command);
    let ours = Connection::from_fd(ours).unwrap();
    for size in [0, 1, 64, 16_384, 16_385, 1 << 20] {
        let message: Vec<u8> = (0..size).map(|i: u32| i.to_le_bytes()[0]).collect();
        ours.send_bytes(&message).unwrap();
        let mut back = ours.recv_bytes_timeout(SOON).unwrap();
        back.reverse();
        assert!(back == message, "{size}");
    }
    drop(ours);
    assert!(python.wait().unwrap().success());
}

/// The async forms, on a runtime of the caller's and on none at all.
#[test]
fn async_forms_work_on_any_executor() {
    let (ours, theirs) = Pipe::duplex().unwrap();
    let p = Process::spawn(echo, (theirs,)).unwrap();
    let big = vec![8; 3 << 20];
    let talk = async {
        ours.send_bytes_async(b"hello").await.unwrap();
        assert_eq!(ours.recv_bytes_async().await.unwrap(), b"hello");
        assert!(!ours.poll_async(MOMENT).await.unwrap());
        let (sent, got) = tokio::join!(ours.send_bytes_async(&big), ours.recv_bytes_async());
        sent.unwrap();
        assert!(got.unwrap() == big);
        ours.send_async(&(1, "two")).await.unwrap();
        assert_eq!(ours.recv_async::<(i32, String)>().await.unwrap(), (1, "two".to_owned()));
    };
    tokio::runtime::Runtime::new().unwrap().block_on(talk);
    procession_runtime::wait::block_on(async {
        // Cancelled receives lose nothing.
        for _ in 0..20 {
            tokio::select! {
                biased;
                got = ours.recv_bytes_async() => panic!("{got:?}"),
                () = std::future::ready(()) => {}
            }
        }
        ours.send_bytes_async(b"last").await.unwrap();
        assert_eq!(ours.recv_bytes_async().await.unwrap(), b"last");
    });
    drop(ours);
    ended(&p);
}

/// A send that is cancelled before its first byte is taken back; after it, it arrives.
#[test]
fn a_cancelled_send_happens_as_a_whole_or_not_at_all() {
    let (receiver, sender) = Pipe::one_way().unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let big = vec![1; 4 << 20];
        let cut = tokio::time::timeout(MOMENT, sender.send_bytes_async(&big)).await;
        assert!(cut.is_err());
        let none = tokio::time::timeout(MOMENT, sender.send_bytes_async(b"none")).await;
        assert!(none.is_err());
        assert!(receiver.recv_bytes_async().await.unwrap() == big);
        sender.send_bytes_async(b"next").await.unwrap();
        assert_eq!(receiver.recv_bytes_async().await.unwrap(), b"next");
        assert!(!receiver.poll().unwrap());
    });
}

/// The largest thing here: 64 MiB (claim sc-152).
#[test]
fn large_messages_go_through() {
    let (ours, theirs) = Pipe::duplex().unwrap();
    let p = Process::spawn(|end: Connection| end.recv_bytes().unwrap().len(), (theirs,)).unwrap();
    ours.send_bytes(&vec![1; 64 << 20]).unwrap();
    assert_eq!(p.result_timeout(SOON).unwrap(), 64 << 20);
    until("the child's end is closed", || {
        matches!(ours.send_bytes(b"x"), Err(PipeError::BrokenPipe))
    });
}
