//! How values are written on a connection.
//!
//! Owns the choice: the format of this program's own processes, in which descriptors and
//! handles travel, or one that other programs read, in which they do not.

use super::PipeError;
use crate::error::{DecodeError, EncodeError};
use procession_protocols::dynamic::Dynamic;
use procession_protocols::pickle::{self, Limits};
use procession_runtime::codec::{self, Encoded};
use procession_runtime::pipe::Message;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::any::type_name;

/// A format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Wire {
    /// That of processes of one image.
    Relatives,
    /// That of programs of this library: `MessagePack`, fields by name.
    MsgPack,
    /// JSON, for everybody.
    Json,
    /// Pickles of plain data, for Python.
    Pickle,
}

impl Wire {
    pub(crate) fn encode<T: Serialize + ?Sized>(self, value: &T) -> Result<Encoded, PipeError> {
        let bytes = match self {
            Self::Relatives => return Ok(codec::encode(value)?),
            Self::MsgPack => rmp_serde::to_vec_named(value).map_err(|why| why.to_string()),
            Self::Json => serde_json::to_vec(value).map_err(|why| why.to_string()),
            Self::Pickle => to_pickle(value),
        };
        match bytes {
            Ok(bytes) => Ok(Encoded { bytes, fds: Vec::new() }),
            Err(why) => Err(EncodeError { type_name: type_name::<T>().into(), why }.into()),
        }
    }

    pub(crate) fn decode<T: DeserializeOwned>(self, message: Message) -> Result<T, PipeError> {
        let bytes = &message.bytes[..];
        let value = match self {
            Self::Relatives => return Ok(codec::decode(bytes, message.fds)?),
            Self::MsgPack => from_msgpack(bytes),
            Self::Json => serde_json::from_slice(bytes).map_err(|why| why.to_string()),
            Self::Pickle => from_pickle(bytes),
        };
        value.map_err(|why| DecodeError { type_name: type_name::<T>().into(), why }.into())
    }
}

/// All of the bytes must be the value.
fn from_msgpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let mut reader = rmp_serde::Deserializer::new(bytes);
    let value = T::deserialize(&mut reader).map_err(|why| why.to_string())?;
    match reader.get_ref().len() {
        0 => Ok(value),
        left => Err(format!("{left} bytes left over")),
    }
}

fn to_pickle<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, String> {
    let plain = Dynamic::of(value).map_err(|why| why.to_string())?;
    pickle::write(&plain).map_err(|why| why.to_string())
}

fn from_pickle<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let plain = pickle::read(bytes, Limits::default()).map_err(|why| why.to_string())?;
    plain.to().map_err(|why| why.to_string())
}
