//! The owner's side: objects, and the processes that use them.
//!
//! Owns the hosted objects and one task of the hidden thread for each ticket and each
//! connection. It feeds `custody` and carries out what that decides; a kind's own messages
//! go to its [`Stock`] unread. No lock is held while a stock is called. It must never
//! decode a user's value, nor wait for a client. A client that sends what is no message
//! loses its connection; its death is still waited for, since only that gives back what it
//! held. Neighbours: `stream` reads the sockets.

use super::client::{Client, ReplyTo};
use super::era::Eras;
use super::extensions::Extensions;
use super::fall::let_fall;
use super::message::{self, Refusal, ToClient, ToOwner};
use super::stream::{Role, Stream};
use super::{BadMessage, ShareError, Stock};
use crate::codec::{self, Encoded, Fd};
use crate::link::{Frame, Link};
use crate::node::hidden;
use crate::sync::lock;
use crate::sys::process::pidfd_open;
use crate::sys::watch::LOOK_PERIOD;
use procession_protocols::custody::{Attached, ClientId, Custody, Effect};
use procession_protocols::wire::Kind as FrameKind;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

#[derive(Default)]
struct Host {
    custody: Custody,
    objects: HashMap<u64, Object>,
    clients: HashMap<ClientId, Arc<Client>>,
    /// All sockets that are read, to be read out before an object is dropped.
    streams: BTreeMap<u64, Arc<Stream>>,
    last_stream: u64,
    is_draining: bool,
}

#[derive(Clone)]
struct Object {
    kind: &'static str,
    stock: Arc<dyn Stock>,
}

static HOST: Eras<Mutex<Host>> = Eras::new();

/// What came from a client is no message.
#[derive(Debug)]
pub(super) struct Damaged;

/// Hosts an object, with one handle; gives its number.
pub(super) fn host(kind: &'static str, stock: Arc<dyn Stock>) -> u64 {
    let host = &mut *lock(HOST.now());
    let object = host.custody.host();
    host.objects.insert(object, Object { kind, stock });
    object
}

/// A further local handle of an object of this kind: the object.
pub(super) fn hold(kind: &str, object: u64) -> Result<Arc<dyn Stock>, ShareError> {
    let host = &mut *lock(HOST.now());
    let known = host.objects.get(&object).ok_or(ShareError::NoSuchObject)?;
    if known.kind != kind {
        return Err(ShareError::OtherKind { found: known.kind.into() });
    }
    host.custody.hold(object);
    Ok(known.stock.clone())
}

/// A local handle has been dropped.
pub(super) fn let_go(object: u64) {
    let effects = lock(HOST.now()).custody.let_go(object);
    carry_out(effects);
}

/// Takes one end of a fresh ticket for these objects.
pub(super) fn issue(objects: impl Iterator<Item = u64>, end: OwnedFd) -> io::Result<()> {
    let ticket = lock(HOST.now()).custody.issue(objects);
    serve(Role::Ticket(ticket), Arc::new(Link::new(end)))
        .inspect_err(|_| carry_out(lock(HOST.now()).custody.end_ticket(ticket)))
}

fn serve(role: Role, link: Arc<Link>) -> io::Result<()> {
    let (number, stream) = {
        let host = &mut *lock(HOST.now());
        host.last_stream += 1;
        let stream = Arc::new(Stream::new(host.last_stream, role, link));
        host.streams.insert(host.last_stream, stream.clone());
        (host.last_stream, stream)
    };
    stream.attend().inspect_err(|_| close(number))
}

/// A socket has been read to its end.
pub(super) fn close(stream: u64) {
    let closed = lock(HOST.now()).streams.remove(&stream);
    drop(closed);
}

/// All copies of a ticket are closed.
pub(super) fn end_ticket(ticket: u64) {
    let effects = lock(HOST.now()).custody.end_ticket(ticket);
    carry_out(effects);
}

/// A client's process has ended, and what it had sent has been read.
pub(super) fn bury(client: &Arc<Client>) {
    client.catch_up();
    let effects = lock(HOST.now()).custody.die(client.id);
    carry_out(effects);
    // What kinds keep for it goes before its number can be another's.
    client.extensions.clear();
    lock(&client.other_ways).clear();
    let host = &mut *lock(HOST.now());
    host.clients.remove(&client.id);
    host.custody.bury(client.id);
}

/// A number for a client that comes another way; `None` when none is left.
pub(crate) fn enlist() -> Option<ClientId> {
    lock(HOST.now()).custody.connect()
}

/// Whether a client is there, and not known to have ended.
pub(crate) fn is_there(client: ClientId) -> bool {
    client == ClientId::OWNER || lock(HOST.now()).custody.is_there(client)
}

/// That client is gone, and what it had has been put right.
pub(crate) fn discharge(client: ClientId) {
    let host = &mut *lock(HOST.now());
    let effects = host.custody.die(client);
    debug_assert!(effects.is_empty(), "it is attached to nothing");
    host.custody.bury(client);
}

/// Takes a frame that came on a ticket.
pub(super) fn heard_on_ticket(frame: Frame) -> Result<(), Damaged> {
    let Ok(ToOwner::Connect { name, pid, pidfd, end }) = codec::decode(&frame.payload, frame.fds)
    else {
        return Err(Damaged);
    };
    let Some(id) = lock(HOST.now()).custody.connect() else {
        // The end of the connection tells it.
        tracing::warn!(target: "procession", name, pid, "no number is left for a client");
        return Ok(());
    };
    let link = Arc::new(Link::new(end.into()));
    let client = Arc::new(Client {
        id,
        pid,
        name,
        pidfd: pidfd.into(),
        link: link.clone(),
        wake: Arc::default(),
        extensions: Extensions::default(),
        other_ways: Mutex::default(),
    });
    let own = pidfd_open(std::process::id().cast_signed()).ok().map(Fd);
    let _ = message::say(&link, 0, &ToClient::Welcome { client: id, pidfd: own });
    lock(HOST.now()).clients.insert(id, client.clone());
    if let Err(error) = serve(Role::Client(client.clone()), link) {
        tracing::warn!(target: "procession", %error, "a client could not be served");
        bury(&client);
    }
    Ok(())
}

/// Takes a frame that came from a client.
pub(super) fn heard(client: &Arc<Client>, frame: Frame) -> Result<(), Damaged> {
    let Frame { header, payload, fds } = frame;
    let (object, call) = (header.target, header.call);
    match header.kind {
        FrameKind::Call | FrameKind::Cast => {
            let reply = (header.kind == FrameKind::Call).then(|| ReplyTo::new(client, call));
            let message = Encoded { bytes: payload, fds };
            match attached(client, object) {
                Some(stock) => {
                    stock.request(client, message, reply).map_err(|BadMessage| Damaged)?;
                }
                None => drop(reply.map(|reply| reply.refuse(Refusal::NotAttached))),
            }
        }
        FrameKind::Release => {
            client.catch_up();
            released(client, object, call);
        }
        FrameKind::Control => match codec::decode(&payload, fds).map_err(|_| Damaged)? {
            ToOwner::Attach { object, kind } => {
                client.reply(call, attach(client, object, call, &kind));
            }
            ToOwner::Adopt { objects, end } => {
                let adopted = issue(objects.into_iter(), end.into());
                client
                    .reply(call, adopted.map(|()| Encoded::default()).map_err(|e| Refusal::of(&e)));
            }
            ToOwner::Cancel { object, call } => {
                if let Some(stock) = attached(client, object) {
                    stock.cancel(client, call);
                }
            }
            ToOwner::Connect { .. } => return Err(Damaged),
        },
        _ => return Err(Damaged),
    }
    Ok(())
}

/// A client uses an object no more by this attachment, and all has been read that it had said
/// to it.
pub(crate) fn released(client: &Client, object: u64, attachment: u64) {
    let effects = lock(HOST.now()).custody.release(client.id, object, attachment);
    carry_out(effects);
}

/// The object, if this client is attached to it.
pub(crate) fn attached(client: &Arc<Client>, object: u64) -> Option<Arc<dyn Stock>> {
    let host = &*lock(HOST.now());
    if !host.custody.is_attached(client.id, object) {
        return None;
    }
    host.objects.get(&object).map(|object| object.stock.clone())
}

fn attach(client: &Arc<Client>, object: u64, number: u64, kind: &str) -> Result<Encoded, Refusal> {
    let (stock, how) = {
        let host = &mut *lock(HOST.now());
        let known = host.objects.get(&object).ok_or(Refusal::NoSuchObject)?.clone();
        if known.kind != kind {
            return Err(Refusal::OtherKind(known.kind.into()));
        }
        let how = host.custody.attach(client.id, object, number);
        (known.stock, how.map_err(|_| Refusal::NoSuchObject)?)
    };
    if how == Attached::InPlaceOfAnother {
        stock.detach(client);
    }
    stock.attach(client).map_err(|error| {
        let effects = lock(HOST.now()).custody.release(client.id, object, number);
        // It never was attached, as far as the stock knows.
        let rest = effects.into_iter().filter(|one| !matches!(one, Effect::Detach(..)));
        carry_out(rest.collect());
        Refusal::of(&error)
    })
}

fn carry_out(effects: Vec<Effect>) {
    for effect in effects {
        match effect {
            Effect::Drop(object) => {
                let dropped = lock(HOST.now()).objects.remove(&object);
                if let Some(Object { stock, .. }) = dropped {
                    let_fall(stock);
                }
            }
            Effect::Drain => ask_for_drain(),
            Effect::Detach(client, object) => {
                if let Some((stock, client)) = find(client, object) {
                    stock.detach(&client);
                }
            }
            Effect::Died(client, object) => {
                if let Some((stock, client)) = find(client, object) {
                    stock.died(&client);
                }
            }
        }
    }
}

fn find(client: ClientId, object: u64) -> Option<(Arc<dyn Stock>, Arc<Client>)> {
    let host = &*lock(HOST.now());
    Some((host.objects.get(&object)?.stock.clone(), host.clients.get(&client)?.clone()))
}

/// Has the hidden thread read everything that has come, and then drop what is still out
/// of reach.
fn ask_for_drain() {
    if std::mem::replace(&mut lock(HOST.now()).is_draining, true) {
        return;
    }
    match hidden::handle() {
        Ok(handle) => drop(handle.spawn(drain())),
        Err(error) => {
            lock(HOST.now()).is_draining = false;
            tracing::warn!(target: "procession", %error, "a shared object stays for now");
        }
    }
}

async fn drain() {
    loop {
        let suspects = {
            let host = &mut *lock(HOST.now());
            host.is_draining = false;
            host.custody.begin_drain()
        };
        if read_all() {
            let effects = lock(HOST.now()).custody.drained(suspects);
            return carry_out(effects);
        }
        lock(HOST.now()).custody.put_off(suspects);
        tokio::time::sleep(LOOK_PERIOD).await;
    }
}

/// Reads every socket to its end as of now. False when there was no room for descriptors.
pub(super) fn read_all() -> bool {
    let mut is_all = true;
    // A ticket may bring a connection, on which more may have come.
    let mut next = 0;
    loop {
        let fresh: Vec<_> =
            lock(HOST.now()).streams.range(next..).map(|(_, one)| one.clone()).collect();
        let Some(last) = fresh.last() else { return is_all };
        next = last.number() + 1;
        for stream in fresh {
            is_all &= stream.read_out();
        }
    }
}

/// What a copy of this process finds hosted in it.
pub(super) struct Estate(Host);

/// In a fresh copy of a process that had no client, before its generation begins: takes
/// what the original hosted.
pub(super) fn leave_behind() -> Estate {
    Estate(std::mem::take(&mut *lock(HOST.now())))
}

impl Estate {
    pub(super) fn stock(&self, object: u64) -> Option<Arc<dyn Stock>> {
        self.0.objects.get(&object).map(|object| object.stock.clone())
    }

    /// Hosts those that have become the copy's own. The others are not dropped: they are
    /// the original's.
    pub(super) fn settle(mut self, kept: BTreeSet<u64>) {
        let lost: Vec<_> = self.0.objects.extract_if(|object, _| !kept.contains(object)).collect();
        std::mem::forget(lost);
        *lock(HOST.now()) = self.0;
    }
}
