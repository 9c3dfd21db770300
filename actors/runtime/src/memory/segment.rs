//! Segments: shared memory by name, or without one.
//!
//! Owns a segment from its making to the end of its mapping, and the rules of names. The
//! name of a segment made here is on the zygote's list before it exists, and appears only
//! when its memory is reserved and zeroed: nobody can attach to a half-made one. Attaching
//! must never unlink, nor put a name on a list.

use super::{Plain, SharedCells};
use crate::launcher::{forget_name, forget_name_soon, give_kept_name};
use crate::node::hidden;
use crate::sys::memory::{self, Mapping};
use nix::errno::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Longest name, in bytes: the file system's limit.
pub const MAX_NAME: usize = 255;

/// A name that was drawn and is taken is drawn again so often.
const DRAWS: usize = 100;

/// Why there is no such shared memory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SharedMemoryError {
    /// It would have no bytes.
    #[error("shared memory has at least one byte")]
    ZeroSize,
    /// The text is no name for it.
    #[error("{0:?} names no shared memory: a name has 1 to 255 bytes, and no slash or NUL inside")]
    InvalidName(String),
    /// Another has the name.
    #[error("there is shared memory named {0:?} already")]
    Exists(String),
    /// Nothing has the name.
    #[error("there is no shared memory named {0:?}")]
    NotFound(String),
    /// It has no name that could be removed.
    #[error("anonymous shared memory has no name to unlink")]
    Anonymous,
    /// There is no process that would remove the name at the end of this one, so none was
    /// made. It can be made untracked.
    #[error("no fork server is to be had that would remove the name at the end: {0}")]
    Untracked(#[source] io::Error),
    /// The memory came from a process that could still take it away.
    #[error("the memory is not sealed: whoever sent it could shrink it")]
    NotSealed,
    /// The library's own hidden thread may not wait for this.
    #[error("a thread of the library would wait for itself")]
    WouldDeadlock,
    /// The system refused: no room (`ENOSPC`), no memory, no descriptor.
    #[error("shared memory: {0}")]
    Io(#[from] io::Error),
}

/// Shared memory, mapped into this process.
#[derive(Debug)]
pub struct Segment {
    mapping: Mapping,
    file: OwnedFd,
    name: Option<String>,
    /// Whether the name is on this process's list.
    is_tracked: AtomicBool,
}

impl Segment {
    /// Makes one of this name, or of the first free one of those drawn.
    ///
    /// # Errors
    /// [`SharedMemoryError`]; nothing is left then.
    pub fn create(
        name: Option<&str>,
        size: usize,
        is_tracked: bool,
        mut draw: impl FnMut() -> String,
    ) -> Result<Self, SharedMemoryError> {
        if size == 0 {
            return Err(SharedMemoryError::ZeroSize);
        }
        if let Some(name) = name {
            return Self::create_named(checked(name)?, size, is_tracked);
        }
        for _ in 0..DRAWS {
            match Self::create_named(checked(&draw())?, size, is_tracked) {
                Err(SharedMemoryError::Exists(_)) => {}
                other => return other,
            }
        }
        Err(SharedMemoryError::Exists("each name that was drawn".into()))
    }

    fn create_named(name: &str, size: usize, is_tracked: bool) -> Result<Self, SharedMemoryError> {
        // Most often this is found out here, at the least cost; the link below is what counts.
        if memory::id_of_name(name).is_ok() {
            return Err(SharedMemoryError::Exists(name.into()));
        }
        let file = memory::unnamed(size)?;
        let mapping = Mapping::new(file.as_fd(), size)?;
        let id = memory::id(file.as_fd())?;
        let give = move |name: &str| memory::give_name(file.as_fd(), name).map(|()| file);
        let given = if is_tracked {
            if hidden::is_current() {
                return Err(SharedMemoryError::WouldDeadlock);
            }
            give_kept_name(name.into(), id, give).map_err(SharedMemoryError::Untracked)?
        } else {
            give(name)
        };
        let file = given.map_err(|error| match error.raw_os_error() {
            Some(libc::EEXIST) => SharedMemoryError::Exists(name.into()),
            _ => error.into(),
        })?;
        Ok(Self { mapping, file, name: Some(name.into()), is_tracked: is_tracked.into() })
    }

    /// Attaches to the one of this name.
    ///
    /// # Errors
    /// [`SharedMemoryError::NotFound`], and what the system says.
    pub fn attach(name: &str) -> Result<Self, SharedMemoryError> {
        let name = checked(name)?;
        let file = memory::open_name(name).map_err(|error| not_found(error, name))?;
        let size = memory::size(file.as_fd())?;
        if size == 0 {
            // Python makes the name first and the memory afterwards.
            return Err(SharedMemoryError::ZeroSize);
        }
        let mapping = Mapping::new(file.as_fd(), size)?;
        Ok(Self { mapping, file, name: Some(name.into()), is_tracked: false.into() })
    }

    /// Makes one without a name.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn anonymous(size: usize) -> Result<Self, SharedMemoryError> {
        if size == 0 {
            return Err(SharedMemoryError::ZeroSize);
        }
        let file = memory::anonymous(size)?;
        let mapping = Mapping::new(file.as_fd(), size)?;
        Ok(Self { mapping, file, name: None, is_tracked: false.into() })
    }

    /// Takes one that another process sent, which is nobody's word for its size.
    ///
    /// # Errors
    /// [`SharedMemoryError::NotSealed`], and `EINVAL` when it is smaller than `size`.
    pub fn from_descriptor(file: OwnedFd, size: usize) -> Result<Self, SharedMemoryError> {
        if !memory::cannot_shrink(file.as_fd()) {
            return Err(SharedMemoryError::NotSealed);
        }
        let mapping = Mapping::new(file.as_fd(), size)?;
        Ok(Self { mapping, file, name: None, is_tracked: false.into() })
    }

    /// Its name, without a slash; `None` when it has none.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Its size in bytes.
    pub fn size(&self) -> usize {
        self.mapping.len()
    }

    /// Its descriptor.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// The values of a type from `offset` on; `None` where they are not all inside, or not
    /// aligned.
    pub fn cells<T: Plain>(&self, offset: usize, len: usize) -> Option<SharedCells<'_, T>> {
        SharedCells::new(&self.mapping, offset, len)
    }

    /// Removes the name; the memory stays for those who are attached.
    ///
    /// # Errors
    /// [`SharedMemoryError::NotFound`] the second time.
    pub fn unlink(&self) -> Result<(), SharedMemoryError> {
        let name = self.name.as_deref().ok_or(SharedMemoryError::Anonymous)?;
        // It may be another's by now: unlinked by hand, and made again.
        let is_this = memory::id_of_name(name)
            .and_then(|id| Ok(id == memory::id(self.file.as_fd())?))
            .map_err(|error| not_found(error, name));
        let unlinked = match is_this {
            Ok(true) => memory::unlink(name).map_err(|error| not_found(error, name)),
            Ok(false) => Err(SharedMemoryError::NotFound(name.into())),
            Err(error) => Err(error),
        };
        self.untrack_soon();
        unlinked
    }

    /// Lets the name outlive this process.
    ///
    /// # Errors
    /// When the fork server that keeps the list does not answer: it will remove the name.
    pub fn untrack(&self) -> Result<(), SharedMemoryError> {
        match &self.name {
            Some(_) if hidden::is_current() => Err(SharedMemoryError::WouldDeadlock),
            Some(name) if self.is_tracked.swap(false, Ordering::AcqRel) => {
                Ok(forget_name(name.clone(), memory::id(self.file.as_fd())?)?)
            }
            _ => Ok(()),
        }
    }

    fn untrack_soon(&self) {
        if let Some(name) = &self.name
            && let Ok(id) = memory::id(self.file.as_fd())
            && self.is_tracked.swap(false, Ordering::AcqRel)
        {
            forget_name_soon(name.clone(), id);
        }
    }
}

fn not_found(error: io::Error, name: &str) -> SharedMemoryError {
    match error.kind() {
        io::ErrorKind::NotFound => SharedMemoryError::NotFound(name.into()),
        _ => error.into(),
    }
}

/// The name without the slash that the C library wants before it.
fn checked(name: &str) -> Result<&str, SharedMemoryError> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    let is_name = !bare.is_empty()
        && bare.len() <= MAX_NAME
        && !bare.contains(['/', '\0'])
        && !matches!(bare, "." | "..");
    if is_name { Ok(bare) } else { Err(SharedMemoryError::InvalidName(name.into())) }
}

impl From<Errno> for SharedMemoryError {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_files() {
        assert_eq!(checked("/psm_1").unwrap(), "psm_1");
        let long = "x".repeat(MAX_NAME + 1);
        for name in ["", "/", "a/b", "//a", "..", "a\0b", long.as_str()] {
            assert!(matches!(checked(name), Err(SharedMemoryError::InvalidName(_))), "{name:?}");
        }
        assert!(checked(&long[1..]).is_ok());
    }

    #[test]
    fn memory_that_can_shrink_is_refused() {
        let file = memory::unnamed(100).unwrap();
        assert!(matches!(Segment::from_descriptor(file, 100), Err(SharedMemoryError::NotSealed)));
        let file = memory::anonymous(100).unwrap();
        assert!(Segment::from_descriptor(file.try_clone().unwrap(), 101).is_err());
        let segment = Segment::from_descriptor(file, 100).unwrap();
        assert_eq!(segment.cells::<u8>(0, 100).unwrap().to_vec(), [0; 100]);
        assert!(nix::unistd::ftruncate(segment.file(), 10).is_err());
    }

    #[test]
    fn more_than_there_is_is_an_error_at_once() {
        let Err(SharedMemoryError::Io(error)) = Segment::anonymous(1 << 50) else {
            panic!("a pebibyte")
        };
        assert_eq!(error.raw_os_error(), Some(libc::ENOMEM));
        let Err(SharedMemoryError::Io(error)) = Segment::create(None, 1 << 50, false, || {
            format!("procession-{}-too-large", std::process::id())
        }) else {
            panic!("a pebibyte")
        };
        assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
    }
}
