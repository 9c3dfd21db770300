//! What has been received and stands in the socket: nobody notices.

use super::*;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use procession_protocols::pipe::debt::MOST_OWED;

fn number(i: u32) -> [u8; 4] {
    i.to_le_bytes()
}

fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
}

/// Another handle of the same end, as it arrives elsewhere.
fn copy(end: &End) -> End {
    let encoded = encode(end).unwrap();
    decode(&encoded.bytes, encoded.fds).unwrap()
}

fn read_raw(fd: BorrowedFd<'_>, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    let got = nix::unistd::read(fd, &mut bytes).unwrap();
    bytes.truncate(got);
    bytes
}

#[test]
fn messages_that_are_seen_together_are_taken_together_and_not_before() {
    let (a, b) = ends();
    (0..3).for_each(|i| send(&a, &number(i)));
    assert_eq!(receive(&b).unwrap(), number(0));
    assert_eq!(b.debt().bytes(), 8);
    assert_eq!(receive(&b).unwrap(), number(1));
    assert_eq!(stream::waiting(b.fd()).unwrap(), 24);
    // With nothing left there is no debt either, else a wait would end at once.
    assert_eq!(receive(&b).unwrap(), number(2));
    assert!(!b.poll(now()).unwrap());
    assert_eq!(stream::waiting(b.fd()).unwrap(), 0);
    assert!(matches!(b.receive(9, now()), Err(PipeError::Timeout)));
}

#[test]
fn a_debt_ends_before_it_keeps_a_writer_from_writing() {
    let (a, b) = ends();
    let many = u32::try_from(MOST_OWED).unwrap() * 3;
    (0..many).for_each(|i| send(&a, &number(i)));
    for i in 0..many {
        assert_eq!(receive(&b).unwrap(), number(i));
        assert!(b.debt().bytes() <= 8 * MOST_OWED, "{i}");
    }
}

#[test]
fn whoever_gets_the_descriptor_sees_what_has_not_been_received() {
    let (a, b) = ends();
    (0..5).for_each(|i| send(&a, &number(i)));
    assert_eq!(receive(&b).unwrap(), number(0));
    assert_eq!(receive(&b).unwrap(), number(1));
    assert_eq!(read_raw(b.as_fd(), 8), framed(&number(2)));
    // What was seen before somebody else read is worth nothing, as ever with such a one: it
    // has to read on. From here on nothing is owed.
    assert_eq!(read_raw(b.as_fd(), 100), [framed(&number(3)), framed(&number(4))].concat());
    (5..7).for_each(|i| send(&a, &number(i)));
    assert_eq!(receive(&b).unwrap(), number(5));
    assert_eq!(b.debt().bytes(), 0);
    assert!(is_readable(b.as_fd()));
    assert_eq!(receive(&b).unwrap(), number(6));
    assert!(!is_readable(b.as_fd()));
}

#[test]
fn handles_of_one_end_go_on_where_another_stopped() {
    let (a, b) = ends();
    let c = copy(&b);
    for i in 0..8 {
        send(&a, &number(i));
    }
    let mut received = Vec::new();
    for reader in [&b, &c, &b, &*b, &c, &c] {
        received.push(receive(reader).unwrap());
    }
    // A debt is everybody's: the copy pays for both when it is asked what there is.
    assert!(c.poll(now()).unwrap());
    drop(b);
    received.extend([receive(&c).unwrap(), receive(&c).unwrap()]);
    assert_eq!(received, (0..8).map(number).collect::<Vec<_>>());
    assert!(!c.poll(now()).unwrap());
    // The descriptor is opened at the one handle and so for the other.
    let d = copy(&c);
    (8..10).for_each(|i| send(&a, &number(i)));
    assert_eq!(receive(&c).unwrap(), number(8));
    assert_eq!(read_raw(d.as_fd(), 100), framed(&number(9)));
    assert_eq!(c.debt().bytes(), 0);
}

#[test]
fn larger_messages_and_descriptors_come_behind_what_is_owed() {
    let (a, b) = ends();
    let large = vec![7; 3 * FITS];
    let fds = [std::fs::File::open("/dev/null").unwrap().into()];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in 0..20_u32 {
                send(&a, &number(i));
                send(&a, b"");
                a.send(&Outgoing::new(b"carries", &fds).unwrap(), soon()).unwrap();
                send(&a, &large);
            }
        });
        for i in 0..20_u32 {
            assert_eq!(receive(&b).unwrap(), number(i));
            assert_eq!(receive(&b).unwrap(), b"");
            let carries = b.receive(LONGEST_MESSAGE, soon()).unwrap();
            assert!(carries.bytes == b"carries" && carries.fds.len() == 1);
            let mut buffer = vec![0; large.len()];
            assert_eq!(b.receive_into(&mut buffer).unwrap(), large.len());
            assert!(buffer == large);
        }
    });
}

#[test]
fn an_end_that_goes_with_a_debt_is_an_end_and_no_error() {
    let (a, b) = ends();
    (0..2).for_each(|i| send(&a, &number(i)));
    (0..2).for_each(|i| assert_eq!(receive(&b).unwrap(), number(i)));
    assert!(b.debt().bytes() > 0);
    drop(b);
    assert_eq!(read_raw(a.as_fd(), 1), b"");
}

#[test]
fn one_who_died_behind_its_payment_has_paid() {
    let (a, b) = ends();
    (0..4).for_each(|i| send(&a, &number(i)));
    (0..2).for_each(|i| assert_eq!(receive(&b).unwrap(), number(i)));
    // The call alone, without the store that says so.
    let debt = b.debt();
    assert_eq!(stream::discard(b.fd(), debt.witness, &mut Vec::new(), 16).unwrap(), 16);
    b.read_turn().pass();
    assert_eq!(debt.bytes(), 16);
    (2..4).for_each(|i| assert_eq!(receive(&b).unwrap(), number(i)));
    assert!(!b.poll(now()).unwrap());
}
