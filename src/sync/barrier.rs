//! `Barrier`.
//!
//! Owns the action of the last party, and how it travels: with its arguments, as what
//! decodes both.

use super::{SyncError, SyncResult};
use crate::function::{Function, NotInImage};
use procession_runtime::codec::{self, EncodeError, Encoded, Fd, OUTSIDE_TRANSFER};
use procession_runtime::function::Entry;
use procession_runtime::sync::after;
use procession_runtime::words::{self, BarrierArrived, MAX_PARTIES};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A place where so many threads of any processes meet, as Python's
/// `multiprocessing.Barrier`.
///
/// Nobody passes before all have arrived. A time-out, an [`abort`](Self::abort) or a
/// [`reset`](Self::reset) breaks a round for all who wait in it; so does the death of a
/// process that has ever waited, unless it has dropped its handle (but not in a panic), or has
/// ended in good order (with code 0) while none of its threads waited.
///
/// ```
/// use procession::{Barrier, Process};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let start = Barrier::new(2)?;
/// let mut child = Process::spawn(|start: Barrier| { start.wait().unwrap(); }, (start.clone(),))?;
/// start.wait()?;
/// child.join()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Barrier {
    inner: words::Barrier,
    timeout: Option<Duration>,
    action: Option<Action>,
}

impl Barrier {
    /// Makes one for so many parties. This process owns it.
    ///
    /// # Errors
    /// [`SyncError::Invalid`] for none (Python accepts that) or more than
    /// [`MAX_PARTIES`]; [`SyncError::Io`]: no memory or descriptor is free, or this process
    /// owns [`MAX_RECORDS`](super::MAX_RECORDS) objects.
    pub fn new(parties: u32) -> SyncResult<Self> {
        Self::make(parties, None)
    }

    /// Makes one whose last party of each round calls `action` before the others go on. An
    /// action that panics breaks the round. It travels as functions of processes do, and
    /// runs in the process of the last party.
    ///
    /// # Errors
    /// As [`new`](Self::new), and [`SyncError::Io`] for code that was made at run time.
    ///
    /// # Panics
    /// At compile time, when the function captures something.
    pub fn with_action<F, A, R>(parties: u32, action: F, args: A) -> SyncResult<Self>
    where
        F: Entry<A, Output = R> + Copy + 'static,
        A: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
        R: 'static,
    {
        let action = Action::new(action, args).map_err(std::io::Error::other)?;
        Self::make(parties, Some(action))
    }

    fn make(parties: u32, action: Option<Action>) -> SyncResult<Self> {
        if parties == 0 || parties > MAX_PARTIES {
            return Err(SyncError::Invalid("a barrier is for 1 to 2^21 - 1 parties"));
        }
        let inner = words::Barrier::new(parties, action.is_some())?;
        Ok(Self { inner, timeout: None, action })
    }

    /// The same, with a time limit for waits that have none of their own.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Arrives, and waits for the others. The index in the round, from 0 to one less than
    /// there are parties, each once.
    ///
    /// # Errors
    /// [`SyncError::BrokenBarrier`]; [`SyncError::OwnerGone`]; [`SyncError::WouldDeadlock`]
    /// on a thread of the library's own.
    pub fn wait(&self) -> SyncResult<u32> {
        self.wait_until(self.timeout.and_then(after))
    }

    /// As [`wait`](Self::wait), but waits at most so long: then the round is broken, for
    /// all.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> SyncResult<u32> {
        self.wait_until(after(timeout))
    }

    fn wait_until(&self, deadline: Option<Instant>) -> SyncResult<u32> {
        let arrived = self.inner.wait_until(deadline)?;
        self.arrived(arrived)
    }

    /// Arrives, and waits for the others without blocking a thread. A default time limit
    /// does not apply.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    ///
    /// # Cancel safety
    /// Dropped while it waits for the others, it breaks the round.
    pub async fn wait_async(&self) -> SyncResult<u32> {
        let arrived = self.inner.wait_async().await?;
        self.arrived(arrived)
    }

    fn arrived(&self, arrived: BarrierArrived<'_>) -> SyncResult<u32> {
        match arrived {
            BarrierArrived::Passed(index) => Ok(index),
            BarrierArrived::Broken => Err(SyncError::BrokenBarrier),
            BarrierArrived::Last(last) => {
                // A panic on the way drops `last`, which breaks the round.
                if let Some(action) = &self.action {
                    action.what.run();
                }
                last.finish().ok_or(SyncError::BrokenBarrier)
            }
        }
    }

    /// Breaks it until it is reset, for those who wait and those who come.
    ///
    /// # Errors
    /// [`SyncError::OwnerGone`].
    pub fn abort(&self) -> SyncResult<()> {
        Ok(self.inner.abort()?)
    }

    /// Makes it whole and empty. Those who wait get [`SyncError::BrokenBarrier`].
    ///
    /// # Errors
    /// [`SyncError::OwnerGone`].
    pub fn reset(&self) -> SyncResult<()> {
        Ok(self.inner.reset()?)
    }

    /// How many have to arrive.
    ///
    /// # Errors
    /// [`SyncError::OwnerGone`].
    pub fn parties(&self) -> SyncResult<u32> {
        Ok(self.inner.parties()?)
    }

    /// How many wait now.
    ///
    /// # Errors
    /// [`SyncError::OwnerGone`].
    pub fn n_waiting(&self) -> SyncResult<u32> {
        Ok(self.inner.waiting()?)
    }

    /// Whether it is broken.
    ///
    /// # Errors
    /// [`SyncError::OwnerGone`].
    pub fn broken(&self) -> SyncResult<bool> {
        Ok(self.inner.is_broken()?)
    }
}

/// As Python's: `Barrier(waiters=1/3)`, `Barrier(broken)`.
impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.broken(), self.n_waiting(), self.parties()) {
            (Ok(true), ..) => f.write_str("Barrier(broken)"),
            (_, Ok(waiting), Ok(parties)) => write!(f, "Barrier(waiters={waiting}/{parties})"),
            _ => f.write_str("Barrier(unknown)"),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Wire {
    inner: words::Barrier,
    timeout: Option<Duration>,
    action: Option<Action>,
}

impl Serialize for Barrier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { inner, timeout, action } = self.clone();
        Wire { inner, timeout, action }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Barrier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Wire { inner, timeout, action } = Wire::deserialize(deserializer)?;
        Ok(Self { inner, timeout, action })
    }
}

/// What the last party does, whatever its types.
#[derive(Clone)]
struct Action {
    what: Arc<dyn Act>,
    /// Makes `what` of its encoding, in the process that receives it.
    decode: Decode,
}

type Decode = Function<(Vec<u8>, Vec<Fd>), Result<Arc<dyn Act>, String>>;

trait Act: Send + Sync {
    fn run(&self);
    fn encode(&self) -> Result<Encoded, EncodeError>;
}

struct Call<A: 'static, R: 'static> {
    function: Function<A, R>,
    args: A,
}

impl<A, R> Act for Call<A, R>
where
    A: Serialize + Clone + Send + Sync,
{
    fn run(&self) {
        self.function.call(self.args.clone());
    }

    fn encode(&self) -> Result<Encoded, EncodeError> {
        codec::encode(&(&self.function, &self.args))
    }
}

impl Action {
    fn new<F, A, R>(function: F, args: A) -> Result<Self, NotInImage>
    where
        F: Entry<A, Output = R> + Copy + 'static,
        A: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
        R: 'static,
    {
        let function = Function::new(function)?;
        let decode = Function::new(decode::<A, R>)?;
        Ok(Self { what: Arc::new(Call { function, args }), decode })
    }
}

fn decode<A, R>(bytes: Vec<u8>, fds: Vec<Fd>) -> Result<Arc<dyn Act>, String>
where
    A: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    R: 'static,
{
    let fds = fds.into_iter().map(Into::into).collect();
    let call = codec::decode::<(Function<A, R>, A)>(&bytes, fds);
    let (function, args) = call.map_err(|error| error.to_string())?;
    Ok(Arc::new(Call { function, args }))
}

impl Serialize for Action {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !codec::in_transfer() {
            return Err(serde::ser::Error::custom(OUTSIDE_TRANSFER));
        }
        // The arguments' handles and descriptors have a message of their own, so that who
        // knows the types decodes it.
        let Encoded { bytes, fds } = self.what.encode().map_err(serde::ser::Error::custom)?;
        let fds: Vec<Fd> = fds.into_iter().map(Fd).collect();
        (&self.decode, bytes, fds).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Action {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (decode, bytes, fds) = <(Decode, Vec<u8>, Vec<Fd>)>::deserialize(deserializer)?;
        let what = decode.call((bytes, fds)).map_err(serde::de::Error::custom)?;
        Ok(Self { what, decode })
    }
}
