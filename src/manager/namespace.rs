//! `NamespaceProxy`: named values of any types at a manager.
//!
//! Owns the calls. To the manager it is a dict whose keys are strings.

use super::proxy::{Result, boolean, calls, done, maybe, proxy, value, values};
use procession_protocols::manager::{Call, DictCall, Fault, Place, Reply};
use procession_runtime::manager::{Ask, Change, ManagerError};
use serde::Serialize;
use serde::de::DeserializeOwned;

proxy! {
    /// A namespace at a [`Manager`](crate::Manager), as Python's `NamespaceProxy`: each
    /// attribute has a type of its own, which who gets it says.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = procession::Manager::start()?;
    /// let ns = manager.namespace()?;
    /// ns.set("x", &10)?;
    /// ns.set("y", &"hello".to_string())?;
    /// ns.update("x", |x: &mut i32, by: i32| *x += by, 5)?;
    /// assert_eq!(ns.get::<i32>("x")?, 15);
    /// # Ok(())
    /// # }
    /// ```
    NamespaceProxy
}

impl NamespaceProxy {
    calls! {
        /// Whether it has such an attribute.
        has has_async(proxy, name: &str) -> bool {
            Call::Dict(DictCall::Contains(proxy.encode(name)?)) => boolean
        }

        /// The names of its attributes, in the order in which they came.
        names names_async(_proxy) -> Vec<String> {
            Call::Dict(DictCall::Keys) => values
        }
    }

    /// A copy of an attribute.
    ///
    /// # Errors
    /// [`Fault::Key`] when there is none; [`ManagerError::Decode`] when it is of another
    /// type.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let call = Call::Dict(DictCall::Get(self.proxy.encode(name)?));
        maybe(self.proxy.call(call, None)?)?.ok_or(ManagerError::Fault(Fault::Key))
    }

    /// Sets an attribute.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn set<T: Serialize + ?Sized>(&self, name: &str, value: &T) -> Result<()> {
        let call = DictCall::Set(self.proxy.encode(name)?, self.proxy.encode(value)?);
        done(self.proxy.call(Call::Dict(call), None)?)
    }

    /// Takes an attribute away: Python's `del`.
    ///
    /// # Errors
    /// [`Fault::Key`] when there is none.
    pub fn delete(&self, name: &str) -> Result<()> {
        let call = Call::Dict(DictCall::Pop(self.proxy.encode(name)?));
        match self.proxy.call(call, None)? {
            Reply::None => Err(Fault::Key.into()),
            _ => Ok(()),
        }
    }

    /// Changes an attribute in one step; see [`DictProxy::update`](super::DictProxy::update).
    ///
    /// # Errors
    /// [`Fault::Key`] when there is none; [`Fault::Failed`] when the function panics.
    pub fn update<F, T, A, R>(&self, name: &str, change: F, args: A) -> Result<R>
    where
        F: Fn(&mut T, A) -> R + Copy + 'static,
        T: Serialize + DeserializeOwned + 'static,
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        let function = Change::one(change).map_err(super::not_in_image)?;
        let place = Place::Key(self.proxy.encode(name)?);
        let args = self.proxy.encode(&args)?;
        value(self.proxy.ask(Ask::Change { place, function, args }, None)?)
    }
}
