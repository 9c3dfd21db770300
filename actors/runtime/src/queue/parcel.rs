//! An item as it travels: bytes that nobody on the way decodes, and its descriptors.
//!
//! Owns where the bytes are: in memory, or, for large ones, in a file of their own that
//! goes from process to process without being copied. It must never look into them.

use super::page::INLINE;
use crate::codec::{Encoded, MAX_FDS};
use nix::sys::memfd::{MFdFlags, memfd_create};
use procession_protocols::queue::Item;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Most files of items that the owner keeps open; beyond that it reads them into memory.
const MAX_FILES: usize = 128;

/// What an item counts for besides its bytes.
const OVERHEAD: u64 = 64;

/// What a file counts for at a consumer to whom it is lent: four may be.
const FILE_BURDEN: u64 = 64 * 1024;

/// An item.
#[derive(Debug, Clone)]
pub(super) struct Parcel(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    tag: u32,
    bytes: Bytes,
    fds: Vec<OwnedFd>,
}

/// The bytes of an item.
#[derive(Debug)]
pub(super) enum Bytes {
    Here(Vec<u8>),
    File(KeptFile, u32),
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
    /// What the caller has encoded. Large bytes go into a file, if it is to leave this
    /// process.
    ///
    /// # Errors
    /// Too many bytes or descriptors, or no memory for the file.
    pub(super) fn new(
        tag: u32,
        encoded: Encoded,
        leaves: bool,
    ) -> Result<Self, (io::Error, Encoded)> {
        let Encoded { bytes, fds } = encoded;
        if !leaves || bytes.len() <= INLINE {
            return Ok(Self(Arc::new(Inner { tag, bytes: Bytes::Here(bytes), fds })));
        }
        let made = match u32::try_from(bytes.len()) {
            Ok(len) if fds.len() < MAX_FDS => file_of(&bytes).map(|file| (file, len)),
            _ => Err(io::Error::other("an item has less than 4 GiB, and at most 252 descriptors")),
        };
        match made {
            Ok((file, len)) => {
                Ok(Self(Arc::new(Inner { tag, bytes: Bytes::File(KeptFile::new(file), len), fds })))
            }
            Err(error) => Err((error, Encoded { bytes, fds })),
        }
    }

    /// What came from another process: with `len`, its last descriptor is the file of its
    /// bytes. With `keep`, many files are read into memory.
    pub(super) fn received(
        tag: u32,
        bytes: Vec<u8>,
        mut fds: Vec<OwnedFd>,
        len: Option<u32>,
        keep: bool,
    ) -> Self {
        let bytes = match (len, fds.pop()) {
            (None, last) => {
                fds.extend(last);
                Bytes::Here(bytes)
            }
            (Some(len), Some(file)) => {
                let file = KeptFile::new(File::from(file));
                if keep && FILES.load(Ordering::Relaxed) > MAX_FILES {
                    Bytes::Here(read(&file.0, len))
                } else {
                    Bytes::File(file, len)
                }
            }
            // The descriptor was lost on the way; decoding will say so.
            (Some(_), None) => Bytes::Here(Vec::new()),
        };
        Self(Arc::new(Inner { tag, bytes, fds }))
    }

    /// The tag of its type.
    pub(super) fn tag(&self) -> u32 {
        self.0.tag
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> &Bytes {
        &self.0.bytes
    }

    /// Its descriptors, without that of a file.
    pub(super) fn fds(&self) -> &[OwnedFd] {
        &self.0.fds
    }

    /// Takes it apart, for whoever decodes it. Descriptors that somebody else may need
    /// still are duplicated.
    ///
    /// # Errors
    /// No descriptor is free.
    pub(super) fn open(self) -> io::Result<Encoded> {
        let (bytes, fds) = match Arc::try_unwrap(self.0) {
            Ok(Inner { bytes, fds, .. }) => (bytes, fds),
            Err(shared) => {
                let fds: io::Result<_> = shared.fds.iter().map(OwnedFd::try_clone).collect();
                let bytes = match &shared.bytes {
                    Bytes::Here(bytes) => bytes.clone(),
                    Bytes::File(file, len) => read(&file.0, *len),
                };
                return Ok(Encoded { bytes, fds: fds? });
            }
        };
        Ok(Encoded {
            bytes: match bytes {
                Bytes::Here(bytes) => bytes,
                Bytes::File(file, len) => read(&file.0, len),
            },
            fds,
        })
    }
}

impl Item for Parcel {
    fn weight(&self) -> u64 {
        OVERHEAD
            + match &self.0.bytes {
                Bytes::Here(bytes) => bytes.len() as u64,
                Bytes::File(_, len) => u64::from(*len),
            }
    }

    fn burden(&self) -> u64 {
        self.weight().min(FILE_BURDEN)
    }
}

/// A fresh file with these bytes.
pub(super) fn file_of(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create(c"procession-item", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(bytes)?;
    Ok(file)
}

/// The bytes of a file: fewer, when whoever wrote it lied, which decoding finds out.
fn read(mut file: &File, len: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len as usize);
    // All who had the file share its position.
    let _ = file.rewind().and_then(|()| file.take(u64::from(len)).read_to_end(&mut bytes));
    bytes
}
