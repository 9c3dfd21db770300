//! `ShareableList`: Python's list in shared memory, in Python's layout.
//!
//! Owns the layout, that of Python's `multiprocessing/shared_memory.py`, so that either
//! side reads what the other wrote. All of it is another process's word: each number is
//! checked before it is used as a place. There is no lock, as in Python.
//!
//! | part | size |
//! |---|---|
//! | count of items N | 8 |
//! | where each item begins in the data, and where the last ends | 8 (N + 1) |
//! | data: 8 bytes for a number or `None`; for text as many more as it needs, and one | |
//! | `struct` format of each item: `q`, `d`, `xxxxxxx?`, `xxxxxx?x` (`None`), `16s` | 8 N |
//! | how to read it: 0 as it is, 1 text, 2 bytes, 3 `None` | N |

use self::ShareableListError::Damaged;
use super::{SharedCells, SharedMemory, SharedMemoryError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Everything but the data of text stands at multiples of this, in bytes.
const WORD: usize = 8;

/// The most bytes of a text: the length of its place, and an `s` behind it, fill a word.
const MAX_TEXT: usize = 9_999_992 - 1;

/// A value that a [`ShareableList`] can hold.
#[derive(Debug, Clone, PartialEq)]
pub enum ShareableItem {
    /// Nothing.
    None,
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// Text. NUL characters at its end are lost, as in Python.
    Str(String),
    /// Bytes. NUL bytes at their end are lost, as in Python.
    Bytes(Vec<u8>),
}

/// What can go wrong with a [`ShareableList`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShareableListError {
    /// There is no such memory.
    #[error(transparent)]
    Memory(#[from] SharedMemoryError),
    /// There are not so many items.
    #[error("item {index} of {len}")]
    OutOfRange {
        /// Which was asked for.
        index: usize,
        /// How many there are.
        len: usize,
    },
    /// The text does not fit in the place that the item has.
    #[error("{len} bytes exceed the item's storage of {room}")]
    TooLong {
        /// How long it is.
        len: usize,
        /// How much room there is.
        room: usize,
    },
    /// Python's layout has no room for the length of so long a text.
    #[error("a text of {len} bytes: a list's items have at most {MAX_TEXT}")]
    TooLarge {
        /// How long it is.
        len: usize,
    },
    /// No such item is in the list.
    #[error("there is no such item in the list")]
    NoSuchItem,
    /// The memory holds no list.
    #[error("the memory holds no list: {0}")]
    Damaged(&'static str),
}

/// A list of fixed length in shared memory, as Python's `ShareableList`, which can attach
/// to it by name, as this one can to Python's.
///
/// Items can be replaced by others of any kind, text only by text that fits in the place
/// of the first. There is no lock: guard it with one of your own where several write.
///
/// ```
/// use procession::{ShareableItem, ShareableList};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let list = ShareableList::new([ShareableItem::from("howdy"), 273.15.into(), 100.into()])?;
/// list.set(2, true)?;
/// let same = ShareableList::attach(list.name())?;
/// assert_eq!(same.get(2)?, ShareableItem::Bool(true));
/// assert_eq!(same.format(0)?, "8s");
/// list.unlink()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ShareableList {
    memory: SharedMemory,
    /// Fixed when the list is made; checked to fit in the memory.
    len: usize,
    /// Where the formats begin, in bytes.
    formats: usize,
}

impl ShareableList {
    /// Makes a list in new memory with a drawn name.
    ///
    /// # Errors
    /// As [`SharedMemory::create_unnamed`]; [`ShareableListError::TooLarge`].
    pub fn new<I>(items: I) -> Result<Self, ShareableListError>
    where
        I: IntoIterator<Item: Into<ShareableItem>>,
    {
        Self::create(None, items)
    }

    /// Makes a list in new memory with this name.
    ///
    /// # Errors
    /// As [`SharedMemory::create`]; [`ShareableListError::TooLarge`]. No name is left then.
    pub fn named<I>(name: &str, items: I) -> Result<Self, ShareableListError>
    where
        I: IntoIterator<Item: Into<ShareableItem>>,
    {
        Self::create(Some(name), items)
    }

    fn create<I>(name: Option<&str>, items: I) -> Result<Self, ShareableListError>
    where
        I: IntoIterator<Item: Into<ShareableItem>>,
    {
        let items: Vec<ShareableItem> = items.into_iter().map(Into::into).collect();
        // Before there is memory, which would stay.
        if let Some(len) = items.iter().map(ShareableItem::len).find(|len| *len > MAX_TEXT) {
            return Err(ShareableListError::TooLarge { len });
        }
        let mut offsets = vec![0];
        for item in &items {
            offsets.push(offsets[offsets.len() - 1] + item.room());
        }
        let data = data_start(items.len());
        let formats = data + offsets[items.len()];
        let size = formats + items.len() * (WORD + 1);
        let memory = match name {
            Some(name) => SharedMemory::create(name, size)?,
            None => SharedMemory::create_unnamed(size)?,
        };
        let list = Self { memory, len: items.len(), formats };
        list.put_word(0, items.len())?;
        for (at, offset) in offsets.iter().enumerate() {
            list.put_word((1 + at) * WORD, *offset)?;
        }
        for (at, (item, offset)) in items.iter().zip(&offsets).enumerate() {
            list.put(at, data + offset, item, item.room())?;
        }
        Ok(list)
    }

    /// Attaches to the list in the memory of this name.
    ///
    /// # Errors
    /// As [`SharedMemory::attach`], and [`ShareableListError::Damaged`] when there is no
    /// list in it.
    pub fn attach(name: &str) -> Result<Self, ShareableListError> {
        Self::in_memory(SharedMemory::attach(name)?)
    }

    fn in_memory(memory: SharedMemory) -> Result<Self, ShareableListError> {
        let len = word(&memory, 0).ok_or(Damaged("it is too small"))?;
        let offsets = len.checked_add(2).and_then(|words| words.checked_mul(WORD));
        let data = offsets.filter(|end| *end <= memory.size()).ok_or(Damaged("its length"))?;
        let end = word(&memory, data - WORD).ok_or(Damaged("its offsets"))?;
        let formats = data.checked_add(end);
        let all = formats.and_then(|at| at.checked_add(len * (WORD + 1)));
        match (formats, all) {
            (Some(formats), Some(all)) if all <= memory.size() => Ok(Self { memory, len, formats }),
            _ => Err(Damaged("its offsets")),
        }
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A copy of an item.
    ///
    /// # Errors
    /// [`ShareableListError::OutOfRange`]; `Damaged` when what is there is no item.
    pub fn get(&self, index: usize) -> Result<ShareableItem, ShareableListError> {
        let (start, room) = self.place(index)?;
        let format = self.format(index)?;
        let code = self.bytes(self.formats + self.len * WORD + index, 1)?.to_vec()[0];
        let mut bytes = self.bytes(start, room)?.to_vec();
        Ok(match (format.as_str(), code) {
            (_, 3) => ShareableItem::None,
            ("q", _) => ShareableItem::Int(i64::from_ne_bytes(word_of(&bytes)?)),
            ("d", _) => ShareableItem::Float(f64::from_ne_bytes(word_of(&bytes)?)),
            ("xxxxxxx?", _) => ShareableItem::Bool(word_of(&bytes)?[WORD - 1] != 0),
            (text, _) => {
                let len = text.strip_suffix('s').and_then(|len| len.parse().ok());
                let len: usize = len.ok_or(Damaged("the format of an item"))?;
                if len > room {
                    return Err(Damaged("the length of an item"));
                }
                bytes.truncate(len);
                let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                bytes.truncate(end);
                if code == 1 {
                    let text = String::from_utf8(bytes);
                    ShareableItem::Str(text.map_err(|_| Damaged("a text that is not UTF-8"))?)
                } else {
                    ShareableItem::Bytes(bytes)
                }
            }
        })
    }

    /// Replaces an item, also by one of another kind.
    ///
    /// # Errors
    /// [`ShareableListError::OutOfRange`]; [`ShareableListError::TooLong`] when a text does
    /// not fit where the first item was.
    pub fn set(
        &self,
        index: usize,
        item: impl Into<ShareableItem>,
    ) -> Result<(), ShareableListError> {
        let (start, room) = self.place(index)?;
        self.put(index, start, &item.into(), room)
    }

    /// Copies of all items, in order.
    ///
    /// # Errors
    /// Each item's are those of [`get`](Self::get).
    pub fn iter(&self) -> impl Iterator<Item = Result<ShareableItem, ShareableListError>> + '_ {
        (0..self.len).map(|index| self.get(index))
    }

    /// How many items equal this one.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn count(&self, item: impl Into<ShareableItem>) -> Result<usize, ShareableListError> {
        let item = item.into();
        self.iter().try_fold(0, |count, one| Ok(count + usize::from(one? == item)))
    }

    /// Where the first item is that equals this one.
    ///
    /// # Errors
    /// [`ShareableListError::NoSuchItem`], and as [`get`](Self::get).
    pub fn index(&self, item: impl Into<ShareableItem>) -> Result<usize, ShareableListError> {
        let item = item.into();
        for (index, one) in self.iter().enumerate() {
            if one? == item {
                return Ok(index);
            }
        }
        Err(ShareableListError::NoSuchItem)
    }

    /// The format of an item, in the language of Python's `struct`.
    ///
    /// # Errors
    /// [`ShareableListError::OutOfRange`]; `Damaged`.
    pub fn format(&self, index: usize) -> Result<String, ShareableListError> {
        self.place(index)?;
        let mut bytes = self.bytes(self.formats + index * WORD, WORD)?.to_vec();
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(WORD);
        bytes.truncate(end);
        String::from_utf8(bytes).map_err(|_| Damaged("the format of an item"))
    }

    /// The name of its memory, by which others attach.
    pub fn name(&self) -> &str {
        self.memory.name().unwrap_or_default()
    }

    /// The memory that it is in.
    pub fn shared_memory(&self) -> &SharedMemory {
        &self.memory
    }

    /// As [`SharedMemory::unlink`].
    ///
    /// # Errors
    /// As there.
    pub fn unlink(&self) -> Result<(), SharedMemoryError> {
        self.memory.unlink()
    }

    /// Where an item's data begins, and how much room it has.
    fn place(&self, index: usize) -> Result<(usize, usize), ShareableListError> {
        if index >= self.len {
            return Err(ShareableListError::OutOfRange { index, len: self.len });
        }
        let data = data_start(self.len);
        let at = |index: usize| {
            let offset = word(&self.memory, (1 + index) * WORD)?.checked_add(data)?;
            (offset <= self.formats).then_some(offset)
        };
        match (at(index), at(index + 1)) {
            (Some(start), Some(end)) if start + WORD <= end => Ok((start, end - start)),
            _ => Err(Damaged("the offset of an item")),
        }
    }

    fn put(
        &self,
        index: usize,
        start: usize,
        item: &ShareableItem,
        room: usize,
    ) -> Result<(), ShareableListError> {
        let (bytes, format, code) = match item {
            ShareableItem::None => (vec![0; WORD], "xxxxxx?x".into(), 3),
            ShareableItem::Bool(is) => {
                let mut bytes = vec![0; WORD];
                bytes[WORD - 1] = u8::from(*is);
                (bytes, "xxxxxxx?".into(), 0)
            }
            ShareableItem::Int(int) => (int.to_ne_bytes().to_vec(), "q".into(), 0),
            ShareableItem::Float(float) => (float.to_ne_bytes().to_vec(), "d".into(), 0),
            ShareableItem::Str(text) => (text.as_bytes().to_vec(), format!("{room}s"), 1),
            ShareableItem::Bytes(bytes) => (bytes.clone(), format!("{room}s"), 2),
        };
        if bytes.len() > room || format.len() > WORD {
            return Err(ShareableListError::TooLong { len: bytes.len(), room });
        }
        let fill = if code == 1 || code == 2 { room } else { WORD };
        let damaged = |_| Damaged("its offsets");
        let padded = |bytes: &[u8], len: usize| {
            let mut padded = bytes.to_vec();
            padded.resize(len, 0);
            padded
        };
        let place = self.bytes(start, fill)?;
        self.bytes(self.formats + index * WORD, WORD)?
            .write(&padded(format.as_bytes(), WORD))
            .map_err(damaged)?;
        self.bytes(self.formats + self.len * WORD + index, 1)?.fill(code);
        place.write(&padded(&bytes, fill)).map_err(damaged)
    }

    fn put_word(&self, at: usize, value: usize) -> Result<(), ShareableListError> {
        let value = i64::try_from(value).map_err(|_| Damaged("its size"))?;
        self.memory.write(at, &value.to_ne_bytes()).map_err(|_| Damaged("its size"))
    }

    fn bytes(&self, at: usize, len: usize) -> Result<SharedCells<'_, u8>, ShareableListError> {
        self.memory.view(at, len).ok_or(Damaged("its size"))
    }
}

/// A number at a place that is a multiple of a word.
fn word(memory: &SharedMemory, at: usize) -> Option<usize> {
    usize::try_from(memory.view::<i64>(at, 1)?.get(0)?).ok()
}

/// Where the data of a list begins: behind the count and the offsets.
fn data_start(len: usize) -> usize {
    (len + 2) * WORD
}

fn word_of(bytes: &[u8]) -> Result<[u8; WORD], ShareableListError> {
    bytes.first_chunk().copied().ok_or(Damaged("the size of an item"))
}

impl ShareableItem {
    /// The length of a text, in bytes.
    fn len(&self) -> usize {
        match self {
            Self::Str(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            _ => 0,
        }
    }

    /// The place that it gets, in bytes: for text, room for one NUL more at least.
    fn room(&self) -> usize {
        WORD * (self.len() / WORD + 1)
    }
}

impl fmt::Debug for ShareableList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let items: Vec<_> = self.iter().collect();
        f.debug_struct("ShareableList").field("name", &self.name()).field("items", &items).finish()
    }
}

/// Travels as the name of its memory: what it costs does not depend on the items.
impl Serialize for ShareableList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.memory.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ShareableList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let memory = SharedMemory::deserialize(deserializer)?;
        Self::in_memory(memory).map_err(serde::de::Error::custom)
    }
}

macro_rules! items {
    ($($from:ty => $variant:ident, $as:expr;)*) => {$(
        impl From<$from> for ShareableItem {
            fn from(value: $from) -> Self {
                Self::$variant($as(value))
            }
        }
    )*};
}

items! {
    bool => Bool, |value| value;
    i64 => Int, |value| value;
    i32 => Int, i64::from;
    f64 => Float, |value| value;
    &str => Str, str::to_owned;
    String => Str, |value| value;
    &[u8] => Bytes, <[u8]>::to_vec;
    Vec<u8> => Bytes, |value| value;
}

impl From<()> for ShareableItem {
    fn from((): ()) -> Self {
        Self::None
    }
}

impl<T: Into<Self>> From<Option<T>> for ShareableItem {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, Into::into)
    }
}
