//! Queues: items that processes put and get, kept by the process that made the queue.
//!
//! Owns how a queue is hosted and used. What it decides is the pure machine's
//! (`procession_protocols::queue`); what it must never do is decode an item on the way, or
//! hold one back in a process that has put it. See docs/protocols.md.
//!
//! ```text
//!  a client                              the owner
//!  put ──> ring up ═══╗           ╔══> own::look ──> machine ──> streams ──> ring down
//!                     ╚═ page ════╝                     │
//!  get <── ring down (cursor) <══════════════════════════ lent        own::put, own::get
//! ```
//!
//! | file | owns |
//! |---|---|
//! | `page` | what lies where in the memory of one client |
//! | `channel` | bells and descriptors |
//! | `waits`, `cell`, `bells` | who waits on what, at a client and at the owner |
//! | `parcel`, `chunks` | an item's bytes, and the files of large ones |
//! | `run`, `ends` | items that came together, and where they stand in the ring to a client |
//! | `away`, `waiting` | a client's puts and gets, and its waits |
//! | `taken` | what a client has taken, until its call returns |
//! | `many` | several items put or got in one call |
//! | `own`, `hear`, `streams`, `host` | the owner's, what clients put and want, its ends of the pages, their requests |
//! | `points` | where tests kill |

mod away;
mod bells;
mod cell;
mod channel;
mod chunks;
mod ends;
mod hear;
mod host;
mod many;
mod own;
mod page;
mod parcel;
pub mod points;
mod run;
mod streams;
mod taken;
mod waiting;
mod waits;

pub(crate) use chunks::file_of;
pub use many::Stopped;
pub use waits::Patience;

use crate::codec::{self, DecodeError, EncodeError, Encoded};
use crate::function::type_tag;
use crate::share::{Connection, Kind, Share, ShareError, Side};
use crate::sync::after;
use crate::wait::at_once;
use away::{ANSWER_SOON, ANSWER_WITHIN, Away, Show};
use host::{Answer, Ask, Welcome};
use own::Own;
use parcel::Parcel;
use procession_protocols::queue::Waiter;
pub use procession_protocols::queue::{Options, TooManyDone};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Why an item was not put.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// There is no room for it now.
    #[error("the queue is full")]
    Full,
    /// There was no room for it in time.
    #[error("the queue had no room for the item in time")]
    Timeout,
    /// The owner did not say in time whether there is room.
    #[error("the owner of the queue did not answer in time")]
    Unanswered,
    /// The queue has been shut down.
    #[error("the queue has been shut down")]
    Shutdown,
    /// It cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The queue cannot be reached.
    #[error(transparent)]
    Share(#[from] ShareError),
}

/// Why there is no item.
#[derive(Debug, thiserror::Error)]
pub enum NoItem {
    /// The queue is empty.
    #[error("the queue is empty")]
    Empty,
    /// None came in time.
    #[error("no item came in time")]
    Timeout,
    /// The owner did not say in time whether there is one.
    #[error("the owner of the queue did not answer in time")]
    Unanswered,
    /// The queue has been shut down, and nothing is left in it.
    #[error("the queue has been shut down, and nothing is left in it")]
    Shutdown,
    /// It is of another type. It is gone.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The queue cannot be reached.
    #[error(transparent)]
    Share(#[from] ShareError),
}

/// An item that was got.
#[derive(Debug)]
struct Got {
    parcel: Parcel,
    redelivered: bool,
}

/// The kind of shared object that queues are.
#[derive(Debug)]
pub struct QueueKind;

impl Kind for QueueKind {
    const NAME: &'static str = "queue";
    type Own = Own;
    type Away = Away;

    fn attached(
        connection: &Arc<Connection>,
        object: u64,
        answer: Encoded,
    ) -> Result<Away, ShareError> {
        let welcome: Welcome =
            codec::decode(&answer.bytes, Vec::new()).map_err(io::Error::other)?;
        Ok(Away::new(connection.clone(), object, welcome.capacity, answer.fds)?)
    }

    fn owner_gone(away: &Away) {
        away.owner_gone();
    }
}

/// The tag of a type, which an item carries.
pub fn tag<T>() -> u32 {
    let tag = type_tag::<T>();
    #[expect(clippy::cast_possible_truncation, reason = "half a hash is enough to tell mistakes")]
    let tag = (tag ^ tag >> 32) as u32;
    tag
}

/// A handle to a queue whose items are bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RawQueue(Share<QueueKind>);

impl RawQueue {
    /// Makes a queue in this process.
    pub fn new(options: Options) -> Self {
        Self(Share::host(Own::new(options)))
    }

    /// Encodes an item, and puts it. With [`Patience::Async`] only, the future waits.
    ///
    /// # Errors
    /// [`Refused`]; the item was not put.
    pub async fn put<T: Serialize + ?Sized>(
        &self,
        item: &T,
        tag: u32,
        patience: Patience,
    ) -> Result<(), Refused> {
        match self.side(patience).await? {
            Side::Own(own) => {
                let leaves = own.has_clients.load(Ordering::Relaxed);
                own.put(Parcel::encode(tag, item, leaves)?, patience).await
            }
            Side::Away(away) => {
                let parcel = Parcel::encode(tag, item, true)?;
                let result = away.put(&parcel, patience, Show::AtOnce).await;
                parcel.leave();
                result
            }
        }
    }

    /// As [`put`](Self::put), in this thread.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_now<T: Serialize + ?Sized>(
        &self,
        item: &T,
        tag: u32,
        patience: Patience,
    ) -> Result<(), Refused> {
        at_once(self.put(item, tag, patience))
    }

    /// Gets an item, and decodes it. Gives whether a consumer had it before.
    ///
    /// # Errors
    /// [`NoItem`].
    pub async fn get<T: DeserializeOwned>(
        &self,
        tag: u32,
        patience: Patience,
    ) -> Result<(T, bool), NoItem> {
        let mut got: Got = match self.side(patience).await? {
            Side::Own(own) => own.get(patience).await?.into(),
            Side::Away(away) => {
                let mut taken = away.get(1, patience).await?;
                return taken.next(tag).unwrap_or(Err(NoItem::Empty));
            }
        };
        Ok((open(&mut got.parcel, tag)?, got.redelivered))
    }

    /// As [`get`](Self::get), in this thread.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_now<T: DeserializeOwned>(
        &self,
        tag: u32,
        patience: Patience,
    ) -> Result<(T, bool), NoItem> {
        at_once(self.get(tag, patience))
    }

    /// Gets an item that stays with the owner until its lease is ended.
    ///
    /// # Errors
    /// [`NoItem`].
    pub async fn lease<T: DeserializeOwned>(
        &self,
        tag: u32,
        patience: Patience,
    ) -> Result<(Waiter, T, bool), NoItem> {
        let (lease, mut got) = match self.side(patience).await? {
            Side::Own(own) => own.lease(patience).await?,
            Side::Away(away) => {
                let mut got = Err(NoItem::Empty);
                for (waits, until) in asks(patience) {
                    got = away.lease(waits, until).await;
                    if !matches!(got, Err(NoItem::Empty)) {
                        break;
                    }
                }
                match (got, patience) {
                    (Err(NoItem::Unanswered), Patience::Until(Some(_))) => Err(NoItem::Timeout),
                    (got, _) => got,
                }?
            }
        };
        let redelivered = got.redelivered;
        match open(&mut got.parcel, tag) {
            Ok(item) => Ok((lease, item, redelivered)),
            Err(error) => {
                // Nobody can take it: brought back, it would come again for ever.
                self.end_lease(lease, true);
                Err(error)
            }
        }
    }

    /// Ends a lease: the item is finished, or comes back. Never waits.
    pub fn end_lease(&self, lease: Waiter, is_finished: bool) {
        match self.0.ready() {
            Some(Side::Own(own)) => own.end_lease(lease, is_finished),
            Some(Side::Away(away)) if is_finished => {
                away.post(&Ask::EndLease { lease, is_finished });
            }
            Some(Side::Away(away)) => away.give_back(&Ask::EndLease { lease, is_finished }),
            // In a copy of the process the lease is the original's.
            None => {}
        }
    }

    /// How many items there are.
    ///
    /// # Errors
    /// [`ShareError`]; `Timeout` when the owner does not answer within five seconds.
    pub fn count(&self) -> Result<u64, ShareError> {
        match self.side_soon()? {
            Side::Own(own) => Ok(own.len()),
            Side::Away(away) => match away.request_soon(&Ask::Len)? {
                Answer::Len(len) => Ok(len),
                _ => Err(ShareError::NoReply),
            },
        }
    }

    /// Most items that there can be; `None` for no bound.
    ///
    /// # Errors
    /// [`ShareError`].
    pub fn capacity(&self) -> Result<Option<u64>, ShareError> {
        Ok(match self.side_soon()? {
            Side::Own(own) => own.options().capacity,
            Side::Away(away) => away.capacity,
        })
    }

    /// One item that was got is finished.
    ///
    /// # Errors
    /// [`ShareError`]; [`TooManyDone`] when nothing is unfinished.
    pub fn task_done(&self) -> Result<Result<(), TooManyDone>, ShareError> {
        match self.side_soon()? {
            Side::Own(own) => Ok(own.task_done(procession_protocols::queue::Holder::Owner)),
            Side::Away(away) => match away.request_soon(&Ask::TaskDone)? {
                Answer::TooManyDone => Ok(Err(TooManyDone)),
                _ => Ok(Ok(())),
            },
        }
    }

    /// Waits until every item that was put is finished. False when the time was up.
    ///
    /// # Errors
    /// [`ShareError`]; `Timeout` when the owner does not answer within five seconds, where
    /// there is no wait.
    pub async fn join(&self, patience: Patience) -> Result<bool, ShareError> {
        let is_timed = !matches!(patience, Patience::Never);
        let away = match self.side(patience).await {
            Ok(Side::Own(own)) => return own.join(patience).await,
            Ok(Side::Away(away)) => away,
            Err(ShareError::Timeout) if is_timed => return Ok(false),
            Err(error) => return Err(error),
        };
        for (waits, until) in asks(patience) {
            match away.request(&Ask::Join { waits }, until).await {
                Ok((Answer::Empty, _)) => {}
                Ok(_) => return Ok(true),
                Err(ShareError::Timeout) if is_timed => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// As [`join`](Self::join), in this thread.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub fn join_now(&self, patience: Patience) -> Result<bool, ShareError> {
        at_once(self.join(patience))
    }

    /// Nobody puts any more; see the machine's `shutdown`.
    ///
    /// # Errors
    /// [`ShareError`]; `Timeout` when the owner does not answer within five seconds.
    pub fn shutdown(&self, immediate: bool) -> Result<(), ShareError> {
        match self.side_soon()? {
            Side::Own(own) => own.shutdown(immediate),
            Side::Away(away) => {
                away.request_soon(&Ask::Shutdown { immediate })?;
            }
        }
        Ok(())
    }

    /// For what the owner answers at once.
    fn side_soon(&self) -> Result<Side<'_, QueueKind>, ShareError> {
        match self.0.ready() {
            Some(side) => Ok(side),
            None => self.0.side_until(after(ANSWER_WITHIN)),
        }
    }

    async fn side(&self, patience: Patience) -> Result<Side<'_, QueueKind>, ShareError> {
        match (self.0.ready(), patience) {
            (Some(side), _) => Ok(side),
            (None, Patience::Async) => self.0.side_async().await,
            (None, Patience::Until(deadline)) => self.0.side_until(deadline),
            (None, Patience::Never) => self.side_soon(),
        }
    }
}

/// How the owner is asked for what may have to be waited for: whether the request waits there,
/// and how long for its answer. Whoever has hardly the time for an answer asks first for one
/// that comes at once, or would never get what is there.
fn asks(patience: Patience) -> impl Iterator<Item = (bool, Patience)> {
    let is_short = |at| after(ANSWER_SOON).is_some_and(|soon| at < soon);
    let (at_once, waits) = match patience {
        Patience::Never => (Some(ANSWER_WITHIN), None),
        Patience::Until(Some(at)) if is_short(at) => (Some(ANSWER_SOON), Some(patience)),
        waits => (None, Some(waits)),
    };
    let at_once = at_once.map(|within| (false, Patience::Until(after(within))));
    let is_left =
        |how: &Patience| !matches!(how, Patience::Until(Some(at)) if *at <= Instant::now());
    let waits = waits.into_iter().filter(is_left).map(|how| (true, how));
    at_once.into_iter().chain(waits)
}

fn open<T: DeserializeOwned>(parcel: &mut Parcel, wanted: u32) -> Result<T, NoItem> {
    if parcel.tag() != wanted {
        return Err(NoItem::Decode(DecodeError {
            type_name: std::any::type_name::<T>().into(),
            why: "the item was put as another type".into(),
        }));
    }
    parcel.decode()
}
