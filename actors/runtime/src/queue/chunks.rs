//! The files in which large items leave this process.
//!
//! Owns a few chunks that are used again and again: the pages of a new file cost several
//! times what writing into old ones does. A chunk is written only when the kernel says that
//! nobody has a descriptor of it, so an item that is kept, lent, under way or lost with its
//! consumer keeps its bytes as long as anybody could look at them, and a death gives its
//! chunks back. It must never reuse a chunk that a copy of this process could use.
//! Neighbours: `sys::chunk`, `parcel`.

use crate::sync::lock;
use crate::sys::chunk::Chunk;
use crate::sys::sealed;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::Mutex;

/// Most chunks that a process keeps.
const CHUNKS: usize = 8;

/// Most bytes of a chunk that is kept; larger items have files of their own.
const LARGEST: usize = 4 * 1024 * 1024;

/// The chunks of one process, the one that was used longest ago first.
struct Pool {
    process: u32,
    chunks: VecDeque<Chunk>,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { process: 0, chunks: VecDeque::new() });

/// A file that begins with these parts.
///
/// # Errors
/// No memory or descriptor for it.
pub(crate) fn file_of(parts: [&[u8]; 2]) -> io::Result<File> {
    if parts[0].len() + parts[1].len() > LARGEST {
        return sealed::make(parts);
    }
    let Ok(mut chunk) = take_free().map_or_else(Chunk::make, Ok) else {
        return sealed::make(parts);
    };
    let file = chunk.fill(parts)?;
    let pool = &mut *lock(&POOL);
    if pool.chunks.len() == CHUNKS {
        // All are under way; this one will be there first.
        pool.chunks.pop_front();
    }
    pool.chunks.push_back(chunk);
    Ok(file)
}

fn take_free() -> Option<Chunk> {
    let pool = &mut *lock(&POOL);
    let process = std::process::id();
    if std::mem::replace(&mut pool.process, process) != process {
        // A copy of the process that made them, which goes on using them.
        pool.chunks.clear();
    }
    let free = pool.chunks.iter().position(Chunk::is_free)?;
    pool.chunks.remove(free)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::chunk::copy;
    use std::os::fd::AsFd;

    #[test]
    fn bytes_stay_as_long_as_anybody_has_them() {
        let files: Vec<_> =
            (0..30_u8).map(|number| file_of([&[], &[number; 100]]).unwrap()).collect();
        assert!(files.len() > CHUNKS);
        for (file, number) in files.iter().zip(0..) {
            let mut bytes = Vec::new();
            copy(file.as_fd(), 0, 100, &mut bytes).unwrap();
            assert_eq!(bytes, [number; 100]);
        }
        drop(files);
        let first = file_of([b"again", b""]).unwrap();
        let inode = |file: &File| std::os::unix::fs::MetadataExt::ino(&file.metadata().unwrap());
        let seen = inode(&first);
        drop(first);
        assert!((0..=CHUNKS).any(|_| inode(&file_of([b"and", b"again"]).unwrap()) == seen));
    }
}
