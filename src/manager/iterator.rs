//! `IteratorProxy`: an iterator that runs in another process.
//!
//! Owns its messages and the actor that steps it. It never looks ahead: an item is made when
//! somebody asks for it.

use procession_runtime::actor::message::{MethodNames, WireFns, take_reply};
use procession_runtime::actor::{
    ActorRef, CallError, Handler, MailboxOptions, Message, Reply, ReplyPort, StartError, Wire,
};
use procession_runtime::codec::{DecodeError, Decoder, EncodeError, Encoder};
use procession_runtime::manager::host_as_object;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// An iterator that stays in the process that made it, and is stepped from others: what a
/// method of a managed actor returns in the place of a generator.
///
/// Each step is a call, so an item is made when it is asked for, and several who step one
/// iterator share its items. It ends with its last proxy, wherever that is.
///
/// ```
/// use procession::{Actor, Manager, manager::IteratorProxy, methods};
///
/// #[derive(Actor)]
/// struct Numbers;
///
/// #[methods]
/// impl Numbers {
///     pub fn squares(&self, count: u64) -> IteratorProxy<u64> {
///         IteratorProxy::new((0..count).map(|n| n * n)).expect("a thread is to be had")
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = Manager::builder().register("Numbers", || Numbers).start()?;
/// let squares = manager.make::<Numbers>("Numbers", ())?.squares(4)?;
/// assert_eq!(squares.collect::<Result<Vec<_>, _>>()?, [0, 1, 4, 9]);
/// # Ok(())
/// # }
/// ```
pub struct IteratorProxy<T: Item> {
    stepper: ActorRef<Stepper<T>>,
    is_over: bool,
}

/// What can be an item: whatever serde carries.
pub trait Item: Serialize + DeserializeOwned + Send + 'static {}

impl<T: Serialize + DeserializeOwned + Send + 'static> Item for T {}

impl<T: Item> IteratorProxy<T> {
    /// Keeps an iterator in this process, on a thread of its own.
    ///
    /// # Errors
    /// [`StartError`](crate::SpawnError): there was no thread.
    pub fn new<I>(items: I) -> Result<Self, StartError>
    where
        I: IntoIterator<Item = T>,
        I::IntoIter: Send + 'static,
    {
        let stepper = Stepper(Box::new(items.into_iter().fuse()));
        host_as_object(stepper, "Iterator", MailboxOptions::DEFAULT, None).map(Self::of)
    }

    /// The next item, without blocking the thread; `None` when there are no more.
    ///
    /// # Errors
    /// [`CallError`]: why there is no answer. A panic in the iterator ends it.
    ///
    /// # Cancel safety
    /// An item that was made for a future that is dropped is lost.
    pub async fn next_async(&self) -> Result<Option<T>, CallError> {
        self.stepper.call_async(Step).await
    }

    fn of(stepper: ActorRef<Stepper<T>>) -> Self {
        Self { stepper, is_over: false }
    }
}

/// Each step asks for an item; nothing follows an error.
impl<T: Item> Iterator for IteratorProxy<T> {
    type Item = Result<T, CallError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let item = self.stepper.call(Step).transpose();
        self.is_over = !matches!(item, Some(Ok(_)));
        item
    }
}

impl<T: Item> Clone for IteratorProxy<T> {
    fn clone(&self) -> Self {
        Self::of(self.stepper.clone())
    }
}

impl<T: Item> fmt::Debug for IteratorProxy<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<IteratorProxy #{}>", self.stepper.id().number)
    }
}

impl<T: Item> Serialize for IteratorProxy<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let tag = procession_runtime::queue::tag::<T>();
        (tag, &self.stepper).serialize(serializer)
    }
}

impl<'de, T: Item> Deserialize<'de> for IteratorProxy<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (tag, stepper) = <(u32, ActorRef<Stepper<T>>)>::deserialize(deserializer)?;
        if tag != procession_runtime::queue::tag::<T>() {
            return Err(serde::de::Error::custom("the iterator is of items of another type"));
        }
        Ok(Self::of(stepper))
    }
}

/// The actor behind it.
struct Stepper<T>(Box<dyn Iterator<Item = T> + Send>);

/// Its only message: asks for the next item.
struct Step<T: Send + 'static>(Reply<Option<T>>);

impl<T: Item> Handler for Stepper<T> {
    type Msg = Step<T>;

    fn handle(&mut self, Step(reply): Step<T>) {
        reply.send(self.0.next());
    }
}

impl<T: Item> Message for Step<T> {
    fn variant_name(&self) -> &'static str {
        "Step"
    }

    fn expects_reply(&self) -> bool {
        self.0.is_some()
    }

    fn wire() -> Option<WireFns<Self>> {
        Some(WireFns::of())
    }
}

impl<T: Item> Wire for Step<T> {
    const FINGERPRINT: u64 = u64::from_le_bytes(*b"Iterator");

    /// It is made by who has the type.
    const METHODS: &'static [MethodNames] = &[];

    fn encode(&self, _encoder: &mut Encoder) -> Result<(), EncodeError> {
        Ok(())
    }

    fn take_reply(&mut self) -> Option<ReplyPort> {
        take_reply(&mut self.0)
    }

    fn decode(
        _decoder: &mut Decoder<'_>,
        reply: &mut Option<ReplyPort>,
    ) -> Result<Self, DecodeError> {
        Ok(Self(Reply::from_port(reply.take())))
    }
}
