//! `SharedMemory`: bytes that several processes have mapped, by name or without one.
//!
//! Owns the handle. It must never hand out a reference to bytes that others may write,
//! but by `unsafe`: reading and writing copy. How segments are made, named and removed is
//! the runtime's. Neighbours: `list.rs` (`ShareableList`), `manager.rs`.

mod list;
mod manager;

pub use list::{ShareableItem, ShareableList, ShareableListError};
pub use manager::SharedMemoryManager;
pub use procession_runtime::memory::segment::SharedMemoryError;
pub use procession_runtime::memory::{OutOfRange, Plain, SharedCell, SharedCells};

use procession_runtime::codec::{self, Fd};
use procession_runtime::memory::segment::Segment;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::ops::RangeBounds;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// A piece of memory that processes share, as Python's `SharedMemory`.
///
/// With a name, any process of the same user can attach to it: of this program, of
/// another, of Python. The name stays until [`unlink`](Self::unlink) is called; when the
/// process that made it ends before that, by whatever death, its fork server removes the
/// name. Attaching never does.
///
/// Without a name ([`anonymous`](Self::anonymous)) it travels as a descriptor, and is gone
/// with the last process that has it. Prefer this one where both ends are procession's.
///
/// Clones share one mapping, which ends with the last of them.
///
/// Named memory can be made smaller by any process of the same user that opens its file;
/// touching what is gone then ends a process with SIGBUS. Anonymous memory is sealed
/// against that.
///
/// ```
/// use procession::{Process, SharedMemory};
///
/// fn shout(memory: SharedMemory) {
///     memory.write(0, b"HELLO").unwrap();
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let memory = SharedMemory::anonymous(5)?;
/// Process::spawn(shout, (memory.clone(),))?.result()?;
/// assert_eq!(memory.to_vec(..)?, b"HELLO");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SharedMemory {
    segment: Arc<Segment>,
}

impl SharedMemory {
    /// Makes memory of this name (a leading slash is left out), zeroed, with its space
    /// reserved, readable and writable for this user only.
    ///
    /// The first time, this starts a fork server, which keeps the list of names that are to
    /// be removed when this process has ended.
    ///
    /// # Errors
    /// [`SharedMemoryError::Exists`]; `ZeroSize`; `InvalidName`; `Untracked` when no fork
    /// server is to be had; `Io` when there is no room (`ENOSPC`).
    pub fn create(name: &str, size: usize) -> Result<Self, SharedMemoryError> {
        Self::made(Segment::create(Some(name), size, true, String::new))
    }

    /// As [`create`](Self::create), with a name that is free, in Python's form:
    /// `psm_` and eight digits.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_unnamed(size: usize) -> Result<Self, SharedMemoryError> {
        Self::create_drawn(size, drawn_name)
    }

    /// As [`create`](Self::create), with the first name that is free of those that `draw`
    /// gives.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_drawn(
        size: usize,
        draw: impl FnMut() -> String,
    ) -> Result<Self, SharedMemoryError> {
        Self::made(Segment::create(None, size, true, draw))
    }

    /// As [`create`](Self::create), for a name that stays when this process ends (Python's
    /// `track=False`): somebody else must remove it.
    ///
    /// # Errors
    /// As [`create`](Self::create), but for `Untracked`.
    pub fn create_untracked(name: &str, size: usize) -> Result<Self, SharedMemoryError> {
        Self::made(Segment::create(Some(name), size, false, String::new))
    }

    /// Attaches to memory by its name. Neither this nor the end of this process removes it.
    ///
    /// # Errors
    /// [`SharedMemoryError::NotFound`]; `InvalidName`; `ZeroSize` when its maker has not yet
    /// given it memory (Python's does so after naming it).
    pub fn attach(name: &str) -> Result<Self, SharedMemoryError> {
        Self::made(Segment::attach(name))
    }

    /// Makes memory without a name, zeroed, with its space reserved.
    ///
    /// # Errors
    /// [`SharedMemoryError::ZeroSize`]; `Io` when there is less memory than that.
    pub fn anonymous(size: usize) -> Result<Self, SharedMemoryError> {
        Self::made(Segment::anonymous(size))
    }

    fn made(segment: Result<Segment, SharedMemoryError>) -> Result<Self, SharedMemoryError> {
        segment.map(|segment| Self { segment: Arc::new(segment) })
    }

    /// Its name, without a slash; `None` when it has none.
    pub fn name(&self) -> Option<&str> {
        self.segment.name()
    }

    /// Its size in bytes.
    pub fn size(&self) -> usize {
        self.segment.size()
    }

    /// Copies bytes from here, from `offset` on, until `bytes` is full.
    ///
    /// # Errors
    /// [`OutOfRange`] when they are not all inside; none is copied then.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<(), OutOfRange> {
        self.bytes().part(offset..offset.saturating_add(bytes.len()))?.read(bytes)
    }

    /// Copies `bytes` here, to `offset`.
    ///
    /// # Errors
    /// [`OutOfRange`] when they do not all fit; none is copied then.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), OutOfRange> {
        self.bytes().part(offset..offset.saturating_add(bytes.len()))?.write(bytes)
    }

    /// A copy of the bytes in a range.
    ///
    /// # Errors
    /// [`OutOfRange`].
    pub fn to_vec(&self, range: impl RangeBounds<usize>) -> Result<Vec<u8>, OutOfRange> {
        Ok(self.bytes().part(range)?.to_vec())
    }

    /// All its bytes.
    pub fn bytes(&self) -> SharedCells<'_, u8> {
        self.view(0, self.size()).unwrap_or_else(|| unreachable!("bytes are aligned anywhere"))
    }

    /// `len` values of a type, from `offset` bytes on. `None` when they are not all inside,
    /// or the offset is no multiple of what their type is aligned to.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let memory = procession::SharedMemory::anonymous(64)?;
    /// let counts = memory.view::<u64>(0, 8).ok_or("no room")?;
    /// counts.at(3).ok_or("no fourth")?.fetch_add(7);
    /// assert_eq!(counts.to_vec(), [0, 0, 0, 7, 0, 0, 0, 0]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn view<T: Plain>(&self, offset: usize, len: usize) -> Option<SharedCells<'_, T>> {
        self.segment.cells(offset, len)
    }

    /// Ends this handle. The memory goes with the last process that has it; its name does
    /// not. The same as dropping it.
    pub fn close(self) {}

    /// Removes the name. The memory stays for those who have it.
    ///
    /// # Errors
    /// [`SharedMemoryError::NotFound`] when it has been removed before;
    /// [`SharedMemoryError::Anonymous`].
    pub fn unlink(&self) -> Result<(), SharedMemoryError> {
        self.segment.unlink()
    }

    /// Lets the name outlive the process that made it, which is this one.
    ///
    /// # Errors
    /// When the fork server that keeps the list of names does not answer.
    pub fn untrack(&self) -> Result<(), SharedMemoryError> {
        self.segment.untrack()
    }
}

impl AsFd for SharedMemory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.segment.file()
    }
}

impl fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name().unwrap_or("anonymous");
        f.debug_struct("SharedMemory").field("name", &name).field("size", &self.size()).finish()
    }
}

/// A name in Python's form.
fn drawn_name() -> String {
    let (drawn, _) = uuid::Uuid::new_v4().as_u64_pair();
    format!("psm_{:08x}", drawn >> 32)
}

/// What travels: a name, or a descriptor, and the size.
#[derive(Serialize, Deserialize)]
enum Travelling {
    Named(String, u64),
    Anonymous(Fd, u64),
}

/// Travels as its name and size, and attaches to that on the other side; without a name, as
/// its descriptor.
impl Serialize for SharedMemory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error;
        if !codec::in_transfer() {
            return Err(S::Error::custom(codec::OUTSIDE_TRANSFER));
        }
        let size = self.size() as u64;
        let travelling = if let Some(name) = self.name() {
            Travelling::Named(name.to_owned(), size)
        } else {
            let file = self.as_fd().try_clone_to_owned().map_err(S::Error::custom)?;
            Travelling::Anonymous(file.into(), size)
        };
        travelling.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SharedMemory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let attached = match Travelling::deserialize(deserializer)? {
            Travelling::Named(name, _) => Segment::attach(&name),
            Travelling::Anonymous(file, size) => {
                let size = usize::try_from(size).map_err(D::Error::custom)?;
                Segment::from_descriptor(file.into(), size)
            }
        };
        Self::made(attached).map_err(D::Error::custom)
    }
}
