//! An item as it travels: bytes that nobody on the way decodes, and its descriptors.
//!
//! Owns where the bytes are: in memory, or, for large ones, in a file of their own that
//! goes from process to process without being copied; and how an item stands in a ring. It
//! must never look into them. Neighbour: `run` has several short ones that travel as one.

use super::page::{HEADER, Header, INLINE, flags};
use super::run::Run;
use super::{NoItem, Refused, chunks};
use crate::codec::{self, DecodeError, EncodeError, MAX_FDS};
use crate::share::ShareError;
use crate::sys::chunk;
use crate::sys::sealed::Sealed;
use procession_protocols::queue::Item;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Most files of items that the owner keeps open; beyond that it reads them into memory.
const MAX_FILES: usize = 128;

/// Most bytes of a buffer that a thread keeps for what it encodes next.
const KEPT_BUFFER: usize = 4 * 1024 * 1024;

/// How much larger than its bytes an item's buffer may be.
const BUFFER_SLACK: usize = 4096;

/// What an item counts for besides its bytes.
const OVERHEAD: u64 = 64;

/// What a file counts for at a consumer to whom it is lent: four may be.
const FILE_BURDEN: u64 = 64 * 1024;

/// An item; at its owner, also a run of them.
#[derive(Debug, Clone)]
pub(super) struct Parcel {
    /// The first item's.
    tag: u32,
    bytes: Bytes,
    /// Shared with the copy that stays with the owner while the item is leased.
    fds: Option<Arc<Vec<OwnedFd>>>,
}

/// The bytes of an item.
#[derive(Debug, Clone)]
pub(super) enum Bytes {
    Here(Vec<u8>),
    Run(Run),
    File(Arc<KeptFile>, u32),
}

impl Bytes {
    /// Those in memory; of a run, the first item's.
    pub(super) fn here(&self) -> Option<&[u8]> {
        match self {
            Self::Here(bytes) => Some(bytes),
            Self::Run(run) => Some(run.first().1),
            Self::File(..) => None,
        }
    }
}

/// A file, counted while it is open.
#[derive(Debug)]
pub(super) struct KeptFile(pub(super) File);

static FILES: AtomicUsize = AtomicUsize::new(0);

impl KeptFile {
    fn new(file: File) -> Self {
        FILES.fetch_add(1, Ordering::Relaxed);
        Self(file)
    }
}

impl Drop for KeptFile {
    fn drop(&mut self) {
        FILES.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Parcel {
    /// Encodes an item. Large bytes go into a file, if they are to leave this process.
    ///
    /// # Errors
    /// It cannot be encoded, or there is no memory for the file.
    pub(super) fn encode<T: Serialize + ?Sized>(
        tag: u32,
        item: &T,
        leaves: bool,
    ) -> Result<Self, Refused> {
        if leaves
            && let Some(bytes) = codec::as_bytes(item)
            && bytes.len() > INLINE
        {
            return Self::in_file::<T>(tag, [&codec::head(bytes.len())?, bytes], Vec::new());
        }
        let mut bytes = take_buffer();
        let fds = codec::encode_onto(item, &mut bytes)?;
        if leaves && bytes.len() > INLINE {
            let parcel = Self::in_file::<T>(tag, [&bytes, &[]], fds);
            keep_buffer(bytes);
            return parcel;
        }
        // A short item that stays in the queue does not hold a large buffer.
        if bytes.capacity() > 2 * bytes.len() + BUFFER_SLACK {
            let exact = bytes.as_slice().to_vec();
            keep_buffer(std::mem::replace(&mut bytes, exact));
        }
        Ok(Self::new(tag, Bytes::Here(bytes), fds))
    }

    /// An item that has been encoded, on its way out of this process.
    ///
    /// # Errors
    /// There is no memory for a file.
    pub(super) fn encoded<T: ?Sized>(
        tag: u32,
        bytes: Vec<u8>,
        fds: Vec<OwnedFd>,
    ) -> Result<Self, Refused> {
        if bytes.len() > INLINE {
            return Self::in_file::<T>(tag, [&bytes, &[]], fds);
        }
        Ok(Self::new(tag, Bytes::Here(bytes), fds))
    }

    fn in_file<T: ?Sized>(tag: u32, parts: [&[u8]; 2], fds: Vec<OwnedFd>) -> Result<Self, Refused> {
        let len = parts[0].len() + parts[1].len();
        let len = match u32::try_from(len) {
            Ok(len) if fds.len() < MAX_FDS => len,
            _ => {
                return Err(Refused::Encode(EncodeError {
                    type_name: std::any::type_name::<T>().into(),
                    why: format!(
                        "{len} bytes, {} descriptors: an item has less than 4 GiB, and a large \
                         one one descriptor less than others",
                        fds.len()
                    ),
                }));
            }
        };
        let file = KeptFile::new(chunks::file_of(parts).map_err(ShareError::Io)?);
        Ok(Self::new(tag, Bytes::File(Arc::new(file), len), fds))
    }

    fn new(tag: u32, bytes: Bytes, fds: Vec<OwnedFd>) -> Self {
        Self { tag, bytes, fds: (!fds.is_empty()).then(|| Arc::new(fds)) }
    }

    /// Items that came together.
    pub(super) fn run(run: Run) -> Self {
        Self::new(run.first().0, Bytes::Run(run), Vec::new())
    }

    /// It has been copied out of this process: what it was encoded in is used again.
    pub(super) fn leave(self) {
        if let Bytes::Here(bytes) = self.bytes {
            keep_buffer(bytes);
        }
    }

    /// What came from another process: with `len`, its last descriptor is the file of its
    /// bytes. With `keep`, many files are read into memory.
    pub(super) fn received(
        tag: u32,
        bytes: Bytes,
        mut fds: Vec<OwnedFd>,
        len: Option<u32>,
        keep: bool,
    ) -> Self {
        let bytes = match (len, fds.pop()) {
            (None, last) => {
                fds.extend(last);
                bytes
            }
            (Some(len), Some(file)) => {
                let file = KeptFile::new(File::from(file));
                if keep && FILES.load(Ordering::Relaxed) > MAX_FILES {
                    let mut bytes = Vec::new();
                    read(&file, 0, len as usize, &mut bytes);
                    Bytes::Here(bytes)
                } else {
                    Bytes::File(Arc::new(file), len)
                }
            }
            // The descriptor was lost on the way; decoding will say so.
            (Some(_), None) => Bytes::Here(Vec::new()),
        };
        Self::new(tag, bytes, fds)
    }

    /// The tag of its type.
    pub(super) fn tag(&self) -> u32 {
        self.tag
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Its descriptors, without that of a file.
    pub(super) fn fds(&self) -> &[OwnedFd] {
        self.fds.as_ref().map_or(&[], |fds| fds.as_slice())
    }

    /// Decodes it, which takes its descriptors out of it. Those that somebody else may need
    /// still are duplicated.
    ///
    /// # Errors
    /// It is no `T`, or no descriptor is free.
    pub(super) fn decode<T: DeserializeOwned>(&mut self) -> Result<T, NoItem> {
        let decode = |bytes: &[u8], fds| -> Result<T, DecodeError> { codec::decode(bytes, fds) };
        let fds = match self.fds.take().map(Arc::try_unwrap) {
            None => Vec::new(),
            Some(Ok(fds)) => fds,
            Some(Err(shared)) => shared
                .iter()
                .map(OwnedFd::try_clone)
                .collect::<io::Result<_>>()
                .map_err(ShareError::Io)?,
        };
        let decoded = match &self.bytes {
            Bytes::Here(_) | Bytes::Run(_) => decode(self.bytes.here().unwrap_or_default(), fds),
            Bytes::File(file, len) => {
                let copy = |at, count| {
                    let mut bytes = Vec::new();
                    read(file, at, count, &mut bytes);
                    bytes
                };
                if let Some(bytes) = codec::decode_as_bytes(*len as usize, copy) {
                    Ok(bytes)
                } else if let Some(bytes) = Sealed::map(file.0.as_fd(), *len as usize) {
                    decode(&bytes, fds)
                } else {
                    let mut bytes = take_buffer();
                    read(file, 0, *len as usize, &mut bytes);
                    let decoded = decode(&bytes, fds);
                    keep_buffer(bytes);
                    decoded
                }
            }
        };
        Ok(decoded?)
    }
}

thread_local! {
    /// For what this thread encodes next.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The buffer that was kept, emptied. A thread's other locals find none after this one has gone.
pub(super) fn take_buffer() -> Vec<u8> {
    let mut buffer = BUFFER.try_with(Cell::take).unwrap_or_default();
    buffer.clear();
    buffer
}

pub(super) fn keep_buffer(buffer: Vec<u8>) {
    if buffer.capacity() <= KEPT_BUFFER {
        // A thread that is ending keeps nothing.
        let _ = BUFFER.try_with(|kept| kept.set(buffer));
    }
}

/// How many bytes of a ring it takes.
pub(super) fn span(parcel: &Parcel) -> usize {
    match parcel.bytes() {
        Bytes::Here(bytes) if bytes.len() <= INLINE => HEADER + bytes.len(),
        Bytes::Run(run) => run.bytes().len(),
        Bytes::Here(_) | Bytes::File(..) => HEADER,
    }
}

/// How an item stands in a ring. Its bytes are either in memory and short, or in a file.
pub(super) fn header_of(parcel: &Parcel, number: u32, redelivered: bool) -> (Header, &[u8]) {
    let (len, bytes, is_file) = match (parcel.bytes().here(), parcel.bytes()) {
        (Some(bytes), _) if bytes.len() <= INLINE => (bytes.len(), bytes, false),
        (Some(bytes), _) => (bytes.len(), [].as_slice(), true),
        (None, Bytes::File(_, len)) => (*len as usize, [].as_slice(), true),
        (None, _) => (0, [].as_slice(), false),
    };
    let fds = parcel.fds().len() + usize::from(is_file);
    let mut bits = 0;
    if is_file {
        bits |= flags::FILE;
    }
    if redelivered {
        bits |= flags::REDELIVERED;
    }
    let header = Header {
        // `Parcel::new` and the codec keep both in bounds.
        len: u32::try_from(len).unwrap_or(u32::MAX),
        tag: parcel.tag(),
        fds: u16::try_from(fds).unwrap_or(u16::MAX),
        flags: bits,
        number,
    };
    (header, bytes)
}

/// The descriptors that go with an item whose bytes are short or in a file.
pub(super) fn fds_of(parcel: &Parcel) -> Vec<RawFd> {
    let mut fds: Vec<_> = parcel.fds().iter().map(AsRawFd::as_raw_fd).collect();
    if let Bytes::File(file, _) = parcel.bytes() {
        fds.push(file.0.as_raw_fd());
    }
    fds
}

impl Item for Parcel {
    fn weight(&self) -> u64 {
        let bytes = match &self.bytes {
            Bytes::Here(bytes) => bytes.len() as u64,
            Bytes::Run(run) => (run.bytes().len() - HEADER * run.count() as usize) as u64,
            Bytes::File(_, len) => u64::from(*len),
        };
        bytes + OVERHEAD * u64::from(self.count())
    }

    fn burden(&self) -> u64 {
        match &self.bytes {
            // None of its items is large.
            Bytes::Run(_) => self.weight(),
            _ => self.weight().min(FILE_BURDEN),
        }
    }

    fn count(&self) -> u32 {
        match &self.bytes {
            Bytes::Run(run) => run.count(),
            _ => 1,
        }
    }

    fn split(&mut self, count: u32) -> Self {
        match &mut self.bytes {
            Bytes::Run(run) => {
                let first = Self::run(run.split(count));
                self.tag = run.first().0;
                first
            }
            _ => self.clone(),
        }
    }
}

/// Bytes of a file, behind what is in `into`: fewer, when whoever wrote it lied, which
/// decoding finds out.
fn read(file: &KeptFile, from: usize, count: usize, into: &mut Vec<u8>) {
    let _ = chunk::copy(file.0.as_fd(), from, count, into);
}
