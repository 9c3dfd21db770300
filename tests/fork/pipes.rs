//! Ends of pipes that a copy has with its original.

use crate::{SOON, fork};
use procession::{Connection, Pipe, Process};

/// Messages that were seen together are received one by one, by whoever comes, though the
/// copy has inherited what its parent knew of them.
pub(crate) fn a_copy_receives_what_its_parent_has_not() {
    let (near, far) = Pipe::duplex().unwrap();
    (0..6).for_each(|i: u32| far.send(&i).unwrap());
    let receive = |end: &Connection| end.recv_timeout::<u32>(SOON).unwrap();
    assert_eq!([receive(&near), receive(&near)], [0, 1]);
    let theirs = near.clone();
    let process = Process::fork(move || [receive(&theirs), receive(&theirs)]).unwrap();
    assert_eq!(process.result_timeout(SOON).unwrap(), [2, 3]);
    assert_eq!([receive(&near), receive(&near)], [4, 5]);
    assert!(!near.poll().unwrap());
}

/// Both processes hold both ends: what one has only looked at is the other's to take.
pub(crate) fn ends_of_pipes_are_captured() {
    let (ours, theirs) = Pipe::duplex().unwrap();
    for word in [b"1", b"2", b"3", b"4"] {
        ours.send_bytes(word).unwrap();
    }
    assert_eq!(theirs.recv_bytes().unwrap(), b"1");
    let end = theirs.clone();
    let process = Process::fork(move || {
        let got = [end.recv_bytes().unwrap(), end.recv_bytes().unwrap()];
        end.send_bytes(b"from the copy").unwrap();
        got
    });
    assert_eq!(process.unwrap().result_timeout(SOON).unwrap(), [b"2", b"3"]);
    assert_eq!(theirs.recv_bytes_timeout(SOON).unwrap(), b"4");
    assert_eq!(ours.recv_bytes_timeout(SOON).unwrap(), b"from the copy");
    // As an argument, an end is copied as by every method.
    let echo = |end: Connection| end.send_bytes(&end.recv_bytes().unwrap()).unwrap();
    let process = fork().spawn(echo, (theirs,)).unwrap();
    ours.send_bytes(b"again").unwrap();
    assert_eq!(ours.recv_bytes_timeout(SOON).unwrap(), b"again");
    assert!(process.join_timeout(SOON).unwrap());
}
