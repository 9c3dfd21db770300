//! Blocks of shared memory as objects with an owner, whose handles travel.
//!
//! Owns the kind: what a client gets when it attaches (the arena's file and the place in
//! it), and that it maps each arena once. Memory has no messages: its words are the bytes.
//! It must never believe what the owner says of sizes. See docs/protocols.md.

use super::heap::{self, Arena, Block};
use super::{Plain, SharedCells};
use crate::codec::{self, Encoded, Fd};
use crate::share::era::{self, Era};
use crate::share::{BadMessage, Client, Connection, Kind, ReplyTo, Share, ShareError, Side, Stock};
use crate::sync::lock;
use crate::sys::cells::Pinned;
use crate::sys::memory::{self, Mapping};
use procession_protocols::id::NodeId;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::any::type_name;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, OnceLock, Weak};

/// A handle to shared memory that holds so many `T`s. Clones are the same memory.
///
/// Private memory is a kind of its own: no message makes a handle of the one kind into one
/// of the other, so whoever keeps such a handle to himself knows all who use the memory.
pub struct Memory<T, const PRIVATE: bool = false> {
    share: Share<InMemory<PRIVATE>>,
    len: usize,
    /// Where the values are, once that is known, and in which generation: nothing but this
    /// stands between a value and whoever uses it often.
    known: OnceLock<(u32, Pinned<T>)>,
}

impl<T: Plain, const PRIVATE: bool> Memory<T, PRIVATE> {
    /// New memory for `len` values, all zero.
    ///
    /// # Errors
    /// `ENOMEM`, and what making a memory file may say.
    pub fn new(len: usize) -> io::Result<Self> {
        let bytes = len.checked_mul(size_of::<T>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let align = align_of::<T>();
        let block = Era::new(Some(heap::take(bytes, align, PRIVATE)?));
        Ok(Self::of(Share::host(Arc::new(Own { block, align, is_private: PRIVATE })), len))
    }

    fn of(share: Share<InMemory<PRIVATE>>, len: usize) -> Self {
        Self { share, len, known: OnceLock::new() }
    }

    /// How many values there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The values. The first use in a process attaches, and waits for the owner.
    ///
    /// # Errors
    /// As [`Share::side`]; [`ShareError::OtherKind`] when the memory is smaller than the
    /// message that brought the handle said.
    #[inline]
    pub fn cells(&self) -> Result<SharedCells<'_, T>, ShareError> {
        match self.ready() {
            Some(cells) => Ok(cells),
            None => self.find(self.share.side()?),
        }
    }

    /// As [`cells`](Self::cells), for any executor.
    ///
    /// # Errors
    /// As [`cells`](Self::cells).
    ///
    /// # Cancel safety
    /// Dropped, it gives back an attachment that was under way.
    pub async fn cells_async(&self) -> Result<SharedCells<'_, T>, ShareError> {
        self.find(self.share.side_async().await?)
    }

    /// The values, when this handle has been used already.
    #[inline]
    fn ready(&self) -> Option<SharedCells<'_, T>> {
        match self.known.get() {
            Some((generation, pinned)) if *generation == era::generation() => Some(pinned.cells()),
            _ => None,
        }
    }

    /// The values, if this process can have them without waiting.
    pub fn peek(&self) -> Option<SharedCells<'_, T>> {
        self.ready().or_else(|| self.find(self.share.ready()?).ok())
    }

    #[cold]
    fn find<'a>(
        &'a self,
        side: Side<'a, InMemory<PRIVATE>>,
    ) -> Result<SharedCells<'a, T>, ShareError> {
        let (arena, offset, len) = match side {
            Side::Own(own) => {
                let block = own.now().ok_or(ShareError::Forked)?;
                (&block.arena, block.offset, block.len)
            }
            Side::Away(place) => (&place.arena, place.offset, place.len),
        };
        let has_room = self.len.checked_mul(size_of::<T>()).is_some_and(|bytes| bytes <= len);
        match Pinned::new(arena.mapping.clone(), offset, self.len) {
            Some(pinned) if has_room => {
                if PRIVATE {
                    memory::keep_from_copies(&arena.mapping);
                }
                // In a copy of the process what its parent knew stays known, and is not used.
                let _ = self.known.set((era::generation(), pinned));
                let cells = SharedCells::new(&arena.mapping, offset, self.len);
                cells.ok_or_else(|| ShareError::OtherKind {
                    found: InMemory::<PRIVATE>::NAME.into(),
                })
            }
            _ => Err(ShareError::OtherKind { found: format!("memory of {len} bytes") }),
        }
    }
}

impl<T, const PRIVATE: bool> Memory<T, PRIVATE> {
    /// Which object it is: its owner, and the number there. `None` when it is out of reach.
    pub(crate) fn identity(&self) -> Option<(NodeId, u64)> {
        self.share.identity()
    }
}

impl<T, const PRIVATE: bool> Clone for Memory<T, PRIVATE> {
    fn clone(&self) -> Self {
        Self { share: self.share.clone(), len: self.len, known: OnceLock::new() }
    }
}

impl<T, const PRIVATE: bool> fmt::Debug for Memory<T, PRIVATE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("share", &self.share)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// Travels with the number of its kind and type, which is compared on the other side.
impl<T, const PRIVATE: bool> Serialize for Memory<T, PRIVATE> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.share, tag::<T, PRIVATE>(), self.len).serialize(serializer)
    }
}

impl<'de, T: Plain, const PRIVATE: bool> Deserialize<'de> for Memory<T, PRIVATE> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (share, found, len): (_, u64, _) = Deserialize::deserialize(deserializer)?;
        if found == tag::<T, PRIVATE>() {
            Ok(Self::of(share, len))
        } else {
            let wanted = type_name::<T>();
            let kind = InMemory::<PRIVATE>::NAME;
            Err(D::Error::custom(format_args!(
                "the memory holds other values than {wanted}, or is no {kind}"
            )))
        }
    }
}

/// A number for a type in a kind of memory: FNV-1a of its name, size and alignment, and the
/// kind's name.
fn tag<T, const PRIVATE: bool>() -> u64 {
    const fn hash(mut hash: u64, bytes: &[u8]) -> u64 {
        let mut at = 0;
        while at < bytes.len() {
            hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
            at += 1;
        }
        hash
    }
    let name = hash(0xcbf2_9ce4_8422_2325, type_name::<T>().as_bytes());
    let size = hash(name, &size_of::<T>().to_le_bytes());
    let align = hash(size, &align_of::<T>().to_le_bytes());
    hash(align, InMemory::<PRIVATE>::NAME.as_bytes())
}

/// The kind of object that a block is.
#[derive(Debug)]
pub(super) struct InMemory<const PRIVATE: bool>;

impl<const PRIVATE: bool> Kind for InMemory<PRIVATE> {
    const NAME: &'static str = if PRIVATE { "PrivateMemory" } else { "Memory" };

    type Own = Own;

    type Away = Place;

    fn attached(
        connection: &Arc<Connection>,
        _object: u64,
        answer: Encoded,
    ) -> Result<Place, ShareError> {
        let answer: Answer = codec::decode(&answer.bytes, answer.fds).map_err(io::Error::other)?;
        let arena =
            connection.extension::<Arenas>().get(answer.number, answer.size, answer.file)?;
        let is_inside = answer.offset.checked_add(answer.len).is_some_and(|end| end <= answer.size);
        if !is_inside || arena.mapping.len() != answer.size {
            return Err(io::Error::from(io::ErrorKind::InvalidData).into());
        }
        Ok(Place { arena, offset: answer.offset, len: answer.len })
    }
}

/// A block in its owner: each generation of it has one of its own.
#[derive(Debug)]
pub(super) struct Own {
    block: Era<Option<Block>>,
    align: usize,
    is_private: bool,
}

impl Own {
    fn now(&self) -> Option<&Block> {
        self.block.now(|| None).as_ref()
    }

    /// New memory with what is in the memory of the process that this one is a copy of.
    fn copied(&self) -> io::Result<Block> {
        let old = self.block.first().ok_or(io::ErrorKind::NotFound)?;
        let fresh = heap::take(old.len, self.align, self.is_private)?;
        let from = SharedCells::<u8>::new(&old.arena.mapping, old.offset, old.len);
        let to = SharedCells::<u8>::new(&fresh.arena.mapping, fresh.offset, fresh.len);
        if let (Some(from), Some(to)) = (from, to) {
            to.write(&from.to_vec()).map_err(io::Error::other)?;
        }
        Ok(fresh)
    }
}

/// Where a block is in a process that does not own it.
#[derive(Debug)]
pub(super) struct Place {
    arena: Arc<Arena>,
    offset: usize,
    len: usize,
}

/// What a client is told.
#[derive(Serialize, Deserialize)]
struct Answer {
    number: u64,
    size: usize,
    offset: usize,
    len: usize,
    file: Fd,
}

impl Stock for Own {
    fn attach(&self, _client: &Arc<Client>) -> io::Result<Encoded> {
        let another = || io::Error::other("the memory is another process's");
        let Block { arena, offset, len, .. } = self.now().ok_or_else(another)?;
        let Arena { number, mapping, file } = &**arena;
        let file = file.try_clone()?.into();
        let size = mapping.len();
        let answer = Answer { number: *number, size, offset: *offset, len: *len, file };
        codec::encode(&answer).map_err(io::Error::other)
    }

    fn request(
        &self,
        _client: &Arc<Client>,
        _message: Encoded,
        _reply: Option<ReplyTo>,
    ) -> Result<(), BadMessage> {
        Err(BadMessage)
    }

    fn detach(&self, _client: &Arc<Client>) {}

    fn died(&self, _client: &Arc<Client>) {}

    fn renew(&self) -> bool {
        self.copied().is_ok_and(|fresh| self.block.now(|| Some(fresh)).is_some())
    }
}

/// The arenas of one owner that this process has mapped, by their numbers.
#[derive(Default)]
struct Arenas(Mutex<HashMap<u64, Weak<Arena>>>);

impl Arenas {
    fn get(&self, number: u64, size: usize, file: Fd) -> io::Result<Arc<Arena>> {
        let arenas = &mut *lock(&self.0);
        if let Some(arena) = arenas.get(&number).and_then(Weak::upgrade) {
            return Ok(arena);
        }
        if !memory::cannot_shrink(file.as_fd()) {
            return Err(io::Error::other("the owner's memory is not sealed"));
        }
        let mapping = Arc::new(Mapping::new(file.as_fd(), size)?);
        let arena = Arc::new(Arena { number, mapping, file: file.into() });
        arenas.retain(|_, arena| arena.strong_count() > 0);
        arenas.insert(number, Arc::downgrade(&arena));
        Ok(arena)
    }
}
