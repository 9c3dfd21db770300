//! Objects of a Python program's manager.
//!
//! Owns [`PythonProxy`], which knows nothing of its object, and two macros for those with
//! types: what such a one is, and methods that are one call of Python's each.

use super::line::{self, Server};
use super::{PythonError, Result, plain};
use procession_protocols::dynamic::{self, Dynamic, Token};
use procession_protocols::manager::python::proxy_class;
use procession_runtime::manager::as_python;
use procession_runtime::sync::after;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// An object of a Python manager. It lives there while anybody has a proxy of it.
///
/// Clones are of the same object. As an argument or a result of a call, also within other
/// values, a proxy stays a proxy, as in Python: an object may be in another one.
#[derive(Clone)]
pub struct PythonProxy(Arc<Object>);

struct Object {
    server: Arc<Server>,
    kind: String,
    id: String,
    methods: Vec<String>,
    /// Whose the reference is: a copy of that process has none.
    process: u32,
}

impl PythonProxy {
    /// Of an object that has been told of this proxy.
    pub(super) fn new(server: Arc<Server>, kind: String, id: String, methods: Vec<String>) -> Self {
        let process = std::process::id();
        Self(Arc::new(Object { server, kind, id, methods, process }))
    }

    /// Calls a method, and waits for its answer; the arguments are a tuple.
    ///
    /// # Errors
    /// [`PythonError`]: what the method raises is a [`Fault`](super::Fault) where an object of this library
    /// would say the same, [`Fault::Empty`](super::Fault::Empty) for example.
    pub fn call<R: DeserializeOwned>(&self, method: &str, args: impl Serialize) -> Result<R> {
        self.call_with(method, args, ())
    }

    /// As [`call`](Self::call), with arguments by name as well: a struct or a map.
    ///
    /// # Errors
    /// As [`call`](Self::call); [`PythonError::Value`] when `named` has no names.
    pub fn call_with<R: DeserializeOwned>(
        &self,
        method: &str,
        args: impl Serialize,
        named: impl Serialize,
    ) -> Result<R> {
        self.0.server.call(&self.0.id, method, plain(&args, &named)?, None)
    }

    /// As [`call`](Self::call), waiting for the answer at most for `timeout`, whatever the method
    /// does. The method goes on then; this thread's connection to the manager ends, and with it
    /// the recursive locks that the thread holds there are nobody's to release.
    ///
    /// # Errors
    /// [`PythonError::Pipe`] with [`PipeError::Timeout`](crate::PipeError::Timeout), and as
    /// [`call`](Self::call).
    pub fn call_timeout<R: DeserializeOwned>(
        &self,
        method: &str,
        args: impl Serialize,
        timeout: Duration,
    ) -> Result<R> {
        let answer =
            self.0.server.call_plain(&self.0.id, method, plain(&args, &())?, after(timeout));
        self.0.server.read(answer?)
    }

    /// As [`call`](Self::call), of a method that gives up by itself after so long.
    pub(super) fn call_within<R: DeserializeOwned>(
        &self,
        limit: Duration,
        method: &str,
        args: impl Serialize,
    ) -> Result<R> {
        self.0.server.call(&self.0.id, method, plain(&args, &())?, Some(limit))
    }

    /// Calls a method whose answer is an object of its own, as an iterator is.
    ///
    /// # Errors
    /// As [`call`](Self::call); [`PythonError::NoPython`] when it is none.
    pub fn call_for_proxy(&self, method: &str, args: impl Serialize) -> Result<Self> {
        let server = &self.0.server;
        match server.call_plain(&self.0.id, method, plain(&args, &())?, None)? {
            Dynamic::Token(token) => {
                Ok(Self::new(server.clone(), token.typeid, token.id, Vec::new()))
            }
            _ => Err(PythonError::NoPython),
        }
    }

    /// Calls a method without arguments, and does not wait.
    pub(super) fn tell(&self, method: &str) {
        self.0.server.tell(&self.0.id, method);
    }

    /// The methods that the manager says it has.
    pub fn methods(&self) -> &[String] {
        &self.0.methods
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        if self.process == std::process::id() {
            self.server.let_go(std::mem::take(&mut self.id));
        }
    }
}

impl PartialEq for PythonProxy {
    /// Whether both are for the same object.
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id && self.0.server.address == other.0.server.address
    }
}

impl fmt::Debug for PythonProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} {}>", self.0.kind, self.0.id)
    }
}

impl Serialize for PythonProxy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Object { server, kind, id, methods, process: _ } = &*self.0;
        let class = proxy_class(kind);
        let proxy = dynamic::Proxy {
            class: class.into(),
            token: Token {
                typeid: kind.clone(),
                address: Box::new(as_python(&server.address)),
                id: id.clone(),
            },
            serializer: "pickle".into(),
            exposed: (class == "AutoProxy").then(|| methods.clone()),
        };
        Dynamic::Proxy(Box::new(proxy)).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PythonProxy {
    /// From the answer to a call; from anywhere else it is an error.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        line::read_proxy(Dynamic::deserialize(deserializer)?)
    }
}

/// Proxies with types: what is in one, how it is made, cloned, shown, sent and received.
macro_rules! kinds {
    ($($(#[$attribute:meta])* $name:ident $(<$($param:ident),+>)?;)*) => {$(
        $(#[$attribute])*
        pub struct $name $(<$($param),+>)? {
            proxy: $crate::manager::PythonProxy,
            types: ::std::marker::PhantomData<fn() -> ($($($param,)+)?)>,
        }

        impl $(<$($param),+>)? $name $(<$($param),+>)? {
            /// The object without its type, for its other methods.
            pub fn proxy(&self) -> &$crate::manager::PythonProxy {
                &self.proxy
            }
        }

        impl $(<$($param),+>)? From<$crate::manager::PythonProxy> for $name $(<$($param),+>)? {
            /// Nothing is asked: an object that is none has not the methods.
            fn from(proxy: $crate::manager::PythonProxy) -> Self {
                Self { proxy, types: ::std::marker::PhantomData }
            }
        }

        impl $(<$($param),+>)? Clone for $name $(<$($param),+>)? {
            fn clone(&self) -> Self {
                self.proxy.clone().into()
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
                ::std::fmt::Debug::fmt(&self.proxy, f)
            }
        }

        impl $(<$($param),+>)? ::serde::Serialize for $name $(<$($param),+>)? {
            fn serialize<Ser: ::serde::Serializer>(
                &self,
                serializer: Ser,
            ) -> ::std::result::Result<Ser::Ok, Ser::Error> {
                ::serde::Serialize::serialize(&self.proxy, serializer)
            }
        }

        impl<'de $($(, $param)+)?> ::serde::Deserialize<'de> for $name $(<$($param),+>)? {
            fn deserialize<De: ::serde::Deserializer<'de>>(
                deserializer: De,
            ) -> ::std::result::Result<Self, De::Error> {
                let proxy: $crate::manager::PythonProxy =
                    ::serde::Deserialize::deserialize(deserializer)?;
                Ok(proxy.into())
            }
        }
    )*};
}

/// Calls: `name(argument: type) -> result = "method"(arguments)`, and ` within limit` when the
/// method gives up by itself after so long.
macro_rules! calls {
    (@call $proxy:expr, $method:literal, $args:expr) => {
        $proxy.call($method, $args)
    };
    (@call $proxy:expr, $method:literal, $args:expr, $limit:expr) => {
        $proxy.call_within($limit, $method, $args)
    };
    ($(
        $(#[$attribute:meta])*
        $name:ident($($arg:ident: $type:ty),*) -> $out:ty
            = $method:literal($($given:expr),*) $(within $limit:expr)?;
    )*) => {$(
        $(#[$attribute])*
        ///
        /// # Errors
        /// [`PythonError`](crate::manager::PythonError).
        pub fn $name(&self $(, $arg: $type)*) -> $crate::manager::python::Result<$out> {
            calls!(@call self.proxy, $method, ($($given,)*) $(, $limit)?)
        }
    )*};
}

pub(super) use {calls, kinds};
