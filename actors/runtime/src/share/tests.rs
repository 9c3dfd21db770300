//! What the owner does with what no honest client sends.
//!
//! Owns a client made of a bare link. Honest ones are in `tests/handles/ways.rs`.

use super::handle::Handle;
use super::message::{self, Refusal, ToClient, ToOwner};
use super::*;
use crate::codec::{self, Fd};
use crate::link::{Frame, Link, LinkError};
use crate::node::hidden;
use crate::sync::after;
use crate::sys::process::pidfd_open;
use crate::wait::block_on_until;
use procession_protocols::wire::Kind as FrameKind;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

struct Thing(Arc<AtomicUsize>);

impl Stock for Thing {
    fn attach(&self, client: &Arc<Client>) -> io::Result<Encoded> {
        assert!(client.id >= ClientId::FIRST);
        Ok(Encoded { bytes: vec![7], fds: Vec::new() })
    }

    fn request(
        &self,
        _: &Arc<Client>,
        message: Encoded,
        reply: Option<ReplyTo>,
    ) -> Result<(), BadMessage> {
        if let Some(reply) = reply {
            reply.send(message);
        }
        Ok(())
    }

    fn detach(&self, _: &Arc<Client>) {}

    fn died(&self, _: &Arc<Client>) {}
}

impl Drop for Thing {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

struct ThingKind;

impl Kind for ThingKind {
    const NAME: &'static str = "thing";
    type Own = Thing;
    type Away = ();

    fn attached(_: &Arc<Connection>, _: u64, _: Encoded) -> Result<(), ShareError> {
        Ok(())
    }
}

fn soon() -> Option<Instant> {
    after(Duration::from_secs(20))
}

fn thing() -> (Share<ThingKind>, Arc<AtomicUsize>) {
    let dropped = Arc::new(AtomicUsize::new(0));
    (Share::host(Arc::new(Thing(dropped.clone()))), dropped)
}

fn ticket(share: &Share<ThingKind>) -> OwnedFd {
    let handle: Arc<dyn Handle> = share.0.clone();
    roads::issue(vec![handle]).unwrap()
}

fn is_dropped(dropped: &AtomicUsize) {
    let deadline = soon().unwrap();
    while dropped.load(Ordering::SeqCst) == 0 {
        assert!(Instant::now() < deadline, "the object is not dropped");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A bare client: its ticket, its connection, and what holds the place of its process.
struct Bare {
    ticket: Link,
    connection: Link,
    life: OwnedFd,
}

fn connect(share: &Share<ThingKind>) -> Bare {
    let ticket = Link::new(ticket(share));
    let (ours, theirs) = Link::pair().unwrap();
    // The reading end of a pipe becomes readable, as a pidfd does, when its other end goes.
    let (death, life) = std::io::pipe().unwrap();
    let word =
        ToOwner::Connect { name: "bare".into(), pid: 1, pidfd: Fd(death.into()), end: Fd(theirs) };
    message::say(&ticket, 0, &word).unwrap();
    let connection = Link::new(ours);
    let frame = connection.recv(soon()).unwrap().unwrap();
    let ToClient::Welcome { client, pidfd } = codec::decode(&frame.payload, frame.fds).unwrap();
    assert!(client >= ClientId::FIRST && pidfd.is_some());
    Bare { ticket, connection, life: life.into() }
}

impl Bare {
    fn call(&self, kind: FrameKind, target: u64, call: u64, message: Encoded) -> Frame {
        message::post(&self.connection, kind, target, call, message).unwrap();
        let frame = self.connection.recv(soon()).unwrap().unwrap();
        assert_eq!(frame.header.call, call);
        frame
    }

    fn refused(&self, kind: FrameKind, target: u64, call: u64, message: Encoded) -> Refusal {
        let frame = self.call(kind, target, call, message);
        assert_eq!(frame.header.kind, FrameKind::Refused);
        codec::decode(&frame.payload, frame.fds).unwrap()
    }

    fn is_cut_off(&self) {
        loop {
            match self.connection.recv(soon()) {
                Ok(Some(_)) => {}
                Err(LinkError::Closed) => return,
                other => panic!("{other:?}"),
            }
        }
    }
}

fn word(word: &ToOwner) -> Encoded {
    codec::encode(word).unwrap()
}

fn attach_to(object: u64) -> Encoded {
    word(&ToOwner::Attach { object, kind: ThingKind::NAME.into() })
}

#[test]
fn requests_need_an_attachment_to_an_object_that_exists() {
    let (share, dropped) = thing();
    let client = connect(&share);
    let object = share.object();
    let echo = || Encoded { bytes: vec![1, 2], fds: Vec::new() };
    let refusal = client.refused(FrameKind::Call, object, 1, echo());
    assert!(matches!(refusal, Refusal::NotAttached));
    let refusal = client.refused(FrameKind::Control, 0, 2, attach_to(object + 1_000_000));
    assert!(matches!(refusal, Refusal::NoSuchObject));
    let other = word(&ToOwner::Attach { object, kind: "another".into() });
    let Refusal::OtherKind(found) = client.refused(FrameKind::Control, 0, 3, other) else {
        panic!()
    };
    assert_eq!(found, ThingKind::NAME);
    assert_eq!(client.call(FrameKind::Control, 0, 4, attach_to(object)).payload, [7]);
    assert_eq!(client.call(FrameKind::Call, object, 5, echo()).payload, [1, 2]);
    // It attaches again, as one that has forgotten; the older release counts for nothing.
    assert_eq!(client.call(FrameKind::Control, 0, 6, attach_to(object)).payload, [7]);
    message::post(&client.connection, FrameKind::Release, object, 4, Encoded::default()).unwrap();
    assert_eq!(client.call(FrameKind::Call, object, 7, echo()).payload, [1, 2]);
    // Tickets for what is not there, and an end of what was not begun.
    let (end, _other) = Link::pair().unwrap();
    let adopt = word(&ToOwner::Adopt { objects: vec![0, u64::MAX], end: Fd(end) });
    assert_eq!(client.call(FrameKind::Control, 0, 8, adopt).header.kind, FrameKind::Reply);
    let cancel = word(&ToOwner::Cancel { object: u64::MAX, call: 99 });
    message::post(&client.connection, FrameKind::Control, 0, 0, cancel).unwrap();
    message::post(&client.connection, FrameKind::Release, 0, 77, Encoded::default()).unwrap();
    assert_eq!(client.call(FrameKind::Call, object, 9, echo()).payload, [1, 2]);
    // The attachment alone keeps the object, and the death alone ends it.
    let Bare { ticket, connection, life } = client;
    drop((share, ticket));
    message::post(&connection, FrameKind::Call, object, 10, echo()).unwrap();
    assert_eq!(connection.recv(soon()).unwrap().unwrap().payload, [1, 2]);
    assert_eq!(dropped.load(Ordering::SeqCst), 0);
    drop(life);
    is_dropped(&dropped);
}

/// Before a death is told, all that the others have said is read, for them.
#[test]
fn what_is_no_message_ends_its_socket_whoever_reads_it() {
    let (share, _) = thing();
    for _ in 0..20 {
        let client = Arc::new(connect(&share));
        let message = Encoded { bytes: vec![5], fds: Vec::new() };
        client.refused(FrameKind::Call, share.object(), 1, message);
        let reader = client.clone();
        // Its own reader has no turn in between.
        let read = hidden::handle().unwrap().spawn(async move {
            let message = Encoded { bytes: Vec::new(), fds: Vec::new() };
            message::post(&reader.connection, FrameKind::Stop, 0, 1, message).unwrap();
            assert!(host::read_all());
        });
        client.is_cut_off();
        block_on_until(read, soon().unwrap()).unwrap().unwrap();
    }
}

#[test]
fn what_is_no_message_ends_its_socket_and_nothing_else() {
    let (share, dropped) = thing();
    let honest = connect(&share);
    let object = share.object();
    assert_eq!(honest.call(FrameKind::Control, 0, 1, attach_to(object)).payload, [7]);
    let wrong: [(FrameKind, &[u8]); 5] = [
        (FrameKind::Control, b"\xff\xff\xff"),
        (FrameKind::Control, b""),
        (FrameKind::Mail, b"not here"),
        (FrameKind::Reply, b"to nobody"),
        (FrameKind::Stop, b""),
    ];
    for (kind, bytes) in wrong {
        let client = connect(&share);
        let message = Encoded { bytes: bytes.to_vec(), fds: Vec::new() };
        message::post(&client.connection, kind, object, 1, message).unwrap();
        client.is_cut_off();
    }
    // Bytes that are no frame; half a frame; a connection asked for on a connection.
    let client = connect(&share);
    let mut socket = UnixStream::from(
        std::os::fd::AsFd::as_fd(&client.connection).try_clone_to_owned().unwrap(),
    );
    socket.write_all(&[0xee; 100]).unwrap();
    client.is_cut_off();
    drop(client);
    let client = connect(&share);
    let (death, end) =
        (pidfd_open(std::process::id().cast_signed()).unwrap(), Link::pair().unwrap().0);
    let again = ToOwner::Connect { name: String::new(), pid: 0, pidfd: Fd(death), end: Fd(end) };
    message::say(&client.connection, 0, &again).unwrap();
    client.is_cut_off();
    drop(client);
    // On a ticket, too.
    let mut socket = UnixStream::from(ticket(&share));
    socket.write_all(&[0xee; 100]).unwrap();
    let closed = std::io::Read::read(&mut socket, &mut [0; 1]);
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
    let message = Encoded { bytes: vec![5], fds: Vec::new() };
    assert_eq!(honest.call(FrameKind::Call, object, 2, message).payload, [5]);
    drop((honest, share));
    is_dropped(&dropped);
}
