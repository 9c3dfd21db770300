//! What a message is, and how it leaves the process.
//!
//! Owns the traits that the macros implement for an actor's messages. A message needs
//! no serde to be handled in its own process; whether it *can* travel is found out by
//! the compiler per message type ([`Message::wire`]). Nothing here sends anything.

use super::reply::{Reply, ReplyPort};
use crate::codec::{DecodeError, Decoder, EncodeError, Encoder};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;

/// An actor's message: made by `#[methods]`, or an enum with `#[derive(Message)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a message",
    note = "put `#[derive(procession::Message)]` on the enum"
)]
pub trait Message: Send + Sized + 'static {
    /// The variant's name, for logs.
    fn variant_name(&self) -> &'static str;

    /// Whether somebody waits for the answer: a call, not a cast.
    fn expects_reply(&self) -> bool;

    /// How it travels; `None` when an argument or a reply has no serde.
    fn wire() -> Option<WireFns<Self>>;
}

/// A message that can travel: all its arguments and replies are `Serialize` and
/// `DeserializeOwned`. Implemented by the macros, under that condition.
pub trait Wire: Message {
    /// Depends on the variants and the names of their fields' types, in their order. Peers
    /// that are not the same program compare it.
    const FINGERPRINT: u64;

    /// What the variants are called by who knows no types, in their order: the methods.
    const METHODS: &'static [MethodNames];

    /// Appends the variant's number and all fields but the reply.
    ///
    /// # Errors
    /// What a field's `Serialize` says.
    fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError>;

    /// Takes the reply out, as a port that completes it from wire bytes; `None` for a
    /// cast. The message keeps [`Reply::none`].
    fn take_reply(&mut self) -> Option<ReplyPort>;

    /// Takes a message out. Its reply is made from `reply`, which is left where it is
    /// when decoding fails; `None` makes a cast.
    ///
    /// # Errors
    /// What a field's `Deserialize` says, and an unknown variant.
    fn decode(
        decoder: &mut Decoder<'_>,
        reply: &mut Option<ReplyPort>,
    ) -> Result<Self, DecodeError>;
}

/// A message, as it is called by who knows no types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MethodNames {
    /// The method.
    pub name: &'static str,
    /// Its arguments, in their order.
    pub arguments: &'static [&'static str],
}

/// What the generated `impl Wire` asks of each argument and reply type.
///
/// The lifetime means nothing. Generated code asks `for<'a> T: WireArg<'a>`, and a
/// condition with a bound lifetime in it is not refused where it stands when it does
/// not hold; without it, a type with no serde could not even be hosted.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot leave the process in a message",
    label = "not both `Serialize` and `DeserializeOwned`",
    note = "derive both for it, or host the actor in this process"
)]
pub trait WireArg<'a>: Serialize + DeserializeOwned + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + 'static> WireArg<'_> for T {}

/// The functions of [`Wire`] as values: what a reference needs to send to another
/// process, without the bound on its type.
///
/// The bound would make a circle where an actor's messages carry references to its own
/// kind: the message is `Wire` if the reference is `Serialize`, if the message is `Wire`.
#[derive(Debug)]
pub struct WireFns<M> {
    pub(crate) fingerprint: u64,
    pub(crate) methods: &'static [MethodNames],
    pub(crate) encode: fn(&M, &mut Encoder) -> Result<(), EncodeError>,
    pub(crate) take_reply: fn(&mut M) -> Option<ReplyPort>,
    pub(crate) decode: fn(&mut Decoder<'_>, &mut Option<ReplyPort>) -> Result<M, DecodeError>,
}

impl<M: Wire> WireFns<M> {
    /// The functions of `M`.
    pub fn of() -> Self {
        Self {
            fingerprint: M::FINGERPRINT,
            methods: M::METHODS,
            encode: M::encode,
            take_reply: M::take_reply,
            decode: M::decode,
        }
    }
}

impl<M> Clone for WireFns<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for WireFns<M> {}

/// Asks the compiler whether `M` is [`Wire`]: `(&Probe::<M>::new()).wire_fns()` finds the
/// method of [`IfWire`] first, and that of [`IfNot`] one reference later.
#[derive(Debug)]
pub struct Probe<M>(PhantomData<M>);

impl<M> Probe<M> {
    /// The question about `M`.
    #[expect(clippy::new_without_default, reason = "only generated code asks")]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

/// The answer for a message that travels.
pub trait IfWire<M> {
    /// Its functions.
    fn wire_fns(&self) -> Option<WireFns<M>>;
}

impl<M: Wire> IfWire<M> for Probe<M> {
    fn wire_fns(&self) -> Option<WireFns<M>> {
        Some(WireFns::of())
    }
}

/// The answer for a message that does not.
pub trait IfNot<M> {
    /// None.
    fn wire_fns(&self) -> Option<WireFns<M>>;
}

impl<M> IfNot<M> for &Probe<M> {
    fn wire_fns(&self) -> Option<WireFns<M>> {
        None
    }
}

/// Takes a reply field out of a message, for [`Wire::take_reply`].
pub fn take_reply<R: for<'a> WireArg<'a>>(reply: &mut Reply<R>) -> Option<ReplyPort> {
    std::mem::replace(reply, Reply::none()).into_port()
}

/// The error of a decode that met a variant number that `M` does not have.
pub fn unknown_variant<M>(index: u32) -> DecodeError {
    DecodeError {
        type_name: std::any::type_name::<M>().into(),
        why: format!("there is no variant {index}"),
    }
}

/// Generated code asks this of each type in a message.
pub fn sendable<T: Send + 'static>() {}
