//! What the proxies have in common: their form, their calls, the reading of answers.
//!
//! Owns two macros and the openers of answers. A call that needs no time limit is written
//! once, and has a blocking and an async form. Neighbours: each kind of object has a file
//! of its own.

use procession_protocols::manager::{Call, Reply};
use procession_runtime::manager::{Asked, ManagerError, Patience, Proxy, Stored};
use serde::de::DeserializeOwned;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

pub(super) type Answer = Reply<Stored>;
pub(super) type Result<T, E = ManagerError> = std::result::Result<T, E>;

/// A proxy's type: what is in it, how it is cloned, shown, sent and received.
macro_rules! proxy {
    ($(#[$attribute:meta])* $name:ident $(<$($param:ident),+>)?) => {
        $(#[$attribute])*
        pub struct $name $(<$($param),+>)? {
            pub(in crate::manager) proxy: ::procession_runtime::manager::Proxy,
            types: ::std::marker::PhantomData<fn() -> ($($($param,)+)?)>,
        }

        impl $(<$($param),+>)? $name $(<$($param),+>)? {
            pub(in crate::manager) fn of(proxy: ::procession_runtime::manager::Proxy) -> Self {
                Self { proxy, types: ::std::marker::PhantomData }
            }

            /// The object's number at its manager.
            pub fn id(&self) -> u64 {
                self.proxy.object()
            }
        }

        impl $(<$($param),+>)? Clone for $name $(<$($param),+>)? {
            fn clone(&self) -> Self {
                Self::of(self.proxy.clone())
            }
        }

        impl $(<$($param),+>)? PartialEq for $name $(<$($param),+>)? {
            /// Whether both are for the same object.
            fn eq(&self, other: &Self) -> bool {
                self.proxy == other.proxy
            }
        }

        impl $(<$($param),+>)? ::std::fmt::Debug for $name $(<$($param),+>)? {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                write!(f, "<{} #{}>", stringify!($name), self.id())
            }
        }

        impl $(<$($param),+>)? ::serde::Serialize for $name $(<$($param),+>)? {
            fn serialize<Ser: ::serde::Serializer>(
                &self,
                serializer: Ser,
            ) -> ::std::result::Result<Ser::Ok, Ser::Error> {
                let tag = ::procession_runtime::queue::tag::<Self>();
                ::serde::Serialize::serialize(&(tag, &self.proxy), serializer)
            }
        }

        impl<'de $($(, $param)+)?> ::serde::Deserialize<'de> for $name $(<$($param),+>)? {
            fn deserialize<De: ::serde::Deserializer<'de>>(
                deserializer: De,
            ) -> ::std::result::Result<Self, De::Error> {
                let (tag, proxy): (u32, ::procession_runtime::manager::Proxy) =
                    ::serde::Deserialize::deserialize(deserializer)?;
                if tag != ::procession_runtime::queue::tag::<Self>() {
                    let text = "the proxy is for an object of another type";
                    return Err(::serde::de::Error::custom(text));
                }
                Ok(Self::of(proxy))
            }
        }
    };
}

/// Calls without a time limit: `name name_async (proxy, argument: type) -> result
/// { call => opener }`.
macro_rules! calls {
    ($(
        $(#[$attribute:meta])*
        $name:ident $name_async:ident ($proxy:ident $(, $arg:ident: $type:ty)*) -> $out:ty
        { $call:expr => $open:expr }
    )*) => {$(
        $(#[$attribute])*
        ///
        /// # Errors
        /// [`ManagerError`](crate::ManagerError).
        pub fn $name(&self $(, $arg: $type)*) -> $crate::manager::proxy::Result<$out> {
            let $proxy = &self.proxy;
            $open($proxy.call($call, None)?)
        }

        #[doc = concat!(
            "As [`", stringify!($name), "`](Self::", stringify!($name), "), without blocking ",
            "the thread."
        )]
        ///
        /// # Errors
        /// [`ManagerError`](crate::ManagerError).
        ///
        /// # Cancel safety
        /// Dropping the future forgets the answer; the call may have been carried out.
        pub fn $name_async(&self $(, $arg: $type)*) -> $crate::manager::Pending<$out> {
            let $proxy = &self.proxy;
            let call = || $crate::manager::proxy::Result::Ok($call);
            $crate::manager::Pending::begin($proxy, call(), None, $open)
        }
    )*};
}

/// An answer under way, for any executor.
///
/// The call is sent when this is first polled.
///
/// # Cancel safety
/// Dropped, it takes the call back as far as that is possible: what a lock, a semaphore or
/// a queue gave it returns there; any other call may have been carried out.
#[must_use = "nothing is asked before it is awaited"]
pub struct Pending<T> {
    answer: Asked,
    open: Box<dyn Fn(Answer) -> Result<T> + Send>,
}

impl<T> Pending<T> {
    pub(super) fn begin(
        proxy: &Proxy,
        call: Result<Call<Stored>>,
        patience: Patience,
        open: impl Fn(Answer) -> Result<T> + Send + 'static,
    ) -> Self {
        let answer = match call {
            Ok(call) => proxy.call_async(call, patience),
            Err(error) => Asked::failed(error),
        };
        Self { answer, open: Box::new(open) }
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        let answer = ready!(Pin::new(&mut self.answer).poll(context));
        Poll::Ready(answer.and_then(&self.open))
    }
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pending")
    }
}

/// The call is carried out.
pub(super) fn done(answer: Answer) -> Result<()> {
    match answer {
        Reply::Done => Ok(()),
        _ => Err(ManagerError::Unexpected),
    }
}

pub(super) fn boolean(answer: Answer) -> Result<bool> {
    match answer {
        Reply::Bool(is) => Ok(is),
        _ => Err(ManagerError::Unexpected),
    }
}

pub(super) fn number(answer: Answer) -> Result<usize> {
    match answer {
        Reply::Number(number) => Ok(usize::try_from(number).unwrap_or(usize::MAX)),
        _ => Err(ManagerError::Unexpected),
    }
}

pub(super) fn value<T: DeserializeOwned>(answer: Answer) -> Result<T> {
    match answer {
        Reply::Value(value) => Ok(value.decode()?),
        _ => Err(ManagerError::Unexpected),
    }
}

pub(super) fn maybe<T: DeserializeOwned>(answer: Answer) -> Result<Option<T>> {
    match answer {
        Reply::None => Ok(None),
        answer => value(answer).map(Some),
    }
}

pub(super) fn values<T: DeserializeOwned>(answer: Answer) -> Result<Vec<T>> {
    match answer {
        Reply::Values(values) => {
            values.iter().map(|value| value.decode().map_err(Into::into)).collect()
        }
        _ => Err(ManagerError::Unexpected),
    }
}

pub(super) fn pairs<K, V>(answer: Answer) -> Result<Vec<(K, V)>>
where
    K: DeserializeOwned,
    V: DeserializeOwned,
{
    match answer {
        Reply::Pairs(pairs) => {
            pairs.iter().map(|(key, value)| Ok((key.decode()?, value.decode()?))).collect()
        }
        _ => Err(ManagerError::Unexpected),
    }
}

pub(super) use {calls, proxy};
