//! What a process holds of a managed object, and how it calls it.
//!
//! Owns [`Proxy`]: a reference that keeps its object alive, travels, and calls. In the
//! object's own server a call goes to the object at once; elsewhere over the process's
//! connection to the server. It must never know a value's type: the face does. Neighbour:
//! `object` answers.

use super::asked::Asked;
use super::channel::UnderWay;
use super::far::{self, Values};
use super::far_road::{Far, Road};
use super::object::Object;
use super::stored::{Stored, put_beside, take_beside};
use super::{Ask, Managed};
use crate::codec::{DecodeError, EncodeError};
use crate::node::hidden;
use crate::share::{Share, ShareError, Side};
use crate::wait;
use procession_protocols::id::NodeId;
use procession_protocols::manager::{Call, Fault, Reply};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cell::Cell;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a call may wait; `None` is as long as it takes, 0 not at all.
pub type Patience = Option<Duration>;

/// A server has this much longer than its caller's patience to say that time is up.
const GRACE: Duration = Duration::from_secs(1);

/// Says why a proxy does not travel.
const ONLY_THERE: &str = "a proxy of a remote manager travels only to that manager; connect to \
     it in the other process too";

/// Why a managed object could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManagerError {
    /// The object said no.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The manager's process has ended.
    #[error("the manager {name} has ended")]
    OwnerGone {
        /// Its process's name.
        name: String,
    },
    /// The object or its server could not be reached.
    #[error(transparent)]
    Share(ShareError),
    /// The manager writes values in another way than this program was told to.
    #[error(
        "the manager takes values as {theirs}, and this program sends {ours}: set both to \
             the same serializer"
    )]
    Values {
        /// What this program was told.
        ours: Values,
        /// What the manager does.
        theirs: Values,
    },
    /// A value could not be encoded; nothing was sent.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// What came is not of the type that was asked for.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The answer is of another kind than the call.
    #[error("the manager gave an answer that does not fit the call")]
    Unexpected,
}

impl From<ShareError> for ManagerError {
    fn from(error: ShareError) -> Self {
        match error {
            ShareError::OwnerGone { name } => Self::OwnerGone { name },
            other => Self::Share(other),
        }
    }
}

impl From<io::Error> for ManagerError {
    fn from(error: io::Error) -> Self {
        Self::Share(error.into())
    }
}

/// A reference to a managed object.
#[derive(Clone)]
pub struct Proxy {
    way: Way,
}

#[derive(Clone)]
enum Way {
    /// To a server of this process tree.
    Tree(Share<Managed>),
    /// To another.
    Far(Arc<Far>),
}

impl Proxy {
    /// Makes this process the server of an object.
    pub(super) fn host(object: Arc<Object>) -> Self {
        Self { way: Way::Tree(Share::host(object)) }
    }

    /// A reference to an object of a server outside the tree.
    pub(super) fn far(far: Far) -> Self {
        Self { way: Way::Far(Arc::new(far)) }
    }

    /// The object, if this process is its server.
    pub(super) fn own(&self) -> Option<Arc<Object>> {
        match &self.way {
            Way::Tree(share) => match share.ready()? {
                Side::Own(object) => Some(object.clone()),
                Side::Away(_) => None,
            },
            Way::Far(_) => None,
        }
    }

    /// Whether it is reached by this road.
    pub(super) fn is_by(&self, road: &Arc<Road>) -> bool {
        matches!(&self.way, Way::Far(far) if Arc::ptr_eq(far.road(), road))
    }

    /// Whether its server is outside the tree.
    pub fn is_far(&self) -> bool {
        matches!(self.way, Way::Far(_))
    }

    /// The road to a server outside the tree.
    pub(super) fn road(&self) -> Option<&Arc<Road>> {
        match &self.way {
            Way::Tree(_) => None,
            Way::Far(far) => Some(far.road()),
        }
    }

    /// The object's number at its server.
    pub fn object(&self) -> u64 {
        match &self.way {
            Way::Tree(share) => share.object(),
            Way::Far(far) => far.object(),
        }
    }

    /// The server's identity; `None` when it is out of reach.
    pub fn server(&self) -> Option<NodeId> {
        match &self.way {
            Way::Tree(share) => share.owner(),
            Way::Far(far) => Some(far.road().server()),
        }
    }

    /// Encodes a value for the object's server.
    ///
    /// # Errors
    /// [`ManagerError::Encode`]; [`ManagerError::Share`] when the server is out of reach.
    pub fn encode<T: Serialize + ?Sized>(&self, value: &T) -> Result<Stored, ManagerError> {
        let server = self.server().ok_or(ShareError::Forked)?;
        let values = self.road().map_or(Values::Native, |road| road.values());
        Ok(match values {
            Values::Native => Stored::encode(value, server)?,
            Values::Json => Stored::encode_plain(value, server)?,
        })
    }

    /// Calls a stock object, and waits for the answer.
    ///
    /// # Errors
    /// [`ManagerError`]; a fault is one too.
    pub fn call(
        &self,
        call: Call<Stored>,
        patience: Patience,
    ) -> Result<Reply<Stored>, ManagerError> {
        self.ask(this_call(call, patience), patience)
    }

    /// As [`call`](Self::call), for a call whose answer may take longer than its time: a
    /// condition is left only with its lock.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_to_the_end(
        &self,
        call: Call<Stored>,
        patience: Patience,
    ) -> Result<Reply<Stored>, ManagerError> {
        self.ask(this_call(call, patience), None)
    }

    /// As [`call`](Self::call), without blocking the thread.
    pub fn call_async(&self, call: Call<Stored>, patience: Patience) -> Asked {
        Asked::new(self.clone(), this_call(call, patience))
    }

    /// Asks an object or a door, and waits for the answer.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn ask(&self, ask: Ask, patience: Patience) -> Result<Reply<Stored>, ManagerError> {
        if hidden::is_current() {
            return Err(ShareError::WouldDeadlock.into());
        }
        let deadline = patience
            .and_then(|patience| Instant::now().checked_add(patience.saturating_add(GRACE)));
        let share = match &self.way {
            Way::Tree(share) => share,
            Way::Far(far) => return far.road().ask_until(far.object(), ask, deadline),
        };
        match share.side_until(deadline)? {
            Side::Own(object) => {
                let answer = object.ask_here(ask);
                match deadline {
                    None => wait::block_on(answer),
                    Some(deadline) => wait::block_on_until(answer, deadline)
                        .unwrap_or(Err(ShareError::Timeout.into())),
                }
            }
            Side::Away(away) => away.channel()?.ask(away.object, &ask, deadline),
        }
    }

    /// As [`ask`](Self::ask), without blocking the thread.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    ///
    /// # Cancel safety
    /// Dropped, it takes the call back, as far as that is possible.
    pub async fn ask_async(&self, ask: Ask) -> Result<Reply<Stored>, ManagerError> {
        let share = match &self.way {
            Way::Tree(share) => share,
            Way::Far(far) => return far.road().ask(far.object(), ask).await,
        };
        match share.side_async().await? {
            Side::Own(object) => object.ask_here(ask).await,
            Side::Away(away) => {
                let call = away.channel()?.begin(away.object, &ask)?;
                call.await
            }
        }
    }

    /// Sends a question over the channel to the object's server, if there is one by now.
    pub(super) fn begin(&self, ask: &Ask) -> Option<Result<UnderWay, ManagerError>> {
        let Way::Tree(share) = &self.way else { return None };
        match share.ready()? {
            Side::Own(_) => None,
            Side::Away(away) => {
                let channel = away.channel().map_err(ManagerError::from);
                Some(channel.and_then(|channel| channel.begin(away.object, ask)))
            }
        }
    }

    /// Tells a stock object something, without an answer. Never waits for the server once
    /// this process has used the object.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn tell(&self, call: Call<Stored>) -> Result<(), ManagerError> {
        let ask = this_call(call, None);
        let share = match &self.way {
            Way::Tree(share) => share,
            Way::Far(far) => {
                far.road().tell(far.object(), ask);
                return Ok(());
            }
        };
        match share.side()? {
            Side::Own(object) => object.tell_here(ask),
            Side::Away(away) => away.channel()?.post(away.object, &ask)?,
        }
        Ok(())
    }
}

/// A fault is an error.
pub(super) fn open(reply: Reply<Stored>) -> Result<Reply<Stored>, ManagerError> {
    match reply {
        Reply::Fault(fault) => Err(fault.into()),
        reply => Ok(reply),
    }
}

fn this_call(call: Call<Stored>, patience: Patience) -> Ask {
    let to_ms = |limit: Duration| limit.as_nanos().div_ceil(1_000_000);
    let limit_ms = patience.map(|limit| u64::try_from(to_ms(limit)).unwrap_or(u64::MAX));
    Ask::Call { thread: this_thread(), limit_ms, call }
}

/// The calling thread's number in this process.
fn this_thread() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    thread_local! {
        static MINE: Cell<u64> = const { Cell::new(0) };
    }
    MINE.with(|mine| {
        if mine.get() == 0 {
            mine.set(LAST.fetch_add(1, Ordering::Relaxed) + 1);
        }
        mine.get()
    })
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Proxy").field(&self.object()).finish()
    }
}

impl PartialEq for Proxy {
    fn eq(&self, other: &Self) -> bool {
        self.object() == other.object() && self.server() == other.server()
    }
}

impl Eq for Proxy {}

/// How a proxy travels: beside a value that its own server keeps, or by itself.
#[derive(Serialize)]
enum Going<'a> {
    Beside(u32),
    Free(&'a Share<Managed>),
    Far(u64),
}

#[derive(Deserialize)]
enum Coming {
    Beside(u32),
    Free(Share<Managed>),
    Far(u64),
}

impl Serialize for Proxy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let going = if let Some(place) = put_beside(self) {
            Going::Beside(place)
        } else if let Some(object) = far::pass(self) {
            Going::Far(object)
        } else {
            match &self.way {
                Way::Tree(share) => Going::Free(share),
                Way::Far(_) => return Err(serde::ser::Error::custom(ONLY_THERE)),
            }
        };
        going.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Proxy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let found = match Coming::deserialize(deserializer)? {
            Coming::Free(share) => return Ok(Self { way: Way::Tree(share) }),
            Coming::Beside(place) => take_beside(place),
            Coming::Far(object) => far::receive(object),
        };
        found.ok_or_else(|| serde::de::Error::custom("no such proxy came with this value"))
    }
}
