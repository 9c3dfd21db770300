//! A queue as a process that does not own it uses it.
//!
//! Owns the client's side of the page: putting is copying an item into the ring and moving
//! its tail; getting is what `taken` does, and waiting before it. Neither makes a
//! system call while the other side keeps up. What was put needs nothing more from this
//! process, which may be killed at any instant. It must never decide who gets what.
//! Neighbours: `page`, `channel` and `waits` below, `waiting` beside it; `own` is the other
//! side.

use super::channel::Channel;
use super::host::{self, Answer, Ask};
use super::page::{OWNER_SLEEPS, Page, state, waits};
use super::parcel::{Bytes, Parcel, fds_of, header_of, span};
use super::points::{self, Point};
use super::taken::{Rx, Taken};
use super::waiting::{Hungry, Short, answer_within};
use super::waits::{Looks, Patience, Waits};
use super::{Got, NoItem, Refused};
use crate::codec::{self, Encoded};
use crate::node::hidden;
use crate::share::{Connection, ShareError};
use crate::sync::{after, lock};
use crate::sys::rings::{RING, Ring};
use crate::wait::at_once;
use procession_protocols::queue::Waiter;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// An attached queue.
#[derive(Debug)]
pub struct Away {
    pub(super) connection: Arc<Connection>,
    pub(super) object: u64,
    /// Most items in the queue.
    pub(super) capacity: Option<u64>,
    pub(super) inner: Arc<Inner>,
    /// How many leases have been given back, and of how many the owner has heard for certain.
    given_back: AtomicU64,
    heard_back: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) page: Page,
    pub(super) channel: Channel,
    pub(super) waits: Waits,
    pub(super) looks: Looks,
    /// Held while an item goes into the ring.
    pub(super) tx: Mutex<Tx>,
    /// Held while an item is taken out.
    pub(super) rx: Mutex<Rx>,
    pub(super) is_gone: AtomicBool,
}

/// Where the ring to the owner stands.
#[derive(Debug, Default)]
pub(super) struct Tx {
    /// Where the next item goes.
    pub(super) tail: u64,
    /// Up to where the owner has been told.
    told: u64,
    /// The last item's number.
    number: u32,
}

/// When an item that is in the ring is shown to the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    AtOnce,
    /// Together with others that follow; by [`Away::show`] at last.
    Soon,
}

/// So many bytes are shown to the owner together.
pub(super) const TOGETHER: u64 = 16 * 1024;

/// Why an item did not go into the ring.
pub(super) enum Blocked {
    /// There is no room in it.
    Room,
    /// No place of the bounded queue is lent to this process.
    Place,
    /// The socket takes no more descriptors.
    Socket,
    No(Refused),
}

/// An owner that does not answer a question for so long, which it does at once, is not
/// waited for: it is stopped, or has no processor.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What it answers at once it is asked for so long at least, also by who has less time.
pub(super) const ANSWER_SOON: Duration = Duration::from_millis(20);

/// How long to wait before descriptors are offered to a full socket again.
const SOCKET_SLICE: Duration = Duration::from_millis(5);

impl Away {
    /// Takes what the owner sent: the page's file and a socket's end.
    pub(super) fn new(
        connection: Arc<Connection>,
        object: u64,
        capacity: Option<u64>,
        fds: Vec<OwnedFd>,
    ) -> io::Result<Self> {
        let Ok([file, socket]) = <[OwnedFd; 2]>::try_from(fds) else {
            return Err(io::Error::other("the owner sent no page"));
        };
        let inner = Arc::new(Inner {
            page: Page::map(file.as_fd())?,
            channel: Channel::new(socket),
            waits: Waits::default(),
            looks: Looks::default(),
            tx: Mutex::default(),
            rx: Mutex::default(),
            is_gone: AtomicBool::new(false),
        });
        let (given_back, heard_back) = Default::default();
        Ok(Self { connection, object, capacity, inner, given_back, heard_back })
    }

    /// The owner is gone: everybody who waits learns of it.
    pub(super) fn owner_gone(&self) {
        self.inner.is_gone.store(true, Ordering::Release);
        self.inner.channel.close();
    }

    /// Asks the owner over the connection.
    pub(super) async fn request(
        &self,
        ask: &Ask,
        patience: Patience,
    ) -> Result<(Answer, Encoded), ShareError> {
        let message = codec::encode(ask).map_err(io::Error::other)?;
        let deadline = match patience {
            Patience::Async => {
                let answer = self.connection.request_async(self.object, message).await?;
                return Ok(host::open(answer).map_err(io::Error::other)?);
            }
            Patience::Until(deadline) => deadline,
            Patience::Never => None,
        };
        let answer = self.connection.request(self.object, message, deadline)?;
        Ok(host::open(answer).map_err(io::Error::other)?)
    }

    /// Asks for an item that stays with the owner. `Empty` when there is none and the request
    /// does not wait.
    pub(super) async fn lease(
        &self,
        waits: bool,
        until: Patience,
    ) -> Result<(Waiter, Got), NoItem> {
        match self.request(&Ask::Lease { waits }, until).await {
            Err(ShareError::Timeout) if waits => Err(NoItem::Timeout),
            Err(ShareError::Timeout) => Err(NoItem::Unanswered),
            Err(error) => Err(error.into()),
            Ok((Answer::Leased { lease, redelivered, tag, file }, rest)) => {
                let parcel = Parcel::received(tag, Bytes::Here(rest.bytes), rest.fds, file, false);
                Ok((lease, Got { parcel, redelivered }))
            }
            Ok((Answer::Shutdown, _)) => Err(NoItem::Shutdown),
            Ok(_) => Err(NoItem::Empty),
        }
    }

    /// Asks what the owner answers at once.
    pub(super) fn request_soon(&self, ask: &Ask) -> Result<Answer, ShareError> {
        Ok(at_once(self.request(ask, Patience::Until(after(ANSWER_WITHIN))))?.0)
    }

    /// Tells the owner, if it is still there.
    pub(super) fn post(&self, ask: &Ask) {
        if let Ok(message) = codec::encode(ask) {
            let _ = self.connection.post(self.object, message);
        }
    }

    /// Shows the owner what it has not been shown.
    pub(super) fn show(&self) {
        self.inner.show(&mut lock(&self.inner.tx));
    }

    /// Puts an item.
    pub(super) async fn put(
        &self,
        parcel: &Parcel,
        patience: Patience,
        show: Show,
    ) -> Result<(), Refused> {
        let inner = &*self.inner;
        loop {
            let blocked = match self.try_put(parcel, show) {
                Ok(()) => return Ok(()),
                Err(blocked) => blocked,
            };
            self.show();
            match blocked {
                Blocked::No(refused) => return Err(refused),
                Blocked::Room => {
                    let need = span(parcel);
                    let tries = matches!(patience, Patience::Never);
                    let has_room = || {
                        inner.room().is_none_or(|room| room >= need) || tries && inner.is_heavy()
                    };
                    // The owner is about to read, unless it has too much already.
                    let how = if tries { answer_within(patience) } else { patience };
                    if tries && inner.is_heavy() {
                        return Err(Refused::Full);
                    }
                    if !self.wait(waits::ROOM, how, has_room).await? {
                        return Err(if tries { Refused::Unanswered } else { Refused::Timeout });
                    }
                }
                Blocked::Place => {
                    let lent = || inner.page.places().look().left() > 0;
                    if matches!(patience, Patience::Never) {
                        let words = (inner.page.asked_place(), inner.page.answered_place());
                        let answered = self.ask(words, lent, patience).await?;
                        if !lent() {
                            return Err(if answered { Refused::Full } else { Refused::Unanswered });
                        }
                        continue;
                    }
                    let _short = Short::new(inner.page.short());
                    if !self.wait(waits::PLACE, patience, lent).await? {
                        self.ask_for_later(inner.page.asked_place());
                        return Err(Refused::Timeout);
                    }
                }
                Blocked::Socket => {
                    // Nobody tells when the owner has read the socket.
                    let slice = Instant::now().checked_add(SOCKET_SLICE);
                    match patience {
                        Patience::Never => return Err(Refused::Full),
                        Patience::Until(Some(at)) if Instant::now() >= at => {
                            return Err(Refused::Timeout);
                        }
                        Patience::Until(_) => {
                            self.wait(waits::ROOM, Patience::Until(slice), || false).await?;
                        }
                        Patience::Async => {
                            let nap = async { tokio::time::sleep(SOCKET_SLICE).await };
                            hidden::run(nap).map_err(ShareError::Io)?.await;
                        }
                    }
                }
            }
        }
    }

    fn try_put(&self, parcel: &Parcel, show: Show) -> Result<(), Blocked> {
        let inner = &*self.inner;
        let tx = &mut *lock(&inner.tx);
        if self.room_to_put(tx)? < span(parcel) {
            return Err(Blocked::Room);
        }
        if self.capacity.is_some() && inner.page.places().look().left() == 0 {
            return Err(Blocked::Place);
        }
        let number = tx.number.wrapping_add(1);
        let (header, bytes) = header_of(parcel, number, false);
        let fds = fds_of(parcel);
        if !fds.is_empty() {
            match inner.channel.send_fds(number, &fds) {
                Ok(true) => tx.number = number,
                Ok(false) => return Err(Blocked::Socket),
                Err(_) if inner.is_gone() => return Err(Blocked::No(self.gone().into())),
                Err(error) => return Err(Blocked::No(ShareError::Io(error).into())),
            }
        }
        if self.capacity.is_some() && inner.page.places().take().is_none() {
            return Err(Blocked::Place);
        }
        points::reach(Point::PlaceTaken);
        tx.tail = inner.page.write(Ring::Up, tx.tail, header, bytes);
        tx.number = number;
        points::reach(Point::Written);
        inner.show_when(show, tx);
        Ok(())
    }

    /// How many bytes can be put, if anything can.
    pub(super) fn room_to_put(&self, tx: &Tx) -> Result<usize, Blocked> {
        if self.inner.is_gone() {
            return Err(Blocked::No(self.gone().into()));
        }
        if self.inner.page.is_shut() {
            return Err(Blocked::No(Refused::Shutdown));
        }
        self.inner.room_behind(tx.tail).ok_or_else(|| Blocked::No(damaged().into()))
    }

    /// Gets an item, and as many more as are at hand, up to `most`, which is not 0.
    pub(super) async fn get(&self, most: u32, patience: Patience) -> Result<Taken<'_>, NoItem> {
        let inner = &*self.inner;
        loop {
            if let Some(taken) = self.take(most)? {
                return Ok(taken);
            }
            let lent = || inner.page.items().look().left() > 0 || inner.has_left();
            let is_shut = inner.page.is_shut();
            if is_shut || matches!(patience, Patience::Never) {
                let words = (inner.page.asked(), inner.page.answered());
                let (how, unanswered) = match patience {
                    // Else whoever has less time would never learn that nothing is left.
                    Patience::Until(Some(at)) if is_shut => {
                        (Patience::Until(after(ANSWER_SOON).max(Some(at))), NoItem::Timeout)
                    }
                    other => (other, NoItem::Unanswered),
                };
                let answered = self.ask(words, lent, how).await?;
                let given_back = self.given_back.load(Ordering::Acquire);
                return match self.take(most)? {
                    Some(taken) => Ok(taken),
                    None if !answered => Err(unanswered),
                    None if given_back != self.heard_back.load(Ordering::Acquire) => {
                        // What this process gave back is on its way beside the page.
                        self.hear_back(given_back, patience).await?;
                        continue;
                    }
                    None if is_shut => Err(NoItem::Shutdown),
                    None => Err(NoItem::Empty),
                };
            }
            let _hungry = Hungry::new(&inner.page);
            let ready = || lent() || inner.page.is_shut();
            if !self.wait(waits::ITEM, patience, ready).await? {
                // A calm owner lends to its only consumer without being told.
                if inner.page.hungry().must_ring() {
                    self.ask_for_later(inner.page.asked());
                }
                return Err(NoItem::Timeout);
            }
        }
    }

    /// A lease is given back, which the owner hears of over the connection.
    pub(super) fn give_back(&self, ask: &Ask) {
        self.given_back.fetch_add(1, Ordering::AcqRel);
        self.post(ask);
    }

    /// Waits until the owner has heard of so many leases that were given back.
    async fn hear_back(&self, count: u64, patience: Patience) -> Result<(), NoItem> {
        let until = match patience {
            Patience::Async => Patience::Async,
            _ => Patience::Until(after(ANSWER_WITHIN)),
        };
        match self.request(&Ask::Len, until).await {
            Err(ShareError::Timeout) => Err(NoItem::Unanswered),
            Err(error) => Err(error.into()),
            Ok(_) => {
                self.heard_back.fetch_max(count, Ordering::AcqRel);
                Ok(())
            }
        }
    }

    pub(super) fn gone(&self) -> ShareError {
        ShareError::OwnerGone { name: self.connection.owner_name().to_owned() }
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        // Ends whoever listens for futures.
        self.inner.channel.close();
    }
}

impl Inner {
    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Acquire)
    }

    fn is_heavy(&self) -> bool {
        self.page.state().load(Ordering::Acquire) & state::HEAVY != 0
    }

    fn show(&self, tx: &mut Tx) {
        if tx.told != tx.tail {
            tx.told = tx.tail;
            self.page.up_tail().store(tx.tail, Ordering::Release);
            points::reach(Point::Put);
            self.ring_owner();
        }
    }

    /// Shows what is in the ring, now or when enough has gathered.
    pub(super) fn show_when(&self, show: Show, tx: &mut Tx) {
        if show == Show::AtOnce || tx.tail - tx.told >= TOGETHER {
            self.show(tx);
        }
    }

    pub(super) fn ring_owner(&self) {
        if self.page.owner_bell().ring(OWNER_SLEEPS) {
            self.channel.ring();
        }
    }

    fn room(&self) -> Option<usize> {
        let tail = lock(&self.tx).tail;
        self.room_behind(tail)
    }

    /// `None` when the owner's word cannot be.
    fn room_behind(&self, tail: u64) -> Option<usize> {
        let head = self.page.up_head().load(Ordering::Acquire);
        let filled = usize::try_from(tail.wrapping_sub(head)).ok()?;
        RING.checked_sub(filled)
    }
}

pub(super) fn damaged() -> ShareError {
    ShareError::Io(io::Error::other("the page of the queue is damaged"))
}
